//! The access log: what stands in it of which requests.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers, too")]

mod support;

use std::path::PathBuf;

use proxy::{AccessConfig, Config, IdConfig};
use support::{Lab, Rule, Scripted, Target, eventually, free_port, reset, rule};
use telemetry::access::{AccessLog, Target as File, Writer};

struct Log {
    path: PathBuf,
    _folder: tempfile::TempDir,
    _writer: Writer,
    config: Config,
}

fn log(format: &str, sample_one_in: u64) -> Log {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let metrics = telemetry::Metrics::new(1);
    let (log, writer) =
        AccessLog::start(&File::File(path.clone()), format.parse().unwrap(), metrics, || {}).unwrap();
    let access_log = Some(AccessConfig { log, sample_one_in });
    let config = Config { threads: 1, access_log, ..Default::default() };
    Log { path, _folder: folder, _writer: writer, config }
}

impl Log {
    /// The lines, once there are so many.
    fn lines(&self, count: usize) -> Vec<String> {
        let read = || std::fs::read_to_string(&self.path).unwrap();
        eventually("lines of the access log", || read().lines().count() >= count);
        let lines: Vec<_> = read().lines().map(ToOwned::to_owned).collect();
        assert_eq!(lines.len(), count, "{lines:#?}");
        lines
    }
}

#[test]
fn a_line_says_who_asked_what_of_whom_and_what_came_of_it() {
    let endpoint = Scripted::echo("one");
    let format = "$client $listener|$route|$endpoint|$method $host $path $query|$status $reason|$bytes_in|$protocol|\
                  $tls_version $sni|$user_agent|$request_id|$trace_id";
    let mut log = log(format, 1);
    log.config.ids =
        IdConfig { request_id_header: Some("x-request-id".into()), trace_context: true, sample_one_in: 1 };
    let lab = Lab::with(log.config.clone(), &[rule("/", &[endpoint.address])]);
    let mut client = lab.client();
    let request = "POST /a%20b?c=d HTTP/1.1\r\nHost: A.test:81\r\nUser-Agent: x\"\ty\r\n\
                   traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\nContent-Length: 3\r\n\r\nabc";
    client.send(request);
    assert_eq!(client.response().status, 200);
    let received = endpoint.received();
    let id = received.split("x-request-id: ").nth(1).unwrap().split("\r\n").next().unwrap();
    let expected = format!(
        "{} test/gateway/http|HTTPRoute test/r rule 0|{}|POST a.test /a%20b c=d|200 -|{}|HTTP/1.1|- -|x\\x22\\x09y|{id}|\
         4bf92f3577b34da6a3ce929d0e0e4736",
        client.stream.local_addr().unwrap(),
        endpoint.address,
        request.len()
    );
    assert_eq!(log.lines(1), [expected]);
}

#[test]
fn a_route_may_stay_out_of_it() {
    let endpoint = Scripted::echo("one");
    let log = log("$path $status", 1);
    let lab = Lab::with(
        log.config.clone(),
        &[
            rule("/", &[endpoint.address]),
            Rule { is_unlogged: true, ..rule("/quiet", &[endpoint.address]) },
            Rule { is_unlogged: true, ..rule("/none", &[]) },
        ],
    );
    let mut client = lab.client();
    let statuses = ["/quiet", "/none", "/told"].map(|path| client.get(path).status);
    assert_eq!(statuses, [200, 503, 200]);
    assert_eq!(log.lines(2), ["/none 503", "/told 200"], "errors are always there");
}

/// A default backend that does not answer is no endpoint of the route.
#[test]
fn an_error_is_of_the_endpoint_that_the_route_has() {
    let endpoint = Scripted::new(|conn| {
        while conn.head().is_some() {
            conn.send("HTTP/1.1 404 Any\r\nContent-Length: 0\r\n\r\n");
        }
    });
    let log = log("$path $status $endpoint $reason", 1);
    let by = |statuses: &[u16]| {
        Some(Box::new(model::Fallback {
            backend: model::BackendId::service("test", "b1", 80),
            statuses: statuses.to_vec(),
            keeps_answers: false,
            lines: [].into(),
        }))
    };
    let (web, dead) = ([endpoint.address], [free_port()]);
    let rules = [
        Rule { fallback: by(&[404]), ..rule("/", &web) },
        rule("/dead", &dead),
        Rule { fallback: by(&[]), ..rule("/none", &[]) },
    ];
    let lab = Lab::with(log.config.clone(), &rules);
    let mut client = lab.client();
    assert_eq!(["/", "/none"].map(|path| client.get(path).status), [404, 503]);
    let expected = [
        format!(
            "/ 404 {} endpoint answered with this status, and the default backend does not answer",
            endpoint.address
        ),
        "/none 503 - no endpoint is ready, and the default backend does not answer".to_owned(),
    ];
    assert_eq!(log.lines(2), expected);
}

#[test]
fn times_and_sizes_are_those_of_the_request() {
    let endpoint = Scripted::new(|conn| {
        while conn.head().is_some() {
            std::thread::sleep(std::time::Duration::from_millis(30));
            conn.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab");
            std::thread::sleep(std::time::Duration::from_millis(30));
            conn.send("cd");
        }
    });
    let log = log("$duration_ms $first_byte_ms $connect_ms $bytes_out $time", 1);
    let lab = Lab::with(log.config.clone(), &[rule("/", &[endpoint.address])]);
    let mut client = lab.client();
    let size = [client.get("/"), client.get("/")].map(|response| response.head.len() + response.body.len());
    let lines = log.lines(2);
    for (line, size) in lines.iter().zip(size) {
        let values: Vec<&str> = line.split(' ').collect();
        let (duration, first): (f64, f64) = (values[0].parse().unwrap(), values[1].parse().unwrap());
        assert!(first >= 30.0 && duration >= first.max(59.0), "{line}");
        assert_eq!(values[3], size.to_string());
        assert!(values[4].starts_with("20") && values[4].ends_with('Z'), "{line}");
    }
    assert!(lines[0].split(' ').nth(2).unwrap().parse::<f64>().is_ok(), "{lines:?}");
    assert_eq!(lines[1].split(' ').nth(2), Some("-"), "a kept connection: {lines:?}");
}

#[test]
fn refusals_and_failures_say_why() {
    let dead = free_port();
    let broken = Scripted::new(|conn| {
        conn.head();
        conn.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab");
        reset(&conn.stream);
    });
    let (dead_only, broken_only) = ([dead], [broken.address]);
    let rules = [
        rule("/dead", &dead_only),
        rule("/broken", &broken_only),
        support::Rule { target: Target::Invalid, ..rule("/invalid", &[]) },
    ];
    let log = log("$status $path $endpoint $reason", 1);
    let lab = Lab::with(log.config.clone(), &rules);
    assert_eq!(lab.client().get("/dead").status, 503);
    assert_eq!(lab.client().get("/invalid").status, 500);
    assert_eq!(lab.client().get("/none").status, 404);
    let mut client = lab.client();
    client.send("GET /broken HTTP/1.1\r\nHost: a.test\r\n\r\n");
    client.rest();
    let mut client = lab.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n");
    assert_eq!(client.response().status, 400);
    let mut lines = log.lines(5);
    lines.sort();
    assert_eq!(
        lines,
        [
            format!("200 /broken {} answer broke off", broken.address),
            "400 - - more than one Host".to_owned(),
            "404 /none - no route".to_owned(),
            "500 /invalid - backend reference cannot be resolved".to_owned(),
            format!("503 /dead {dead} endpoint refused the connection"),
        ]
    );
}

#[test]
fn a_client_that_leaves_is_told_of() {
    let endpoint = Scripted::new(|conn| {
        conn.head();
        conn.send("HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n");
        let part = "x".repeat(10_000);
        (0..10_000).for_each(|_| conn.send(&part));
    });
    let log = log("$status $reason", 1);
    let lab = Lab::with(log.config.clone(), &[rule("/", &[endpoint.address])]);
    let mut client = lab.client();
    client.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
    client.exactly(20_000);
    reset(&client.stream);
    drop(client);
    assert_eq!(log.lines(1), ["200 client gone"]);
}

#[test]
fn of_a_sample_failures_are_never_missing() {
    let endpoint = Scripted::echo("one");
    let log = log("$status", u64::MAX);
    let lab = Lab::with(log.config.clone(), &[rule("/x", &[endpoint.address])]);
    let mut client = lab.client();
    for _ in 0..50 {
        assert_eq!(client.get("/x").status, 200);
        assert_eq!(client.get("/y").status, 404);
    }
    assert_eq!(log.lines(50), vec!["404".to_owned(); 50]);
}

#[test]
fn one_in_so_many_is_logged() {
    let endpoint = Scripted::echo("one");
    let log = log("$status", 10);
    let lab = Lab::with(log.config.clone(), &[rule("/", &[endpoint.address])]);
    let mut client = lab.client();
    (0..500).for_each(|_| assert_eq!(client.get("/").status, 200));
    // Closing the gateway sends on what waits.
    drop(client);
    drop(lab);
    let path = log.path.clone();
    let count = move || std::fs::read_to_string(&path).unwrap().lines().count();
    eventually("some lines", || count() > 0);
    // 50 expected, with a deviation of 6.7.
    assert!((10..=100).contains(&count()), "{}", count());
}

#[test]
fn json_lines_are_json() {
    let endpoint = Scripted::new(|conn| {
        conn.until(b"\r\n\r\n");
        conn.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    });
    let log = log("json", 1);
    let lab = Lab::with(log.config.clone(), &[rule("/", &[endpoint.address])]);
    let mut client = lab.client();
    client
        .send(b"GET /?secret HTTP/1.1\r\nHost: a.test\r\nUser-Agent: \xff\"\\\t\xc2\x9b\r\n\r\n".as_slice());
    assert_eq!(client.response().status, 200);
    let line = log.lines(1).remove(0);
    let json: serde_json::Value =
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
    assert_eq!(json["user_agent"], "\u{fffd}\"\\\t\u{9b}");
    assert_eq!(json["status"], 200);
    assert_eq!(json["route"], "HTTPRoute test/r rule 0");
    assert!(!line.contains("secret") && !line.contains('\u{9b}'), "{line}");
    assert!(json.get("reason").is_none() && json.get("sni").is_none(), "{line}");
}
