//! Where signed tokens are in a request: how they are found, and taken out where endpoints are not to get them.

use http1::{RequestHead, is_alike};
use jwt::TokenError;
use model::{Jwt, TokenPlaces};
use policy::cookie_values;

use crate::changes::Changes;
use crate::tokens::Refused;

/// Tokens of one request; who has more is refused.
const TOKENS_MAX: usize = 8;

/// A token of a request, and who takes it: places in the list of providers, each once however often the token is there.
pub(crate) type Found<'h> = (&'h str, Vec<usize>);

/// The tokens that a request has where providers look, in the order of providers and places.
///
/// Names are read as widely as endpoints may read them: what an endpoint takes for a token is to be checked.
pub(crate) fn find<'h>(said: &'h Jwt, head: &'h RequestHead) -> Result<Vec<Found<'h>>, Refused> {
    let mut found: Vec<Found<'h>> = Vec::new();
    for (index, provider) in said.providers.iter().enumerate() {
        for token in tokens(&provider.extract_from, head) {
            let token = std::str::from_utf8(token).map_err(|_| Refused::Invalid(TokenError::Malformed))?;
            if let Some((_, takers)) = found.iter_mut().find(|(known, _)| *known == token) {
                // One that is not good costs a check for each of them.
                if !takers.contains(&index) {
                    takers.push(index);
                }
            } else if found.len() < TOKENS_MAX {
                found.push((token, vec![index]));
            } else {
                return Err(Refused::Many);
            }
        }
    }
    Ok(found)
}

/// Takes the tokens of providers that do not forward them out of what endpoints get.
pub(crate) fn keep_back(said: &Jwt, head: &RequestHead, changes: &mut Changes) {
    let kept_back = || said.providers.iter().filter(|provider| !provider.forwards);
    let places = || kept_back().map(|provider| &provider.extract_from);
    for (name, _) in places().flat_map(|places| &places.headers) {
        changes.lines_mut().remove_alike(name);
    }
    let is_cookie =
        |name: &[u8]| places().flat_map(|places| &places.cookies).any(|cookie| cookie.as_bytes() == name);
    if places().any(|places| !places.cookies.is_empty()) {
        let is_kept = |pair: &&[u8]| {
            let name = pair.split(|byte| *byte == b'=').next().unwrap_or_default().trim_ascii();
            !pair.trim_ascii().is_empty() && !is_cookie(name)
        };
        let pairs = head.values("cookie").flat_map(|line| line.split(|byte| *byte == b';'));
        let kept: Vec<_> = pairs.filter(is_kept).map(<[u8]>::trim_ascii).collect();
        changes.lines_mut().remove("cookie");
        if !kept.is_empty() {
            changes.lines_mut().add("Cookie", &kept.join(&b"; "[..]));
        }
    }
    let is_param =
        |name: &str| places().flat_map(|places| &places.params).any(|param| is_param_called(name, param));
    if places().any(|places| !places.params.is_empty())
        && let Some(query) = head.query()
    {
        let is_kept = |pair: &&str| !is_param(pair.split('=').next().unwrap_or_default());
        changes.set_query(query.split('&').filter(is_kept).collect::<Vec<_>>().join("&"));
    }
}

/// Lets no trailer pass where a token would be: it would not be checked, and endpoints may put trailers and headers together (RFC 9110
/// section 6.5.1).
pub(crate) fn forbid_trailers(said: &Jwt, changes: &mut Changes) {
    let names =
        said.providers.iter().flat_map(|provider| &provider.extract_from.headers).map(|(name, _)| name);
    // The codec lets that one pass nowhere.
    for name in names.filter(|name| !name.eq_ignore_ascii_case("authorization")) {
        changes.forbid_trailer(name);
    }
}

/// The tokens of a request, in the order of their places.
fn tokens<'h>(places: &'h TokenPlaces, head: &'h RequestHead) -> impl Iterator<Item = &'h [u8]> {
    let in_headers = places.headers.iter().flat_map(move |(name, prefix)| {
        let lines = head.headers().filter(|(own, _)| is_alike(own.as_bytes(), name.as_bytes()));
        lines.filter_map(|(_, value)| behind(prefix, value))
    });
    let in_cookies = places
        .cookies
        .iter()
        .flat_map(move |name| head.values("cookie").flat_map(move |line| cookie_values(line, name)));
    let in_query = places.params.iter().flat_map(move |name| {
        let pairs = head.query().unwrap_or_default().split('&');
        let named = pairs.filter_map(|pair| pair.split_once('='));
        named.filter_map(move |(own, value)| is_param_called(own, name).then_some(value.as_bytes()))
    });
    in_headers.chain(in_cookies).chain(in_query).filter(|token| !token.is_empty())
}

/// What follows `prefix` in a header's value; none: something else stands there. One blank at its end stands for any.
fn behind<'h>(prefix: &str, value: &'h [u8]) -> Option<&'h [u8]> {
    let word = prefix.trim_end_matches([' ', '\t']);
    let (before, rest) = value.split_at_checked(word.len())?;
    // Names of schemes are the same in any case (RFC 9110 section 11.1).
    let is_word = before.eq_ignore_ascii_case(word.as_bytes());
    let is_parted = word.len() == prefix.len() || matches!(rest, [b' ' | b'\t', ..]);
    (is_word && is_parted).then(|| rest.trim_ascii())
}

/// Whether endpoints may take a parameter of the query, called `encoded` there, for the one called `name`.
fn is_param_called(encoded: &str, name: &str) -> bool {
    route::is_encoded(encoded.as_bytes(), name.as_bytes())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::BytesMut;
    use model::{Jwks, JwtKeys, JwtProvider};

    use super::*;

    fn jwt(providers: &[TokenPlaces]) -> Jwt {
        let provider = |places: &TokenPlaces| JwtProvider {
            name: "issuer".into(),
            keys: JwtKeys::Local(Jwks::new(b"{}")),
            issuer: None,
            audiences: vec![],
            clock_skew: Duration::ZERO,
            extract_from: places.clone(),
            forwards: false,
            claim_to_headers: vec![],
            required_claims: vec![],
        };
        Jwt { is_optional: false, providers: providers.iter().map(provider).collect() }
    }

    fn head(target: &str, lines: &str) -> RequestHead {
        let mut bytes = BytesMut::from(&*format!("GET {target} HTTP/1.1\r\nHost: a\r\n{lines}\r\n"));
        let mut head = RequestHead::default();
        assert!(head.parse(&mut bytes, &http1::Limits::default()).unwrap());
        head
    }

    #[test]
    fn a_token_that_is_there_often_is_looked_at_once_by_each_provider() {
        let places = TokenPlaces {
            headers: vec![("authorization".into(), "Bearer ".into())],
            cookies: vec!["session".into()],
            params: vec!["token".into()],
        };
        let jwt = jwt(&[places.clone(), places]);
        let lines = "Authorization: Bearer x\r\n".repeat(50) + "Cookie: session=x; session=x\r\n";
        let head = head("/?token=x&token=x", &lines);
        assert_eq!(find(&jwt, &head), Ok(vec![("x", vec![0, 1])]));
    }

    #[test]
    fn tokens_are_found_and_kept_back_in_every_spelling_of_their_place() {
        let places = TokenPlaces {
            headers: vec![("authorization".into(), "Bearer ".into()), ("x-token".into(), "".into())],
            cookies: vec!["session".into()],
            params: vec!["access_token".into()],
        };
        let jwt = jwt(&[places]);
        for (target, lines) in [
            ("/", "Authorization: Bearer x\r\n"),
            ("/", "Authorization: bEARER\tx\r\n"),
            ("/", "Authorization: Bearer \t  x\r\n"),
            ("/", "X-Token: x\r\n"),
            ("/", "X_Token: x\r\n"),
            ("/", "Cookie: a=1; session=x\r\n"),
            ("/", "Cookie: session =x\r\n"),
            ("/", "Cookie: a=1;\tsession\t= \"x\" \r\n"),
            ("/?access_token=x", ""),
            ("/?a=1&access%5Ftoken=x", ""),
            ("/?%61ccess%5ftoken=x&b=2", ""),
        ] {
            let head = head(target, lines);
            assert_eq!(find(&jwt, &head), Ok(vec![("x", vec![0])]), "{target} {lines}");
            let mut changes = Changes::default();
            keep_back(&jwt, &head, &mut changes);
            let is_left = head.headers().any(|(name, _)| name != "Host" && !changes.lines().is_about(name));
            let query = changes.query().unwrap_or_default();
            assert!(!is_left && !query.contains("x"), "{target} {lines} {changes:?}");
        }
        for (target, lines) in [
            ("/", "Authorization: Bearerx\r\nAuthorization: Basic x\r\nAuthorization: Bearer\r\n"),
            ("/", "X-Tokens: x\r\nCookie: sessions=x; asession=x; Session=x; session\r\n"),
            ("/?access_tokens=x&Access_token=x&access%5Ftoken", ""),
        ] {
            assert_eq!(find(&jwt, &head(target, lines)), Ok(vec![]), "{target} {lines}");
        }
    }
}
