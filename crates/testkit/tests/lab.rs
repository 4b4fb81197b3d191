//! The lab itself: what it connects, what it leaves behind.

use std::process::Command;
use std::time::Duration;

use testkit::{
    Addresses, Connection, Lab, Load, Nginx, ONE_MEGABYTE_SHA256, Offloads, Recorder, exec, sha256_hex, until,
};

fn namespaces(prefix: &str) -> usize {
    std::fs::read_dir("/run/netns")
        .map(|entries| {
            entries.flatten().filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix)).count()
        })
        .unwrap_or(0)
}

#[test]
fn clients_reach_endpoints_through_the_gateway_over_both_families() {
    let lab = Lab::builder().backends(2).build().unwrap();
    let nginx = Nginx::start(&lab, 1).unwrap();
    let mut connection = Connection::open(lab.client(), nginx.address()).unwrap();
    let first = connection.get("a.example", "/hello?x=1").unwrap();
    assert_eq!(first.endpoint(), Some("b1"));
    assert!(
        first.text().contains("uri=/hello?x=1\n") && first.text().contains("host=a.example\n"),
        "{first:?}"
    );
    assert!(first.text().contains("client=10.77.0.2\n"), "{first:?}");
    let second = connection.get("a.example", "/1m").unwrap();
    assert_eq!(sha256_hex(&second.body), ONE_MEGABYTE_SHA256);
    assert!(second.header("x-connection").unwrap().ends_with("/2"), "{second:?}");
    let chunked = connection.get("a.example", "/chunked").unwrap();
    assert_eq!((chunked.header("transfer-encoding"), chunked.body.len()), (Some("chunked"), 16 * 1024));

    connection.send("PUT /upload/x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello").unwrap();
    assert_eq!(connection.response("PUT").unwrap().status, 201);
    assert_eq!(nginx.uploaded("x").unwrap(), b"hello");

    let v6 = (Addresses::backend_v6(1), 8080).into();
    let answer = Connection::open(lab.client_two(), v6).unwrap().get("a.example", "/").unwrap();
    assert!(answer.text().contains("client=fd77::3\n"), "{answer:?}");
}

#[test]
fn labs_side_by_side_use_the_same_addresses_and_never_meet() {
    let labs: Vec<Lab> = (0..2).map(|_| Lab::builder().build().unwrap()).collect();
    let recorders: Vec<Recorder> = ["left", "right"]
        .into_iter()
        .zip(&labs)
        .map(|(body, lab)| Recorder::answering(lab.backend(0), Addresses::backend_socket(0), body).unwrap())
        .collect();
    for (lab, body) in labs.iter().zip(["left", "right"]) {
        let mut connection = Connection::open(lab.client(), Addresses::backend_socket(0)).unwrap();
        assert_eq!(connection.get("a", "/").unwrap().text(), body);
    }
    assert_eq!(recorders[0].connections(), 1);
    assert!(recorders[0].received_text().starts_with("GET / HTTP/1.1\r\n"));
}

#[test]
fn nothing_stays_after_a_drop_or_a_panic() {
    let lab = Lab::builder().build().unwrap();
    let prefix = format!("{}-", lab.prefix());
    let mut sleep = Command::new("sleep");
    sleep.arg("1000");
    let stray = lab.spawn(lab.backend(0), "stray", sleep).unwrap();
    let pid = stray.pid();
    std::mem::forget(stray);
    assert_eq!(namespaces(&prefix), 5);
    let panicked = std::thread::spawn(move || {
        let _lab = lab;
        panic!("as a failing test does");
    })
    .join();
    assert!(panicked.is_err());
    assert_eq!(namespaces(&prefix), 0);
    until(Duration::from_secs(5), "the stray process to end", || {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        (stat.is_empty() || stat.contains(") Z ")).then_some(())
    })
    .unwrap();
}

#[test]
fn what_a_killed_run_left_is_swept() {
    // A process id that is surely dead: one of ours that has been waited for.
    let mut child = Command::new("true").spawn().unwrap();
    let dead = child.id();
    child.wait().unwrap();
    let name = format!("rauta-{dead}-0-gateway");
    let folder = std::env::temp_dir().join(format!("rauta-{dead}-0-x"));
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("left"), "over").unwrap();
    assert!(Command::new("ip").args(["netns", "add", &name]).status().unwrap().success());
    Lab::sweep().unwrap();
    assert_eq!(namespaces(&name), 0);
    assert!(!folder.exists());
}

#[test]
fn a_lab_has_a_bpf_file_system_of_its_own() {
    let lab = Lab::builder().build().unwrap();
    let path = lab.bpffs().unwrap();
    assert_eq!(lab.bpffs().unwrap(), path);
    let mounted = |path: &std::path::Path| {
        std::fs::read_to_string("/proc/mounts").unwrap().contains(&format!(" {} bpf ", path.display()))
    };
    assert!(mounted(&path));
    drop(lab);
    assert!(!mounted(&path) && !path.exists());
}

#[test]
fn mtu_and_offloads_are_as_asked() {
    let lab = Lab::builder().mtu(1400).offloads(Offloads::OFF).build().unwrap();
    let show = |program: &str, arguments: &[&str]| {
        let mut command = Command::new(program);
        command.args(arguments);
        let output = exec(Some(lab.gateway()), command, Duration::from_secs(10)).unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(show("ip", &["link", "show", "front0"]).contains("mtu 1400"));
    let features = show("ethtool", &["-k", "back0"]);
    for feature in [
        "tcp-segmentation-offload",
        "generic-segmentation-offload",
        "generic-receive-offload",
        "tx-checksumming",
    ] {
        assert!(features.contains(&format!("{feature}: off")), "{features}");
    }
}

#[test]
fn a_load_counts_what_fails_when_an_endpoint_dies() {
    let lab = Lab::builder().build().unwrap();
    let mut nginx = Nginx::start(&lab, 0).unwrap();
    let request = "GET /128 HTTP/1.1\r\nHost: a\r\n\r\n";
    let load = Load::start(lab.client(), nginx.address(), 4, request, |answer| answer.body.len() == 128);
    load.wait_for_more(200, Duration::from_secs(10)).unwrap();
    nginx.kill().unwrap();
    until(Duration::from_secs(5), "the port to be refused", || {
        Connection::open(lab.client(), nginx.address()).is_err().then_some(())
    })
    .unwrap();
    nginx.restart().unwrap();
    load.wait_for_more(200, Duration::from_secs(10)).unwrap();
    let report = load.stop();
    assert!(report.failed() >= 4 && report.answered >= 400, "{report:?}");
    assert_eq!(report.endpoints.get("b0"), Some(&report.answered), "{report:?}");
}

#[test]
fn a_recorder_can_reset_and_be_early() {
    let lab = Lab::builder().build().unwrap();
    let recorder = Recorder::start(lab.backend(0), Addresses::backend_socket(0), |peer| match peer.index {
        0 => {
            peer.head()?;
            peer.reset()
        }
        _ => peer.send("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"),
    })
    .unwrap();
    let mut reset = Connection::open(lab.client(), recorder.address()).unwrap();
    assert!(matches!(reset.get("a", "/"), Err(testkit::ClientError::Reset)));
    let mut early = Connection::open(lab.client(), recorder.address()).unwrap();
    assert_eq!(early.response("GET").unwrap().status, 400);
    assert_eq!(early.rest().unwrap(), b"");
}
