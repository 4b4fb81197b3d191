//! Filters in words. Values of headers stay out: some are secrets.

use model::{
    CopyForm, Fallback, Filters, HeaderModifier, PathRewrite, Redirect, Retry, Scheme, Session,
    SessionCarrier,
};

use crate::settings::parse::show_duration;

/// What `filters` do, a line each; `whose` names the rule or backend.
pub(crate) fn lines(filters: &Filters, whose: &str) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(said) = &filters.https_redirect {
        lines.push(format!(
            "{whose} sends what came over HTTP to HTTPS: {}; not what a trusted proxy got over HTTPS \
             (X-Forwarded-Proto)",
            redirect(said)
        ));
    }
    for (modifier, what) in
        [(&filters.request_headers, "the request's head"), (&filters.response_headers, "the response's head")]
    {
        if !modifier.is_empty() {
            lines.push(format!("{whose} changes {what}: {}", changes(modifier)));
        }
    }
    if let Some(rewrite) = &filters.url_rewrite {
        let host = rewrite.hostname.iter().map(|name| format!("host {name}"));
        let all = host.chain(rewrite.path.iter().map(path)).collect::<Vec<_>>().join(", ");
        lines.push(format!("{whose} asks the endpoint for another URL: {all}"));
    }
    if let Some(captures) = &filters.captures {
        let (pattern, replacement) = (&captures.pattern.pattern, &captures.replacement);
        lines.push(format!("{whose} asks the endpoint for another path: {pattern} becomes {replacement}"));
    }
    if let Some(cors) = &filters.cors {
        let origins = if cors.allow_origins.is_empty() {
            "no origin".to_owned()
        } else {
            cors.allow_origins.join(", ")
        };
        let credentials = if cors.allow_credentials { ", with credentials" } else { "" };
        lines.push(format!(
            "{whose} answers CORS preflights itself; scripts may ask from {origins}{credentials}"
        ));
    }
    let answers = filters.answers.iter().flat_map(|answers| {
        [
            (&answers.location, "Location"),
            (&answers.cookie_path, "the path of cookies"),
            (&answers.cookie_domain, "the domain of cookies"),
        ]
    });
    for (said, what) in answers.filter_map(|(said, what)| Some((said.as_ref()?, what))) {
        lines.push(format!("{whose} changes {what} in answers: {} becomes {}", said.from, said.to));
    }
    for mirror in &filters.mirrors {
        let share = match (mirror.numerator, mirror.denominator) {
            (all, of) if all == of => "every request".to_owned(),
            (some, of) => format!("{some} of {of} requests"),
        };
        let form = mirror.form.as_deref().map(copies).unwrap_or_default();
        lines.push(format!("{whose} mirrors {share} to {}{form}", mirror.backend));
    }
    lines
}

/// What copies are, where they are not what the endpoint gets.
fn copies(form: &CopyForm) -> String {
    let place = form.path.iter().map(|rewrite| format!(", {}", path(rewrite))).collect::<String>();
    let body = if form.has_body { "" } else { ", without the body" };
    format!(", as they came: host {}{place}{body}", form.host)
}

/// `301 redirect to https://*:8443, path /a* becomes /b*`; a star stands for what stays.
pub(crate) fn redirect(redirect: &Redirect) -> String {
    let scheme = redirect.scheme.map_or("*", Scheme::as_str);
    let host = redirect.hostname.as_deref().unwrap_or("*");
    let port = redirect.port.map(|port| format!(":{port}")).unwrap_or_default();
    let path = redirect.path.iter().map(path).map(|path| format!(", {path}")).collect::<String>();
    format!("{} redirect to {scheme}://{host}{port}{path}", redirect.status)
}

/// When a request is sent again.
pub(crate) fn retry(retry: &Retry) -> String {
    let codes: Vec<_> = retry.codes.iter().map(ToString::to_string).collect();
    let on = if codes.is_empty() { String::new() } else { format!(" on {}", codes.join(", ")) };
    let wait = show_duration(retry.backoff);
    format!("the rule asks for up to {} retries{on}, after {wait} or more", retry.attempts)
}

/// Who answers where endpoints do not.
pub(crate) fn fallback(said: &Fallback) -> Vec<String> {
    let Fallback { backend, statuses, .. } = said;
    let mut steps = vec![format!("where no endpoint can serve, {backend} does: the rule asks for it")];
    if !statuses.is_empty() {
        let codes = statuses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let whose = if said.keeps_answers { "errors of the gateway" } else { "answers" };
        steps.push(format!("{backend} is asked in place of {whose} with {codes}"));
    }
    steps
}

/// How a client keeps its endpoint.
pub(crate) fn session(session: &Session) -> String {
    let by = match &session.carrier {
        SessionCarrier::Cookie { path, .. } => format!("cookie {} on {path}", session.name),
        SessionCarrier::Header => format!("header {}", session.name),
    };
    let absolute = session.absolute.map(|time| format!("{} in all", show_duration(time)));
    let idle = session.idle.map(|time| format!("{} without a request", show_duration(time)));
    let limits: Vec<_> = absolute.into_iter().chain(idle).collect();
    let limits = if limits.is_empty() { "without end".to_owned() } else { limits.join(", ") };
    format!("a client keeps its backend and endpoint by {by} ({limits}): the rule asks for it")
}

fn path(rewrite: &PathRewrite) -> String {
    match rewrite {
        PathRewrite::Full(path) => format!("path {path}"),
        PathRewrite::Prefix { matched, replacement } => format!("path {matched}/* becomes {replacement}/*"),
    }
}

fn changes(modifier: &HeaderModifier) -> String {
    let removed = modifier.remove.iter().map(|name| format!("removes {name}"));
    let set = modifier.set.iter().map(|line| format!("sets {}", line.name));
    let added = modifier.add.iter().map(|line| format!("adds {}", line.name));
    removed.chain(set).chain(added).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use model::{HeaderLine, UrlRewrite};

    use super::*;

    #[test]
    fn names_are_told_and_values_are_not() {
        let line = |name: &str| HeaderLine { name: name.into(), value: "secret".into() };
        let request_headers = HeaderModifier {
            remove: vec!["Cookie".into()],
            set: vec![line("Authorization")],
            add: vec![line("X-A")],
        };
        let filters = Filters { request_headers, ..Default::default() };
        assert_eq!(
            lines(&filters, "the rule"),
            ["the rule changes the request's head: removes Cookie, sets Authorization, adds X-A"]
        );
        assert!(lines(&Filters::default(), "the rule").is_empty());
    }

    #[test]
    fn sessions_are_told_with_their_limits() {
        let seconds = |seconds| Some(std::time::Duration::from_secs(seconds));
        let cookie = SessionCarrier::Cookie {
            path: "/shop".into(),
            is_permanent: false,
            attributes: Default::default(),
        };
        let said = Session {
            name: "cart".into(),
            scope: "r".into(),
            carrier: cookie,
            absolute: seconds(3600),
            idle: seconds(300),
        };
        assert_eq!(
            session(&said),
            "a client keeps its backend and endpoint by cookie cart on /shop (1h in all, 5m without a request): the rule asks for it"
        );
        let said = Session { carrier: SessionCarrier::Header, absolute: None, idle: None, ..said };
        assert_eq!(
            session(&said),
            "a client keeps its backend and endpoint by header cart (without end): the rule asks for it"
        );
    }

    #[test]
    fn default_backends_are_told_with_what_they_answer() {
        let said = |statuses: &[u16], keeps_answers| {
            let (backend, lines) = (model::BackendId::service("shop", "pages", 80), [].into());
            fallback(&Fallback { backend, statuses: statuses.to_vec(), keeps_answers, lines })
        };
        let first = "where no endpoint can serve, shop/pages:80 does: the rule asks for it";
        assert_eq!(said(&[], false), [first]);
        assert_eq!(
            said(&[404, 503], false),
            [first, "shop/pages:80 is asked in place of answers with 404, 503"]
        );
        let own = "shop/pages:80 is asked in place of errors of the gateway with 502";
        assert_eq!(said(&[502], true), [first, own]);
    }

    #[test]
    fn places_in_answers_are_told_with_what_they_become() {
        let replaced = |from: &str, to: &str| Some(model::Replacement { from: from.into(), to: to.into() });
        let answers = model::AnswerRewrites {
            location: replaced("http://inner.test/", "https://shop.test/"),
            cookie_path: replaced("/app/", "/"),
            cookie_domain: None,
        };
        let filters = Filters { answers: Some(Box::new(answers)), ..Filters::default() };
        assert_eq!(
            lines(&filters, "the rule"),
            [
                "the rule changes Location in answers: http://inner.test/ becomes https://shop.test/",
                "the rule changes the path of cookies in answers: /app/ becomes /",
            ]
        );
    }

    #[test]
    fn what_stays_of_a_url_is_a_star() {
        let path = Some(PathRewrite::Prefix { matched: "/a".into(), replacement: "/b".into() });
        let to = Redirect {
            scheme: Some(Scheme::Https),
            hostname: None,
            port: None,
            path: path.clone(),
            status: 301,
            is_relative: false,
        };
        assert_eq!(redirect(&to), "301 redirect to https://*, path /a/* becomes /b/*");
        let cors = Some(model::Cors {
            allow_origins: vec!["https://a.test".into()],
            allow_methods: vec![],
            allow_headers: vec![],
            expose_headers: vec![],
            allow_credentials: true,
            max_age_s: 5,
        });
        assert_eq!(
            lines(&Filters { cors, ..Default::default() }, "the rule"),
            [
                "the rule answers CORS preflights itself; scripts may ask from https://a.test, with credentials"
            ]
        );
        let backend = model::BackendId::service("shop", "copy", 80);
        let mirrors = vec![
            model::Mirror { backend: backend.clone(), numerator: 1, denominator: 1, form: None },
            model::Mirror { backend: backend.clone(), numerator: 5, denominator: 100, form: None },
            model::Mirror {
                backend,
                numerator: 1,
                denominator: 1,
                form: Some(Box::new(CopyForm { host: "copy".into(), path: None, has_body: false })),
            },
        ];
        assert_eq!(
            lines(&Filters { mirrors, ..Default::default() }, "the rule"),
            [
                "the rule mirrors every request to shop/copy:80",
                "the rule mirrors 5 of 100 requests to shop/copy:80",
                "the rule mirrors every request to shop/copy:80, as they came: host copy, without the body",
            ]
        );
        let again =
            Retry { codes: vec![502, 503], attempts: 2, backoff: std::time::Duration::from_millis(25) };
        assert_eq!(retry(&again), "the rule asks for up to 2 retries on 502, 503, after 25ms or more");
        let url_rewrite = Some(UrlRewrite { hostname: Some("b.test".into()), path });
        assert_eq!(
            lines(&Filters { url_rewrite, ..Default::default() }, "shop/web:80"),
            ["shop/web:80 asks the endpoint for another URL: host b.test, path /a/* becomes /b/*"]
        );
    }
}
