//! Tables of routes in larger maps, under programs that run.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::Ordering;

use aya::programs::links::FdLink;
use aya::programs::tc::TcAttachOptions;
use aya::programs::{LinkOrder, SchedClassifier, TcAttachType};
use loader::{AttachError, Datapath, Grown, Hook, Options, StartError, Write, maps_of};
use nix::net::if_::if_nametoindex;
use wire::{EndpointRecord, Flow, Leg, Tuple};
use zerocopy::IntoBytes;

use crate::sandbox::{Sandbox, UPLINK, in_sandbox, lay_wire, names, run};

/// Room for little, in all tables.
fn small(sandbox: &Sandbox) -> Options {
    let names = [
        "HOSTS",
        "ROUTES",
        "PREFIX_ROUTES",
        "CANDIDATES",
        "HEADER_CONDITIONS",
        "ROUTE_ACTIONS",
        "BACKENDS",
        "MAGLEV_TABLES",
        "ENDPOINTS",
        "BACKEND_MEMBERS",
    ];
    Options { tables: names.into_iter().map(|name| (name, 16)).collect(), ..sandbox.options() }
}

/// The number of the XDP program of an interface; none without one.
fn early_program_at(interface: &str) -> Option<u32> {
    let output = Command::new("ip").args(["link", "show", "dev", interface]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let (_, after) = text.split_once("prog/xdp id ")?;
    Some(after.split_whitespace().next().unwrap().parse().unwrap())
}

/// The number of the program of ours that sees the packets of an interface, which is one.
fn program_at(interface: &str, tcx: bool) -> u32 {
    if tcx {
        let (_, programs) = SchedClassifier::query_tcx(interface, TcAttachType::Ingress).unwrap();
        assert_eq!(programs.len(), 1, "at {interface}");
        return programs[0].id();
    }
    let mut show = Command::new("tc");
    let output = show.args(["filter", "show", "dev", interface, "ingress"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text.matches("rauta_tc_ingress").count(), 1, "{text}");
    let (_, rest) = text.split_once(" id ").unwrap();
    rest.split_whitespace().next().unwrap().parse().unwrap()
}

/// Something of everything.
fn fill(datapath: &mut Datapath) {
    let record = EndpointRecord { generation: 7, port: [1, 2], ..EndpointRecord::default() };
    let flow = Flow { state: dataplane::flow::state::UNBOUND, ..Flow::default() };
    let host = [&40u32.to_ne_bytes()[..], &[1; 72]].concat();
    let prefix = [&40u32.to_ne_bytes()[..], &[2; 252]].concat();
    for (map, key, value) in [
        ("ENDPOINTS", 15u32.as_bytes(), record.as_bytes()),
        ("ROUTES", &[3; 16], &[4; 264]),
        ("HOSTS", &host, &[5; 136]),
        ("PREFIX_ROUTES", &prefix, &[6; 16]),
        ("MAGLEV_TABLES", 1u32.as_bytes(), &[7; 8208]),
        ("COPIES", 2u32.as_bytes(), &[8; 4]),
        ("FLOWS", Tuple::default().as_bytes(), flow.as_bytes()),
        ("LEGS", Tuple::default().as_bytes(), Leg::default().as_bytes()),
    ] {
        datapath.apply([Write { map, key, value: Some(value) }]).unwrap();
    }
}

/// Every entry that is not zero.
fn content(datapath: &Datapath) -> BTreeMap<String, Vec<loader::Entry>> {
    let maps = datapath.memory().into_iter().map(|usage| usage.map);
    let readable = |map: &String| !["EVENTS", "PARTS", "XDP_PARTS"].contains(&map.as_str());
    // These say when the agent lived last, and what the machine has.
    let is_of_now = |map: &String| ["SETTINGS", "XDP_DEVICES"].contains(&map.as_str());
    let is_counted = |map: &String| map.contains("RESPONSES") || map.contains("COUNTERS") || map == "NOTES";
    let is_counted = |map: &String| {
        is_counted(map) || ["METRICS", "REASONS", "SCRATCH", "NEXT_REQUEST"].contains(&map.as_str())
    };
    maps.filter(|map| readable(map) && !is_counted(map) && !is_of_now(map))
        .map(|map| {
            let entries = datapath.dump(&map).unwrap();
            let used = entries.into_iter().filter(|(_, value)| value.iter().any(|byte| *byte != 0));
            (map, used.collect())
        })
        .collect()
}

fn grows(sandbox: &Sandbox, tcx: bool, hook: Hook) {
    let options = Options { tcx, hook, ..small(sandbox) };
    let is_early = hook == Hook::Xdp;
    let mut datapath = Datapath::start(&options).unwrap();
    datapath.kernel_routing().expect("this kernel routes");
    assert!(datapath.table_sizes().values().all(|size| *size == 16), "{:?}", datapath.table_sizes());
    fill(&mut datapath);
    let (before, program) = (content(&datapath), program_at(UPLINK, tcx));
    let early = early_program_at(UPLINK);
    assert_eq!(early.is_some(), is_early);
    assert_eq!(before.values().map(Vec::len).sum::<usize>(), 7, "what was written and is not zero");

    let wanted: BTreeMap<_, _> = datapath.table_sizes().into_keys().map(|table| (table, 200)).collect();
    let grown = Grown::load(&datapath.plan_growth(&wanted)).unwrap();
    assert_eq!(program_at(UPLINK, tcx), program, "nothing has changed yet");
    datapath.grow(grown).unwrap();
    assert_eq!(datapath.table_sizes(), wanted);
    assert!(content(&datapath) == before);
    let after = program_at(UPLINK, tcx);
    assert_ne!(after, program);
    let early_after = early_program_at(UPLINK);
    assert_eq!((early_after.is_some(), early_after != early), (is_early, is_early));
    assert!(datapath.attachments().iter().all(|at| at.xdp.is_some() == is_early));

    // The new maps are those that are written to, those that programs read, and those that the next agent finds.
    let late = EndpointRecord { generation: 9, ..EndpointRecord::default() };
    datapath
        .apply([Write { map: "ENDPOINTS", key: 199u32.as_bytes(), value: Some(late.as_bytes()) }])
        .unwrap();
    let folder = fs::read_dir(sandbox.pin_root()).unwrap().next().unwrap().unwrap().path();
    assert!(names(&folder).iter().all(|name| !name.ends_with("-new")), "{:?}", names(&folder));
    let full = content(&datapath);
    datapath.keep();
    let datapath = Datapath::start(&options).unwrap();
    assert_eq!(datapath.table_sizes(), wanted);
    assert!(content(&datapath) == full);
    assert!(datapath.attachments().iter().all(|at| at.xdp.is_some() == is_early));
    datapath.detach().unwrap();
    assert_eq!(early_program_at(UPLINK), None);
    assert!(!sandbox.pin_root().exists(), "nothing stays");
}

#[test]
fn tables_go_on_in_larger_maps_with_all_that_is_in_them() {
    in_sandbox(|sandbox| grows(sandbox, true, Hook::Tc));
}

#[test]
fn tables_grow_on_a_kernel_without_tcx() {
    in_sandbox(|sandbox| grows(sandbox, false, Hook::Tc));
}

#[test]
fn tables_grow_under_xdp() {
    in_sandbox(|sandbox| grows(sandbox, true, Hook::Xdp));
}

/// The maps that are others after a growth of all tables.
fn grown_maps(datapath: &Datapath) -> Vec<&'static str> {
    datapath.table_sizes().into_keys().flat_map(maps_of).chain(["PARTS", "XDP_PARTS"]).collect()
}

/// An agent that dies in a growth leaves larger maps beside the small ones, and those in use under either's name: as many were renamed.
fn dies_in_a_growth(sandbox: &Sandbox, hook: Hook, renamed: impl Fn(usize) -> usize) {
    let options = Options { hook, ..small(sandbox) };
    let mut datapath = Datapath::start(&options).unwrap();
    fill(&mut datapath);
    let (before, sizes) = (content(&datapath), datapath.table_sizes());
    let wanted: BTreeMap<_, _> = sizes.keys().map(|table| (*table, 200)).collect();
    let folder = fs::read_dir(sandbox.pin_root()).unwrap().next().unwrap().unwrap().path();
    let (maps, place) = (grown_maps(&datapath), |map: &str, end: &str| folder.join(format!("{map}{end}")));
    let pin = |map: &str, at: &Path| {
        run(&format!("bpftool map pin pinned {} {}", folder.join(map).display(), at.display()));
    };
    maps.iter().for_each(|map| pin(map, &place(map, "-small")));
    datapath.grow(Grown::load(&datapath.plan_growth(&wanted)).unwrap()).unwrap();
    let (done, rest) = maps.split_at(renamed(maps.len()));
    for map in rest {
        fs::rename(place(map, ""), place(map, "-new")).unwrap();
        fs::rename(place(map, "-small"), place(map, "")).unwrap();
    }
    done.iter().for_each(|map| fs::remove_file(place(map, "-small")).unwrap());
    let ran = (program_at(UPLINK, true), early_program_at(UPLINK));
    datapath.keep();

    let mut next = Datapath::start(&options).unwrap();
    assert!(names(&folder).iter().all(|name| !name.contains("-")), "{:?}", names(&folder));
    let runs = (program_at(UPLINK, true), early_program_at(UPLINK));
    assert_ne!(runs.0, ran.0);
    assert_eq!((runs.1.is_some(), runs.1 != ran.1), (hook == Hook::Xdp, hook == Hook::Xdp));
    for (table, size) in next.table_sizes() {
        let has_all = maps_of(table).iter().all(|map| done.contains(map));
        assert_eq!(size, if has_all { 200 } else { 16 }, "{table}, {done:?}");
    }
    assert!(content(&next) == before, "the same in both");
    // It goes on, and so does the growth.
    let late = EndpointRecord { generation: 9, ..EndpointRecord::default() };
    next.apply([Write { map: "ENDPOINTS", key: 14u32.as_bytes(), value: Some(late.as_bytes()) }]).unwrap();
    let full = content(&next);
    next.grow(Grown::load(&next.plan_growth(&wanted)).unwrap()).unwrap();
    assert_eq!(next.table_sizes(), wanted);
    assert!(content(&next) == full && full != before);
    next.detach().unwrap();
    assert!(!sandbox.pin_root().exists(), "nothing stays");
}

#[test]
fn after_a_death_before_the_first_larger_map_has_its_name_the_small_ones_go_on() {
    in_sandbox(|sandbox| dies_in_a_growth(sandbox, Hook::Tc, |_| 0));
}

#[test]
fn after_a_death_when_half_of_the_larger_maps_have_their_names_what_is_found_goes_on() {
    in_sandbox(|sandbox| dies_in_a_growth(sandbox, Hook::Tc, |all| all / 2));
}

#[test]
fn after_a_death_under_xdp_what_is_found_goes_on() {
    in_sandbox(|sandbox| dies_in_a_growth(sandbox, Hook::Xdp, |all| all / 2));
}

#[test]
fn a_table_that_does_not_grow_stays_where_it_is() {
    in_sandbox(|sandbox| {
        let mut datapath = Datapath::start(&small(sandbox)).unwrap();
        let id = |map: &str| {
            let folder = fs::read_dir(sandbox.pin_root()).unwrap().next().unwrap().unwrap().path();
            let pin = folder.join(map);
            let mut show = Command::new("bpftool");
            let output = show.args(["-j", "map", "show", "pinned"]).arg(pin).output().unwrap();
            String::from_utf8(output.stdout).unwrap().split(',').next().unwrap().to_owned()
        };
        let before = ["ROUTES", "COPIES", "ENDPOINTS", "FLOWS", "SETTINGS"].map(id);
        let wanted = BTreeMap::from([("ROUTE_ACTIONS", 100), ("ROUTES", 8)]);
        datapath.grow(Grown::load(&datapath.plan_growth(&wanted)).unwrap()).unwrap();
        let after = ["ROUTES", "COPIES", "ENDPOINTS", "FLOWS", "SETTINGS"].map(id);
        let is_same: Vec<bool> = before.iter().zip(&after).map(|(before, after)| before == after).collect();
        assert_eq!(is_same, [true, false, true, true, true], "{before:?} {after:?}");
        assert_eq!((datapath.table_sizes()["ROUTE_ACTIONS"], datapath.table_sizes()["ROUTES"]), (100, 16));
        datapath.detach().unwrap();
    });
}

/// All interfaces but the last have the new programs when that refuses them.
#[test]
fn growth_that_fails_leaves_everything_as_it_was() {
    in_sandbox(|sandbox| fails(sandbox, Hook::Tc));
}

#[test]
fn growth_that_fails_under_xdp_leaves_everything_as_it_was() {
    in_sandbox(|sandbox| fails(sandbox, Hook::Xdp));
}

fn fails(sandbox: &Sandbox, hook: Hook) {
    lay_wire();
    let mut datapath = Datapath::start(&Options { hook, ..small(sandbox) }).unwrap();
    fill(&mut datapath);
    let (before, sizes, attached) =
        (content(&datapath), datapath.table_sizes(), datapath.attachments().to_vec());
    let interfaces: Vec<_> = attached.iter().map(|at| at.interface.clone()).collect();
    assert!(interfaces.len() > 1 && if_nametoindex("left").is_ok(), "{interfaces:?}");
    let programs = || {
        let at = |name: &String| (program_at(name, true), early_program_at(name));
        interfaces.iter().map(at).collect::<Vec<_>>()
    };
    assert!(programs().iter().all(|(_, early)| early.is_some() == (hook == Hook::Xdp)));
    let ran = programs();
    let wanted: BTreeMap<_, _> = sizes.keys().map(|table| (*table, 64)).collect();
    let folder = fs::read_dir(sandbox.pin_root()).unwrap().next().unwrap().unwrap().path();
    let last = attached.last().unwrap();
    let pin = last.pin.clone().unwrap();
    let aside = pin.with_file_name("aside");
    let metrics = folder.join("METRICS");
    for is_seen in [true, false] {
        let grown = Grown::load(&datapath.plan_growth(&wanted)).unwrap();
        fs::rename(&pin, &aside).unwrap();
        // What is in the place of the last one's link is none, or one that is found to be of egress when its turn comes.
        if is_seen {
            run(&format!("bpftool map pin pinned {} {}", metrics.display(), pin.display()));
        } else {
            let mut program = SchedClassifier::from_pin(folder.join("rauta_tc_ingress")).unwrap();
            let first = TcAttachOptions::TcxOrder(LinkOrder::first());
            let link = program.attach_with_options(&last.interface, TcAttachType::Egress, first).unwrap();
            FdLink::try_from(program.take_link(link).unwrap()).unwrap().pin(&pin).unwrap();
        }
        let error = datapath.grow(grown).unwrap_err();
        match is_seen {
            true => assert!(matches!(error, StartError::Pin(_)), "{error}"),
            false => {
                assert!(matches!(error, StartError::Attach(AttachError::Elsewhere { .. })), "{error}")
            }
        }
        assert_eq!(datapath.table_sizes(), sizes);
        assert!(content(&datapath) == before);
        assert_eq!(programs(), ran, "each has its own, and that where nothing was exchanged most of all");
        assert_eq!(datapath.attachments(), attached);
        assert!(names(&folder).iter().all(|name| !name.ends_with("-new")), "{:?}", names(&folder));
        fs::remove_file(&pin).unwrap();
        fs::rename(&aside, &pin).unwrap();
    }

    // It works where nothing is in the way.
    datapath.grow(Grown::load(&datapath.plan_growth(&wanted)).unwrap()).unwrap();
    assert_eq!(datapath.table_sizes(), wanted);
    datapath.detach().unwrap();
}

/// Nobody waits for programs that nobody wants any more.
#[test]
fn a_load_that_is_given_up_ends_before_the_next_program() {
    in_sandbox(|sandbox| {
        let datapath = Datapath::start(&small(sandbox)).unwrap();
        let wanted: BTreeMap<_, _> = datapath.table_sizes().into_keys().map(|table| (table, 64)).collect();
        let plan = datapath.plan_growth(&wanted);
        plan.abandoned().store(true, Ordering::Relaxed);
        assert!(matches!(Grown::load(&plan).map(drop), Err(StartError::Abandoned)));
        datapath.detach().unwrap();
    });
}

#[test]
fn what_maps_take_is_the_kernels_own_figure() {
    in_sandbox(|sandbox| {
        let datapath = Datapath::start(&sandbox.options()).unwrap();
        let folder = fs::read_dir(sandbox.pin_root()).unwrap().next().unwrap().unwrap().path();
        let usage = datapath.memory();
        assert!(usage.iter().filter(|one| one.is_of_connections()).count() == 3);
        for one in usage {
            let mut show = Command::new("bpftool");
            let output =
                show.args(["-j", "map", "show", "pinned"]).arg(folder.join(&one.map)).output().unwrap();
            let text = String::from_utf8(output.stdout).unwrap();
            assert!(text.contains(&format!("\"max_entries\":{},", one.entries)), "{one:?} {text}");
            assert!(text.contains(&format!("\"bytes_memlock\":{}", one.bytes)), "{one:?} {text}");
        }
        datapath.detach().unwrap();
    });
}
