//! `mirror-target` and what belongs to it: a Service that gets copies of requests.
//!
//! Source: internal/ingress/annotations/mirror of ingress-nginx v1.15.1; ngx_http_mirror_module.

use model::CopyForm;
use policy::path_problem;

use super::auth_request::address;
use super::redirects::{rewrite, without_request_uri};
use super::values::Said;
use crate::pattern;

/// What follows a problem with the target.
pub(crate) const NO_COPIES: &str = "nothing is mirrored";

/// Who gets copies of requests, and of what they are made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Copied {
    pub(crate) namespace: String,
    pub(crate) service: String,
    pub(crate) port: u16,
    pub(crate) form: CopyForm,
}

/// None: nobody does.
pub(super) fn read(said: &mut Said<'_, '_, '_>) -> Option<Copied> {
    let Some(url) = said.text("mirror-target") else {
        for name in ["mirror-host", "mirror-request-body"] {
            if said.text(name).is_some() {
                said.bad(name, format!("is without mirror-target, so {NO_COPIES}: name the Service"));
            }
        }
        return None;
    };
    let read = target(url);
    let read =
        read.map_err(|problem| said.bad("mirror-target", format!("{url:?} {problem}, so {NO_COPIES}")));
    let mut copied = read.ok()?;
    match said.text("mirror-host") {
        Some(host) if pattern::is_dns_name(without_port(host)) => copied.form.host = host.into(),
        Some(host) => {
            let message = format!("{host:?} is no name of a host, so it is {}", copied.form.host);
            said.bad("mirror-host", message);
        }
        None => {}
    }
    match said.text("mirror-request-body") {
        Some("off") => copied.form.has_body = false,
        Some("on") | None => {}
        Some(other) => {
            let message = format!("{other:?} is neither \"on\" nor \"off\", so copies have the body");
            said.bad("mirror-request-body", message);
        }
    }
    Some(copied)
}

/// A Service, and what it is asked for: behind `$request_uri` at the end the path and query of the request.
fn target(url: &str) -> Result<Copied, &'static str> {
    let (url, goes_on) = without_request_uri(url);
    let (namespace, service, port, host, path) = address(url)?;
    if path_problem(path).is_some() {
        return Err(
            "has a path that cannot be: it may hold no query, and of variables only $request_uri at the end",
        );
    }
    let path = rewrite(if path == "/" { "" } else { path }, goes_on);
    let form = CopyForm { host: without_port(host).into(), path, has_body: true };
    Ok(Copied { namespace, service, port, form })
}

/// A name of a host without its port, if it has one.
fn without_port(host: &str) -> &str {
    host.rsplit_once(':').filter(|(_, port)| port.parse::<u16>().is_ok()).map_or(host, |(name, _)| name)
}

#[cfg(test)]
mod tests {
    use model::PathRewrite;

    use super::*;

    #[test]
    fn a_target_is_a_service_and_what_it_is_asked_for() {
        let prefix = |text: &str| PathRewrite::Prefix { matched: "".into(), replacement: text.into() };
        for (url, port, path) in [
            ("http://copy.web$request_uri", 80, None),
            ("http://copy.web.svc.cluster.local:8080/$request_uri", 8080, None),
            ("http://copy.web.svc/old$request_uri", 80, Some(prefix("/old"))),
            ("http://copy.web.svc/all", 80, Some(PathRewrite::Full("/all".into()))),
            ("http://copy.web", 80, Some(PathRewrite::Full("/".into()))),
        ] {
            let found = target(url).unwrap();
            assert_eq!((&*found.namespace, &*found.service, found.port), ("web", "copy", port), "{url}");
            assert_eq!(found.form.path, path, "{url}");
            assert!(!found.form.host.contains(':') && found.form.host.starts_with("copy.web"), "{url}");
        }
        for url in [
            "https://copy.web$request_uri",
            "http://copy.web/$uri",
            "http://copy.web/$request_uri/x",
            "http://copy.web/a?b=c",
            "http://elsewhere.example.com/",
        ] {
            assert!(target(url).is_err(), "{url}");
        }
    }
}
