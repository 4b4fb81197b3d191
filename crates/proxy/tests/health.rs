//! Endpoints that fail their health check get no requests, and get them again when they pass.
#![allow(clippy::unwrap_used, reason = "helpers of tests: a panic is how they report")]

mod support;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Response};
use model::{AppProtocol, BackendPolicy, HealthCheck, Probe};
use support::{Lab, Rule, Scripted, eventually, free_port, rule};

fn http(path: &str) -> Probe {
    Probe::Http { path: path.into(), host: Some("probe.test".into()), statuses: vec![] }
}

fn checked(probe: Probe) -> Option<Arc<BackendPolicy>> {
    let quick = Duration::from_millis(5);
    let check = HealthCheck {
        probe,
        interval: quick,
        timeout: Duration::from_secs(5),
        healthy_after: 2,
        unhealthy_after: 2,
    };
    Some(Arc::new(BackendPolicy { health_check: Some(check), ..Default::default() }))
}

/// An endpoint that answers every request with its name, and probes as it is told.
fn endpoint(name: &'static str) -> (Scripted, Arc<AtomicBool>) {
    let is_well = Arc::new(AtomicBool::new(true));
    let told = is_well.clone();
    let endpoint = Scripted::new(move |conn| {
        while let Some(head) = conn.head() {
            let is_probe = head.starts_with("GET /health ");
            let status =
                if is_probe && !told.load(SeqCst) { "503 Service Unavailable" } else { "204 No Content" };
            conn.send(&format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nX-Name: {name}\r\n\r\n"));
        }
    });
    (endpoint, is_well)
}

/// Follows the health of endpoints until only `names` answer.
fn only(lab: &mut Lab, rules: &[Rule<'_>], names: &[&str]) {
    eventually(&format!("only {names:?} answer"), || {
        lab.apply(rules);
        let mut client = lab.client();
        let answers: Vec<_> = (0..20).map(|_| client.get("/")).collect();
        let is = |name: &&str| answers.iter().any(|answer| answer.has(&format!("x-name: {name}")));
        let known: Vec<_> = ["a", "b", "c"].into_iter().filter(is).collect();
        answers.iter().all(|answer| answer.status == 204) && known == names
    });
}

#[test]
fn an_endpoint_that_turns_bad_gets_nothing_until_it_is_well_again() {
    let ((a, _), (b, b_is_well)) = (endpoint("a"), endpoint("b"));
    let all = [a.address, b.address];
    let rules = [Rule { policy: checked(http("/health")), ..rule("/", &all) }];
    let mut lab = Lab::new(&rules);
    only(&mut lab, &rules, &["a", "b"]);
    b_is_well.store(false, SeqCst);
    only(&mut lab, &rules, &["a"]);
    b_is_well.store(true, SeqCst);
    only(&mut lab, &rules, &["a", "b"]);
    let probes = b.received();
    let probe = "GET /health HTTP/1.1\r\nHost: probe.test\r\nUser-Agent: rauta-health-check\r\nAccept: */*\r\nConnection: close\r\n\r\n";
    assert!(probes.contains(probe), "{probes}");
    assert!(lab.metrics.health().probes().iter().any(|(result, count)| *result == "status" && *count >= 2));
}

#[test]
fn where_too_few_are_healthy_all_are_used() {
    let ((a, a_is_well), (b, b_is_well)) = (endpoint("a"), endpoint("b"));
    let all = [a.address, b.address];
    let rules = [Rule { policy: checked(http("/health")), ..rule("/", &all) }];
    let mut lab = Lab::new(&rules);
    a_is_well.store(false, SeqCst);
    only(&mut lab, &rules, &["b"]);
    b_is_well.store(false, SeqCst);
    only(&mut lab, &rules, &["a", "b"]);
    let text = lab.metrics.encode();
    for line in ["rauta_endpoints_unhealthy 2", "rauta_backends_panicked 1", "rauta_backend_panics_total 1"] {
        assert!(text.lines().any(|found| found == line), "no {line} in {text}");
    }
    a_is_well.store(true, SeqCst);
    only(&mut lab, &rules, &["a"]);
}

#[test]
fn a_port_that_nobody_has_is_unhealthy_without_a_request() {
    let (a, _) = endpoint("a");
    let all = [a.address, free_port()];
    let rules = [Rule { policy: checked(Probe::Tcp), ..rule("/", &all) }];
    let mut lab = Lab::new(&rules);
    only(&mut lab, &rules, &["a"]);
    eventually("left out", || {
        lab.apply(&rules);
        lab.metrics.encode().lines().any(|line| line == "rauta_endpoints_unhealthy 1")
    });
    assert!(lab.metrics.health().probes().iter().any(|(result, _)| *result == "refused"));
}

#[test]
fn a_change_waits_for_who_follows_it() {
    let (a, is_well) = endpoint("a");
    let all = [a.address];
    let rules = [Rule { policy: checked(http("/health")), ..rule("/", &all) }];
    let lab = Lab::new(&rules);
    is_well.store(false, SeqCst);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let changed = async { tokio::time::timeout(support::PATIENCE, lab.gateway.health_changed()).await };
    assert!(runtime.block_on(changed).is_ok());
}

/// An endpoint of HTTP/2 that says of itself, as gRPC does, whether `shop` serves: with this message.
fn grpc_endpoint(says: impl Fn() -> Bytes + Clone + Send + 'static) -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    listener.set_nonblocking(true).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let run = async move {
        let listener = tokio::net::TcpListener::from_std(listener).unwrap();
        while let Ok((stream, _)) = listener.accept().await {
            let says = says.clone();
            tokio::spawn(async move {
                let mut peer = h2::server::handshake(stream).await.unwrap();
                while let Some(Ok((mut request, mut respond))) = peer.accept().await {
                    let says = says.clone();
                    tokio::spawn(async move {
                        assert_eq!(request.uri().path(), "/grpc.health.v1.Health/Check");
                        assert_eq!(request.headers()["content-type"], "application/grpc");
                        assert_eq!(request.headers()["te"], "trailers");
                        let asked = request.body_mut().data().await.unwrap().unwrap();
                        assert_eq!(&asked[..], b"\0\0\0\0\x06\x0a\x04shop");
                        let answer =
                            Response::builder().header("content-type", "application/grpc").body(()).unwrap();
                        let mut body = respond.send_response(answer, false).unwrap();
                        body.send_data(says(), false).unwrap();
                        let end =
                            HeaderMap::from_iter([("grpc-status".parse().unwrap(), "0".parse().unwrap())]);
                        body.send_trailers(end).unwrap();
                    });
                }
            });
        }
    };
    std::thread::spawn(move || runtime.block_on(run));
    address
}

/// How many probes came to this.
fn of(lab: &Lab, result: &str) -> u64 {
    let probes = lab.metrics.health().probes();
    probes.into_iter().find(|(found, _)| *found == result).map_or(0, |(_, count)| count)
}

#[test]
fn grpc_says_which_service_serves() {
    let serves = Arc::new(AtomicBool::new(true));
    let told = serves.clone();
    let status = move || if told.load(SeqCst) { 1 } else { 2 };
    let address = grpc_endpoint(move || Bytes::copy_from_slice(&[0, 0, 0, 0, 2, 8, status()]));
    let policy = checked(Probe::Grpc { service: "shop".into() });
    let all = [address];
    let rules = [Rule { protocol: AppProtocol::Http2, policy, ..rule("/", &all) }];
    let mut lab = Lab::new(&rules);
    eventually("it serves", || of(&lab, "passed") > 1);
    serves.store(false, SeqCst);
    eventually("it does not", || {
        lab.apply(&rules);
        lab.metrics.encode().lines().any(|line| line == "rauta_endpoints_unhealthy 1")
    });
    assert!(of(&lab, "not serving") > 1);
    assert_eq!(lab.metrics.health().probes().len(), 2, "{:?}", lab.metrics.health().probes());
}

#[test]
fn a_message_of_grpc_that_is_too_long_is_not_read() {
    for (length, varint, result) in [(4000, [0xa0, 0x1f], "passed"), (4100, [0x84, 0x20], "invalid answer")] {
        // SERVING, and a field of no meaning behind it.
        let message = [&[8, 1, 0x12][..], &varint, &vec![0; length]].concat();
        let prefix = u32::try_from(message.len()).unwrap().to_be_bytes();
        let says = Bytes::from([&[0][..], &prefix, &message].concat());
        let all = [grpc_endpoint(move || says.clone())];
        let policy = checked(Probe::Grpc { service: "shop".into() });
        let lab = Lab::new(&[Rule { protocol: AppProtocol::Http2, policy, ..rule("/", &all) }]);
        eventually(result, || of(&lab, result) > 1);
        assert_eq!(lab.metrics.health().probes().len(), 1, "{:?}", lab.metrics.health().probes());
    }
}
