use std::sync::Arc;

use api::v1::Header;
use model::{
    Backend, BackendId, BackendRef, Endpoint, EndpointCondition, HeaderMatch, HostPattern, InvalidBackend,
    Listener, ListenerId, ObjectKind, ObjectRef, PathMatch, RouteId, RouteMatch, ValueMatch, WildcardLabels,
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
        reached_by: None,
    };
    let cart = BackendId::service("shop", "cart", 80);
    let endpoint = |last: u8, condition| Endpoint {
        address: ([10, 0, 0, last], 8080).into(),
        other: None,
        weight: 1,
        condition,
    };
    let ready = EndpointCondition::Ready;
    let endpoints = vec![endpoint(1, ready), endpoint(2, ready), endpoint(3, EndpointCondition::Draining)];
    let backend = Backend {
        id: cart.clone(),
        protocol: Default::default(),
        endpoints,
        affinity: None,
        policy: None,
        security: Default::default(),
        proxy_protocol: None,
    };
    let beta = HeaderMatch { name: "x-beta".into(), value: ValueMatch::Exact("1".into()) };
    let rule = |rule, headers, action| {
        Arc::new(Route {
            listeners: vec![ListenerId::new("shop", "web", "http")],
            hosts: vec![],
            matches: vec![RouteMatch {
                path: PathMatch::Prefix("/cart".into()),
                method: None,
                headers,
                queries: vec![],
            }],
            ..Route::new(
                RouteId { object: ObjectRef::new(ObjectKind::HttpRoute, "shop", "web"), rule },
                action,
            )
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
    explain(&snapshot, &Table::build(&snapshot), PathRules::default(), &request)
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
        let steps =
            explain(&snapshot, &Table::build(&snapshot), PathRules::default(), &request).unwrap().steps;
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
    let explanation = ask("http://127.0.0.1:8080/cart", &[("Host", "a.example"), ("X-Beta", "1")]).unwrap();
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
        let request = ExplainRequestRequest { method: method.into(), url, headers, client: String::new() };
        explain(&snapshot, &table, PathRules::default(), &request).unwrap().status
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
        explain(&snapshot, &Table::build(&snapshot), PathRules::default(), &request).unwrap().outcome
    };
    assert_eq!(outcome("http://a.example:8080/cart"), "forwarded to one of 2 endpoints");
    assert_eq!(outcome("http://127.0.0.1:8080/"), "answered here: 404 no listener for this host");
    for elsewhere in ["http://a.example:8081/cart", "http://[::1]:8080/cart", "http://127.0.0.2:8080/cart"] {
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

#[test]
fn paths_are_explained_as_the_settings_have_them() {
    let snapshot = snapshot();
    let table = Table::build(&snapshot);
    let outcome = |path: &str, escaped_slashes| {
        let rules = PathRules { normalize: true, merge_slashes: true, escaped_slashes };
        let request =
            ExplainRequestRequest { url: format!("http://a.example:8080{path}"), ..Default::default() };
        explain(&snapshot, &table, rules, &request).unwrap()
    };
    use policy::EscapedSlashes::{Keep, Redirect, Reject};
    let normal = outcome("//x/../%63art//1", Keep);
    assert_eq!(normal.matched, "/cart/*");
    assert!(
        normal.steps.iter().any(|step| step == "the path becomes /cart/1 (settings `paths`)"),
        "{:?}",
        normal.steps
    );
    let told = outcome("/cart%2Fx", Redirect);
    assert_eq!(
        (told.status, &*told.outcome),
        (307, "answered here: 307 redirect to /cart/x (settings `paths`)")
    );
    assert_eq!(
        outcome("/cart%2Fx", Reject).outcome,
        "answered here: 400 path with an escaped slash (settings `paths`)"
    );
}

#[test]
fn what_comes_over_http_is_sent_to_https_where_the_rule_says_so() {
    let mut snapshot = snapshot();
    let to = model::Redirect {
        scheme: Some(model::Scheme::Https),
        hostname: None,
        port: Some(8443),
        path: None,
        status: 308,
        is_relative: false,
    };
    let filter = |route: &mut Arc<Route>| {
        Arc::make_mut(route).filters.https_redirect = Some(Box::new(to.clone()));
    };
    snapshot.routes.iter_mut().for_each(filter);
    // The same over HTTPS.
    let plain = snapshot.listeners.values().next().unwrap();
    let secured = Listener {
        id: ListenerId::new("shop", "web", "https"),
        port: 8443,
        protocol: Protocol::Https,
        ..Listener::clone(plain)
    };
    for route in &mut snapshot.routes {
        Arc::make_mut(route).listeners.push(secured.id.clone());
    }
    snapshot.listeners.insert(secured.id.clone(), Arc::new(secured));
    let table = Table::build(&snapshot);
    let outcome = |url: &str| {
        let request = ExplainRequestRequest { method: "GET".into(), url: url.into(), ..Default::default() };
        explain(&snapshot, &table, PathRules::default(), &request).unwrap()
    };
    let told = outcome("http://a.example/cart?x");
    assert_eq!(told.outcome, "answered here: 308 redirect to https://a.example:8443/cart?x");
    assert!(told.steps.iter().any(|step| step.contains("X-Forwarded-Proto")), "{:?}", told.steps);
    // Without a port the listener of the scheme is meant.
    assert_eq!(outcome("https://a.example/cart").listener, "shop/web/https");
    assert_eq!(outcome("https://a.example/cart").status, 0);
}
