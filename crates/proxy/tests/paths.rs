//! Paths of more than one spelling, and the header in which a refusal names its reason.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers, too")]

mod support;

use model::{Filters, PathRewrite, UrlRewrite};
use policy::{EscapedSlashes, PathRules};
use proxy::Config;
use support::{Client, Lab, Rule, Scripted, rule};

fn lab(paths: PathRules, rules: &[Rule<'_>]) -> Lab {
    Lab::with(Config { threads: 1, paths, ..Default::default() }, rules)
}

/// The endpoint's name and the target that it got.
fn asked(client: &mut Client, target: &str) -> (String, String) {
    let text = client.get(target).text();
    let mut lines = text.lines();
    let name = lines.next().unwrap().to_owned();
    (name, lines.next().unwrap_or_default().split(' ').nth(1).unwrap_or_default().to_owned())
}

#[test]
fn by_default_what_is_matched_and_forwarded_is_what_came() {
    let (one, two) = (Scripted::echo("one"), Scripted::echo("two"));
    let (ones, twos) = ([one.address], [two.address]);
    let lab = lab(PathRules::default(), &[rule("/", &ones), rule("/admin", &twos)]);
    let mut client = lab.client();
    for target in ["/x/../admin", "//admin", "/%61dmin", "/admin%2fx", "/%"] {
        assert_eq!(asked(&mut client, target), ("one".into(), target.into()));
    }
    assert_eq!(asked(&mut client, "/admin/../x").0, "two");
}

#[test]
fn a_normal_path_is_matched_and_forwarded_with_its_query_as_it_came() {
    let (one, two) = (Scripted::echo("one"), Scripted::echo("two"));
    let (ones, twos) = ([one.address], [two.address]);
    let rules = PathRules { normalize: true, merge_slashes: true, escaped_slashes: EscapedSlashes::Forward };
    let lab = lab(rules, &[rule("/", &ones), rule("/admin", &twos)]);
    let mut client = lab.client();
    for (target, name, expected) in [
        ("/x/../admin?a=/../%61", "two", "/admin?a=/../%61"),
        ("//admin", "two", "/admin"),
        ("/%61dmin%2Fx", "two", "/admin/x"),
        ("/admin/../x?", "one", "/x?"),
        ("/plain?//", "one", "/plain?//"),
        ("http://a.test/b/./c?d", "one", "/b/c?d"),
        ("http://a.test//", "one", "/"),
    ] {
        assert_eq!(asked(&mut client, target), (name.into(), expected.into()), "{target}");
    }
    let refused = client.get("/a%2");
    assert_eq!((refused.status, refused.text()), (400, "path with a malformed escape\n".into()));
    client.send("OPTIONS * HTTP/1.1\r\nHost: a.test\r\n\r\n");
    assert!(client.response().text().contains("OPTIONS * HTTP/1.1"));
}

#[test]
fn a_rewrite_acts_on_the_normal_path() {
    let endpoint = Scripted::echo("one");
    let replaced = PathRewrite::Prefix { matched: "/api".into(), replacement: "/v2".into() };
    let rewrite = UrlRewrite { hostname: None, path: Some(replaced) };
    let filters = Filters { url_rewrite: Some(rewrite), ..Default::default() };
    let addresses = [endpoint.address];
    let rules = PathRules { normalize: true, ..Default::default() };
    let lab = lab(rules, &[Rule { filters, ..rule("/api", &addresses) }]);
    assert_eq!(asked(&mut lab.client(), "/x/../api/%7Eme?q").1, "/v2/~me?q");
}

#[test]
fn the_next_request_on_a_connection_has_a_path_of_its_own() {
    let endpoint = Scripted::echo("one");
    let rules = PathRules { normalize: true, ..Default::default() };
    let lab = lab(rules, &[rule("/", &[endpoint.address])]);
    let mut client = lab.client();
    client.send("GET /a/.. HTTP/1.1\r\nHost: a\r\n\r\nGET /b HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(client.response().text().contains("GET / HTTP/1.1\r\n"));
    assert!(client.response().text().contains("GET /b HTTP/1.1\r\n"));
}

#[test]
fn a_redirect_leads_to_the_same_host_whatever_the_path_begins_with() {
    let endpoint = Scripted::echo("one");
    let rules = PathRules { escaped_slashes: EscapedSlashes::Redirect, ..Default::default() };
    let lab = lab(rules, &[rule("/", &[endpoint.address])]);
    let mut client = lab.client();
    for (target, location) in [
        ("/a%2fb?c=%2f", "http://a.test/a/b?c=%2f"),
        ("/%2Fevil.test/x", "http://a.test//evil.test/x"),
        ("/%5Cevil.test", "http://a.test//evil.test"),
    ] {
        let response = client.get(target);
        assert_eq!(response.status, 307);
        assert!(response.has(&format!("Location: {location}")), "{}", response.head);
    }
    assert_eq!(client.get("/a%20b").status, 200);
}

#[test]
fn escaped_slashes_can_be_refused() {
    let endpoint = Scripted::echo("one");
    let rules = PathRules { escaped_slashes: EscapedSlashes::Reject, ..Default::default() };
    let lab = lab(rules, &[rule("/", &[endpoint.address])]);
    let mut client = lab.client();
    assert_eq!(client.get("/a%2Fb").status, 400);
    assert_eq!(client.get("/a%5cb").status, 400);
    assert_eq!(client.get("/a?b=%2F").status, 200);
    assert_eq!(endpoint.connections(), 1);
}

#[test]
fn a_refusal_names_its_reason_in_the_header_that_is_asked_for() {
    let endpoint = Scripted::echo("one");
    let reason_header = Some("x-rauta-reason".to_owned());
    let config = Config { threads: 1, reason_header, ..Default::default() };
    let with = Lab::with(config, &[rule("/x", &[endpoint.address])]);
    let without = Lab::new(&[rule("/x", &[endpoint.address])]);
    assert!(with.client().get("/none").has("x-rauta-reason: no route"));
    assert!(!without.client().get("/none").head.contains("x-rauta-reason"));
    assert!(!with.client().get("/x").head.contains("x-rauta-reason"));
    for lab in [&with, &without] {
        let mut client = lab.client();
        client.send("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n");
        let response = client.response();
        assert_eq!(response.status, 400);
        assert_eq!(response.has("x-rauta-reason: more than one Host"), std::ptr::eq(lab, &with));
    }
}
