//! Annotations of ingress-nginx about what endpoints say of places: what clients get of it.

use testkit::{Addresses, Connection, Gateway, Lab, Recorder, Response};

use crate::ingress_nginx::{CLASS, ingress};
use crate::manifests::{documents, service};
use crate::world::RAUTA;

/// What the endpoint answers to everything.
const ANSWER: &str = "HTTP/1.1 302 Found\r\nLocation: http://inner.test/app/login?next=/\r\nSet-Cookie: a=/app/; Path=/app/x; \
                      Domain=inner.test\r\nSet-Cookie: b=2; Path=/other\r\nContent-Length: 0\r\n\r\n";

#[test]
fn places_in_answers_are_those_of_clients() {
    let lab = Lab::builder().build().unwrap();
    let _endpoint = Recorder::start(lab.backend(0), Addresses::backend_socket(0), |peer| {
        loop {
            peer.request()?;
            peer.send(ANSWER)?;
        }
    })
    .unwrap();
    let location =
        [("proxy-redirect-from", "http://inner.test/app/"), ("proxy-redirect-to", "https://shop.test/")];
    let cookies = [("proxy-cookie-path", "/app/ /"), ("proxy-cookie-domain", "inner.test shop.test")];
    let with_session = [("affinity", "cookie"), ("session-cookie-name", "kept"), cookies[0]];
    let manifest = documents(&[
        CLASS,
        &service("s0", &[0]),
        &ingress("plain", "/", &[]),
        &ingress("location", "/", &location),
        &ingress("cookies", "/", &cookies),
        &ingress("kept", "/", &with_session),
        &ingress("off", "/", &[("proxy-redirect-from", "off"), ("proxy-cookie-path", "off")]),
        &ingress("pattern", "/", &[("proxy-cookie-path", "~^/app/ /")]),
        &ingress("half", "/", &[("proxy-redirect-from", "http://inner.test/")]),
    ]);
    let gateway = Gateway::builder(&lab, RAUTA, &[("all.yaml", &manifest)]).unwrap().start(&lab).unwrap();
    let get = |host: &str| -> Response {
        Connection::open(lab.client(), gateway.address()).unwrap().get(host, "/").unwrap()
    };
    let told = |response: &Response| {
        let is_cookie = |(name, _): &&(String, String)| name == "set-cookie";
        let cookies: Vec<_> =
            response.headers.iter().filter(is_cookie).map(|(_, value)| value.clone()).collect();
        (response.header("location").unwrap_or_default().to_owned(), cookies)
    };
    let (inner, outer) = ("http://inner.test/app/login?next=/", "https://shop.test/login?next=/");
    let (first, second) = ("a=/app/; Path=/app/x; Domain=inner.test", "b=2; Path=/other");
    for (host, location, cookie) in [
        ("plain.test", inner, first),
        ("location.test", outer, first),
        ("cookies.test", inner, "a=/app/; Path=/x; Domain=shop.test"),
        ("off.test", inner, first),
        // What cannot be has no effect.
        ("pattern.test", inner, first),
        ("half.test", inner, first),
    ] {
        assert_eq!(
            told(&get(host)),
            (location.to_owned(), vec![cookie.to_owned(), second.to_owned()]),
            "{host}"
        );
    }
    // The gateway's own cookie is beside them, and stays what it is.
    let (_, all) = told(&get("kept.test"));
    assert_eq!(all.len(), 3, "{all:?}");
    assert!(all.contains(&"a=/app/; Path=/x; Domain=inner.test".to_owned()), "{all:?}");
    assert!(all.iter().any(|cookie| cookie.starts_with("kept=")), "{all:?}");
    let checked = gateway.cli(&["check", &gateway.folder().display().to_string()]).unwrap();
    let said =
        String::from_utf8_lossy(&checked.stdout).into_owned() + &String::from_utf8_lossy(&checked.stderr);
    for wanted in ["\"~^/app/ /\" is not what to replace", "is without proxy-redirect-to"] {
        assert!(said.contains(wanted), "{wanted}: {said}");
    }
}
