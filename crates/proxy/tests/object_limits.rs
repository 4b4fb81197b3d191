//! Limits that all rules of an object share: how often, and how many at once.
#![allow(clippy::unwrap_used, reason = "helpers of tests: a panic is how they report")]

mod support;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use model::{ConcurrencyLimit, Policies, RateLimit, RateLimitKey};
use support::{Client, Lab, Rule, Scripted, eventually, rule};

/// So many in an hour, of all rules.
fn rate(requests: u32) -> Policies {
    let (period, key, status) = (Duration::from_secs(3600), RateLimitKey::Address, 503);
    let exempt = Vec::new();
    let limit = RateLimit { requests, period, burst: requests, key, exempt, status, is_of_object: true };
    Policies { rate_limit: Some(limit), ..Default::default() }
}

/// So many at once, but for one network.
fn at_once(requests: u32) -> Policies {
    let exempt = vec!["192.0.2.0/24".parse().unwrap()];
    let limit = ConcurrencyLimit { requests, exempt, status: 503 };
    Policies { concurrency_limit: Some(limit), ..Default::default() }
}

/// Two rules with the same policies.
fn both<'r>(policies: &Policies, endpoint: &'r [SocketAddr]) -> [Rule<'r>; 2] {
    ["/a", "/b"].map(|prefix| Rule { policies: Some(policies.clone()), ..rule(prefix, endpoint) })
}

#[test]
fn a_rate_is_counted_for_all_rules_together_and_goes_on_when_one_of_them_goes() {
    let endpoint = Scripted::echo("one");
    let addresses = [endpoint.address];
    let mut lab = Lab::new(&both(&rate(2), &addresses));
    let mut client = lab.client();
    let mut get = |path| client.get(path).status;
    assert_eq!((get("/a"), get("/b"), get("/a"), get("/b")), (200, 200, 503, 503));
    // The first rule is gone, and comes again.
    let [_, second] = both(&rate(2), &addresses);
    lab.apply(&[second]);
    assert_eq!(client.get("/b").status, 503);
    lab.apply(&both(&rate(2), &addresses));
    assert_eq!((client.get("/a").status, client.get("/b").status), (503, 503));
    // Another limit begins anew, for both.
    lab.apply(&both(&rate(3), &addresses));
    let statuses: Vec<_> = ["/a", "/b", "/a", "/b"].iter().map(|path| client.get(path).status).collect();
    assert_eq!(statuses, [200, 200, 200, 503]);
}

/// Answers a request when it is let.
fn held() -> (Scripted, mpsc::Sender<()>) {
    let (answer, answers) = mpsc::channel();
    let answers = Arc::new(Mutex::new(answers));
    let endpoint = Scripted::new(move |conn| {
        while let Some(head) = conn.head() {
            if !head.contains("/quick") && answers.lock().unwrap().recv().is_err() {
                return;
            }
            conn.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        }
    });
    (endpoint, answer)
}

/// A request of this client that the endpoint has got, and does not answer.
fn waiting(lab: &Lab, endpoint: &Scripted, path: &str, address: &str) -> Client {
    let mut client = lab.client();
    client.send(format!("GET {path} HTTP/1.1\r\nHost: a.test\r\nX-Forwarded-For: {address}\r\n\r\n"));
    eventually("the endpoint has it", || endpoint.has_received(&format!("GET {path} ")));
    client
}

fn trusting() -> proxy::Config {
    let trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
    proxy::Config { threads: 2, trusted_proxies, ..Default::default() }
}

#[test]
fn requests_of_a_client_at_once_are_counted_for_all_rules_together() {
    let (endpoint, answer) = held();
    let addresses = [endpoint.address];
    let mut lab = Lab::with(trusting(), &both(&at_once(2), &addresses));
    let quick = |lab: &Lab, path: &str, address: &str| {
        let mut client = lab.client();
        client
            .send(format!("GET {path}/quick HTTP/1.1\r\nHost: a.test\r\nX-Forwarded-For: {address}\r\n\r\n"));
        client.response().status
    };
    let (one, other) = ("203.0.113.1", "203.0.113.2");
    let mut first = waiting(&lab, &endpoint, "/a/1", one);
    let mut second = waiting(&lab, &endpoint, "/b/2", one);
    for path in ["/a", "/b"] {
        assert_eq!((quick(&lab, path, one), quick(&lab, path, other)), (503, 200), "{path}");
        assert_eq!(quick(&lab, path, "192.0.2.7"), 200, "{path}");
    }
    // What is under way stays so when the limit changes.
    lab.apply(&both(&at_once(3), &addresses));
    assert_eq!(quick(&lab, "/a", one), 200);
    lab.apply(&both(&at_once(1), &addresses));
    assert_eq!(quick(&lab, "/a", one), 503);
    answer.send(()).unwrap();
    answer.send(()).unwrap();
    assert_eq!((first.response().status, second.response().status), (200, 200));
    eventually("both are counted out", || quick(&lab, "/b", one) == 200);
}

#[test]
fn a_client_that_goes_away_counts_no_longer_than_its_endpoint_works() {
    let (endpoint, answer) = held();
    let addresses = [endpoint.address];
    let lab = Lab::with(trusting(), &both(&at_once(1), &addresses));
    let gone = waiting(&lab, &endpoint, "/a/1", "2001:db8::1");
    let ask = |address: &str| {
        let mut client = lab.client();
        client.send(format!("GET /b/quick HTTP/1.1\r\nHost: a.test\r\nX-Forwarded-For: {address}\r\n\r\n"));
        client.response()
    };
    // An address more of the same host.
    let refused = ask("2001:db8::2");
    assert_eq!(refused.status, 503);
    assert!(refused.text().contains("more requests of this client are under way"), "{}", refused.text());
    assert_eq!(ask("2001:db8:0:1::1").status, 200);
    drop(gone);
    answer.send(()).unwrap();
    eventually("it is counted out", || ask("2001:db8::2").status == 200);
}
