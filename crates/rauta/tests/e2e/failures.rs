//! What the gateway answers when nobody can: 404, 500, 502, 503, 504, each with a reason; endpoints that die and return.

use std::time::Duration;

use testkit::{ClientError, Load};

use crate::manifests::{GATEWAY, all_to, documents, route, service};
use crate::world::{Watched, World};

/// Asserts status and a reason that holds `reason`.
#[track_caller]
fn expect(response: &testkit::Response, status: u16, reason: &str) {
    let text = response.text();
    assert_eq!(response.status, status, "{text}");
    assert!(text.contains(reason), "{reason:?} not in {text:?}");
    assert_eq!(
        response.header("content-type").map(|t| t.starts_with("text/plain")),
        Some(true),
        "{response:?}"
    );
}

#[test]
fn without_route_404_without_backend_500_without_endpoint_503() {
    let manifest = documents(&[
        GATEWAY,
        &service("none", &[]),
        &route("empty", &["empty.test"], &[("", "[{name: none, port: 80}]")]),
        &route("missing", &["missing.test"], &[("", "[{name: no-such-service, port: 80}]")]),
        &route("weightless", &["weightless.test"], &[("", "[{name: none, port: 80, weight: 0}]")]),
        &route("bare", &["bare.test"], &[("", "[]")]),
    ]);
    let world = World::with(1, &manifest);
    let mut connection = world.connect();
    expect(&connection.get("unknown.test", "/").unwrap(), 404, "no route");
    expect(&connection.get("empty.test", "/").unwrap(), 503, "no endpoint");
    expect(&connection.get("missing.test", "/").unwrap(), 500, "");
    expect(&connection.get("weightless.test", "/").unwrap(), 500, "");
    expect(&connection.get("bare.test", "/").unwrap(), 500, "");
    // All on one connection: none of these is the client's fault.
    assert!(world.gateway.metric("rauta_responses_generated_total", "no route").unwrap() >= 1.0);
}

#[test]
fn an_endpoint_that_refuses_is_503() {
    let mut world = World::simple();
    world.endpoints[0].kill().unwrap();
    expect(&world.get("a", "/"), 503, "refused");
}

#[test]
fn an_endpoint_that_talks_nonsense_is_502() {
    let world = Watched::playing(&[], |peer| {
        peer.request()?;
        peer.send("SSH-2.0-OpenSSH_9.2p1\r\n\r\n")?;
        peer.to_the_end().map(drop)
    });
    expect(&world.connect().get("a", "/").unwrap(), 502, "");
}

#[test]
fn an_endpoint_with_two_lengths_is_502_and_its_bytes_stay_out() {
    let world = Watched::playing(&[], |peer| {
        peer.request()?;
        peer.send(
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 30\r\n\r\nokHTTP/1.1 200 OK\r\n\r\n",
        )?;
        peer.to_the_end().map(drop)
    });
    let mut connection = world.connect();
    expect(&connection.get("a", "/").unwrap(), 502, "");
    assert_eq!(world.endpoint.connections(), 1);
}

#[test]
fn an_endpoint_that_closes_on_a_post_is_502_and_the_post_is_sent_once() {
    let world = Watched::playing(&[], |peer| peer.request().map(drop));
    let mut connection = world.connect();
    let response =
        connection.request("POST /pay HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi").unwrap();
    expect(&response, 502, "");
    assert_eq!(world.endpoint.received_text().matches("POST /pay").count(), 1);
}

#[test]
fn an_endpoint_that_resets_is_502() {
    let world = Watched::playing(&[], |peer| {
        peer.request()?;
        peer.reset()
    });
    let mut connection = world.connect();
    expect(
        &connection.request("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi").unwrap(),
        502,
        "",
    );
}

#[test]
fn an_answer_that_breaks_off_ends_the_clients_connection_too() {
    for framing in ["Content-Length: 100", "Transfer-Encoding: chunked"] {
        let world = Watched::playing(&[], move |peer| {
            peer.request()?;
            peer.send(format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\n5\r\nhello\r\n"))
        });
        let mut connection = world.connect();
        let error = connection.get("a", "/").unwrap_err();
        assert!(matches!(error, ClientError::Truncated(_) | ClientError::Reset), "{framing}: {error}");
    }
}

#[test]
fn an_endpoint_that_never_accepts_is_504() {
    // Nobody has this address: packets to it are dropped on the way.
    let manifest =
        documents(&[GATEWAY, &service("web", &[0]), &route("web", &[], &[("", "[{name: web, port: 80}]")])]);
    let lab = testkit::Lab::builder().build().unwrap();
    let mut blackhole = std::process::Command::new("ip");
    blackhole.args(["neigh", "add", "10.77.1.11", "lladdr", "02:00:00:00:00:01", "dev", "back0"]);
    assert!(testkit::exec(Some(lab.gateway()), blackhole, Duration::from_secs(5)).unwrap().status.success());
    let gateway = testkit::Gateway::builder(&lab, crate::world::RAUTA, &[("all.yaml", &manifest)])
        .unwrap()
        .env("RAUTA_TIMEOUTS_CONNECT", "300ms")
        .start(&lab)
        .unwrap();
    let mut connection = testkit::Connection::open(lab.client(), gateway.address()).unwrap();
    expect(&connection.get("a", "/").unwrap(), 504, "in time");
}

#[test]
fn an_endpoint_that_never_answers_is_504_by_the_routes_timeout() {
    let route = "\
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: web, namespace: default}
spec:
  parentRefs: [{name: gw}]
  rules: [{timeouts: {request: 2s}, backendRefs: [{name: web, port: 80}]}]
";
    let lab = testkit::Lab::builder().build().unwrap();
    let endpoint = testkit::Recorder::start(lab.backend(0), testkit::Addresses::backend_socket(0), |peer| {
        peer.to_the_end().map(drop)
    })
    .unwrap();
    let manifest = documents(&[GATEWAY, &service("web", &[0]), route]);
    let gateway = testkit::Gateway::start(&lab, crate::world::RAUTA, &[("all.yaml", &manifest)]).unwrap();
    let mut connection = testkit::Connection::open(lab.client(), gateway.address()).unwrap();
    expect(&connection.get("a", "/").unwrap(), 504, "");
    endpoint.wait_for_text("GET / ").unwrap();
    assert_eq!(endpoint.received_text().matches("GET / ").count(), 1);
}

#[test]
fn a_dead_endpoint_costs_no_request_while_another_lives_and_gets_its_share_back() {
    let mut world = World::with(2, &all_to(&[0, 1]));
    // GETs may be tried again; none may fail. nginx sends this answer in one piece: of one that is cut in the middle,
    // the client has the first half already, and no gateway could mend that.
    let request = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let is_whole = |answer: &testkit::Response| answer.text().ends_with("client=10.77.1.1\n");
    let load = Load::start(world.lab.client(), world.gateway.address(), 4, request, is_whole);
    let limit = Duration::from_secs(30);
    load.wait_for_more(500, limit).unwrap();
    world.endpoints[1].kill().unwrap();
    load.wait_for_more(2000, limit).unwrap();
    world.endpoints[1].restart().unwrap();
    // Once the gateway tries it again, it answers.
    let gateway = &world.gateway;
    gateway.wait_for_answer(world.lab.client(), "a", "/", |answer| answer.endpoint() == Some("b1")).unwrap();
    load.wait_for_more(500, limit).unwrap();
    let report = load.stop();
    assert_eq!(report.failed(), 0, "{report:?}");
    assert_eq!(report.endpoints.len(), 2, "{report:?}");
}

#[test]
fn when_all_endpoints_die_it_says_so_and_when_they_return_it_serves() {
    let mut world = World::with(2, &all_to(&[0, 1]));
    for endpoint in &mut world.endpoints {
        endpoint.kill().unwrap();
    }
    expect(&world.get("a", "/"), 503, "");
    for endpoint in &mut world.endpoints {
        endpoint.restart().unwrap();
    }
    world.gateway.wait_for_answer(world.lab.client(), "a", "/", |answer| answer.status == 200).unwrap();
}
