use std::sync::Arc;
use std::time::Duration;

use kube::core::ObjectMeta;
use model::{
    Affinity, Balancing, Filters, HeaderLine, HostPattern, Reason, Redirect, Retry, RouteAffinity, Timeouts,
    UrlRewrite, WildcardLabels,
};
use policy::HeadKind;

use super::asked::is_nothing_asked;
use super::auth_request::AuthRequest;
use super::backend::Spoken;
use super::fallback::Substitute;
use super::mirror::Copied;
use super::session::Cookie;
use super::table::{PREFIX, Support, annotation};
use super::values::{Said, field};
use super::{
    answers, auth_request, backend, closing, cors, fallback, headers, mirror, redirects, session, timeouts,
};
use crate::own::route_policy::Rules;
use crate::pattern;
use crate::report::Report;

/// What requests get that no endpoint gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Instead {
    Redirect(Redirect),
    /// A status of an error.
    Respond(u16),
    /// 500, and why.
    Refuse(&'static str),
}

/// A Secret with users.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Users {
    /// Its name, perhaps behind a namespace and a slash.
    pub(crate) secret: String,
    /// Whether each entry is a user with the hash of a password; else one entry `auth` is a file of them.
    pub(crate) is_map: bool,
    pub(crate) realm: Arc<str>,
}

/// What the annotations of an Ingress say.
#[derive(Debug, Default)]
pub(crate) struct Nginx {
    pub(crate) instead: Option<Instead>,
    pub(crate) https: redirects::Https,
    pub(crate) app_root: Option<Redirect>,
    pub(crate) joins_www: bool,
    pub(crate) aliases: Vec<HostPattern>,
    pub(crate) filters: Filters,
    /// `rewrite-target`.
    pub(crate) target: Option<Arc<str>>,
    pub(crate) balancing: Option<Balancing>,
    pub(crate) affinity: Option<RouteAffinity>,
    pub(crate) session: Option<Cookie>,
    pub(crate) retry: Option<Retry>,
    pub(crate) timeouts: Timeouts,
    /// How endpoints are spoken to.
    pub(crate) spoken: Option<Result<Spoken, ()>>,
    /// Without users.
    pub(crate) rules: Rules,
    pub(crate) users: Option<Result<Users, ()>>,
    /// A service that is asked.
    pub(crate) asked: Option<Result<AuthRequest, ()>>,
    /// Who gets copies.
    pub(crate) copied: Option<Copied>,
    /// Who answers where endpoints do not.
    pub(crate) substitute: Option<Substitute>,
    /// `enable-access-log` is false.
    pub(crate) is_unlogged: bool,
    /// A ConfigMap with headers of responses.
    pub(crate) custom_headers: Option<String>,
    /// Whether anything is said that `rules`, `users` and `asked` hold.
    pub(crate) has_rules: bool,
}

/// Statuses that `proxy-next-upstream` names.
const RETRIED: [(&str, u16); 7] = [
    ("http_500", 500),
    ("http_502", 502),
    ("http_503", 503),
    ("http_504", 504),
    ("http_403", 403),
    ("http_404", 404),
    ("http_429", 429),
];

/// Reads the annotations of ingress-nginx, and reports those that do nothing here or cannot be.
pub(crate) fn read(meta: &ObjectMeta, report: &mut Report<'_>) -> Nginx {
    let mut said = Said::new(meta, report);
    let said = &mut said;
    let is_guarded = report_others(said);
    let (app_root, joins_www) = (redirects::app_root(said), said.flag("from-to-www-redirect") == Some(true));
    let mut filters = Filters { cors: cors::read(said), answers: answers::read(said), ..Filters::default() };
    let mut instead = redirects::read(said);
    hostname(said, &mut filters);
    prefix(said, &mut filters);
    snippet(said, &mut filters, &mut instead);
    let target = target(said, &mut instead);
    let rules = closing::read(said);
    let users = closing::users(said);
    let asked = auth_request::read(said);
    // Who may not pass is not told anything else instead.
    if said.text("satisfy").is_some_and(|value| value != "all") {
        said.bad(
            "satisfy",
            "is not \"all\", which is not served: the Ingress answers 500 instead of letting everybody in",
        );
        instead = Some(Instead::Refuse(
            "an annotation of the Ingress guards access in a way that cannot be enforced",
        ));
    }
    if is_guarded {
        instead = Some(Instead::Refuse(
            "an annotation of the Ingress guards access, which this version cannot enforce",
        ));
    }
    let has_rules = rules != Rules::default() || users.is_some() || asked.is_some();
    Nginx {
        instead,
        https: redirects::https(said),
        app_root,
        joins_www,
        aliases: aliases(said),
        filters,
        target,
        balancing: balancing(said),
        affinity: affinity(said),
        session: session::read(said),
        retry: retry(said),
        timeouts: timeouts::read(said),
        spoken: backend::read(said),
        rules,
        users,
        asked,
        copied: mirror::read(said),
        substitute: fallback::read(said),
        is_unlogged: said.flag("enable-access-log") == Some(false),
        custom_headers: said.text("custom-headers").map(str::to_owned),
        has_rules,
    }
}

/// Whether `rewrite-target` takes groups out of paths, so that all paths of the Ingress are regular expressions. None: there is no
/// such annotation.
pub(crate) fn rewrites_by_pattern(meta: &ObjectMeta) -> Option<bool> {
    let value = meta.annotations.as_ref()?.get(&format!("{PREFIX}rewrite-target"))?;
    (!value.is_empty()).then(|| value.contains('$'))
}

/// Reports annotations that do nothing here; whether one of them guards access.
fn report_others(said: &mut Said<'_, '_, '_>) -> bool {
    let mut is_guarded = false;
    for (name, value) in said.names() {
        let Some(known) = annotation(name) else {
            said.left_out(name, "is no annotation of ingress-nginx, and has no effect: look at its spelling");
            continue;
        };
        match known.support {
            _ if is_nothing_asked(name, value) => {}
            Support::Closed => {
                is_guarded = true;
                let message = format!(
                    "decides who may pass, and this version cannot enforce it: the Ingress answers 500 instead of letting \
                     everybody in; {}",
                    known.note
                );
                said.report.error(Reason::Unsupported, field(name), message);
            }
            Support::Missing => {
                said.left_out(name, format!("has no effect in this version: {}", known.note));
            }
            Support::Same | Support::Differs | Support::NoEffect => {}
        }
    }
    is_guarded
}

fn hostname(said: &mut Said<'_, '_, '_>, filters: &mut Filters) {
    let Some(name) = said.text("upstream-vhost") else { return };
    if !pattern::is_dns_name(name) {
        said.bad(
            "upstream-vhost",
            format!("{name:?} is no name of a host, so endpoints get the one that clients ask for"),
        );
        return;
    }
    filters.url_rewrite = Some(UrlRewrite { hostname: Some(name.into()), path: None });
}

fn prefix(said: &mut Said<'_, '_, '_>, filters: &mut Filters) {
    let Some(value) = said.text("x-forwarded-prefix") else { return };
    let problem =
        if value.contains('$') { Some("has a variable") } else { policy::header_value_problem(value) };
    match problem {
        Some(problem) => said.bad("x-forwarded-prefix", format!("{value:?} {problem}, so it has no effect")),
        None => {
            let line = HeaderLine { name: "X-Forwarded-Prefix".into(), value: value.into() };
            filters.request_headers.set.push(line);
        }
    }
}

fn snippet(said: &mut Said<'_, '_, '_>, filters: &mut Filters, instead: &mut Option<Instead>) {
    let Some(text) = said.text("configuration-snippet") else { return };
    match headers::snippet(text) {
        Ok(read) => {
            filters.request_headers.set.extend(read.request.set);
            filters.request_headers.remove.extend(read.request.remove);
            filters.response_headers = read.response;
            *instead = instead.take().or(read.instead);
        }
        Err(problem) => {
            said.bad(
                "configuration-snippet",
                format!("{problem}; the Ingress answers 500, as a snippet may be what protects"),
            );
            *instead = Some(Instead::Refuse("a snippet of the Ingress is not served"));
        }
    }
}

fn target(said: &mut Said<'_, '_, '_>, instead: &mut Option<Instead>) -> Option<Arc<str>> {
    let value = said.text("rewrite-target")?;
    let mut rest = value;
    let mut problem = None;
    while let Some((_, behind)) = rest.split_once('$') {
        if !behind.starts_with(|c: char| c.is_ascii_digit() && c != '0') {
            problem = Some("has a variable other than $1 to $9");
        }
        rest = behind;
    }
    if !value.starts_with(['/', '$']) {
        problem = Some("must start with '/'");
    } else if !value.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#') {
        problem = Some("may hold printable ASCII only, and no '#'");
    } else if value.contains('?') && !value.contains('$') {
        problem = Some("may hold no '?' without $1 to $9: the query stays as it came");
    }
    if let Some(problem) = problem {
        said.bad("rewrite-target", format!("{value:?} {problem}, so the Ingress answers 500"));
        *instead = Some(Instead::Refuse("rewrite-target of the Ingress cannot be"));
        return None;
    }
    Some(value.into())
}

fn aliases(said: &mut Said<'_, '_, '_>) -> Vec<HostPattern> {
    let mut found = Vec::new();
    for name in said.list("server-alias").unwrap_or_default() {
        found.extend(pattern::host(name, &field("server-alias"), WildcardLabels::One, said.report));
    }
    found
}

fn balancing(said: &mut Said<'_, '_, '_>) -> Option<Balancing> {
    match said.text("load-balance")? {
        "round_robin" => Some(Balancing::RoundRobin),
        "ewma" => Some(Balancing::PeakEwma),
        other => {
            said.bad(
                "load-balance",
                format!("{other:?} is neither round_robin nor ewma, so it has no effect"),
            );
            None
        }
    }
}

fn affinity(said: &mut Said<'_, '_, '_>) -> Option<RouteAffinity> {
    match said.text("upstream-hash-by")? {
        "$remote_addr" | "$binary_remote_addr" => Some(RouteAffinity::Client(Affinity::default())),
        other => {
            let message =
                format!("{other:?} has no effect: write a BackendPolicy with consistentHash for the Service");
            said.left_out("upstream-hash-by", message);
            None
        }
    }
}

fn retry(said: &mut Said<'_, '_, '_>) -> Option<Retry> {
    let (mut codes, mut is_late_retried) = (Vec::new(), false);
    for word in said.text("proxy-next-upstream")?.split_whitespace() {
        // Without a limit of its own an answer would be waited for as long as the gateway waits, three times.
        is_late_retried |= word == "timeout" && said.text("proxy-read-timeout").is_some();
        match RETRIED.iter().find(|(name, _)| *name == word) {
            Some((_, code)) => codes.push(*code),
            None if matches!(word, "error" | "timeout" | "invalid_header" | "off") => {}
            None => said.left_out("proxy-next-upstream", format!("{word:?} has no effect")),
        }
    }
    let attempts = match said.number("proxy-next-upstream-tries", "so there are 3 tries") {
        // nginx: no limit.
        Some(Ok(0)) => 10,
        Some(Ok(tries)) => (tries - 1).min(10),
        _ => 2,
    };
    let backoff = Duration::from_millis(25);
    ((is_late_retried || !codes.is_empty()) && attempts > 0).then_some(Retry { codes, attempts, backoff })
}

/// A header of responses; none: it cannot be, which is reported.
pub(crate) fn custom_header(name: &str, value: &str, report: &mut Report<'_>) -> Option<HeaderLine> {
    match headers::line(HeadKind::Response, name, value) {
        Ok(line) => Some(line),
        Err(problem) => {
            report.invalid(field("custom-headers"), format!("{name}: {problem}, and is left out"));
            None
        }
    }
}
