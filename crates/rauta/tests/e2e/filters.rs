//! Filters of HTTPRoutes over real sockets: what a recording endpoint gets, byte for byte, over HTTP/1.1 and HTTP/2.

use testkit::{Addresses, Connection, Ended, Gateway, Http2, Lab, Recorder};

use crate::manifests::{GATEWAY, documents, service};
use crate::world::RAUTA;

/// A gateway with one rule in front of an endpoint that answers 200 and `fine`.
struct Filtered {
    gateway: Gateway,
    endpoint: Recorder,
    lab: Lab,
}

impl Filtered {
    /// `rule` is the rule's YAML, each line indented by two.
    fn by(rule: &str) -> Self {
        let lab = Lab::builder().backends(2).build().unwrap();
        let endpoint = Recorder::answering(lab.backend(0), Addresses::backend_socket(0), "fine").unwrap();
        let route = format!(
            "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: r}}\nspec:\n  \
             parentRefs: [{{name: gw}}]\n  rules:\n{rule}"
        );
        let manifest = documents(&[GATEWAY, &service("web", &[0]), &service("copy", &[1]), &route]);
        let gateway =
            Gateway::builder(&lab, RAUTA, &[("all.yaml", &manifest)]).unwrap().env("RAUTA_THREADS", "1");
        Self { gateway: gateway.start(&lab).unwrap(), endpoint, lab }
    }

    fn connect(&self) -> Connection {
        Connection::open(self.lab.client(), self.gateway.address()).unwrap()
    }

    /// The endpoint's part of all requests so far, without what names the client.
    fn received(&self) -> String {
        let forwarded = format!("X-Forwarded-For: {}\r\nX-Forwarded-Proto: http\r\n", Addresses::client(0));
        let all = (0..self.endpoint.connections()).flat_map(|i| self.endpoint.received(i)).collect();
        String::from_utf8(all).unwrap().replace(&forwarded, "")
    }
}

/// A GET over HTTP/2 on a connection of its own.
fn get_http2(world: &Filtered, path: &str, more: &[(&str, &str)]) -> Ended {
    let mut client = Http2::open(world.lab.client(), world.gateway.address(), &[]).unwrap();
    let mut fields: Vec<(&[u8], &[u8])> = vec![
        (b":method", b"GET"),
        (b":scheme", b"http"),
        (b":authority", b"a.test"),
        (b":path", path.as_bytes()),
    ];
    fields.extend(more.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())));
    client.request(1, &fields, true).unwrap();
    client.ended(1).unwrap()
}

#[test]
fn header_filters_change_what_endpoint_and_client_get() {
    let world = Filtered::by(
        "  - filters:\n    \
             - type: RequestHeaderModifier\n      \
               requestHeaderModifier: {set: [{name: X-Set, value: new}], add: [{name: X-Add, value: b}], remove: [X-Gone]}\n    \
             - type: ResponseHeaderModifier\n      \
               responseHeaderModifier: {set: [{name: X-Answered-By, value: gateway}]}\n    \
             backendRefs:\n    \
             - name: web\n      port: 80\n      \
               filters: [{type: RequestHeaderModifier, requestHeaderModifier: {add: [{name: X-Add, value: c}]}}]\n",
    );
    let response = world
        .connect()
        .request("GET /x HTTP/1.1\r\nHost: a.test\r\nx-gone: 1\r\nX-Add: a\r\nX-Set: old\r\n\r\n")
        .unwrap();
    assert_eq!((response.status, response.header("x-answered-by")), (200, Some("gateway")));
    let expected =
        "GET /x HTTP/1.1\r\nHost: a.test\r\nX-Add: a\r\nX-Set: new\r\nX-Add: b\r\nX-Add: c\r\n\r\n";
    assert_eq!(world.received(), expected);

    let ended = get_http2(&world, "/x", &[("x-gone", "1"), ("x-add", "a"), ("x-set", "old")]);
    assert_eq!(ended, Ended::Answered { status: Some(200), body: b"fine".to_vec() });
    let in_lower_case = expected.replacen("Host", "host", 1).replacen("X-Add", "x-add", 1);
    assert_eq!(world.received(), [expected, &in_lower_case].concat());
}

#[test]
fn a_rewritten_url_reaches_the_endpoint_over_both_protocols() {
    let world = Filtered::by(
        "  - matches: [{path: {type: PathPrefix, value: /shop/}}]\n    \
             filters:\n    \
             - type: URLRewrite\n      \
               urlRewrite: {hostname: inner.test, path: {type: ReplacePrefixMatch, replacePrefixMatch: /v2}}\n    \
             backendRefs: [{name: web, port: 80}]\n",
    );
    let response = world.connect().get("a.test", "/shop/cart?item=1").unwrap();
    assert_eq!(response.status, 200);
    assert_eq!(
        get_http2(&world, "/shop", &[]),
        Ended::Answered { status: Some(200), body: b"fine".to_vec() }
    );
    assert_eq!(
        world.received(),
        "GET /v2/cart?item=1 HTTP/1.1\r\nHost: inner.test\r\n\r\nGET /v2 HTTP/1.1\r\nHost: inner.test\r\n\r\n"
    );
}

#[test]
fn a_redirect_is_answered_here_and_the_connection_goes_on() {
    let world = Filtered::by(
        "  - matches: [{path: {type: PathPrefix, value: /old}}]\n    \
             filters:\n    \
             - type: RequestRedirect\n      \
               requestRedirect: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /new}, statusCode: 308}\n    \
             - {type: ResponseHeaderModifier, responseHeaderModifier: {set: [{name: Cache-Control, value: no-store}]}}\n  \
         - matches: [{path: {type: PathPrefix, value: /}}]\n    \
             filters: [{type: RequestRedirect, requestRedirect: {scheme: https, hostname: b.test}}]\n",
    );
    let mut connection = world.connect();
    let response = connection.get("A.test:8080", "/old/a?b=c").unwrap();
    assert_eq!((response.status, response.header("location")), (308, Some("http://a.test:8080/new/a?b=c")));
    assert_eq!(response.header("cache-control"), Some("no-store"));
    let response = connection.get("a.test", "/x//y").unwrap();
    assert_eq!((response.status, response.header("location")), (302, Some("https://b.test/x//y")));
    let response =
        connection.request("POST /old HTTP/1.1\r\nHost: a.test\r\nContent-Length: 3\r\n\r\nabc").unwrap();
    assert_eq!((response.status, response.header("location")), (308, Some("http://a.test:8080/new")));
    assert_eq!(connection.get("a.test", "/").unwrap().status, 302);
    let Ended::Answered { status, .. } = get_http2(&world, "/old", &[]) else { panic!("no answer") };
    assert_eq!(status, Some(308));
    assert_eq!(world.received(), "", "nothing reaches the endpoint");
    let explained = world.gateway.cli(&["explain", "request", "http://a.test:8080/old/a"]).unwrap().stdout;
    let explained = String::from_utf8(explained).unwrap();
    assert!(explained.contains("308 redirect to http://a.test:8080/new/a"), "{explained}");
}

#[test]
fn a_cors_preflight_is_answered_here_and_answers_say_whom_they_are_for() {
    let world = Filtered::by(
        "  - filters:\n    \
             - type: CORS\n      \
               cors: {allowOrigins: [\"https://*.a.test\"], allowMethods: [PUT], allowHeaders: [X-A], exposeHeaders: [X-B], maxAge: 60}\n    \
             backendRefs: [{name: web, port: 80}]\n",
    );
    let mut connection = world.connect();
    let mut ask = |method: &str, origin: &str, more: &str| {
        connection
            .request(&format!("{method} / HTTP/1.1\r\nHost: a.test\r\nOrigin: {origin}\r\n{more}\r\n"))
            .unwrap()
    };
    let preflight = ask("OPTIONS", "https://b.a.test", "Access-Control-Request-Method: PUT\r\n");
    assert_eq!((preflight.status, preflight.body.len()), (204, 0));
    for (name, value) in [
        ("access-control-allow-origin", "https://b.a.test"),
        ("access-control-allow-methods", "PUT"),
        ("access-control-allow-headers", "X-A"),
        ("access-control-max-age", "60"),
    ] {
        assert_eq!(preflight.header(name), Some(value));
    }
    let denied = ask("OPTIONS", "https://evil.test", "Access-Control-Request-Method: PUT\r\n");
    assert_eq!((denied.status, denied.header("access-control-allow-origin")), (403, None));
    assert_eq!(world.received(), "", "preflights stay here");

    let allowed = ask("GET", "https://b.a.test", "");
    assert_eq!((allowed.status, allowed.text().as_str()), (200, "fine"));
    assert_eq!(allowed.header("access-control-allow-origin"), Some("https://b.a.test"));
    assert_eq!(allowed.header("access-control-expose-headers"), Some("X-B"));
    assert_eq!(allowed.header("vary"), Some("Origin"));
    let foreign = ask("GET", "https://evil.test", "");
    assert_eq!((foreign.status, foreign.header("access-control-allow-origin")), (200, None));
    let asked = [("origin", "https://b.a.test"), ("access-control-request-method", "PUT")];
    let mut client = Http2::open(world.lab.client(), world.gateway.address(), &[]).unwrap();
    let mut fields: Vec<(&[u8], &[u8])> =
        vec![(b":method", b"OPTIONS"), (b":scheme", b"http"), (b":authority", b"a.test"), (b":path", b"/")];
    fields.extend(asked.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())));
    client.request(1, &fields, true).unwrap();
    assert_eq!(client.ended(1).unwrap(), Ended::Answered { status: Some(204), body: vec![] });
}

#[test]
fn a_mirror_gets_the_same_bytes_over_both_protocols() {
    let world = Filtered::by(
        "  - filters: [{type: RequestMirror, requestMirror: {backendRef: {name: copy, port: 80}}}]\n    \
             backendRefs: [{name: web, port: 80}]\n",
    );
    let copy = Recorder::answering(world.lab.backend(1), Addresses::backend_socket(1), "copied").unwrap();
    let response =
        world.connect().request("POST /x HTTP/1.1\r\nHost: a.test\r\nContent-Length: 3\r\n\r\nabc").unwrap();
    assert_eq!((response.status, response.text().as_str()), (200, "fine"));
    copy.wait_for_text("\r\n\r\nabc").unwrap();
    assert_eq!(get_http2(&world, "/y", &[]), Ended::Answered { status: Some(200), body: b"fine".to_vec() });
    copy.wait_for_text("GET /y HTTP/1.1").unwrap();
    copy.wait_for_text("host: a.test\r\n\r\n").unwrap();
    let all: Vec<u8> = (0..world.endpoint.connections()).flat_map(|i| world.endpoint.received(i)).collect();
    let copied: Vec<u8> = (0..copy.connections()).flat_map(|i| copy.received(i)).collect();
    assert_eq!(String::from_utf8(copied).unwrap(), String::from_utf8(all).unwrap());
}

#[test]
fn a_rules_retries_reach_the_endpoint_with_the_same_bytes() {
    let lab = Lab::builder().build().unwrap();
    let count = std::sync::atomic::AtomicUsize::new(0);
    let endpoint = Recorder::start(lab.backend(0), Addresses::backend_socket(0), move |peer| {
        peer.request()?;
        let is_first = count.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == 0;
        let status = if is_first { "503 Busy" } else { "200 OK" };
        peer.send(format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"))
    })
    .unwrap();
    let route = "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: r}\nspec:\n  \
                 parentRefs: [{name: gw}]\n  rules:\n  - retry: {codes: [503], attempts: 1, backoff: 10ms}\n    \
                 backendRefs: [{name: web, port: 80}]\n";
    let manifest = documents(&[GATEWAY, &service("web", &[0]), route]);
    let gateway = Gateway::start(&lab, RAUTA, &[("all.yaml", &manifest)]).unwrap();
    let mut connection = Connection::open(lab.client(), gateway.address()).unwrap();
    let request = "POST /x HTTP/1.1\r\nHost: a.test\r\nContent-Length: 3\r\n\r\nabc";
    assert_eq!(connection.request(request).unwrap().status, 200);
    assert_eq!(endpoint.connections(), 2);
    assert_eq!(endpoint.received(0), endpoint.received(1));
    assert!(endpoint.received(0).ends_with(b"\r\n\r\nabc"));
}
