//! The XDP program: where it is attached, that it stays through a restart, and that it goes.

use std::{path::PathBuf, process::Command};

use aya::{
    EbpfLoader,
    programs::{Xdp, XdpMode as AyaMode},
};
use loader::{Attachment, Datapath, Hook, Options, StartError, XdpMode, detach_all};

use tracing::subscriber::set_default;
use tracing_subscriber::layer::SubscriberExt;

use crate::sandbox::{GATEWAY_V4, GATEWAY_V6, Sandbox, UPLINK, in_sandbox, lay_wire, names, run};
use crate::warnings::Warnings;
use crate::{PORT, any, counters, start_error};

/// How the uplink shows its XDP program, such as `xdp` or `xdpgeneric`, and the program's number.
pub(crate) fn shown() -> Option<(String, u32)> {
    let output = Command::new("ip").args(["link", "show", "dev", UPLINK]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let mode = text.split_whitespace().find(|word| word.starts_with("xdp"))?;
    let (_, after) = text.split_once("prog/xdp id ").unwrap();
    Some((mode.to_owned(), after.split_whitespace().next().unwrap().parse().unwrap()))
}

fn options(sandbox: &Sandbox, hook: Hook, xdp_mode: XdpMode) -> Options {
    Options { hook, xdp_mode, ..sandbox.options() }
}

fn folder(sandbox: &Sandbox) -> PathBuf {
    sandbox.pin_root().join(format!("v{}", wire::LAYOUT_VERSION))
}

fn links(sandbox: &Sandbox) -> Vec<String> {
    names(&folder(sandbox).join("links"))
}

pub(crate) fn mode(datapath: &Datapath) -> Option<XdpMode> {
    let [Attachment { interface, xdp, .. }] = datapath.attachments() else {
        panic!("{:?}", datapath.attachments());
    };
    assert_eq!(interface, UPLINK);
    *xdp
}

#[test]
fn by_name_it_is_attached_before_tc_and_taken_over_and_taken_away() {
    in_sandbox(|sandbox| {
        let native = || options(sandbox, Hook::Xdp, XdpMode::Auto);
        let mut first = Datapath::start(&native()).unwrap();
        assert_eq!(mode(&first), Some(XdpMode::Native));
        assert_eq!(links(sandbox), ["rauta_ingress@up%2e1", "rauta_tc_ingress@up%2e1"]);
        let (how, program) = shown().unwrap();
        assert_eq!(how, "xdp");
        first.set_listeners(&[any(PORT)]).unwrap();
        sandbox.connect(GATEWAY_V4, PORT);
        sandbox.connect(GATEWAY_V6, PORT);
        assert_eq!(counters(&first, any(PORT)).connections, 2, "TC sees what XDP passes");
        first.keep();
        assert_eq!(shown(), Some((how, program)), "stays attached without an agent");

        let second = Datapath::start(&native()).unwrap();
        assert_eq!(mode(&second), Some(XdpMode::Native));
        let (how, replaced) = shown().unwrap();
        assert!(how == "xdp" && replaced != program, "the new program is behind the old link");
        sandbox.connect(GATEWAY_V4, PORT);
        second.keep();

        let generic = Datapath::start(&options(sandbox, Hook::Xdp, XdpMode::Skb)).unwrap();
        assert_eq!(mode(&generic), Some(XdpMode::Skb));
        assert_eq!(shown().unwrap().0, "xdpgeneric");
        sandbox.connect(GATEWAY_V4, PORT);
        generic.detach().unwrap();
        assert_eq!(shown(), None);
        assert!(!sandbox.pin_root().exists());
    });
}

#[test]
fn a_start_without_it_takes_away_what_the_last_one_left() {
    for hook in [Hook::Tc, Hook::Auto] {
        in_sandbox(move |sandbox| {
            Datapath::start(&options(sandbox, Hook::Xdp, XdpMode::Auto)).unwrap().keep();
            assert!(shown().is_some());
            let datapath = Datapath::start(&options(sandbox, hook, XdpMode::Auto)).unwrap();
            assert_eq!((mode(&datapath), shown()), (None, None), "{hook}");
            assert_eq!(links(sandbox), ["rauta_tc_ingress@up%2e1"], "{hook}");
            datapath.detach().unwrap();
        });
    }
}

#[test]
fn where_another_program_has_the_hook_tc_does_the_work() {
    in_sandbox(|sandbox| {
        let mut foreign = EbpfLoader::new().load(&loader::patched().unwrap()).unwrap();
        let program: &mut Xdp = foreign.program_mut("rauta_ingress").unwrap().try_into().unwrap();
        program.load().unwrap();
        program.attach(UPLINK, AyaMode::Driver).unwrap();
        let theirs = shown();
        for mode_wanted in [XdpMode::Auto, XdpMode::Skb] {
            let mut datapath = Datapath::start(&options(sandbox, Hook::Xdp, mode_wanted)).unwrap();
            assert_eq!((mode(&datapath), shown()), (None, theirs.clone()));
            datapath.set_listeners(&[any(PORT)]).unwrap();
            sandbox.connect(GATEWAY_V4, PORT);
            assert_eq!(counters(&datapath, any(PORT)).connections, 1);
            datapath.detach().unwrap();
            assert_eq!(shown(), theirs, "and is left alone");
        }
    });
}

#[test]
fn interfaces_that_come_get_it_too() {
    in_sandbox(|sandbox| {
        let mut datapath = Datapath::start(&options(sandbox, Hook::Xdp, XdpMode::Auto)).unwrap();
        sandbox.unplug();
        assert!(datapath.follow_interfaces().unwrap());
        assert_eq!((datapath.attachments(), links(sandbox)), (&[][..], vec![]));
        sandbox.plug_in();
        assert!(datapath.follow_interfaces().unwrap());
        assert_eq!(mode(&datapath), Some(XdpMode::Native));
        assert_eq!(shown().unwrap().0, "xdp");
        datapath.detach().unwrap();
    });
}

/// A VLAN's device would make tagged frames come as such; the tests' kernel has none, but a bridge, and promiscuous interfaces.
#[test]
fn it_goes_when_frames_of_any_vlan_may_come_without_their_tag() {
    type Change = fn();
    let changes: [(Change, &str); 2] = [
        (|| run(&format!("ip link set {UPLINK} promisc on")), "promiscuous"),
        (
            || {
                run("ip link add bridge0 type bridge");
                run(&format!("ip link set {UPLINK} master bridge0"));
            },
            "a port of a bridge",
        ),
    ];
    for (change, what) in changes {
        in_sandbox(move |sandbox| {
            let options = options(sandbox, Hook::Xdp, XdpMode::Auto);
            let mut datapath = Datapath::start(&options).unwrap();
            datapath.follow_devices().unwrap();
            assert_eq!(mode(&datapath), Some(XdpMode::Native), "nothing is in the way yet");
            change();
            datapath.follow_devices().unwrap();
            assert_eq!((mode(&datapath), shown()), (None, None), "{what}");
            datapath.keep();
            let datapath = Datapath::start(&options).unwrap();
            assert_eq!((mode(&datapath), shown()), (None, None), "{what}, at the start");
            datapath.detach().unwrap();
        });
    }
}

#[test]
fn it_goes_when_the_program_behind_it_is_gone() {
    in_sandbox(|sandbox| {
        let mut datapath = Datapath::start(&options(sandbox, Hook::Xdp, XdpMode::Auto)).unwrap();
        let [Attachment { pin: Some(pin), .. }] = datapath.attachments() else { panic!("tcx") };
        std::fs::remove_file(pin).unwrap();
        let start = std::time::Instant::now();
        while mode(&datapath).is_some() {
            assert!(start.elapsed() < std::time::Duration::from_secs(5), "the kernel's worker detaches it");
            datapath.follow_devices().unwrap();
        }
        assert_eq!(shown(), None);
        datapath.detach().unwrap();
    });
}

/// `BPF_MAP_FREEZE` (Linux 5.2): nobody but programs writes the map from then on.
fn freeze(map: &std::path::Path) {
    const BPF_MAP_FREEZE: libc::c_int = 22;
    let map = aya::maps::MapData::from_pin(map).unwrap();
    let attributes = std::os::fd::AsRawFd::as_raw_fd(&std::os::fd::AsFd::as_fd(map.fd()));
    // SAFETY: the call reads one descriptor, which outlives it.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, BPF_MAP_FREEZE, &raw const attributes, size_of_val(&attributes))
    };
    assert_eq!(result, 0);
}

#[test]
fn a_start_that_fails_behind_the_programs_of_tc_takes_them_back() {
    in_sandbox(|sandbox| {
        Datapath::start(&options(sandbox, Hook::Tc, XdpMode::Auto)).unwrap().keep();
        freeze(&folder(sandbox).join("XDP_DEVICES"));
        let by_name = options(sandbox, Hook::Xdp, XdpMode::Auto);
        assert!(matches!(start_error(by_name.clone()), StartError::Map(_)));
        assert_eq!(
            (shown(), links(sandbox)),
            (None, vec!["rauta_tc_ingress@up%2e1".to_owned()]),
            "it was there"
        );
        std::fs::remove_file(folder(sandbox).join("links/rauta_tc_ingress@up%2e1")).unwrap();
        assert!(matches!(start_error(by_name), StartError::Map(_)));
        assert_eq!((shown(), links(sandbox)), (None, vec![]));
        detach_all(sandbox.pin_root()).unwrap();
    });
}

/// What the kernel refuses once is not tried for each interface: all hear the same reason, those that come later, too.
#[test]
fn a_refusal_of_the_programs_is_remembered() {
    in_sandbox(|sandbox| {
        lay_wire();
        Datapath::start(&options(sandbox, Hook::Tc, XdpMode::Auto)).unwrap().keep();
        freeze(&folder(sandbox).join("XDP_PARTS"));
        let warnings = Warnings::default();
        let _guard = set_default(tracing_subscriber::registry().with(warnings.clone()));
        let mut datapath = Datapath::start(&options(sandbox, Hook::Xdp, XdpMode::Auto)).unwrap();
        let mut said = warnings.take();
        sandbox.unplug();
        assert!(datapath.follow_interfaces().unwrap());
        sandbox.plug_in();
        assert!(datapath.follow_interfaces().unwrap());
        said.extend(warnings.take());
        let interfaces: Vec<&str> = said.iter().map(|warning| warning.interface.as_str()).collect();
        assert_eq!(interfaces, ["left", "right", UPLINK, UPLINK]);
        let refusal = "cannot access map XDP_PARTS";
        assert!(said.iter().all(|w| w.error.starts_with(refusal) && w.error == said[0].error), "{said:?}");
        assert!(datapath.attachments().iter().all(|at| at.xdp.is_none()), "{:?}", datapath.attachments());
        datapath.detach().unwrap();
    });
}
