//! Tables of routes that are too small: they grow while the kernel serves, as far as settings let them.

use std::time::{Duration, Instant};

use testkit::{Load, Response, until};

use crate::manifests;
use crate::world::{Network, World, hook};

on_two_networks!(
    tables_grow_under_load_and_cost_no_request,
    tables_grow_under_xdp_and_cost_no_request,
    an_agent_that_is_killed_in_a_growth_leaves_no_wrong_route,
    what_finds_no_room_is_served_and_said_once,
    maps_take_little_by_default,
);
with_clsact!(tables_grow_under_load_and_cost_no_request);

/// Room for the routes of every case and little more.
const SMALL: [(&str, &str); 4] = [
    ("RAUTA_DATAPLANE_TABLES_ROUTES", "16-4096"),
    ("RAUTA_DATAPLANE_TABLES_CANDIDATES", "32-4096"),
    ("RAUTA_DATAPLANE_TABLES_ACTIONS", "32-4096"),
    ("RAUTA_DATAPLANE_TABLES_PREFIXES", "32-4096"),
];

/// Loading programs takes a busy machine long.
const GROWS: Duration = Duration::from_secs(120);

/// Host `nN.test` for each N below `count`, with `/x` at an endpoint of its own.
fn many(count: usize) -> String {
    let one = |n: usize| {
        let backend = format!("[{{name: {}, port: 80}}]", if n.is_multiple_of(2) { "a" } else { "b" });
        manifests::route(&format!("n{n}"), Some(&format!("n{n}.test")), &[("Exact", "/x", &backend)])
    };
    (0..count).map(one).collect()
}

#[track_caller]
fn assert_serves(world: &World, hosts: impl IntoIterator<Item = usize>) {
    for n in hosts {
        let answer = world.connect().get(&format!("n{n}.test"), "/x").unwrap();
        assert_eq!(answer.endpoint(), Some(["b0", "b1"][n % 2]), "n{n}.test");
    }
}

fn size(world: &World, table: &str) -> f64 {
    world.gateway.metric("rauta_kernel_table_size", &format!("table=\"{table}\"")).unwrap()
}

fn is_well(answer: &Response) -> bool {
    answer.status == 200
}

fn tables_grow_under_load_and_cost_no_request(network: Network) {
    if hook() != "off" {
        grow_under_load(network, World::tuned(network, &SMALL));
    }
}

fn tables_grow_under_xdp_and_cost_no_request(network: Network) {
    grow_under_load(network, World::early(network, &SMALL));
}

fn grow_under_load(network: Network, mut world: World) {
    const COUNT: usize = 300;
    assert!((size(&world, "actions") - 32.0).abs() < 0.1);
    let request = "GET /both HTTP/1.1\r\nHost: a.test\r\n\r\n";
    let closing = "GET /b HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n";
    let pause = Duration::from_millis(20);
    let kept = Load::paced(world.lab.client(), world.address(), 20, pause, request, is_well);
    let new = Load::start(world.lab.client_two(), world.address(), 2, closing, is_well);
    kept.wait_for_more(100, Duration::from_secs(20)).unwrap();
    let share = world.kernel_share_of(|world| {
        let manifest = format!("{}{}", manifests::routes(network), many(COUNT));
        world.gateway.replace("all.yaml", &manifest).unwrap();
        until(GROWS, "the tables to grow", || (size(world, "actions") > 32.5).then_some(())).unwrap();
        kept.wait_for_more(200, Duration::from_secs(20)).unwrap();
        new.wait_for_more(100, Duration::from_secs(20)).unwrap();
    });
    assert!(share >= 0.99, "the kernel decided {share} of the requests");
    let log = world.gateway.log();
    assert_eq!(log.matches("kernel tables are larger: ").count(), 1, "{log}");
    // What rested when they grew has its place a moment later.
    until(GROWS, "all routes to be in the kernel", || {
        let all = world.gateway.cli(&["routes", "-o", "wide"]).unwrap();
        (!String::from_utf8(all.stdout).unwrap().contains("a kernel table is full")).then_some(())
    })
    .unwrap();
    world.decides(43, || assert_serves(&world, (0..COUNT).step_by(7)));

    // The next agent goes on in the larger maps.
    let sizes = ["routes", "candidates", "actions"].map(|table| size(&world, table).to_string());
    world.gateway.process().kill().unwrap();
    kept.wait_for_more(100, Duration::from_secs(20)).unwrap();
    world.restart();
    world.wait_for_the_kernel();
    assert_eq!(["routes", "candidates", "actions"].map(|table| size(&world, table).to_string()), sizes);
    kept.wait_for_more(100, Duration::from_secs(20)).unwrap();
    let (kept, new) = (kept.stop(), new.stop());
    assert_eq!((kept.failed(), kept.connections), (0, 20), "{kept:?}");
    assert_eq!(new.failed(), 0, "{new:?}");
    // The log is that of both agents.
    let log = world.gateway.log();
    assert_eq!(log.matches("kernel tables are larger: ").count(), 1, "{log}");
}

/// Killed as soon as the first of the larger maps has a pin, beside that of the smaller one: some interfaces may have the new programs, some
/// maps their names.
fn an_agent_that_is_killed_in_a_growth_leaves_no_wrong_route(network: Network) {
    if hook() == "off" {
        return;
    }
    let mut world = World::tuned(network, &SMALL);
    let request = "GET /both HTTP/1.1\r\nHost: a.test\r\n\r\n";
    let pause = Duration::from_millis(20);
    let kept = Load::paced(world.lab.client(), world.address(), 10, pause, request, is_well);
    kept.wait_for_more(100, Duration::from_secs(20)).unwrap();
    let folder = world.lab.bpffs().unwrap().join("pins").join(format!("v{}", wire::LAYOUT_VERSION));
    let unfinished = || {
        let names = std::fs::read_dir(&folder).unwrap().flatten();
        names.filter(|entry| entry.file_name().to_string_lossy().ends_with("-new")).count()
    };
    // Where it was too late, it grows once more.
    let died_in_it = [50, 200, 800].into_iter().any(|count| {
        let manifest = format!("{}{}", manifests::routes(network), many(count));
        world.gateway.replace("all.yaml", &manifest).unwrap();
        let deadline = Instant::now() + GROWS;
        let grown = || world.gateway.log().matches("kernel tables are larger: ").count();
        let (before, mut looks) = (grown(), 0_u32);
        while unfinished() == 0 {
            looks += 1;
            // On a busy machine it may be over before it was seen.
            if looks.is_multiple_of(1000) && grown() > before {
                break;
            }
            assert!(Instant::now() < deadline, "no growth to {count} routes\n{}", world.gateway.log());
            std::thread::yield_now();
        }
        world.gateway.process().kill().unwrap();
        let left = unfinished();
        kept.wait_for_more(100, Duration::from_secs(20)).unwrap();
        world.restart_with(&manifest);
        world.wait_for_the_kernel();
        assert_serves(&world, (0..count).step_by(7));
        assert_eq!(unfinished(), 0);
        until(GROWS, "all routes to be in the kernel", || {
            let all = world.gateway.cli(&["routes", "-o", "wide"]).unwrap();
            (!String::from_utf8(all.stdout).unwrap().contains("a kernel table is full")).then_some(())
        })
        .unwrap();
        world.decides(25, || assert_serves(&world, count - 25..count));
        left > 0
    });
    assert!(died_in_it, "each time the growth had ended");
    let kept = kept.stop();
    assert_eq!((kept.failed(), kept.connections), (0, 10), "{kept:?}");
}

fn what_finds_no_room_is_served_and_said_once(network: Network) {
    const COUNT: usize = 60;
    let limits = SMALL.map(|(name, room)| (name, room.split_once('-').unwrap().0));
    let world = World::tuned(network, &[&limits[..], &[("RAUTA_LOG_LEVEL", "debug")]].concat());
    world.gateway.replace("all.yaml", &format!("{}{}", manifests::routes(network), many(COUNT))).unwrap();
    let answers = |response: &Response| response.endpoint() == Some("b1");
    world.gateway.wait_for_answer(world.lab.client(), "n59.test", "/x", answers).unwrap();
    // The hosts change one after the other, and it is said when all have changed.
    let said = "kernel tables are at their limits, userspace serves what finds no room: ";
    if world.hook != "off" {
        until(GROWS, "the limits to be said", || world.gateway.log().contains(said).then_some(())).unwrap();
    }
    assert_serves(&world, 0..COUNT);
    if world.hook == "off" {
        return;
    }
    // Other configurations do not make it news, and what was in the kernel stays there. Each is looked at.
    let looks = || world.gateway.log().matches("some routes find no room in kernel tables").count();
    let counts = || world.gateway.log().matches("room that kernel tables would need").count();
    let (counted, lacking) = (counts(), |table: &str| {
        let labels = format!("table=\"{table}\"");
        world.gateway.metric("rauta_kernel_table_lacking", &labels).unwrap()
    });
    assert!(lacking("actions") > 0.5 && lacking("hosts") < 0.5, "{}", world.gateway.metrics().unwrap());
    for count in [COUNT + 1, COUNT] {
        let before = looks();
        let manifest = format!("{}{}", manifests::routes(network), many(count));
        world.gateway.replace("all.yaml", &manifest).unwrap();
        until(GROWS, "a look at what finds no room", || (looks() > before).then_some(())).unwrap();
    }
    assert_eq!(world.gateway.log().matches(said).count(), 1, "{}", world.gateway.log());
    assert_eq!(counts(), counted, "what is known to be beyond its limit is not counted again");
    world.decides(5, || {
        for _ in 0..5 {
            assert_eq!(world.get("/b").endpoint(), Some("b1"));
        }
    });
    let routes = world.gateway.cli(&["routes", "-o", "wide"]).unwrap();
    assert!(String::from_utf8(routes.stdout).unwrap().contains("a kernel table is full"));
    assert!(!world.gateway.log().contains("kernel tables are larger: "), "{}", world.gateway.log());

    world.gateway.replace("all.yaml", &manifests::routes(network)).unwrap();
    let over = "kernel tables have room for all routes again";
    until(GROWS, "the end of it", || world.gateway.log().contains(over).then_some(())).unwrap();
    assert_eq!(world.gateway.log().matches(over).count(), 1);
    assert!(lacking("actions") < 0.5);
}

/// 16 MB, and what each CPU has of its own: 20 MB on two of them.
fn maps_take_little_by_default(network: Network) {
    if hook() == "off" {
        return;
    }
    let world = World::new(network);
    let bytes = |of: &str| world.gateway.metric("rauta_kernel_map_bytes", &format!("of=\"{of}\"")).unwrap();
    let cpus = std::fs::read_to_string("/sys/devices/system/cpu/possible").unwrap();
    let last: u32 = cpus.trim().rsplit(['-', ',']).next().unwrap().parse().unwrap();
    let most = 16e6 + 2e6 * f64::from(last + 1);
    assert!((5e6..most).contains(&bytes("other")), "{} of {most} bytes", bytes("other"));
    assert!((50e6..70e6).contains(&bytes("connections")), "{} bytes", bytes("connections"));
    let status = world.gateway.cli(&["status"]).unwrap();
    let status = String::from_utf8(status.stdout).unwrap();
    for text in ["kernel memory", " MB for connections, ", "MAGLEV_TABLES", "8192", "flows       FLOWS"] {
        assert!(status.contains(text), "no {text} in\n{status}");
    }
}
