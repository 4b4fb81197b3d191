//! BackendPolicies from files to what clients get and operators see.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use testkit::{Addresses, Connection, Gateway, Lab, Nginx, Recorder, until};

use crate::manifests::all_to;
use crate::world::{RAUTA, World};

pub(crate) fn policy(spec: &str) -> String {
    format!(
        "apiVersion: rauta.io/v1\nkind: BackendPolicy\nmetadata: {{name: web, namespace: default}}\n\
         spec:\n  targetRefs: [{{group: '', kind: Service, name: web}}]\n{spec}"
    )
}

#[test]
fn who_fails_the_check_is_left_out_and_everything_says_so() {
    let lab = Lab::builder().backends(2).build().unwrap();
    let _nginx = Nginx::start(&lab, 0).unwrap();
    let is_well = Arc::new(AtomicBool::new(true));
    let told = Arc::clone(&is_well);
    let recorder = Recorder::start(lab.backend(1), Addresses::backend_socket(1), move |peer| {
        loop {
            let is_probe = peer.request()?.starts_with(b"GET /ready ");
            let status = if is_probe && !told.load(SeqCst) { "503 Service Unavailable" } else { "200 OK" };
            peer.send(format!("HTTP/1.1 {status}\r\nX-Endpoint: recorder\r\nContent-Length: 0\r\n\r\n"))?;
        }
    })
    .unwrap();
    let said = policy(
        "  loadBalancer: {type: LeastRequest}\n  \
         healthCheck: {interval: 50ms, unhealthyThreshold: 2, http: {path: /ready, hostname: web.test}}\n",
    );
    let files = [("all.yaml", &*all_to(&[0, 1])), ("policy.yaml", &*said)];
    let gateway = Gateway::start(&lab, RAUTA, &files).unwrap();
    recorder.wait_for_text("GET /ready HTTP/1.1\r\nHost: web.test\r\n").unwrap();
    let is_used = || {
        let mut connection = Connection::open(lab.client(), gateway.address()).unwrap();
        (0..30).any(|_| {
            let answer = connection.get("a", "/").unwrap();
            assert_eq!(answer.status, 200);
            answer.endpoint() == Some("recorder")
        })
    };
    assert!(is_used());
    let cli = |arguments: &[&str]| {
        let output = gateway.cli(arguments).unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    is_well.store(false, SeqCst);
    until(Duration::from_secs(10), "it to be left out", || (!is_used()).then_some(())).unwrap();
    let backends = cli(&["backends", "-o", "wide"]);
    assert!(backends.contains("unhealthy") && backends.contains("least request"), "{backends}");
    assert!(backends.contains("health check by GET /ready every 50ms"), "{backends}");
    let explained = cli(&["explain", "request", "http://a/"]);
    assert!(explained.contains("is left out: it fails its health check"), "{explained}");
    assert_eq!(gateway.metric("rauta_endpoints_unhealthy", "").unwrap(), 1.0);
    assert!(gateway.metric("rauta_health_probes_total", "status").unwrap() >= 2.0);
    is_well.store(true, SeqCst);
    until(Duration::from_secs(10), "it to be used again", || is_used().then_some(())).unwrap();
    // Without the policy nobody is asked any more.
    gateway.remove("policy.yaml").unwrap();
    until(Duration::from_secs(10), "the policy to go", || {
        (!cli(&["backends", "-o", "wide"]).contains("health check")).then_some(())
    })
    .unwrap();
}

#[test]
fn limits_and_ejections_come_from_files_and_mistakes_are_named() {
    let world = World::with(2, &all_to(&[0, 1]));
    world.gateway.write("policy.yaml", &policy("  circuitBreaker: {maxParallelRequests: 0}\n")).unwrap();
    let mut connection = world.connect();
    let refused = until(Duration::from_secs(10), "the limit to hold", || {
        let answer = connection.get("a", "/").unwrap();
        (answer.status == 503).then_some(answer)
    });
    assert!(refused.unwrap().text().contains("too many requests under way"));
    let said =
        policy("  outlierDetection: {consecutive5xxErrors: 2, baseEjectionTime: 1h}\n  panicThreshold: 0\n");
    world.gateway.replace("policy.yaml", &said).unwrap();
    until(Duration::from_secs(10), "an endpoint to be ejected", || {
        let _ = connection.get("a", "/status/500").unwrap();
        (world.gateway.metric("rauta_endpoints_ejected", "").unwrap() == 1.0).then_some(())
    })
    .unwrap();
    let backends = String::from_utf8(world.gateway.cli(&["backends"]).unwrap().stdout).unwrap();
    assert!(backends.contains("ejected"), "{backends}");
    world.gateway.replace("policy.yaml", &policy("  circuitBreaker: {maxConnections: 0}\n")).unwrap();
    let wrong = "spec.circuitBreaker.maxConnections: is 0: no request could be sent";
    until(Duration::from_secs(10), "the mistake to be named", || {
        let status = String::from_utf8(world.gateway.cli(&["status"]).unwrap().stdout).unwrap();
        status.contains(wrong).then_some(())
    })
    .unwrap();
    assert_eq!(connection.get("a", "/").unwrap().status, 200, "the last good version stays");
}

#[test]
fn an_endpoint_that_joins_gets_little_at_first() {
    let world = World::with(2, &all_to(&[0]));
    let said = policy("  loadBalancer: {type: RoundRobin, slowStart: {window: 1h}}\n");
    world.gateway.write("policy.yaml", &said).unwrap();
    let cli = |arguments: &[&str]| String::from_utf8(world.gateway.cli(arguments).unwrap().stdout).unwrap();
    until(Duration::from_secs(10), "the policy to hold", || {
        cli(&["backends", "-o", "wide"]).contains("slow start over 1h").then_some(())
    })
    .unwrap();
    let mut connection = world.connect();
    let first = connection.get("a", "/").unwrap().endpoint().unwrap().to_owned();
    world.gateway.replace("all.yaml", &all_to(&[0, 1])).unwrap();
    let mut is_other = || connection.get("a", "/").unwrap().endpoint() != Some(&*first);
    until(Duration::from_secs(10), "the other to get a request", || is_other().then_some(())).unwrap();
    // A half of it would be 200, a tenth of that 20.
    let others = (0..400).filter(|_| is_other()).count();
    assert!((1..120).contains(&others), "{others}");
}
