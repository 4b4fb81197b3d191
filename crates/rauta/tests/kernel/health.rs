//! Endpoints that fail their health check get nothing from the kernel either.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use testkit::{Connection, Recorder, until};

use crate::world::{Network, World};

on_two_networks!(an_unhealthy_endpoint_gets_nothing_in_any_tier_until_it_is_well);

const POLICY: &str = "\
apiVersion: rauta.io/v1
kind: BackendPolicy
metadata: {name: both, namespace: default}
spec:
  targetRefs: [{group: '', kind: Service, name: both}]
  healthCheck: {interval: 50ms, unhealthyThreshold: 2, healthyThreshold: 2}
";

fn an_unhealthy_endpoint_gets_nothing_in_any_tier_until_it_is_well(network: Network) {
    let is_well = Arc::new(AtomicBool::new(true));
    let told = Arc::clone(&is_well);
    let world = World::with_endpoint(network, |netns, address| {
        Recorder::start(netns, address, move |peer| {
            loop {
                let is_probe = peer.request()?.starts_with(b"GET /health ");
                let status =
                    if is_probe && !told.load(SeqCst) { "503 Service Unavailable" } else { "200 OK" };
                peer.send(format!("HTTP/1.1 {status}\r\nX-Endpoint: recorder\r\nContent-Length: 0\r\n\r\n"))?;
            }
        })
    });
    world.gateway.write("policy.yaml", POLICY).unwrap();
    let passed =
        || world.gateway.metric("rauta_health_probes_total", "passed").is_ok_and(|count| count >= 2.0);
    until(Duration::from_secs(10), "both to be probed", || passed().then_some(())).unwrap();
    let mut open: Vec<Connection> = (0..8).map(|_| world.connect()).collect();
    let mut ask = || -> BTreeSet<String> {
        let mut ask = |connection: &mut Connection| {
            let answer = connection.get("a.test", "/both").unwrap();
            assert_eq!(answer.status, 200);
            answer.endpoint().unwrap().to_owned()
        };
        let mut by: BTreeSet<_> = open.iter_mut().map(&mut ask).collect();
        by.extend((0..12).map(|_| ask(&mut world.connect())));
        by
    };
    let all = BTreeSet::from(["b1".to_owned(), "recorder".to_owned()]);
    assert_eq!(ask(), all);
    is_well.store(false, SeqCst);
    let rest = BTreeSet::from(["b1".to_owned()]);
    until(Duration::from_secs(10), "the endpoint to be left out", || (ask() == rest).then_some(())).unwrap();
    // Connections that were there before go to the other endpoint, too, and the kernel decides that.
    world.decides(40, || assert_eq!((ask(), ask()), (rest.clone(), rest)));
    is_well.store(true, SeqCst);
    until(Duration::from_secs(10), "the endpoint to be used again", || (ask() == all).then_some(())).unwrap();
}
