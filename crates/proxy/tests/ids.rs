//! By what requests are found again: ids and trace contexts, as endpoints get them.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers, too")]

mod support;

use std::collections::BTreeSet;

use proxy::{Config, IdConfig};
use support::{Client, Lab, Scripted, reset, rule};

const CONTEXT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

fn lab(ids: IdConfig, trusts: bool, endpoint: &Scripted) -> Lab {
    let trusted_proxies = if trusts { vec!["127.0.0.0/8".parse().unwrap()] } else { vec![] };
    let config = Config { threads: 1, ids, trusted_proxies, ..Default::default() };
    Lab::with(config, &[rule("/", &[endpoint.address])])
}

fn with_ids() -> IdConfig {
    IdConfig { request_id_header: Some("x-request-id".into()), ..Default::default() }
}

fn with_traces(sample_one_in: u64) -> IdConfig {
    IdConfig { trace_context: true, sample_one_in, ..Default::default() }
}

/// The values of `name` in the head that the endpoint got for a request with these lines.
fn got(client: &mut Client, lines: &str, name: &str) -> Vec<String> {
    client.send(format!("GET / HTTP/1.1\r\nHost: a.test\r\n{lines}\r\n"));
    let text = client.response().text();
    let of_name = |line: &str| {
        let (own, value) = line.split_once(": ")?;
        own.eq_ignore_ascii_case(name).then(|| value.to_owned())
    };
    text.lines().filter_map(of_name).collect()
}

fn is_uuid_7(id: &str) -> bool {
    let lengths: Vec<_> = id.split('-').map(str::len).collect();
    lengths == [8, 4, 4, 4, 12] && id.as_bytes()[14] == b'7' && b"89ab".contains(&id.as_bytes()[19])
}

#[test]
fn every_request_has_one_id_that_no_stranger_wrote() {
    let endpoint = Scripted::echo("one");
    let lab = lab(with_ids(), false, &endpoint);
    let mut client = lab.client();
    let mut seen = BTreeSet::new();
    for lines in ["", "X-Request-ID: mine\r\n", "x-request-id: a\r\nX-Request-Id: b\r\n"] {
        let ids = got(&mut client, lines, "x-request-id");
        assert!(ids.len() == 1 && is_uuid_7(&ids[0]), "{lines:?}: {ids:?}");
        seen.extend(ids);
    }
    assert_eq!(seen.len(), 3);
}

#[test]
fn a_trusted_proxys_id_is_kept_if_it_is_one() {
    let endpoint = Scripted::echo("one");
    let lab = lab(with_ids(), true, &endpoint);
    let mut client = lab.client();
    assert_eq!(got(&mut client, "X-Request-ID: abc/1\r\n", "x-request-id"), ["abc/1"]);
    let long = format!("X-Request-Id: {}\r\n", "x".repeat(129));
    for bad in
        ["", "X-Request-Id: a b\r\n", "X-Request-Id: a\r\nX-Request-Id: b\r\n", "X-Request-Id:\r\n", &long]
    {
        let ids = got(&mut client, bad, "x-request-id");
        assert!(ids.len() == 1 && is_uuid_7(&ids[0]), "{bad:?}: {ids:?}");
    }
}

#[test]
fn a_valid_context_goes_on_with_another_parent() {
    let endpoint = Scripted::echo("one");
    let lab = lab(with_traces(1), false, &endpoint);
    let mut client = lab.client();
    let lines = format!("traceparent: {CONTEXT}\r\nTracestate: a=1\r\n");
    let mut parents = BTreeSet::from([CONTEXT.to_owned()]);
    for _ in 0..2 {
        let got = got(&mut client, &lines, "traceparent");
        assert!(got.len() == 1 && got[0].starts_with(&CONTEXT[..36]) && got[0].ends_with("-01"), "{got:?}");
        parents.extend(got);
    }
    assert_eq!(parents.len(), 3);
    assert_eq!(got(&mut client, &lines, "tracestate"), ["a=1"]);
    let unsampled = got(&mut client, &lines.replace("-01\r", "-00\r"), "traceparent");
    assert!(unsampled[0].ends_with("-00"), "{unsampled:?}");
}

#[test]
fn without_a_valid_context_a_trace_begins() {
    let endpoint = Scripted::echo("one");
    let sampled = lab(with_traces(1), false, &endpoint);
    let mut client = sampled.client();
    let twice = format!("traceparent: {CONTEXT}\r\ntraceparent: {CONTEXT}\r\ntracestate: a=1\r\n");
    let mut traces = BTreeSet::new();
    for lines in ["", "Traceparent: 00-zz\r\ntracestate: a=1\r\n", &twice] {
        let got_contexts = got(&mut client, lines, "traceparent");
        let is_new = |context: &String| {
            context.len() == 55 && context.ends_with("-03") && context[..36] != CONTEXT[..36]
        };
        assert!(got_contexts.len() == 1 && is_new(&got_contexts[0]), "{lines:?}: {got_contexts:?}");
        traces.insert(got_contexts[0][..36].to_owned());
        assert!(got(&mut client, lines, "tracestate").is_empty());
    }
    assert_eq!(traces.len(), 3);
    let rarely = lab(with_traces(u64::MAX), false, &endpoint);
    assert!(got(&mut rarely.client(), "", "traceparent")[0].ends_with("-02"));
}

#[test]
fn a_second_try_has_the_same_id_and_trace_and_a_parent_of_its_own() {
    let endpoint = Scripted::new(|conn| {
        while let Some(head) = conn.head() {
            if conn.number == 0 {
                return reset(&conn.stream);
            }
            conn.send(&format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{head}", head.len()));
        }
    });
    let other = Scripted::echo("two");
    let ids = IdConfig { trace_context: true, ..with_ids() };
    let config = Config { threads: 1, ids, ..Default::default() };
    let lab = Lab::with(config, &[rule("/", &[endpoint.address, other.address])]);
    let mut client = lab.client();
    // One of the two has the endpoint that breaks its first connection.
    client.get("/");
    client.get("/");
    let both = endpoint.received() + &other.received();
    let of = |name: &str| -> Vec<String> {
        both.lines().filter_map(|line| line.strip_prefix(name)).map(ToOwned::to_owned).collect()
    };
    let (ids, contexts) = (of("x-request-id: "), of("traceparent: "));
    assert_eq!((ids.len(), contexts.len()), (3, 3), "{both}");
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), 2);
    assert_eq!(contexts.iter().map(|context| &context[..36]).collect::<BTreeSet<_>>().len(), 2);
    assert_eq!(contexts.iter().collect::<BTreeSet<_>>().len(), 3);
}

#[test]
fn nothing_is_touched_unless_it_is_asked_for() {
    let endpoint = Scripted::echo("one");
    let lab = lab(IdConfig::default(), false, &endpoint);
    let mut client = lab.client();
    assert_eq!(got(&mut client, "X-Request-Id: mine\r\n", "x-request-id"), ["mine"]);
    assert_eq!(got(&mut client, "traceparent: x\r\n", "traceparent"), ["x"]);
    assert!(got(&mut client, "", "x-request-id").is_empty());
}
