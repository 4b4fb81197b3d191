//! The programs on real packets, in network namespaces. Needs root; fails without.
#![allow(clippy::unwrap_used, reason = "a panic is how a test reports")]
#![allow(clippy::cast_possible_truncation, reason = "frames and numbers of tests are short")]

mod doctor;
mod growth;
mod machine;
mod nftables;
mod notes;
mod routing;
mod sandbox;
mod warnings;
mod xdp;

use std::{fs, os::unix::fs::PermissionsExt};

use aya::programs::{SchedClassifier, TcAttachType};
use loader::{
    AttachError, Datapath, DetachError, Hook, ListenerAddress, Mechanism, Options, PinError, StartError,
    XdpMode, detach_all,
};
use sandbox::{GATEWAY_V4, GATEWAY_V6, Sandbox, UPLINK, in_sandbox, names, run};
use wire::ListenerCounters;

const PORT: u16 = 8080;

fn any(port: u16) -> ListenerAddress {
    ListenerAddress { address: None, port }
}

fn exact(address: &str, port: u16) -> ListenerAddress {
    ListenerAddress { address: Some(address.parse().unwrap()), port }
}

fn counters(datapath: &Datapath, listener: ListenerAddress) -> ListenerCounters {
    let all = datapath.listener_counters().unwrap();
    all.into_iter().find(|(address, _)| *address == listener).expect("the listener is counted").1
}

fn attached_programs() -> usize {
    SchedClassifier::query_tcx(UPLINK, TcAttachType::Ingress).unwrap().1.len()
}

fn clsact_filters() -> usize {
    let output =
        std::process::Command::new("tc").args(["filter", "show", "dev", UPLINK, "ingress"]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().matches("rauta_tc_ingress").count()
}

#[test]
fn real_connections_are_counted_and_pass() {
    in_sandbox(|sandbox| {
        let mut datapath = Datapath::start(&sandbox.options()).unwrap();
        let (exact_v6, any_v4) = (exact(GATEWAY_V6, PORT), any(PORT));
        datapath.set_listeners(&[exact_v6, any_v4]).unwrap();

        sandbox.connect(GATEWAY_V4, PORT);
        sandbox.connect(GATEWAY_V4, PORT);
        sandbox.connect(GATEWAY_V6, PORT);
        sandbox.connect(GATEWAY_V4, 9090); // not a listener of ours

        let (v4, v6) = (counters(&datapath, any_v4), counters(&datapath, exact_v6));
        assert_eq!((v4.connections, v6.connections), (2, 1));
        assert!(v4.packets >= 2 * 4 && v6.packets >= 4, "SYN, ACK, data, FIN each: {v4:?} {v6:?}");
        let metrics = datapath.metrics().unwrap();
        assert!(metrics.packets_total >= v4.packets + v6.packets);
        assert_eq!(metrics.packets_total, metrics.packets_tier3, "all of it passes to userspace");
        assert_eq!(metrics.packets_dropped, 0);
        datapath.detach().unwrap();
    });
}

#[test]
fn maps_program_and_links_are_pinned_for_the_owner_alone() {
    in_sandbox(|sandbox| {
        let datapath = Datapath::start(&sandbox.options()).unwrap();
        let folder = sandbox.pin_root().join(format!("v{}", wire::LAYOUT_VERSION));
        let pins = names(&folder);
        for pin in ["LISTENER_COUNTERS", "METRICS", "links", "rauta_tc_ingress"] {
            assert!(pins.contains(&pin.to_owned()), "{pins:?}");
        }
        assert_eq!(names(&folder.join("links")), ["rauta_tc_ingress@up%2e1"]);
        for folder in [sandbox.pin_root(), &folder, &folder.join("links")] {
            assert_eq!(fs::metadata(folder).unwrap().permissions().mode() & 0o777, 0o700);
        }
        let [attachment] = datapath.attachments() else { panic!("{:?}", datapath.attachments()) };
        assert_eq!((attachment.interface.as_str(), attachment.mechanism), (UPLINK, Mechanism::Tcx));
        assert_eq!(attachment.pin, Some(folder.join("links/rauta_tc_ingress@up%2e1")));

        datapath.detach().unwrap();
        assert_eq!(attached_programs(), 0);
        assert!(!sandbox.pin_root().exists());
    });
}

#[test]
fn a_restart_takes_over_what_the_last_run_left() {
    in_sandbox(|sandbox| {
        let mut first = Datapath::start(&sandbox.options()).unwrap();
        first.set_listeners(&[any(PORT)]).unwrap();
        sandbox.connect(GATEWAY_V4, PORT);
        first.keep();

        assert_eq!(attached_programs(), 1, "stays attached without an agent");
        sandbox.connect(GATEWAY_V4, PORT);

        let mut second = Datapath::start(&sandbox.options()).unwrap();
        second.set_listeners(&[any(PORT)]).unwrap();
        assert_eq!(attached_programs(), 1, "the link was updated, not doubled");
        assert_eq!(counters(&second, any(PORT)).connections, 2, "counted with and without an agent");
        sandbox.connect(GATEWAY_V4, PORT);
        assert_eq!(counters(&second, any(PORT)).connections, 3);
        second.detach().unwrap();
    });
}

#[test]
fn changed_listeners_leave_the_counters_of_the_others() {
    in_sandbox(|sandbox| {
        let mut datapath = Datapath::start(&sandbox.options()).unwrap();
        datapath.set_listeners(&[any(PORT), any(81)]).unwrap();
        sandbox.connect(GATEWAY_V4, PORT);
        datapath.set_listeners(&[any(PORT), any(82), any(82)]).unwrap();
        let listed: Vec<_> =
            datapath.listener_counters().unwrap().into_iter().map(|(address, _)| address).collect();
        assert_eq!(listed, [any(82), any(PORT)]);
        assert_eq!(counters(&datapath, any(PORT)).connections, 1);
        datapath.detach().unwrap();
    });
}

#[test]
fn more_listeners_than_the_kernel_counts_is_an_error_that_keeps_the_rest() {
    in_sandbox(|sandbox| {
        let mut datapath = Datapath::start(&sandbox.options()).unwrap();
        let many: Vec<_> = (0..=u16::try_from(wire::LISTENERS_MAX).unwrap()).map(any).collect();
        let error = datapath.set_listeners(&many).unwrap_err();
        assert!(error.to_string().contains("4096"), "{error}");
        assert_eq!(datapath.listener_counters().unwrap().len(), wire::LISTENERS_MAX);
        datapath.set_listeners(&[any(PORT)]).unwrap();
        assert_eq!(datapath.listener_counters().unwrap().len(), 1);
        datapath.detach().unwrap();
    });
}

#[test]
fn clsact_counts_where_there_is_no_tcx_and_a_restart_replaces_it_in_place() {
    in_sandbox(|sandbox| {
        let options = Options { tcx: false, ..sandbox.options() };
        let mut first = Datapath::start(&options).unwrap();
        assert_eq!(first.attachments()[0].mechanism, Mechanism::Clsact);
        assert_eq!(first.attachments()[0].pin, None);
        first.set_listeners(&[any(PORT)]).unwrap();
        first.keep();

        let second = Datapath::start(&options).unwrap();
        assert_eq!(clsact_filters(), 1);
        sandbox.connect(GATEWAY_V4, PORT);
        assert_eq!(counters(&second, any(PORT)).connections, 1);
        second.detach().unwrap();
        assert_eq!(clsact_filters(), 0);
    });
}

#[test]
fn a_run_with_tcx_replaces_what_clsact_left() {
    in_sandbox(|sandbox| {
        Datapath::start(&Options { tcx: false, ..sandbox.options() }).unwrap().keep();
        let mut datapath = Datapath::start(&sandbox.options()).unwrap();
        datapath.set_listeners(&[any(PORT)]).unwrap();
        assert_eq!((attached_programs(), clsact_filters()), (1, 0));
        sandbox.connect(GATEWAY_V4, PORT);
        assert_eq!(counters(&datapath, any(PORT)).connections, 1, "not counted twice");
        datapath.detach().unwrap();
    });
}

#[test]
fn what_a_dead_agent_left_can_be_removed_but_not_under_a_live_one() {
    in_sandbox(|sandbox| {
        let datapath = Datapath::start(&sandbox.options()).unwrap();
        let error = detach_all(sandbox.pin_root()).unwrap_err();
        assert!(matches!(error, DetachError::Pin(PinError::Busy { .. })), "{error}");
        datapath.keep();

        let removed = detach_all(sandbox.pin_root()).unwrap();
        assert_eq!(removed.len(), 1);
        assert_eq!((removed[0].interface.as_str(), removed[0].mechanism), (UPLINK, Mechanism::Tcx));
        assert_eq!(attached_programs(), 0);

        Datapath::start(&Options { tcx: false, ..sandbox.options() }).unwrap().keep();
        let removed = detach_all(sandbox.pin_root()).unwrap();
        assert_eq!(removed[0].mechanism, Mechanism::Clsact);
        assert_eq!(clsact_filters(), 0);
        assert_eq!(detach_all(sandbox.pin_root()).unwrap(), []);
    });
}

#[test]
fn pins_that_are_not_ours_are_refused_and_left() {
    in_sandbox(|sandbox| {
        Datapath::start(&sandbox.options()).unwrap().keep();
        let folder = sandbox.pin_root().join(format!("v{}", wire::LAYOUT_VERSION));
        let metrics = folder.join("METRICS");
        fs::remove_file(&metrics).unwrap();
        fs::rename(folder.join("LISTENER_COUNTERS"), &metrics).unwrap();

        let error = start_error(sandbox.options());
        assert!(
            matches!(&error, StartError::Pin(PinError::Foreign { path, .. }) if *path == metrics),
            "{error}"
        );
        assert!(metrics.exists());

        fs::remove_file(&metrics).unwrap();
        fs::rename(folder.join("rauta_tc_ingress"), &metrics).unwrap();
        let error = start_error(sandbox.options());
        assert!(matches!(error, StartError::Pin(PinError::Foreign { .. })), "{error}");
        detach_all(sandbox.pin_root()).unwrap();
    });
}

#[test]
fn another_layout_and_another_agent_are_refused() {
    in_sandbox(|sandbox| {
        let running = Datapath::start(&sandbox.options()).unwrap();
        assert!(matches!(start_error(sandbox.options()), StartError::Pin(PinError::Busy { .. })));
        running.keep();

        let other = sandbox.pin_root().join("v1");
        fs::create_dir(&other).unwrap();
        let error = start_error(sandbox.options());
        assert!(
            matches!(&error, StartError::Pin(PinError::OtherLayout { path }) if *path == other),
            "{error}"
        );
        assert_eq!(detach_all(sandbox.pin_root()).unwrap().len(), 1);
        assert!(!other.exists(), "detach removes every layout");
    });
}

#[test]
fn an_interface_that_came_anew_is_attached_anew() {
    in_sandbox(|sandbox| {
        Datapath::start(&sandbox.options()).unwrap().keep();
        sandbox.unplug();
        sandbox.plug_in();
        let mut datapath = Datapath::start(&sandbox.options()).unwrap();
        datapath.set_listeners(&[any(PORT)]).unwrap();
        sandbox.connect(GATEWAY_V4, PORT);
        assert_eq!(counters(&datapath, any(PORT)).connections, 1);
        datapath.detach().unwrap();
    });
}

#[test]
fn a_link_of_another_interface_is_not_taken_over() {
    in_sandbox(|sandbox: &Sandbox| {
        Datapath::start(&sandbox.options()).unwrap().keep();
        run(&format!("ip link set {UPLINK} down"));
        run(&format!("ip link set {UPLINK} name renamed"));
        sandbox.plug_in_as_second();
        let options = Options { interfaces: vec![UPLINK.into()], ..sandbox.options() };
        let error = start_error(options);
        assert!(matches!(error, StartError::Attach(AttachError::Elsewhere { .. })), "{error}");
        detach_all(sandbox.pin_root()).unwrap();
    });
}

#[test]
fn settings_that_cannot_work_say_why() {
    in_sandbox(|sandbox| {
        let options = |interfaces: &[&str], hook| Options {
            interfaces: interfaces.iter().map(ToString::to_string).collect(),
            hook,
            ..sandbox.options()
        };
        for hook in [Hook::Auto, Hook::Xdp] {
            let error = start_error(Options { xdp_mode: XdpMode::Hw, ..options(&[], hook) });
            assert!(error.to_string().contains("dataplane.xdpMode to auto, native or skb"), "{error}");
        }
        assert!(matches!(start_error(options(&[], Hook::Off)), StartError::SwitchedOff));
        let error = start_error(options(&["eth9"], Hook::Auto));
        assert!(error.to_string().contains("eth9"), "{error}");
        let error = start_error(Options { pin_root: "/tmp/rauta".into(), ..sandbox.options() });
        assert!(matches!(error, StartError::Pin(PinError::NotBpffs { .. })), "{error}");
        run(&format!("ip link set {UPLINK} down"));
        assert!(matches!(start_error(options(&[], Hook::Tc)), StartError::NoInterfaces));
        assert!(!sandbox.pin_root().exists(), "nothing was made");
    });
}

#[test]
fn without_capabilities_the_error_names_them() {
    in_sandbox(|sandbox| {
        sandbox.drop_capabilities(&[]);
        let error = start_error(sandbox.options());
        assert!(error.to_string().contains("CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON"), "{error}");
    });
}

#[test]
fn three_capabilities_are_enough() {
    const CAP_NET_ADMIN: u8 = 12;
    const CAP_PERFMON: u8 = 38;
    const CAP_BPF: u8 = 39;
    for tcx in [true, false] {
        in_sandbox(move |sandbox| {
            sandbox.drop_capabilities(&[CAP_NET_ADMIN, CAP_PERFMON, CAP_BPF]);
            let mut datapath = Datapath::start(&Options { tcx, ..sandbox.options() }).unwrap();
            datapath.set_listeners(&[any(PORT)]).unwrap();
            sandbox.connect(GATEWAY_V4, PORT);
            assert_eq!(counters(&datapath, any(PORT)).connections, 1);
            datapath.keep();
            Datapath::start(&Options { tcx, ..sandbox.options() }).unwrap().detach().unwrap();
        });
    }
}

fn start_error(options: Options) -> StartError {
    match Datapath::start(&options) {
        Err(error) => error,
        Ok(_) => panic!("started with {options:?}"),
    }
}
