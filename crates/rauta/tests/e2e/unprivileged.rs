//! Without root: the examples serve on loopback, and the agent says once what it goes without.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use testkit::{Connection, Lab, Process, until};

use crate::world::RAUTA;

/// Runs `rauta ARGUMENTS` as nobody, without any capability, in the client's namespace of `lab`.
fn as_nobody(lab: &Lab, home: &Path, name: &str, arguments: &[&str]) -> Process {
    let mut command = Command::new("setpriv");
    command
        .args([
            "--reuid",
            "65534",
            "--regid",
            "65534",
            "--clear-groups",
            "--bounding-set=-all",
            "--no-new-privs",
        ])
        .arg(home.join("rauta"))
        .args(arguments)
        .env_remove("XDG_RUNTIME_DIR")
        .env("TMPDIR", home);
    lab.spawn(lab.client(), name, command).unwrap()
}

#[test]
fn the_local_example_serves_as_nobody() {
    let lab = Lab::builder().build().unwrap();
    // A copy that nobody can reach, wherever the checkout is.
    let home = tempfile::tempdir().unwrap();
    std::fs::set_permissions(home.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
    std::fs::copy(RAUTA, home.path().join("rauta")).unwrap();
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/local");
    let manifests = home.path().join("local");
    std::fs::create_dir(&manifests).unwrap();
    for entry in std::fs::read_dir(example).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), manifests.join(entry.file_name())).unwrap();
    }

    let _echo =
        as_nobody(&lab, home.path(), "echo", &["echo", "--listen", "127.0.0.1:9000", "--name", "demo"]);
    let mut gateway = as_nobody(&lab, home.path(), "gateway", &["run", "-f", manifests.to_str().unwrap()]);
    let address: SocketAddr = "127.0.0.1:8080".parse().unwrap();
    let answer = until(Duration::from_secs(20), "an answer", || {
        let mut connection = Connection::open(lab.client(), address).ok()?;
        connection.get("localhost", "/hello").ok().filter(|answer| answer.status == 200)
    })
    .unwrap_or_else(|error| panic!("{error:#}\n{}", gateway.log()));
    assert!(answer.text().contains("/hello") && answer.text().contains("demo"), "{answer:?}");
    assert!(!gateway.log().contains("panicked"), "{}", gateway.log());

    gateway.signal(testkit::Signal::SIGTERM).unwrap();
    assert_eq!(gateway.wait(Duration::from_secs(20)).unwrap().code(), Some(0), "{}", gateway.log());
    let about_kernel =
        gateway.log().lines().filter(|line| line.contains("CAP_") || line.contains("privilege")).count();
    assert_eq!(about_kernel, 1, "said once what it goes without:\n{}", gateway.log());
}
