//! Which rule a request would take, and why: the matcher itself is asked, on a table that may or may not be live.

use api::ExplainError;
use api::v1::{Candidate, ExplainRequestRequest, Explanation};
use model::{Action, BackendTarget, EndpointCondition, Protocol, Route, Snapshot};
use policy::{Cors, CorsRequest, CorsVerdict};
use route::{Lookup, Pairs, Reason, Request, SocketTable, Table};

use super::question::{Question, Scheme};
use super::{explain_l4, filters, policies, text};

/// Matches that are named beside the one that takes a request.
const RIVALS_MAX: usize = 5;

/// Explains `request` against `table`, which was compiled from `snapshot`.
///
/// # Errors
/// [`ExplainError`] if it is no request.
pub(crate) fn explain(
    snapshot: &Snapshot,
    table: &Table,
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
    let head = match asked.head() {
        Ok(head) => head,
        Err(refused) => {
            explanation
                .steps
                .push("the request is refused as it stands, before any rule is looked at".to_owned());
            answer(&mut explanation, refused.status().into(), refused.reason());
            return Ok(explanation);
        }
    };
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
                listener_port: listener.port,
                path: head.path(),
                query: head.query(),
            };
            let cors = route.filters.cors.as_ref().map(Cors::new);
            let of_cors = CorsRequest::read(head.method(), |name| head.values(name));
            let policies = route.policies_on(&listener.id);
            let refused = policies.and_then(|said| policies::refusal(said, request.client.parse().ok()));
            let direct = policies.and_then(|said| said.direct_response.as_ref());
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
    let is_free_to_choose = asked.port.is_none() && asked.scheme != Scheme::Https;
    let found = match named {
        None if is_free_to_choose => table.sockets().next(),
        named => named,
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
        let endpoints =
            snapshot.backends.get(id).map(|backend| backend.endpoints.as_slice()).unwrap_or_default();
        let takes = |endpoint: &&model::Endpoint| endpoint.condition == EndpointCondition::Ready;
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
    kept(snapshot, route, references, &mut explanation.steps);
    explanation.steps.extend(route.session.as_ref().map(filters::session));
    explanation.steps.extend(route.retry.as_ref().map(filters::retry));
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
mod tests {
    use std::sync::Arc;

    use api::v1::Header;
    use model::{
        Backend, BackendId, BackendRef, Balancing, Endpoint, HeaderMatch, HostPattern, InvalidBackend,
        Listener, ListenerId, ObjectKind, ObjectRef, PathMatch, RouteId, RouteMatch, Timeouts, ValueMatch,
        WildcardLabels,
    };

    use super::*;

    fn snapshot() -> Snapshot {
        let listener = Listener {
            id: ListenerId::new("shop", "web", "http"),
            addresses: vec![],
            port: 8080,
            protocol: Protocol::Http,
            hostname: Some(HostPattern::parse("*.example", WildcardLabels::OneOrMore).unwrap()),
            tls: None,
            forwarded_headers: true,
            backend_certificate: None,
            proxy_protocol: false,
        };
        let cart = BackendId::service("shop", "cart", 80);
        let endpoint =
            |last: u8, condition| Endpoint { address: ([10, 0, 0, last], 8080).into(), weight: 1, condition };
        let ready = EndpointCondition::Ready;
        let endpoints =
            vec![endpoint(1, ready), endpoint(2, ready), endpoint(3, EndpointCondition::Draining)];
        let backend = Backend {
            id: cart.clone(),
            protocol: Default::default(),
            endpoints,
            affinity: None,
            security: Default::default(),
        };
        let beta = HeaderMatch { name: "x-beta".into(), value: ValueMatch::Exact("1".into()) };
        let rule = |rule, headers, action| {
            Arc::new(Route {
                id: RouteId { object: ObjectRef::new(ObjectKind::HttpRoute, "shop", "web"), rule },
                listeners: vec![ListenerId::new("shop", "web", "http")],
                hosts: vec![],
                matches: vec![RouteMatch {
                    path: PathMatch::Prefix("/cart".into()),
                    method: None,
                    headers,
                    queries: vec![],
                }],
                action,
                filters: Default::default(),
                balancing: Balancing::default(),
                affinity: Default::default(),
                timeouts: Timeouts::default(),
                retry: None,
                policies: Vec::new(),
                session: None,
                created_unix_s: None,
                tier: None,
                forwarded_headers: true,
            })
        };
        let good = BackendRef::new(3, BackendTarget::Backend(cart));
        let broken = BackendRef::new(1, BackendTarget::Invalid(InvalidBackend::NotFound));
        let routes = [
            rule(0, vec![], Action::Forward(vec![good, broken])),
            rule(1, vec![beta], Action::Respond { status: 503, reason: "closed".into() }),
        ];
        Snapshot::new(1, [Arc::new(listener)], routes, [Arc::new(backend)], [])
    }

    fn ask(url: &str, headers: &[(&str, &str)]) -> Result<Explanation, ExplainError> {
        let header = |(name, value): &(&str, &str)| Header { name: (*name).into(), value: (*value).into() };
        let snapshot = snapshot();
        let request = ExplainRequestRequest {
            method: "GET".into(),
            url: url.into(),
            headers: headers.iter().map(header).collect(),
            client: String::new(),
        };
        explain(&snapshot, &Table::build(&snapshot), &request)
    }

    #[test]
    fn a_forwarded_request_shows_rule_match_and_shares() {
        let explanation = ask("http://Shop.Example.:8080/cart/1?a=b#part", &[]).unwrap();
        assert_eq!(explanation.outcome, "forwarded to one of 2 endpoints");
        assert_eq!(explanation.listener, "shop/web/http");
        assert_eq!(explanation.route.unwrap().rule, 0);
        assert_eq!(explanation.matched, "/cart/*");
        let shares: Vec<_> =
            explanation.candidates.iter().map(|c| (c.address.as_str(), c.share_percent)).collect();
        assert_eq!(shares, [("10.0.0.1:8080", 37.5), ("10.0.0.2:8080", 37.5)]);
        assert!(explanation.steps.iter().any(|step| step.starts_with("25.0 % is answered 500")));
        let rival =
            "not HTTPRoute shop/web rule 1 by `/cart/* header x-beta=1`: header x-beta is missing or another";
        assert!(explanation.steps.iter().any(|step| step == rival), "{:?}", explanation.steps);
    }

    #[test]
    fn clients_that_keep_their_endpoint_are_told_of() {
        let said = |change: &dyn Fn(&mut Snapshot)| {
            let mut snapshot = snapshot();
            change(&mut snapshot);
            let request =
                ExplainRequestRequest { url: "http://a.example:8080/cart".into(), ..Default::default() };
            let steps = explain(&snapshot, &Table::build(&snapshot), &request).unwrap().steps;
            steps.into_iter().find(|step| step.starts_with("a client keeps"))
        };
        let kept = model::Affinity { timeout: std::time::Duration::from_secs(1800) };
        assert_eq!(said(&|_| {}), None);
        let by_service = said(&|snapshot| {
            snapshot.backends.values_mut().for_each(|backend| Arc::make_mut(backend).affinity = Some(kept));
        });
        let wanted = "a client keeps its endpoint of shop/cart:80 (client-ip 30m after its last request): ";
        assert_eq!(by_service, Some(format!("{wanted}its Service asks for it")));
        let by_rule = said(&|snapshot| {
            let client = model::RouteAffinity::Client(kept);
            snapshot.routes.iter_mut().for_each(|route| Arc::make_mut(route).affinity = client);
        });
        assert_eq!(by_rule, Some(format!("{wanted}the rule asks for it")));
    }

    #[test]
    fn headers_and_the_host_header_count() {
        let explanation =
            ask("http://127.0.0.1:8080/cart", &[("Host", "a.example"), ("X-Beta", "1")]).unwrap();
        assert_eq!((explanation.status, explanation.outcome.as_str()), (503, "answered here: 503 closed"));
    }

    #[test]
    fn a_preflight_is_explained_as_answered_here() {
        let mut snapshot = snapshot();
        let cors = model::Cors {
            allow_origins: vec!["https://a.test".into()],
            allow_methods: vec![],
            allow_headers: vec![],
            expose_headers: vec![],
            allow_credentials: false,
            max_age_s: 5,
        };
        snapshot.routes.iter_mut().for_each(|route| Arc::make_mut(route).filters.cors = Some(cors.clone()));
        let table = Table::build(&snapshot);
        let outcome = |method: &str, origin: &str| {
            let header = |name: &str, value: &str| Header { name: name.into(), value: value.into() };
            let headers = vec![header("origin", origin), header("access-control-request-method", "PUT")];
            let url = "http://a.example:8080/cart".into();
            let request =
                ExplainRequestRequest { method: method.into(), url, headers, client: String::new() };
            explain(&snapshot, &table, &request).unwrap().status
        };
        assert_eq!(outcome("OPTIONS", "https://a.test"), 204);
        assert_eq!(outcome("OPTIONS", "https://evil.test"), 403);
        assert_eq!(outcome("GET", "https://evil.test"), 0);
    }

    #[test]
    fn what_nobody_takes_says_who_did_not() {
        assert_eq!(
            ask("http://other.test:8080/", &[]).unwrap().outcome,
            "answered here: 404 no listener for this host"
        );
        let explanation = ask("http://a.example:8080/cartoon", &[]).unwrap();
        assert_eq!((explanation.status, explanation.listener.as_str()), (404, "shop/web/http"));
        let explanation = ask("http://a.example:81/", &[]).unwrap();
        assert!(explanation.outcome.contains("refused") && explanation.steps[0].contains("*:8080"));
        let explanation = ask("https://a.example/cart", &[]).unwrap();
        assert!(explanation.outcome.contains("refused"), "TLS is never led to the plain listener");
    }

    #[test]
    fn a_url_without_a_port_finds_the_only_socket() {
        assert_eq!(ask("http://a.example/cart", &[]).unwrap().matched, "/cart/*");
        assert_eq!(ask("/cart", &[("host", "a.example")]).unwrap().matched, "/cart/*");
        assert_eq!(ask("a.example/cart", &[]).unwrap().matched, "/cart/*");
        assert_eq!(ask("a.example/cart/ä?ö", &[]).unwrap().matched, "/cart/*");
    }

    #[test]
    fn a_name_may_stand_for_the_address_of_any_listener() {
        let mut snapshot = snapshot();
        for listener in snapshot.listeners.values_mut() {
            Arc::make_mut(listener).addresses = vec![[127, 0, 0, 1].into()];
        }
        let outcome = |url: &str| {
            let request = ExplainRequestRequest { url: url.into(), ..Default::default() };
            explain(&snapshot, &Table::build(&snapshot), &request).unwrap().outcome
        };
        assert_eq!(outcome("http://a.example:8080/cart"), "forwarded to one of 2 endpoints");
        assert_eq!(outcome("http://127.0.0.1:8080/"), "answered here: 404 no listener for this host");
        for elsewhere in
            ["http://a.example:8081/cart", "http://[::1]:8080/cart", "http://127.0.0.2:8080/cart"]
        {
            assert!(outcome(elsewhere).contains("refused"), "{elsewhere}");
        }
    }

    #[test]
    fn what_the_gateway_refuses_is_explained_as_refused() {
        for (host, outcome) in [
            ("a.example..", "answered here: 400 bad Host"),
            ("a b.example", "answered here: 400 bad Host"),
            ("me@a.example", "answered here: 400 bad Host"),
            ("a.example:99999", "answered here: 400 bad Host"),
            ("A.Example.:1", "forwarded to one of 2 endpoints"),
        ] {
            assert_eq!(ask("/cart", &[("host", host)]).unwrap().outcome, outcome, "{host}");
        }
        let twice = [("host", "a.example"), ("Host", "b.example")];
        assert_eq!(ask("/cart", &twice).unwrap().outcome, "answered here: 400 more than one Host");
        assert_eq!(ask("http://a..example:8080/", &[]).unwrap().status, 400);
    }

    #[test]
    fn what_is_no_request_is_refused() {
        for url in [
            "",
            "ftp://x/",
            "http://",
            "http://a b/",
            "http://a:port/",
            "http://user@host/",
            "http:///x",
            "http://[::1/",
            "http://[::1]x/",
            "http://[no]/",
            "http://a:/",
            "http://a:99999/",
        ] {
            assert!(matches!(ask(url, &[]), Err(ExplainError::Url { .. })), "{url}");
        }
        assert!(matches!(ask("/", &[("a b", "c")]), Err(ExplainError::Header { .. })));
        assert!(matches!(ask("/", &[("a", "c\nd")]), Err(ExplainError::Header { .. })));
    }
}
