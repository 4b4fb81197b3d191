//! Mirrors of a share of the requests: the kernel keeps those that are not copied, and both tiers together copy the right share.

use std::time::Duration;

use testkit::until;

use crate::manifests;
use crate::world::{Network, World};

on_two_networks!(mirrors_get_their_shares_over_both_tiers,);

/// Connections with one request, and connections with several.
const SINGLE: u32 = 700;
const KEPT: u32 = 60;
const EACH: u32 = 5;

/// A fifth of the requests is copied once, and a half once more.
fn manifests(network: Network) -> String {
    let copied =
        manifests::route("copied", Some("copied.test"), &[("PathPrefix", "/", "[{name: a, port: 80}]")]);
    let mirror = |share: &str| {
        format!("{{type: RequestMirror, requestMirror: {{backendRef: {{name: b, port: 80}}, {share}}}}}")
    };
    let filters = [mirror("percent: 20"), mirror("fraction: {numerator: 1, denominator: 2}")].join(", ");
    format!("{}{copied}    filters: [{filters}]\n", manifests::routes(network))
}

fn copies(world: &World) -> f64 {
    world.gateway.metric("rauta_mirrored_requests_total", "").unwrap_or(0.0)
}

fn mirrors_get_their_shares_over_both_tiers(network: Network) {
    let world = World::new(network);
    let request = "GET /copied HTTP/1.1\r\nHost: copied.test\r\n\r\n";
    world.gateway.replace("all.yaml", &manifests(network)).unwrap();
    let ask = || assert_eq!(world.connect().request(request).unwrap().endpoint(), Some("b0"));
    until(Duration::from_secs(30), "a request to be copied", || {
        ask();
        (copies(&world) > 0.5).then_some(())
    })
    .unwrap();
    settled(&world);
    let (before, handed) = (copies(&world), world.counted("hand_off_copied"));
    // Of single ones two fifths are copied nowhere: four deviations of 700 draws are 52. Of five on a connection the first counts.
    world.decides_at_least(280 - 52, SINGLE + KEPT, || {
        (0..SINGLE).for_each(|_| ask());
        for _ in 0..KEPT {
            let mut connection = world.connect();
            for _ in 0..EACH {
                assert_eq!(connection.request(request).unwrap().endpoint(), Some("b0"));
            }
        }
    });
    settled(&world);
    // 0.2 + 0.5 for each request; the deviation of a request's copies is 0.64.
    let requests = f64::from(SINGLE + KEPT * EACH);
    let copied = copies(&world) - before;
    assert!(
        (copied - 0.7 * requests).abs() < 5.0 * 0.64 * requests.sqrt(),
        "{copied} copies of {requests} requests"
    );
    if world.hook != "off" {
        let handed = world.counted("hand_off_copied") - handed;
        // Connections of five requests hardly ever stay.
        let wanted = 0.6 * f64::from(SINGLE) + f64::from(KEPT);
        assert!((handed - wanted).abs() < 60.0, "{handed} connections handed off, {wanted} wanted");
    }
}

/// Waits until no copy is under way: the count stays as it is over a request that is none.
fn settled(world: &World) {
    until(Duration::from_secs(10), "copies to end", || {
        let before = copies(world);
        (0..20).for_each(|_| drop(world.get("/a")));
        (copies(world) - before < 0.5).then_some(())
    })
    .unwrap();
}
