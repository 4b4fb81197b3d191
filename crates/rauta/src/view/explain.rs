//! Which rule a request would take, and why: the matcher itself is asked, on a table that may or may not be live.

use api::ExplainError;
use api::v1::{Candidate, ExplainRequestRequest, Explanation};
use http1::RequestHead;
use model::{Action, BackendSecurity, BackendTarget, Protocol, Route, Snapshot};
use policy::{Cors, CorsRequest, CorsVerdict, PathRules, RuledPath};
use route::{Lookup, Pairs, Reason, Request, SocketTable, Table};

use super::question::{Question, Scheme};
use super::{backend_policy, explain_l4, filters, policies, text};

/// Matches that are named beside the one that takes a request.
const RIVALS_MAX: usize = 5;

/// Explains `request` against `table`, which was compiled from `snapshot`; `rules` are what the settings say of paths.
///
/// # Errors
/// [`ExplainError`] if it is no request.
pub(crate) fn explain(
    snapshot: &Snapshot,
    table: &Table,
    rules: PathRules,
    request: &ExplainRequestRequest,
) -> Result<Explanation, ExplainError> {
    if let Some(explanation) = explain_l4::explain(snapshot, table, &request.url) {
        return explanation;
    }
    let asked = Question::read(request)?;
    let mut explanation = Explanation::default();
    let Some(socket) = socket(table, &asked, &mut explanation.steps) else {
        explanation.outcome = "no listener is at this address and port: the connection is refused".to_owned();
        return Ok(explanation);
    };
    let mut head = match asked.head() {
        Ok(head) => head,
        Err(refused) => {
            explanation
                .steps
                .push("the request is refused as it stands, before any rule is looked at".to_owned());
            answer(&mut explanation, refused.status().into(), refused.reason());
            return Ok(explanation);
        }
    };
    if !ruled(rules, &mut head, &mut explanation) {
        return Ok(explanation);
    }
    let headers = Pairs(&asked.headers);
    let host = head.host();
    let question =
        Request { host, path: head.path(), query: head.query(), method: head.method(), headers: &headers };
    match socket.lookup(&question) {
        Lookup::NoListener => answer(&mut explanation, 404, "no listener for this host"),
        Lookup::NoRoute { listener } => {
            explanation.listener = listener.id.to_string();
            explanation.steps.push(serves(listener, host));
            let on_it = snapshot.routes.iter().filter(|route| route.listeners.contains(&listener.id)).count();
            explanation.steps.push(format!("none of the {on_it} rules on this listener takes the request"));
            others(snapshot, &socket.explain(&question), &mut explanation.steps);
            answer(&mut explanation, 404, "no route");
        }
        Lookup::Match { listener, route, match_index, .. } => {
            explanation.listener = listener.id.to_string();
            explanation.steps.push(serves(listener, host));
            explanation.matched =
                route.matches.get(match_index).map_or_else(|| "/*".to_owned(), text::route_match);
            explanation.steps.push(format!("{} takes it by the match `{}`", route.id, explanation.matched));
            others(snapshot, &socket.explain(&question), &mut explanation.steps);
            explanation.route = Some(text::route(route));
            if let Some(policies) = route.policies_on(&listener.id) {
                explanation.steps.extend(policies::lines(policies));
            }
            let asked = policy::Asked {
                scheme: if listener.protocol == Protocol::Https {
                    model::Scheme::Https
                } else {
                    model::Scheme::Http
                },
                host,
                listener_port: listener.known_port(),
                path: head.path(),
                query: head.query(),
            };
            let cors = route.filters.cors.as_ref().map(Cors::new);
            let of_cors = CorsRequest::read(head.method(), |name| head.values(name));
            let policies = route.policies_on(&listener.id);
            let refused = policies.and_then(|said| policies::refusal(said, request.client.parse().ok()));
            let direct = policies.and_then(|said| said.direct_response.as_ref());
            let insecure =
                route.filters.https_redirect.as_ref().filter(|_| asked.scheme == model::Scheme::Http);
            if let (None, Some(redirect)) = (&refused, insecure) {
                let location = policy::location(redirect, &asked);
                explanation.steps.extend(filters::lines(&route.filters, "the rule"));
                answer(&mut explanation, redirect.status.into(), &format!("redirect to {location}"));
                return Ok(explanation);
            }
            match (refused, cors.as_ref().map(|cors| cors.judge(&of_cors)), direct) {
                (Some((status, reason)), ..) => answer(&mut explanation, status, reason),
                (_, Some(CorsVerdict::Preflight(_)), _) => answer(&mut explanation, 204, "CORS preflight"),
                (_, Some(CorsVerdict::Denied), _) => {
                    answer(&mut explanation, 403, "the rule's CORS filter does not allow this origin");
                }
                (.., Some(direct)) => answer(&mut explanation, direct.status.into(), "direct response"),
                (_, Some(CorsVerdict::Pass(_)) | None, None) => {
                    forwarded(snapshot, route, &asked, &mut explanation);
                }
            }
        }
    }
    Ok(explanation)
}

/// Brings the path to the spelling that the settings ask for; false: that is already the answer.
fn ruled(rules: PathRules, head: &mut RequestHead, explanation: &mut Explanation) -> bool {
    match rules.apply(head.path()) {
        RuledPath::Same => return true,
        RuledPath::Changed(path) => {
            explanation.steps.push(format!("the path becomes {path} (settings `paths`)"));
            head.set_path(path);
            return true;
        }
        RuledPath::Redirect(path) => {
            answer(explanation, 307, &format!("redirect to {path} (settings `paths`)"))
        }
        RuledPath::Rejected(reason) => answer(explanation, 400, &format!("{reason} (settings `paths`)")),
    }
    false
}

/// The socket that the URL leads to. A name may stand for any address; where nothing listens on the usual port of a URL
/// that names none, the first listener there is is meant.
fn socket<'t>(table: &'t Table, asked: &Question, steps: &mut Vec<String>) -> Option<&'t SocketTable> {
    let on = |port| match asked.address {
        Some(address) => table.socket(address, port),
        None => table.sockets().find(|socket| socket.port() == port),
    };
    let usual = match (asked.port, asked.scheme) {
        (Some(_), _) => None,
        (None, Scheme::None | Scheme::Http) => Some(80),
        (None, Scheme::Https) => Some(443),
    };
    let named = asked.port.or(usual).and_then(on);
    let is_tls = |socket: &&SocketTable| socket.listeners().any(|one| one.protocol.begins_with_tls());
    let found = match (named, asked.port, asked.scheme) {
        (None, None, Scheme::Https) => table.sockets().find(is_tls),
        (None, None, _) => table.sockets().find(|socket| !is_tls(socket)).or_else(|| table.sockets().next()),
        (named, ..) => named,
    };
    let describe = |socket: &SocketTable| match socket.address() {
        Some(address) => std::net::SocketAddr::new(address, socket.port()).to_string(),
        None => format!("*:{}", socket.port()),
    };
    match found {
        Some(socket) => {
            let listeners: Vec<_> = socket.listeners().map(|listener| listener.id.to_string()).collect();
            let assumed = if named.is_none() { " (the URL names no port)" } else { "" };
            steps.push(format!("{}{assumed} is shared by: {}", describe(socket), listeners.join(", ")));
        }
        None => {
            let all: Vec<_> = table.sockets().map(describe).collect();
            let all = if all.is_empty() { "nothing".to_owned() } else { all.join(", ") };
            let port = asked.port.or(usual).unwrap_or(80);
            let at = match asked.address {
                Some(address) => format!("address {address}, port {port}"),
                None => format!("port {port}"),
            };
            steps.push(format!("nothing listens on {at}; listened on: {all}"));
        }
    }
    found
}

fn serves(listener: &model::Listener, host: &str) -> String {
    let what = if host.is_empty() { "a request without a host".to_owned() } else { format!("host `{host}`") };
    match &listener.hostname {
        Some(hostname) => format!("listener {} takes {what}: it serves {hostname}", listener.id),
        None => format!("listener {} takes {what}: it serves every name", listener.id),
    }
}

/// Says of the matches that came nearest why they do not take the request.
fn others(snapshot: &Snapshot, found: &route::Explanation, steps: &mut Vec<String>) {
    let rivals = found.considered.iter().filter(|considered| considered.reason != Reason::Wins);
    for rival in rivals.take(RIVALS_MAX) {
        let matches =
            snapshot.routes.get(rival.route_index).map(|route| route.matches.as_slice()).unwrap_or_default();
        let line = matches.get(rival.match_index).map_or_else(|| "*".to_owned(), text::route_match);
        let why = match &rival.reason {
            Reason::Wins => continue,
            Reason::Outranked => "it fits too, but comes after".to_owned(),
            Reason::Header { name } => format!("header {name} is missing or another"),
            Reason::Query { name } => format!("query parameter {name} is missing or another"),
            Reason::Method => "another method".to_owned(),
            Reason::Path => "another path".to_owned(),
            Reason::Host => "another host".to_owned(),
            Reason::Pattern => "its regular expression is not valid".to_owned(),
        };
        steps.push(format!("not {} by `{line}`: {why}", rival.route));
    }
}

fn answer(explanation: &mut Explanation, status: u32, reason: &str) {
    explanation.status = status;
    explanation.outcome = format!("answered here: {status} {reason}");
}

/// Fills in where the rule sends the request.
fn forwarded(snapshot: &Snapshot, route: &Route, asked: &policy::Asked<'_>, explanation: &mut Explanation) {
    explanation.steps.extend(filters::lines(&route.filters, "the rule"));
    let references = match &route.action {
        Action::Respond { status, reason } => return answer(explanation, (*status).into(), reason),
        Action::Redirect(redirect) => {
            let location = policy::location(redirect, asked);
            return answer(explanation, redirect.status.into(), &format!("redirect to {location}"));
        }
        Action::Forward(references) => references,
    };
    let total: f64 = references.iter().map(|reference| f64::from(reference.weight)).sum();
    if total == 0.0 {
        return answer(explanation, 500, "no backend has weight");
    }
    let mut broken = 0.0;
    let mut empty = 0.0;
    for reference in references.iter().filter(|reference| reference.weight > 0) {
        let share = f64::from(reference.weight) / total * 100.0;
        let whose = match &reference.target {
            BackendTarget::Backend(id) => id.to_string(),
            BackendTarget::Invalid(_) => "a backend that is not there".to_owned(),
        };
        explanation.steps.extend(filters::lines(&reference.filters, &whose));
        let BackendTarget::Backend(id) = &reference.target else {
            broken += share;
            continue;
        };
        let backend = snapshot.backends.get(id);
        if let Some(backend) = backend.filter(|backend| backend.security != BackendSecurity::Cleartext) {
            explanation.steps.push(format!("{id}: {}", text::protocol(backend)));
        }
        let endpoints = backend.map(|backend| backend.endpoints.as_slice()).unwrap_or_default();
        let takes = |endpoint: &&model::Endpoint| endpoint.condition.takes_requests();
        let weight: f64 = endpoints.iter().filter(takes).map(|endpoint| f64::from(endpoint.weight)).sum();
        if weight == 0.0 {
            empty += share;
        }
        let of = |endpoint: &model::Endpoint| Candidate {
            backend: id.to_string(),
            address: endpoint.address.to_string(),
            share_percent: share * f64::from(endpoint.weight) / weight,
        };
        explanation.candidates.extend(endpoints.iter().filter(takes).filter(|e| e.weight > 0).map(of));
    }
    explanation.steps.extend(backend_policy::steps(snapshot, references));
    kept(snapshot, route, references, &mut explanation.steps);
    explanation.steps.extend(route.session.as_ref().map(filters::session));
    explanation.steps.extend(route.retry.as_ref().map(filters::retry));
    explanation.steps.extend(route.fallback.iter().flat_map(|fallback| filters::fallback(fallback)));
    if broken > 0.0 {
        explanation
            .steps
            .push(format!("{broken:.1} % is answered 500: the backend reference cannot be followed"));
    }
    if empty > 0.0 {
        explanation.steps.push(format!("{empty:.1} % is answered 503: no endpoint of the backend is ready"));
    }
    match explanation.candidates.len() {
        0 if broken > 0.0 && empty == 0.0 => {
            answer(explanation, 500, "the backend reference cannot be followed")
        }
        0 => answer(explanation, 503, "no endpoint is ready"),
        1 => explanation.outcome = format!("forwarded to {}", explanation.candidates[0].address),
        n => explanation.outcome = format!("forwarded to one of {n} endpoints"),
    }
}

/// Says which clients keep the endpoint that they get.
fn kept(snapshot: &Snapshot, route: &Route, references: &[model::BackendRef], steps: &mut Vec<String>) {
    for reference in references.iter().filter(|reference| reference.weight > 0) {
        let BackendTarget::Backend(id) = &reference.target else { continue };
        let Some(backend) = snapshot.backends.get(id) else { continue };
        let Some(affinity) = route.affinity.of(backend) else { continue };
        let asks = if route.affinity.keeps_backend() { "the rule" } else { "its Service" };
        let kept_for = text::affinity(affinity);
        steps.push(format!(
            "a client keeps its endpoint of {id} ({kept_for} after its last request): {asks} asks for it"
        ));
    }
}

#[cfg(test)]
mod tests;
