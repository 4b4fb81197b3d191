//! Following the machine: interfaces, addresses, routes; and sending from its devices.

use std::{
    net::IpAddr,
    os::fd::{AsFd, AsRawFd, OwnedFd},
    time::{Duration, Instant},
};

use loader::{
    Datapath, SendError,
    machine::{Changes, Route, Routes, Way, local_addresses},
};
use nix::{
    net::if_::if_nametoindex,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::socket::{
        AddressFamily, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrLike, bind, recv, socket,
    },
};

use crate::sandbox::{GATEWAY_V4, GATEWAY_V6, UPLINK, in_sandbox, lay_wire, run};

/// Waits for news and follows them, as the agent does, until `done`.
fn follow_until(datapath: &mut Datapath, changes: &Changes, done: impl Fn(&Datapath) -> bool) {
    let start = Instant::now();
    while !done(datapath) {
        assert!(start.elapsed() < Duration::from_secs(30), "{:?}", datapath.attachments());
        let mut fds = [PollFd::new(changes.as_fd(), PollFlags::POLLIN)];
        poll(&mut fds, PollTimeout::from(30_000u16)).unwrap();
        assert!(changes.take().unwrap(), "news of what was done");
        datapath.follow_interfaces().unwrap();
    }
}

fn is_attached(datapath: &Datapath, name: &str) -> bool {
    datapath.attachments().iter().any(|at| at.interface == name)
}

#[test]
fn programs_follow_interfaces_that_come_and_go() {
    for tcx in [true, false] {
        in_sandbox(move |sandbox| {
            let changes = Changes::listen().unwrap();
            let mut datapath = Datapath::start(&loader::Options { tcx, ..sandbox.options() }).unwrap();
            changes.take().unwrap();
            assert!(!datapath.follow_interfaces().unwrap(), "nothing came or went");

            run("ip link add pod type veth peer name inside");
            run("ip link set pod up");
            follow_until(&mut datapath, &changes, |datapath| is_attached(datapath, "pod"));
            assert!(!is_attached(&datapath, "inside"), "not up");

            run("ip link delete pod");
            follow_until(&mut datapath, &changes, |datapath| !is_attached(datapath, "pod"));
            run("ip link add pod type veth peer name inside");
            run("ip link set pod up");
            follow_until(&mut datapath, &changes, |datapath| is_attached(datapath, "pod"));
            assert!(is_attached(&datapath, UPLINK));
            datapath.detach().unwrap();
        });
    }
}

#[test]
fn named_interfaces_are_followed_alone() {
    in_sandbox(|sandbox| {
        let interfaces = vec![UPLINK.to_owned()];
        let mut datapath = Datapath::start(&loader::Options { interfaces, ..sandbox.options() }).unwrap();
        run("ip link add pod type veth peer name inside");
        run("ip link set pod up");
        assert!(!datapath.follow_interfaces().unwrap());
        sandbox.unplug();
        assert!(datapath.follow_interfaces().unwrap());
        assert_eq!(datapath.attachments(), []);
        sandbox.plug_in();
        assert!(datapath.follow_interfaces().unwrap());
        assert!(is_attached(&datapath, UPLINK));
        datapath.detach().unwrap();
    });
}

#[test]
fn addresses_and_ways_are_those_of_the_namespace() {
    in_sandbox(|_| {
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        let changes = Changes::listen().unwrap();
        assert_eq!(local_addresses().unwrap(), [address(GATEWAY_V4), address(GATEWAY_V6)]);
        run(&format!("ip address add 10.77.0.3/32 dev {UPLINK}"));
        run("ip address add 192.0.2.1/32 dev lo");
        assert!(changes.take().unwrap());
        assert_eq!(
            local_addresses().unwrap(),
            ["10.77.0.1", "10.77.0.3", "192.0.2.1", GATEWAY_V6].map(address),
            "announced addresses stand on lo"
        );

        let routes = Routes::open().unwrap();
        let device = if_nametoindex(UPLINK).unwrap();
        let way = way_out(&routes, address("10.77.0.2"));
        assert_eq!((way.device, way.source, way.mtu), (device, address(GATEWAY_V4), 1500));
        let way = way_out(&routes, address("fd00:77::2"));
        assert_eq!((way.device, way.source, way.mtu), (device, address(GATEWAY_V6), 1500));
        assert_eq!(routes.to(address(GATEWAY_V4)).unwrap(), Route::Local, "it is we");
        assert_eq!(routes.to(address("203.0.113.1")).unwrap(), Route::None, "no route");
        assert_eq!(routes.to(address("2001:db8::1")).unwrap(), Route::None, "no route");

        run("ip route add 203.0.113.0/24 via 10.77.0.2 src 10.77.0.3 mtu 1400");
        assert!(changes.take().unwrap());
        let way = way_out(&routes, address("203.0.113.1"));
        assert_eq!((way.device, way.source, way.mtu), (device, address("10.77.0.3"), 1400));
        run("ip route add blackhole 198.51.100.0/24");
        assert_eq!(routes.to(address("198.51.100.1")).unwrap(), Route::None);
    });
}

fn way_out(routes: &Routes, address: IpAddr) -> Way {
    match routes.to(address).unwrap() {
        Route::Out(way) => way,
        other => panic!("{address}: {other:?}"),
    }
}

/// All frames that arrive at the interface.
pub(crate) fn tap(interface: &str) -> OwnedFd {
    let all = u16::try_from(libc::ETH_P_ALL).unwrap().to_be();
    let flags = SockFlag::SOCK_CLOEXEC;
    let tap = socket(AddressFamily::Packet, SockType::Raw, flags, SockProtocol::EthAll).unwrap();
    // SAFETY: a plain structure of numbers.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = u16::try_from(libc::AF_PACKET).unwrap();
    address.sll_protocol = all;
    address.sll_ifindex = i32::try_from(if_nametoindex(interface).unwrap()).unwrap();
    let length = u32::try_from(size_of_val(&address)).unwrap();
    // SAFETY: the structure is a complete address of that length.
    let address = unsafe { LinkAddr::from_raw((&raw const address).cast(), Some(length)) }.unwrap();
    bind(tap.as_raw_fd(), &address).unwrap();
    tap
}

#[test]
fn a_frame_leaves_by_its_device_as_it_is() {
    in_sandbox(|sandbox| {
        lay_wire();
        let datapath = Datapath::start(&sandbox.options()).unwrap();
        let right = tap("right");

        // A protocol that nobody speaks, to tell it from what the interfaces say on their own.
        let mut frame = vec![2, 2, 2, 2, 2, 2, 4, 4, 4, 4, 4, 4, 0x88, 0xb5];
        frame.extend(0..=99);
        datapath.send(if_nametoindex("left").unwrap(), &frame).unwrap();
        let mut buffer = [0; 256];
        loop {
            let mut fds = [PollFd::new(right.as_fd(), PollFlags::POLLIN)];
            assert_eq!(poll(&mut fds, PollTimeout::from(30_000u16)).unwrap(), 1, "it arrives");
            let length = recv(right.as_raw_fd(), &mut buffer, MsgFlags::empty()).unwrap();
            if buffer[12..14] == [0x88, 0xb5] {
                assert_eq!(buffer[..length], frame);
                break;
            }
        }
        let error = datapath.send(4711, &frame).unwrap_err();
        assert!(
            matches!(error, SendError::Device { device: 4711, code } if code == -libc::EINVAL),
            "{error}"
        );
        datapath.detach().unwrap();
    });
}
