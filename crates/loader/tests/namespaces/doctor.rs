//! What the doctor says in a sandbox, with and without capabilities.

use loader::{
    Datapath, Hook, Options,
    doctor::{Report, Row, State, checks},
};

use crate::nftables;
use crate::sandbox::{UPLINK, in_sandbox, run};

fn row<'r>(report: &'r Report, area: &str, item: &str) -> &'r Row {
    let found = report.rows.iter().find(|row| row.area == area && row.item == item);
    found.unwrap_or_else(|| panic!("no row {area} {item} in {report:#?}"))
}

fn named(interface: &str) -> Options {
    Options { interfaces: vec![interface.to_owned()], ..Options::default() }
}

#[test]
fn an_interface_gets_what_the_settings_ask_for_and_its_own_program_is_none_of_others() {
    in_sandbox(|sandbox| {
        let said =
            |options: &Options| row(&checks(options), "rauta", &format!("hook on {UPLINK}")).detail.clone();
        let by_name = Options { hook: Hook::Xdp, ..sandbox.options() };
        assert_eq!(said(&sandbox.options()), "auto: TC; no network card has passed the tests of XDP yet");
        assert_eq!(said(&by_name), "xdp: XDP in the driver, then TC");
        let datapath = Datapath::start(&by_name).unwrap();
        assert_eq!(said(&by_name), "xdp: XDP in the driver, then TC");
        let elsewhere = Options { pin_root: sandbox.pin_root().with_file_name("other"), ..by_name };
        assert_eq!(said(&elsewhere), "xdp: TC; another XDP program is attached");
        datapath.detach().unwrap();
    });
}

#[test]
fn with_capabilities_everything_is_tried() {
    in_sandbox(|_| {
        let report = checks(&Options::default());
        for row in &report.rows {
            assert!(!row.detail.is_empty(), "{row:?}");
            assert!(!row.detail.contains("not visible"), "root sees everything: {row:?}");
            let explained = !row.effect.is_empty();
            assert!(row.state == State::Ok || row.state == State::Info || explained, "{row:?}");
        }
        // What every kernel that loads our program at all has.
        assert_eq!(row(&report, "hook", "tc program").state, State::Ok);
        assert_eq!(row(&report, "helper", "bpf_map_lookup_elem (tc)").state, State::Ok);
        assert_eq!(row(&report, "helper", "bpf_skb_pull_data (tc)").state, State::Ok);
        assert_eq!(row(&report, "capability", "CAP_BPF").state, State::Ok);
        assert_eq!(row(&report, "rauta", "kernel programs").state, State::Ok);

        let uplink = row(&report, "interface", UPLINK);
        assert_eq!(uplink.state, State::Ok);
        assert!(uplink.detail.starts_with("driver veth, MTU 1500, XDP "), "{uplink:?}");
    });
}

#[test]
fn chains_that_the_kernel_tier_passes_by_are_named() {
    in_sandbox(|_| {
        let chains = || row(&checks(&Options::default()), "policy", "nftables").clone();
        assert_eq!((chains().state, chains().detail.as_str()), (State::Ok, "no rules for forwarded packets"));
        nftables::add("filter", "forward", Some(nftables::DROP));
        let found = chains();
        assert_eq!(found.state, State::Info);
        assert_eq!(
            found.detail,
            "rules for forwarded packets: inet filter forward (0 rules, drops the rest)"
        );
        assert!(found.mend.contains("dataplane.policy: respect"), "{found:?}");
        nftables::add("filter", "KUBE-NWPLCY-7G2", None);
        let found = chains();
        assert_eq!(found.state, State::Degraded);
        assert_eq!(found.detail, "kube-router enforces network policy: chain inet filter KUBE-NWPLCY-7G2");
    });
}

#[test]
fn without_capabilities_it_says_what_it_cannot_see() {
    in_sandbox(|sandbox| {
        sandbox.drop_capabilities(&[]);
        let report = checks(&Options::default());
        let bpf = row(&report, "capability", "CAP_BPF");
        assert_eq!(
            (bpf.state, bpf.effect.as_str()),
            (State::Missing, "kernel programs cannot be loaded: Tier 3 alone")
        );
        let chains = row(&report, "policy", "nftables");
        assert_eq!(
            (chains.state, chains.detail.as_str()),
            (State::Info, "not visible without CAP_NET_ADMIN")
        );
        let hook = row(&report, "rauta", "hook");
        assert_eq!(hook.detail, "none: no CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON");
        // Where unprivileged users may not load programs at all, helpers cannot be tried.
        let helper = row(&report, "helper", "bpf_skc_lookup_tcp (tc)");
        assert_eq!((helper.state, helper.detail.as_str()), (State::Degraded, "not visible without CAP_BPF"));
        assert_eq!(row(&report, "interface", UPLINK).state, State::Ok, "interfaces are visible to all");
    });
}

#[test]
fn interfaces_that_are_missing_or_down_are_named() {
    in_sandbox(|_| {
        let report = checks(&named("eth9"));
        let missing = row(&report, "interface", "eth9");
        assert_eq!(missing.state, State::Missing);
        run(&format!("ip link set {UPLINK} down"));
        let report = checks(&named(UPLINK));
        let down = row(&report, "interface", UPLINK);
        assert_eq!((down.state, down.mend.as_str()), (State::Degraded, "ip link set up.1 up"));
    });
}

#[test]
fn who_enforces_policy_is_seen_when_rules_come_and_go() {
    in_sandbox(|_| {
        let mut enforcers = loader::Enforcers::default();
        assert_eq!(enforcers.look(&[]).unwrap(), None);
        nftables::add("filter", "forward", Some(nftables::DROP));
        assert_eq!(enforcers.look(&[]).unwrap(), None, "a firewall of the host");
        nftables::add("calico", "cali-tw-1", None);
        let calico = Some("Calico (chain inet calico cali-tw-1)".to_owned());
        assert_eq!(enforcers.look(&[]).unwrap(), calico);
        nftables::add("filter", "other", None);
        assert_eq!(enforcers.look(&[]).unwrap(), calico, "other rules change nothing");
        nftables::remove("calico");
        assert_eq!(enforcers.look(&[]).unwrap(), None);
    });
}
