//! What endpoints learn about clients, and what clients cannot make them believe.

use crate::manifests::all_to;
use crate::world::{Watched, World};

#[test]
fn client_and_scheme_come_right_behind_the_request_line() {
    let world = Watched::answering(&[]);
    let mut connection = world.connect();
    connection.request("GET /x HTTP/1.1\r\nHost: a.test\r\nX-Other: 1\r\n\r\n").unwrap();
    assert_eq!(
        world.endpoint.received_text(),
        "GET /x HTTP/1.1\r\nX-Forwarded-For: 10.77.0.2\r\nX-Forwarded-Proto: http\r\nHost: a.test\r\nX-Other: 1\r\n\r\n"
    );
}

#[test]
fn a_forged_client_address_is_replaced() {
    let world = World::simple();
    let mut connection = world.connect();
    let response = connection
        .request(
            "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 1.2.3.4\r\nx-forwarded-proto: https\r\n\
             X-Forwarded-Host: evil.test\r\nForwarded: for=1.2.3.4\r\n\r\n",
        )
        .unwrap();
    let text = response.text();
    for line in ["x-forwarded-for=10.77.0.2", "x-forwarded-proto=http", "x-forwarded-host=", "forwarded="] {
        assert!(text.lines().any(|found| found == line), "{line} not in {text}");
    }
}

#[test]
fn a_trusted_proxy_is_believed() {
    let world = World::tuned(1, &all_to(&[0]), &[("RAUTA_TRUSTED_PROXIES", "10.77.0.2")]);
    let mut connection = world.connect();
    let request = "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 1.2.3.4\r\nX-Forwarded-Proto: https\r\n\r\n";
    let text = connection.request(request).unwrap().text();
    assert!(text.contains("x-forwarded-for=1.2.3.4\nx-forwarded-proto=https\n"), "{text}");
    // The other client is not.
    let mut other = testkit::Connection::open(world.lab.client_two(), world.gateway.address()).unwrap();
    let text = other.request(request).unwrap().text();
    assert!(text.contains("x-forwarded-for=10.77.0.3\nx-forwarded-proto=http\n"), "{text}");
}

#[test]
fn it_can_be_turned_off() {
    let world = World::tuned(1, &all_to(&[0]), &[("RAUTA_FORWARDED_HEADERS", "false")]);
    let text = world.get("a", "/").text();
    assert!(text.contains("x-forwarded-for=\nx-forwarded-proto=\n"), "{text}");
}

#[test]
fn hop_by_hop_fields_end_here_and_others_pass_as_they_came() {
    let world = Watched::answering(&[]);
    let mut connection = world.connect();
    connection
        .request(
            "GET /a/../b//c%2Fd;e?x=1&&y HTTP/1.1\r\nHost: A.Test\r\nConnection: X-Mine, keep-alive\r\nX-Mine: 1\r\n\
             Keep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\nTE: trailers\r\nX-CaSe:  spaced  \r\nX-Two: 1\r\nX-Two: 2\r\n\r\n",
        )
        .unwrap();
    let text = world.endpoint.received_text();
    assert!(text.starts_with("GET /a/../b//c%2Fd;e?x=1&&y HTTP/1.1\r\n"), "{text}");
    for kept in ["\r\nHost: A.Test\r\n", "\r\nX-CaSe:  spaced", "\r\nX-Two: 1\r\nX-Two: 2\r\n"] {
        assert!(text.contains(kept), "{kept:?} not in {text:?}");
    }
    let lower = text.to_ascii_lowercase();
    for gone in ["x-mine", "keep-alive", "proxy-connection"] {
        assert!(!lower.contains(gone), "{gone:?} in {text:?}");
    }
}
