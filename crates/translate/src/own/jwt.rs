//! Tokens of a RoutePolicy, but for keys that stand in other objects.

use std::collections::BTreeSet;
use std::time::Duration;

use jwt::KeySet;
use model::{ClaimHeader, Jwks, Jwt, JwtKeys, JwtProvider, Reason, RequiredClaim, TokenPlaces};
use policy::{HeadKind, header_refusal};
use resources::{LocalJwks, LocalJwksType, LocalObjectRef};

use super::route_policy::CLOSES;
use crate::report::Report;
use crate::{duration, pattern};

/// How far clocks may be apart unless something is said of it.
const CLOCK_SKEW: Duration = Duration::from_secs(60);
/// How far they may be at most.
const CLOCK_SKEW_MAX: Duration = Duration::from_secs(3600);

/// Where keys are, as it is written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum KeyPlace<'s> {
    Inline(&'s str),
    Object(&'s LocalObjectRef),
}

/// Whose tokens are taken, with the keys that `keys` gives for each provider and its field; none: it cannot be.
pub(crate) fn read(
    said: &resources::Jwt,
    mut keys: impl FnMut(KeyPlace<'_>, &str, &mut Report<'_>) -> Option<Jwks>,
    report: &mut Report<'_>,
) -> Option<Jwt> {
    if said.providers.is_empty() {
        report.invalid("spec.jwt.providers", format!("is empty, {CLOSES}: say who issues tokens"));
        return None;
    }
    let mut names = BTreeSet::new();
    let providers = said.providers.iter().enumerate().map(|(i, provider)| {
        let field = format!("spec.jwt.providers[{i}]");
        let is_new = names.insert(provider.name.as_str());
        if !is_new {
            report.invalid(format!("{field}.name"), format!("is that of another provider, {CLOSES}"));
        }
        let place = place(provider, &field, report);
        let keys = place.and_then(|place| keys(place, &format!("{field}.localJWKS"), report));
        let read = self::provider(provider, keys, &field, report);
        read.filter(|_| is_new)
    });
    // All of them are looked at, so that all are reported.
    let providers: Vec<_> = providers.collect();
    let providers: Option<Vec<_>> = providers.into_iter().collect();
    Some(Jwt { is_optional: said.optional.unwrap_or_default(), providers: providers? })
}

/// The set of keys in a text; none: it is none, which is reported for `reason` with the text's place in front.
pub(crate) fn key_set(
    json: &[u8],
    (place, reason): (&str, Reason),
    field: &str,
    report: &mut Report<'_>,
) -> Option<Jwks> {
    match KeySet::parse(json) {
        Ok(set) => {
            for ignored in set.ignored() {
                let message = format!("{place}key {} {}: it is left out", ignored.at, ignored.problem);
                report.warning(Reason::Unsupported, field, message);
            }
            Some(Jwks::new(json))
        }
        Err(error) => {
            report.error(reason, field, format!("{place}{error}, {CLOSES}"));
            None
        }
    }
}

/// Where a provider's keys are.
fn place<'s>(said: &'s resources::JwtProvider, field: &str, report: &mut Report<'_>) -> Option<KeyPlace<'s>> {
    let field = format!("{field}.localJWKS");
    let Some(LocalJwks { kind, inline, value_ref }) = &said.local_jwks else {
        report.invalid(field, format!("is missing, {CLOSES}: signatures are checked with its keys"));
        return None;
    };
    match (kind, inline, value_ref) {
        (None | Some(LocalJwksType::Inline), Some(text), None) => Some(KeyPlace::Inline(text)),
        (None | Some(LocalJwksType::ValueRef), None, Some(reference)) => Some(KeyPlace::Object(reference)),
        _ => {
            let message =
                format!("must have either inline or valueRef, as its type says, {CLOSES}: write one of them");
            report.invalid(field, message);
            None
        }
    }
}

fn provider(
    said: &resources::JwtProvider,
    keys: Option<Jwks>,
    field: &str,
    report: &mut Report<'_>,
) -> Option<JwtProvider> {
    let clock_skew = match said.clock_skew.as_deref() {
        None => Some(CLOCK_SKEW),
        Some(text) => {
            let time = duration::parse(text).filter(|time| *time <= CLOCK_SKEW_MAX);
            if time.is_none() {
                let message = format!("{text:?} is no time up to an hour, {CLOSES}: write 30s");
                report.invalid(format!("{field}.clockSkew"), message);
            }
            time
        }
    };
    let extract_from = places(said.extract_from.as_ref(), &format!("{field}.extractFrom"), report);
    let headers = said.claim_to_headers.iter().enumerate().map(|(i, line)| {
        let field = format!("{field}.claimToHeaders[{i}].header");
        header_name(&line.header, &field, report)
            .map(|header| ClaimHeader { claim: line.claim.as_str().into(), header: header.into() })
    });
    let claim_to_headers = headers.collect::<Vec<_>>().into_iter().collect::<Option<Vec<_>>>();
    let required_claims = said.required_claims.iter().map(|claim| RequiredClaim {
        name: claim.name.as_str().into(),
        values: claim.values.iter().map(|value| value.as_str().into()).collect(),
    });
    Some(JwtProvider {
        name: said.name.as_str().into(),
        keys: JwtKeys::Local(keys?),
        issuer: said.issuer.as_deref().map(Into::into),
        audiences: said.audiences.iter().map(|name| name.as_str().into()).collect(),
        clock_skew: clock_skew?,
        extract_from: extract_from?,
        forwards: said.forward.unwrap_or(true),
        claim_to_headers: claim_to_headers?,
        required_claims: required_claims.collect(),
    })
}

fn places(
    said: Option<&resources::JwtExtractor>,
    field: &str,
    report: &mut Report<'_>,
) -> Option<TokenPlaces> {
    let Some(said) = said else {
        let headers = vec![("authorization".into(), "Bearer ".into())];
        return Some(TokenPlaces { headers, cookies: vec![], params: vec![] });
    };
    if said.headers.is_empty() && said.cookies.is_empty() && said.params.is_empty() {
        let message = format!("names no place, {CLOSES}: write headers, cookies or params, or remove it");
        report.invalid(field, message);
        return None;
    }
    let mut is_good = true;
    let mut check = |is_name: bool, field: String, name: &str, what: &str| {
        if !is_name {
            report.invalid(field, format!("{name:?} is no name of a {what}, {CLOSES}"));
            is_good = false;
        }
    };
    for (i, header) in said.headers.iter().enumerate() {
        check(pattern::is_token(&header.name), format!("{field}.headers[{i}].name"), &header.name, "header");
    }
    for (i, name) in said.cookies.iter().enumerate() {
        check(pattern::is_token(name), format!("{field}.cookies[{i}]"), name, "cookie");
    }
    for (i, name) in said.params.iter().enumerate() {
        // As it stands in queries: what would be escaped there is compared with nothing.
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
        check(
            !name.is_empty() && name.bytes().all(is_plain),
            format!("{field}.params[{i}]"),
            name,
            "parameter (letters, digits, -._~)",
        );
    }
    let headers = said.headers.iter().map(|header| {
        let prefix = header.value_prefix.as_deref().unwrap_or_default();
        (header.name.to_ascii_lowercase().into(), prefix.into())
    });
    let names = |list: &[String]| list.iter().map(|name| name.as_str().into()).collect();
    is_good.then(|| TokenPlaces {
        headers: headers.collect(),
        cookies: names(&said.cookies),
        params: names(&said.params),
    })
}

/// The name of a header that the gateway writes for endpoints.
pub(crate) fn header_name<'n>(name: &'n str, field: &str, report: &mut Report<'_>) -> Option<&'n str> {
    if !pattern::is_token(name) {
        report.invalid(field, format!("{name:?} is no name of a header, {CLOSES}"));
        return None;
    }
    if let Some(refusal) = header_refusal(HeadKind::Request, name) {
        report.invalid(field, format!("{name} {refusal}, {CLOSES}"));
        return None;
    }
    Some(name)
}
