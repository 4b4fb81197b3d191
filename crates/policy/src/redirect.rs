use model::{Redirect, Scheme};

use crate::write_path;

/// What a client asked for.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'r> {
    /// How it came.
    pub scheme: Scheme,
    /// The host without port.
    pub host: &'r str,
    /// The port that clients know the listener by that took it.
    pub listener_port: u16,
    /// The path as the bytes that came.
    pub path: &'r str,
    /// What follows the `?`.
    pub query: Option<&'r str>,
}

/// The value of `Location`: an absolute URL, unless the redirect is a relative one. A port that the scheme implies is left out.
///
/// Source: HTTPRequestRedirectFilter.port (Gateway API v1.6.1): "If redirect scheme is not-empty, the redirect port MUST be
/// the well-known port associated with the redirect scheme. […] If redirect scheme is empty, the redirect port MUST be the
/// Gateway Listener port."
pub fn location(redirect: &Redirect, asked: &Asked<'_>) -> String {
    let scheme = redirect.scheme.unwrap_or(asked.scheme);
    let port = match (redirect.port, redirect.scheme) {
        (Some(port), _) => port,
        (None, Some(scheme)) => scheme.default_port(),
        (None, None) => asked.listener_port,
    };
    let mut path = String::new();
    match &redirect.path {
        Some(rewrite) => write_path(rewrite, asked.path, &mut path),
        None if asked.path.starts_with('/') => path.push_str(asked.path),
        // `*` of OPTIONS is no path.
        None => {}
    }
    // RFC 3986 section 4.2: two slashes begin a host.
    let stays = redirect.scheme.is_none() && redirect.hostname.is_none() && redirect.port.is_none();
    let is_relative = redirect.is_relative && stays && path.starts_with('/') && !path.starts_with("//");
    let mut url = if is_relative {
        path
    } else {
        let host = redirect.hostname.as_deref().unwrap_or(asked.host);
        let port = Some(port).filter(|port| *port != scheme.default_port());
        let port = port.map(|port| format!(":{port}")).unwrap_or_default();
        format!("{}://{host}{port}{path}", scheme.as_str())
    };
    if let Some(query) = asked.query {
        url.push('?');
        url.push_str(query);
    }
    url
}

#[cfg(test)]
mod tests {
    use model::PathRewrite;

    use super::*;

    const NOTHING: Redirect =
        Redirect { scheme: None, hostname: None, port: None, path: None, status: 302, is_relative: false };

    fn to(redirect: &Redirect, scheme: Scheme, listener_port: u16) -> String {
        location(
            redirect,
            &Asked { scheme, host: "a.test", listener_port, path: "/x%2F", query: Some("q=1&&") },
        )
    }

    #[test]
    fn ports_follow_the_rules_of_the_gateway_api() {
        use Scheme::{Http, Https};
        for (scheme, port, came_by, listener, expected) in [
            (None, None, Http, 80, "http://a.test/x%2F?q=1&&"),
            (None, None, Http, 8080, "http://a.test:8080/x%2F?q=1&&"),
            (None, None, Https, 443, "https://a.test/x%2F?q=1&&"),
            (None, None, Https, 8443, "https://a.test:8443/x%2F?q=1&&"),
            (Some(Https), None, Http, 8080, "https://a.test/x%2F?q=1&&"),
            (Some(Http), None, Https, 8443, "http://a.test/x%2F?q=1&&"),
            (Some(Https), Some(8443), Http, 80, "https://a.test:8443/x%2F?q=1&&"),
            (Some(Https), Some(443), Http, 80, "https://a.test/x%2F?q=1&&"),
            (None, Some(80), Http, 8080, "http://a.test/x%2F?q=1&&"),
            (None, Some(80), Https, 443, "https://a.test:80/x%2F?q=1&&"),
        ] {
            let redirect = Redirect { scheme, port, ..NOTHING };
            assert_eq!(to(&redirect, came_by, listener), expected, "{redirect:?} {listener}");
        }
    }

    #[test]
    fn host_and_path_are_replaced_and_the_query_stays() {
        let path = Some(PathRewrite::Prefix { matched: "".into(), replacement: "/new".into() });
        let redirect = Redirect { hostname: Some("b.test".into()), path, ..NOTHING };
        assert_eq!(to(&redirect, Scheme::Http, 80), "http://b.test/new/x%2F?q=1&&");
    }

    #[test]
    fn what_stays_on_the_host_may_be_told_by_its_path() {
        let to_app = |path: &str| {
            let path = Some(PathRewrite::Full(path.into()));
            Redirect { path, is_relative: true, ..NOTHING }
        };
        assert_eq!(to(&to_app("/app"), Scheme::Http, 8080), "/app?q=1&&");
        assert_eq!(to(&to_app("//evil.test"), Scheme::Http, 80), "http://a.test//evil.test?q=1&&");
        let elsewhere = Redirect { hostname: Some("b.test".into()), ..to_app("/app") };
        assert_eq!(to(&elsewhere, Scheme::Http, 80), "http://b.test/app?q=1&&");
    }

    #[test]
    fn the_asterisk_is_no_path() {
        let asked = Asked { scheme: Scheme::Http, host: "a.test", listener_port: 80, path: "*", query: None };
        assert_eq!(location(&NOTHING, &asked), "http://a.test");
    }
}
