//! What is seen of single requests: ids, traces, the access log.

use testkit::{Addresses, Connection, Gateway, Lab, Recorder};

use crate::manifests::all_to;
use crate::world::RAUTA;

/// A gateway with its kernel programs, these settings, and an endpoint that records.
fn with_kernel(settings: &[(&str, &str)]) -> (Gateway, Recorder, Lab) {
    let lab = Lab::builder().build().unwrap();
    let endpoint = Recorder::answering(lab.backend(0), Addresses::backend_socket(0), "fine").unwrap();
    lab.bpffs().unwrap();
    let mut builder = Gateway::builder(&lab, RAUTA, &[("all.yaml", &all_to(&[0]))]).unwrap().hook("tc");
    for (name, value) in settings {
        builder = builder.env(name, value);
    }
    (builder.start(&lab).unwrap(), endpoint, lab)
}

#[test]
fn the_kernel_leaves_requests_that_get_an_id_to_userspace_and_says_so() {
    let (gateway, endpoint, lab) = with_kernel(&[("RAUTA_REQUEST_ID", "x-request-id")]);
    for _ in 0..4 {
        let mut connection = Connection::open(lab.client(), gateway.address()).unwrap();
        assert_eq!(connection.get("a.test", "/").unwrap().status, 200);
    }
    let received =
        (0..endpoint.connections()).map(|index| endpoint.received(index)).collect::<Vec<_>>().concat();
    let received = String::from_utf8(received).unwrap();
    assert_eq!(received.matches("\r\nx-request-id: ").count(), 4, "{received}");
    for arguments in
        [&["routes", "-o", "wide"][..], &["explain", "request", "GET", "http://a.test/"], &["status"]]
    {
        let output = gateway.cli(arguments).unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(text.contains("every request gets an id (requestId)"), "{arguments:?}: {text}");
    }
}
