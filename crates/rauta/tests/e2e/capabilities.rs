//! Threads have no capabilities, but those that open sockets and load programs, and what files and announcing need.

use std::collections::{BTreeMap, BTreeSet};

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
    let mut world = World::tuned(1, &manifest, &[collector, ("RAUTA_ACCESS_LOG_PATH", "stdout")]);
    let mut connection = Connection::open(world.lab.client(), (Addresses::GATEWAY, 80).into()).unwrap();
    assert_eq!(connection.get("a", "/128").unwrap().status, 200);
    let found = capabilities(world.gateway.process().pid());
    let (read, raw) = (1 << 1 | 1 << 2, 1 << 12 | 1 << 13); // CAP_DAC_*; CAP_NET_ADMIN, CAP_NET_RAW
    let mut seen = BTreeSet::new();
    for (name, sets) in &found {
        let (kind, kept) = match name.as_str() {
            // It opens sockets, and loads and attaches programs.
            "rauta" => continue,
            "files" | "notify-rs inoti" | "rauta-access" => (name.as_str(), read),
            "rauta-announce" => (name.as_str(), raw),
            _ if name.starts_with("rauta-proxy-") => ("rauta-proxy-", 0),
            _ => (name.as_str(), 0),
        };
        assert!(sets.iter().all(|set| set & !kept == 0), "{name}: {sets:x?}");
        seen.insert(kind);
    }
    let all = [
        "files",
        "rauta-access",
        "rauta-control",
        "rauta-health",
        "rauta-proxy-",
        "rauta-spans",
        "rauta-upgrade",
    ];
    for kind in all {
        assert!(seen.contains(kind), "{kind}: {found:?}");
    }
    // What a listener that is to come needs.
    assert!(found.get("rauta").is_some_and(|[effective, _]| *effective != 0), "{found:?}");
}
