//! Threads that read what strangers send have no capabilities; those that open sockets and load programs keep theirs.

use std::collections::BTreeMap;

use testkit::{Addresses, Connection};

use crate::world::World;

/// Of each thread of a process its name and the sets of capabilities that it has or could have.
fn capabilities(pid: u32) -> BTreeMap<String, [u64; 2]> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let of = |task: std::fs::DirEntry| {
        let status = std::fs::read_to_string(task.path().join("status")).ok()?;
        let field =
            |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_owned();
        let set = |name: &str| u64::from_str_radix(&field(name), 16).unwrap();
        Some((field("Name:"), [set("CapEff:"), set("CapPrm:")]))
    };
    tasks.flatten().filter_map(of).collect()
}

#[test]
fn threads_of_traffic_have_none_and_still_serve_ports_below_1024() {
    let manifest =
        crate::manifests::all_to(&[0]).replace("protocol: HTTP, port: 8080", "protocol: HTTP, port: 80");
    let checked = crate::backend_policy::policy("  healthCheck: {interval: 50ms, http: {path: /}}\n");
    let manifest = format!("{manifest}\n---\n{checked}");
    // Nobody has to be there to have the thread that sends spans.
    let collector = ("RAUTA_TRACING_ENDPOINT", "http://127.0.0.1:4318");
    let mut world = World::tuned(1, &manifest, &[collector]);
    let mut connection = Connection::open(world.lab.client(), (Addresses::GATEWAY, 80).into()).unwrap();
    assert_eq!(connection.get("a", "/128").unwrap().status, 200);
    let found = capabilities(world.gateway.process().pid());
    for kind in ["rauta-proxy-", "rauta-health", "rauta-spans"] {
        let threads: Vec<_> = found.iter().filter(|(name, _)| name.starts_with(kind)).collect();
        assert!(!threads.is_empty(), "{kind}: {found:?}");
        for (name, sets) in threads {
            assert_eq!(*sets, [0, 0], "{name}");
        }
    }
    // What a listener that is to come needs.
    assert!(found.get("rauta").is_some_and(|[effective, _]| *effective != 0), "{found:?}");
}
