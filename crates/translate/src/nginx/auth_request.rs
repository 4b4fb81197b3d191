//! `auth-url` and what belongs to it: a service that is asked about each request.

use std::sync::Arc;

use model::{Subrequest, UrlPiece};
use policy::{HeadKind, header_refusal, header_value_problem};

use super::closing::CLOSES;
use super::headers;
use super::values::Said;
use crate::pattern;

/// `auth-signin-redirect-param`, default.
const PARAMETER: &str = "rd";
/// Variables of nginx that `auth-signin` may have; longer ones before those that they begin with.
const VARIABLES: [(&str, UrlPiece); 7] = [
    ("$escaped_request_uri", UrlPiece::EscapedUri),
    ("$request_uri", UrlPiece::Uri),
    ("$pass_access_scheme", UrlPiece::Scheme),
    ("$scheme", UrlPiece::Scheme),
    ("$best_http_host", UrlPiece::Authority),
    ("$http_host", UrlPiece::Authority),
    ("$host", UrlPiece::Host),
];

/// Limits of what is written anew for each request, which may have a target of some kilobytes: in bytes,
const TEXT_MAX: usize = 4096;
/// in variables of a text,
const VARIABLES_MAX: usize = 8;
/// and in headers.
const HEADERS_MAX: usize = 64;

/// Who is asked, and what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AuthRequest {
    pub(crate) namespace: String,
    pub(crate) service: String,
    pub(crate) port: u16,
    /// Without headers of its own.
    pub(crate) said: Subrequest,
    /// A ConfigMap with these, perhaps behind a namespace and a slash.
    pub(crate) headers: Option<String>,
}

/// None: nobody is asked. An error closes: it has been reported.
pub(super) fn read(said: &mut Said<'_, '_, '_>) -> Option<Result<AuthRequest, ()>> {
    let Some(url) = said.text("auth-url") else {
        said.text("auth-signin")?;
        said.bad("auth-signin", format!("is without auth-url, {CLOSES}: name the service that is asked"));
        return Some(Err(()));
    };
    let read = address(url).map_err(|problem| said.bad("auth-url", format!("{url:?} {problem}, {CLOSES}")));
    let (method, names, sign_in) = (method(said), names(said), sign_in(said));
    let redirect = redirect(said);
    let always_sets_cookies = said.flag("auth-always-set-cookie") == Some(true);
    let headers = said.text("auth-proxy-set-headers").map(str::to_owned);
    let together = || {
        let (namespace, service, port, host, target) = read?;
        let said = Subrequest {
            method: method?,
            host: host.into(),
            target: target.into(),
            headers_to_backend: names?,
            sign_in: sign_in?,
            redirect: redirect?,
            headers: Vec::new(),
            always_sets_cookies,
        };
        Ok(AuthRequest { namespace, service, port, said, headers })
    };
    Some(together())
}

/// Namespace, name and port of a Service, `Host`, and path with query.
pub(super) type Address<'u> = (String, String, u16, &'u str, &'u str);

pub(super) fn address(url: &str) -> Result<Address<'_>, &'static str> {
    const FORM: &str = "is no Service: write http://NAME.NAMESPACE.svc.cluster.local:PORT/PATH";
    if url.contains('$') {
        return Err(
            "has a variable: write http://NAME.NAMESPACE.svc.cluster.local:PORT/PATH, the Service that is meant",
        );
    }
    let rest = url.strip_prefix("http://").ok_or(FORM)?;
    let (host, target) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
    let (name, port) = match host.split_once(':') {
        Some((name, port)) => {
            (name, port.parse::<u16>().ok().filter(|port| *port > 0).ok_or("has a port that is none")?)
        }
        None => (host, 80),
    };
    let labels: Vec<_> = name.split('.').collect();
    let (service, namespace) = match labels.as_slice() {
        [service, namespace] | [service, namespace, "svc", ..] => (*service, *namespace),
        _ => return Err(FORM),
    };
    let is_target = |byte: u8| byte.is_ascii_graphic() && !b"#<>`\"\\".contains(&byte);
    if !pattern::is_dns_name(name) || !target.bytes().all(is_target) {
        return Err(FORM);
    }
    Ok((namespace.to_owned(), service.to_owned(), port, host, target))
}

fn method(said: &mut Said<'_, '_, '_>) -> Result<Arc<str>, ()> {
    let method = said.text("auth-method").unwrap_or("GET");
    if ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"].contains(&method) {
        return Ok(method.into());
    }
    said.bad("auth-method", format!("{method:?} is no method that can ask, {CLOSES}: write GET or POST"));
    Err(())
}

fn names(said: &mut Said<'_, '_, '_>) -> Result<Vec<Arc<str>>, ()> {
    let mut found = Ok(Vec::new());
    for name in said.list("auth-response-headers").unwrap_or_default() {
        let problem = if pattern::is_token(name) {
            header_refusal(HeadKind::Request, name)
        } else {
            Some("is no name of a header")
        };
        match problem {
            None => found.iter_mut().for_each(|found| found.push(name.to_ascii_lowercase().into())),
            Some(problem) => {
                said.bad("auth-response-headers", format!("{name:?} {problem}, {CLOSES}"));
                found = Err(());
            }
        }
    }
    found
}

/// As `buildAuthSignURL` of ingress-nginx: where the URL has no parameter for it, that where to return is added.
fn sign_in(said: &mut Said<'_, '_, '_>) -> Result<Vec<UrlPiece>, ()> {
    let Some(url) = said.text("auth-signin") else { return Ok(Vec::new()) };
    let parameter = said.text("auth-signin-redirect-param").unwrap_or(PARAMETER);
    let is_parameter = parameter.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte));
    if !is_parameter {
        let message = format!("{parameter:?} is no name of a parameter, {CLOSES}");
        said.bad("auth-signin-redirect-param", message);
        return Err(());
    }
    let pieces =
        pieces(url).map_err(|problem| said.bad("auth-signin", format!("{url:?} {problem}, {CLOSES}")));
    let mut pieces = pieces?;
    let query = url.split_once('?').map(|(_, query)| query);
    let has_it = |query: &str| query.split('&').any(|one| one.split('=').next() == Some(parameter));
    if !query.is_some_and(has_it) {
        let joined = if query.is_some() { '&' } else { '?' };
        pieces.extend([
            UrlPiece::Text(format!("{joined}{parameter}=").into()),
            UrlPiece::Scheme,
            UrlPiece::Text("://".into()),
            UrlPiece::Authority,
            UrlPiece::EscapedUri,
        ]);
    }
    Ok(pieces)
}

fn pieces(url: &str) -> Result<Vec<UrlPiece>, &'static str> {
    let is_url = ["http://", "https://", "$scheme://", "$pass_access_scheme://"]
        .iter()
        .any(|start| url.starts_with(start));
    if !is_url || !url.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"') {
        return Err("is no URL that begins with http:// or https://");
    }
    text_of(url)
}

/// What `X-Auth-Request-Redirect` holds; empty: what it does without the annotation.
fn redirect(said: &mut Said<'_, '_, '_>) -> Result<Vec<UrlPiece>, ()> {
    let Some(text) = said.text("auth-request-redirect") else { return Ok(Vec::new()) };
    header_value(text)
        .map_err(|problem| said.bad("auth-request-redirect", format!("{text:?} {problem}, {CLOSES}")))
}

/// A header for the service; without a value it gets none of that name.
///
/// # Errors
/// Why it cannot be.
pub(crate) fn own_header(name: &str, value: &str) -> Result<(Arc<str>, Vec<UrlPiece>), String> {
    headers::check_name(HeadKind::Request, name)?;
    let pieces = if value.is_empty() { Ok(Vec::new()) } else { header_value(value) };
    let pieces = pieces.map_err(|problem| format!("has a value of {name} that {problem}"))?;
    Ok((name.into(), pieces))
}

/// Whether a service may get so many headers.
///
/// # Errors
/// There are too many.
pub(crate) fn check_headers(count: usize) -> Result<(), String> {
    match count > HEADERS_MAX {
        true => Err(format!("has {count} headers, of which there may be {HEADERS_MAX}")),
        false => Ok(()),
    }
}

fn header_value(text: &str) -> Result<Vec<UrlPiece>, &'static str> {
    header_value_problem(text).map_or(Ok(()), Err)?;
    text_of(text)
}

/// A text with variables.
fn text_of(url: &str) -> Result<Vec<UrlPiece>, &'static str> {
    if url.len() > TEXT_MAX {
        return Err("is longer than 4,096 bytes");
    }
    if url.matches('$').count() > VARIABLES_MAX {
        return Err("has more than 8 variables");
    }
    let mut found = Vec::new();
    let mut rest = url;
    while !rest.is_empty() {
        let at = rest.find('$').unwrap_or(rest.len());
        let (text, behind) = rest.split_at(at);
        if !text.is_empty() {
            found.push(UrlPiece::Text(text.into()));
        }
        rest = behind;
        if rest.is_empty() {
            break;
        }
        let known = VARIABLES.iter().find(|(name, _)| rest.starts_with(name));
        let (name, piece) = known.ok_or(
            "has a variable that is not served; there are $host, $http_host, $scheme, $request_uri and $escaped_request_uri",
        )?;
        found.push(piece.clone());
        rest = &rest[name.len()..];
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whoever may write an Ingress must not decide how much memory a request takes.
    #[test]
    fn what_is_written_for_each_request_is_bounded() {
        let uris = |count| "$request_uri".repeat(count);
        assert_eq!(header_value(&uris(8)).unwrap().len(), 8);
        for (text, problem) in [(uris(9), "8 variables"), ("a".repeat(4097), "4,096 bytes")] {
            assert!(header_value(&text).unwrap_err().contains(problem));
            assert!(pieces(&format!("https://a.test/{text}")).unwrap_err().contains(problem));
        }
        assert_eq!(check_headers(64), Ok(()));
        assert!(check_headers(65).unwrap_err().contains("65 headers"));
    }

    #[test]
    fn services_are_read_and_nothing_else_is() {
        for (url, expected) in [
            ("http://auth.web.svc.cluster.local/oauth2/auth", ("web", "auth", 80, "/oauth2/auth")),
            ("http://auth.web.svc:4180", ("web", "auth", 4180, "/")),
            ("http://auth.web/a?b=c", ("web", "auth", 80, "/a?b=c")),
        ] {
            let (namespace, service, port, _, target) = address(url).unwrap();
            assert_eq!((&*namespace, &*service, port, target), expected);
        }
        for url in [
            "https://auth.web.svc/",
            "http://auth/",
            "http://$host/oauth2/auth",
            "http://10.0.0.1/",
            "http://auth.web.example.com/",
            "http://auth.web.svc:0/",
            "http://auth.web.svc/a b",
        ] {
            assert!(address(url).is_err(), "{url}");
        }
    }

    #[test]
    fn headers_for_the_service_may_hold_variables_and_forge_nothing() {
        let text = |text: &str| UrlPiece::Text(text.into());
        assert_eq!(
            own_header("X-Where", "$scheme://$http_host$request_uri").unwrap(),
            ("X-Where".into(), vec![UrlPiece::Scheme, text("://"), UrlPiece::Authority, UrlPiece::Uri])
        );
        assert_eq!(own_header("X-Forwarded-Proto", "https").unwrap().1, [text("https")]);
        assert_eq!(own_header("Cookie", "").unwrap().1, []);
        for (name, value) in [
            ("Host", "a"),
            ("Content-Length", "4"),
            ("X_Real_IP", "1"),
            ("a b", "1"),
            ("X-A", "1\r\nX-B: 2"),
            ("X-A", "$remote_user"),
        ] {
            assert!(own_header(name, value).is_err(), "{name}: {value}");
        }
    }

    #[test]
    fn variables_are_pieces_of_a_url() {
        let text = |text: &str| UrlPiece::Text(text.into());
        assert_eq!(
            pieces("https://$host/start?rd=$escaped_request_uri").unwrap(),
            [text("https://"), UrlPiece::Host, text("/start?rd="), UrlPiece::EscapedUri]
        );
        for url in ["/start", "https://a.test/$uri", "https://a.test/\n"] {
            assert!(pieces(url).is_err(), "{url}");
        }
    }
}
