//! RoutePolicies in words, and what they do to one request.

use std::net::IpAddr;

use ipnet::IpNet;
use model::{
    ClaimHeader, ConcurrencyLimit, FaultInjection, IpRules, JwtProvider, Policies, RateLimit, RateLimitKey,
    Share,
};

use crate::settings::parse::show_duration;

/// Says who has no limit.
fn unlimited(exempt: &[IpNet], say: &mut impl FnMut(String)) {
    if !exempt.is_empty() {
        let exempt = exempt.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        say(format!("  but not for {exempt}, which have no limit"));
    }
}

/// What policies do, a line each, the policies' names first.
pub(crate) fn lines(policies: &Policies) -> Vec<String> {
    let by: Vec<_> = policies.by.iter().map(ToString::to_string).collect();
    let mut lines = vec![format!("asked for by {}:", by.join(", "))];
    let mut say = |line: String| lines.push(format!("  {line}"));
    if policies.is_closed {
        say("what protects the rule cannot be understood: `rauta status` says why".to_owned());
    }
    if let Some(IpRules { allow, deny }) = &policies.ip_rules {
        let nets = |nets: &[_]| nets.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let allowed = if allow.is_empty() { "every address".to_owned() } else { nets(allow) };
        let but = if deny.is_empty() { String::new() } else { format!(" but {}", nets(deny)) };
        say(format!("lets in {allowed}{but}; others get 403"));
    }
    if let Some(RateLimit { requests, period, burst, key, exempt, status, is_of_object }) =
        &policies.rate_limit
    {
        let whose = match key {
            RateLimitKey::Route => "all clients together".to_owned(),
            RateLimitKey::Address => "each client address".to_owned(),
            RateLimitKey::Header(name) => format!("each value of {name}"),
        };
        let period = show_duration(*period);
        say(format!(
            "lets {requests} requests in {period} through for {whose}, up to {burst} at once; more get {status}"
        ));
        if *is_of_object {
            say("  counted for all rules of the object together".to_owned());
        }
        unlimited(exempt, &mut say);
    }
    if let Some(ConcurrencyLimit { requests, exempt, status }) = &policies.concurrency_limit {
        say(format!(
            "lets {requests} requests of each client address be under way, on all rules of the object together; more get {status}"
        ));
        unlimited(exempt, &mut say);
    }
    if let Some(auth) = &policies.basic_auth {
        say(format!("asks for a user and password ({:?}); others get 401", auth.realm));
        if let Some(name) = &auth.username_header {
            say(format!("  tells endpoints the user in {name}"));
        }
    }
    if let Some(jwt) = &policies.jwt {
        let names: Vec<_> = jwt.providers.iter().map(|provider| &*provider.name).collect();
        let also = if jwt.is_optional { ", or for none" } else { "" };
        say(format!("asks for a token of {}{also}; others get 401", names.join(" or ")));
        for provider in &jwt.providers {
            if let Some(asked) = required_claims(provider) {
                say(format!("  of {} with {asked}; others get 403", provider.name));
            }
            for ClaimHeader { claim, header } in &provider.claim_to_headers {
                say(format!("  tells endpoints {claim} of {} in {header}", provider.name));
            }
        }
    }
    if let Some(asked) = &policies.ext_auth {
        let otherwise = if asked.fails_open {
            "requests go on while it cannot be asked".to_owned()
        } else {
            format!("{} while it cannot be asked", asked.status_on_error)
        };
        let within = show_duration(asked.timeout);
        let by = if asked.protocol == model::ExtAuthProtocol::Grpc { " by gRPC" } else { "" };
        say(format!("asks {}{by} about each request, within {within}; {otherwise}", asked.backend));
        if let model::ExtAuthProtocol::Subrequest(said) = &asked.protocol {
            let signs_in =
                if said.sign_in.is_empty() { "" } else { "; clients without a session are sent to sign in" };
            say(format!("  by {} {}{signs_in}", said.method, said.target));
        }
    }
    if let Some(FaultInjection { delay, abort }) = &policies.fault_injection {
        let percent = |per_million: u32| f64::from(per_million) / 10_000.0;
        if let Some(Share { value, per_million }) = delay {
            say(format!("lets {} % of requests wait for {}", percent(*per_million), show_duration(*value)));
        }
        if let Some(Share { value, per_million }) = abort {
            say(format!("answers {} % of requests with {value}", percent(*per_million)));
        }
    }
    if let Some(direct) = &policies.direct_response {
        say(format!(
            "answers {} itself, with {} bytes of {}",
            direct.status,
            direct.body.len(),
            direct.content_type
        ));
    }
    for said in &policies.error_responses {
        let range = |range: &std::ops::RangeInclusive<u16>| match (range.start(), range.end()) {
            (first, last) if first == last => first.to_string(),
            (first, last) => format!("{first} to {last}"),
        };
        let statuses = said.statuses.iter().map(range).collect::<Vec<_>>().join(", ");
        let (bytes, kind) = (said.body.len(), &said.content_type);
        say(format!("writes {bytes} bytes of {kind} into its own errors with {statuses}"));
    }
    if !policies.compression.is_empty() {
        let codings: Vec<_> = policies.compression.iter().map(|said| said.coding.token()).collect();
        say(format!("compresses responses for clients that take it: {}", codings.join(", ")));
    }
    if let Some(max) = policies.request_body_max {
        say(format!("lets bodies of up to {max} bytes through; more get 413"));
    }
    lines
}

fn required_claims(provider: &JwtProvider) -> Option<String> {
    let claims = provider.required_claims.iter().map(|claim| match claim.values.as_slice() {
        [] => claim.name.to_string(),
        values => format!("{} {}", claim.name, values.join(" or ")),
    });
    Some(claims.collect::<Vec<_>>().join(" and ")).filter(|text| !text.is_empty())
}

/// Why a request does not go on; none: it does. Whose `client` is not known is let in.
pub(crate) fn refusal(policies: &Policies, client: Option<IpAddr>) -> Option<(u32, &'static str)> {
    if policies.is_closed {
        return Some((500, "a RoutePolicy of the route cannot be understood"));
    }
    let is_kept_out =
        |rules: &IpRules| client.is_some_and(|address| !policy::is_let_in(rules, Some(address)));
    let refusal = (403, "the route's RoutePolicy does not let this address in");
    policies.ip_rules.as_ref().filter(|rules| is_kept_out(rules)).map(|_| refusal)
}

#[cfg(test)]
mod tests {
    use model::{Compression, ContentCoding, DirectResponse, ObjectKind, ObjectRef};

    use super::*;

    #[test]
    fn policies_are_told_and_say_who_is_refused() {
        let mut policies = Policies {
            by: vec![ObjectRef::new(ObjectKind::RoutePolicy, "shop", "limits")],
            ip_rules: Some(IpRules {
                allow: vec!["10.0.0.0/8".parse().unwrap()],
                deny: vec!["10.0.0.1/32".parse().unwrap()],
            }),
            request_body_max: Some(1024),
            ..Default::default()
        };
        assert_eq!(
            lines(&policies),
            [
                "asked for by RoutePolicy shop/limits:",
                "  lets in 10.0.0.0/8 but 10.0.0.1/32; others get 403",
                "  lets bodies of up to 1024 bytes through; more get 413"
            ]
        );
        let status =
            |policies: &Policies, client: &str| refusal(policies, client.parse().ok()).map(|said| said.0);
        assert_eq!(status(&policies, "10.0.0.2"), None);
        assert_eq!(status(&policies, "10.0.0.1"), Some(403));
        assert_eq!(status(&policies, ""), None);
        let key = RateLimitKey::Address;
        let period = std::time::Duration::from_secs(60);
        let exempt = vec!["10.0.0.0/8".parse().unwrap()];
        let rate_limit = Some(RateLimit {
            requests: 10,
            period,
            burst: 20,
            key,
            exempt,
            status: RateLimit::TOO_MANY,
            is_of_object: true,
        });
        let abort = Some(Share { value: 503, per_million: 5000 });
        let fault_injection = Some(FaultInjection { delay: None, abort });
        assert_eq!(
            lines(&Policies { rate_limit, fault_injection, ..Default::default() })[1..],
            [
                "  lets 10 requests in 1m through for each client address, up to 20 at once; more get 429",
                "    counted for all rules of the object together",
                "    but not for 10.0.0.0/8, which have no limit",
                "  answers 0.5 % of requests with 503"
            ]
        );
        let said = model::ErrorResponse {
            statuses: vec![404..=404, 500..=599],
            content_type: "text/html".into(),
            body: "sorry".into(),
        };
        assert_eq!(
            lines(&Policies { error_responses: vec![said], ..Default::default() })[1],
            "  writes 5 bytes of text/html into its own errors with 404, 500 to 599"
        );
        let provider = model::JwtProvider {
            name: "issuer".into(),
            keys: model::JwtKeys::Local(model::Jwks::new(b"{}")),
            issuer: None,
            audiences: vec![],
            clock_skew: std::time::Duration::ZERO,
            extract_from: model::TokenPlaces { headers: vec![], cookies: vec![], params: vec![] },
            forwards: true,
            claim_to_headers: vec![ClaimHeader { claim: "sub".into(), header: "X-User".into() }],
            required_claims: vec![
                model::RequiredClaim { name: "roles".into(), values: vec!["a".into(), "b".into()] },
                model::RequiredClaim { name: "email".into(), values: vec![] },
            ],
        };
        let jwt = Some(model::Jwt { is_optional: true, providers: vec![provider] });
        assert_eq!(
            lines(&Policies { jwt, ..Default::default() })[1..],
            [
                "  asks for a token of issuer, or for none; others get 401",
                "    of issuer with roles a or b and email; others get 403",
                "    tells endpoints sub of issuer in X-User"
            ]
        );
        let of =
            |coding| Compression { coding, min_content_length: 1, content_types: ["text/css".into()].into() };
        let compression = vec![of(ContentCoding::Zstd), of(ContentCoding::Gzip)];
        assert_eq!(
            lines(&Policies { compression, ..Default::default() })[1],
            "  compresses responses for clients that take it: zstd, gzip"
        );
        let protocol =
            model::ExtAuthProtocol::Http { path: "".into(), headers_to_backend: vec!["x-user".into()] };
        let asked = model::ExtAuth {
            backend: model::BackendId::service("shop", "auth", 80),
            protocol,
            headers_to_ext_auth: vec![],
            fails_open: false,
            timeout: std::time::Duration::from_secs(10),
            status_on_error: 403,
        };
        assert_eq!(
            lines(&Policies { ext_auth: Some(asked), ..Default::default() })[1],
            "  asks shop/auth:80 about each request, within 10s; 403 while it cannot be asked"
        );
        let (content_type, body) = ("text/plain".into(), "closed".into());
        policies.direct_response = Some(DirectResponse { status: 503, content_type, body });
        assert_eq!(lines(&policies)[2], "  answers 503 itself, with 6 bytes of text/plain");
        policies.is_closed = true;
        assert_eq!(status(&policies, "10.0.0.1"), Some(500));
        assert!(lines(&policies)[1].contains("cannot be understood"));
    }
}
