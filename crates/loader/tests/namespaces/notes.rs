//! Notes that XDP leaves in front of packets: TC believes those of its own agent about its own interface, and where they do not arrive
//! XDP goes.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use aya::{Ebpf, EbpfLoader, TestRun, TestRunAttrs, TestRunOptions, programs::Xdp};
use aya_obj::programs::XdpAttachType;
use dataplane::engine::{Note, Verdict};
use loader::{Datapath, Hook, Options, Write, XdpMode};
use nix::{
    ifaddrs::getifaddrs,
    net::if_::if_nametoindex,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::socket::{MsgFlags, recv},
};
use wire::{LAYOUT_VERSION, ListenerKey, Settings, Vip};
use zerocopy::IntoBytes;

use crate::machine::tap;
use crate::sandbox::{GATEWAY_V4, Sandbox, UPLINK, in_sandbox, lay_wire, run};
use crate::xdp::{mode, shown};

/// A protocol that nobody speaks (IEEE 802: for local experiments).
const PROTOCOL: [u8; 2] = [0x88, 0xb5];

/// Programs that know no interface: in XDP they pass every frame, with what is in front of it.
fn passing() -> Ebpf {
    let mut object = EbpfLoader::new().load(&loader::patched().unwrap()).unwrap();
    let program: &mut Xdp = object.program_mut("rauta_ingress").unwrap().try_into().unwrap();
    program.load().unwrap();
    object
}

/// Has the device receive the frame with the note in front of it, as if its XDP program had left it.
fn receive(passing: &Ebpf, device: u32, note: &Note, frame: &[u8]) {
    let data = [note.as_bytes(), frame].concat();
    // `struct xdp_md`: data, its end, what is in front of it, the device.
    let context = [size_of::<Note>() as u32, data.len() as u32, 0, device, 0, 0];
    let program: &Xdp = passing.program("rauta_ingress").unwrap().try_into().unwrap();
    let options = TestRunOptions {
        data_in: Some(&data),
        ctx_in: Some(context.as_bytes()),
        attrs: TestRunAttrs::new().xdp_live_frames(1),
        ..TestRunOptions::default()
    };
    program.test_run(options).unwrap();
}

/// What is behind the headers of the next frame of [`PROTOCOL`].
fn next(tap: &OwnedFd) -> u8 {
    let mut frame = [0; 256];
    loop {
        let mut fds = [PollFd::new(tap.as_fd(), PollFlags::POLLIN)];
        assert_eq!(poll(&mut fds, PollTimeout::from(5000u16)).unwrap(), 1, "a frame");
        recv(tap.as_raw_fd(), &mut frame, MsgFlags::empty()).unwrap();
        if frame[12..14] == PROTOCOL {
            return frame[14];
        }
    }
}

#[test]
fn a_note_of_another_owner_or_about_another_device_is_ignored() {
    in_sandbox(|sandbox| {
        lay_wire();
        let (uplink, left) = (if_nametoindex(UPLINK).unwrap(), if_nametoindex("left").unwrap());
        let interfaces = vec![UPLINK.to_owned()];
        let options = Options { hook: Hook::Xdp, interfaces, ..sandbox.options() };
        let mut datapath = Datapath::start(&options).unwrap();
        datapath.set_settings(&Settings::default()).unwrap();
        let owner = datapath.settings().note_owner;
        let (passing, tap) = (passing(), tap("right"));
        let send = Verdict::send(left, true);
        for (number, note) in [
            Note::new(owner ^ 1, uplink, send),
            Note::new(0, uplink, send),
            Note::new(owner, left, send),
            Note::new(owner, uplink, Verdict::PASS),
            Note::new(owner, uplink, send),
        ]
        .iter()
        .enumerate()
        {
            let frame = [&[0xff; 12][..], &PROTOCOL, &[number as u8; 50]].concat();
            receive(&passing, uplink, note, &frame);
        }
        assert_eq!(next(&tap), 4, "the last alone is carried out");
        datapath.detach().unwrap();
    });
}

/// What was sent by one end of a wire comes in by the other in the same namespace, with the note still in front of it.
#[test]
fn a_note_is_carried_out_once() {
    in_sandbox(|sandbox| {
        lay_wire();
        // It has no XDP then: a program there would take the note away.
        run("ip link set right promisc on");
        let (uplink, left) = (if_nametoindex(UPLINK).unwrap(), if_nametoindex("left").unwrap());
        let options = Options { hook: Hook::Xdp, ..sandbox.options() };
        let mut datapath = Datapath::start(&options).unwrap();
        datapath.set_settings(&Settings::default()).unwrap();
        let at = datapath.attachments().iter().map(|at| (at.interface.as_str(), at.xdp.is_some()));
        assert_eq!(at.collect::<Vec<_>>(), [("left", true), ("right", false), (UPLINK, true)]);
        let note = Note::new(datapath.settings().note_owner, uplink, Verdict::send(left, true));
        let (passing, tap) = (passing(), tap("right"));
        for number in [7, 8] {
            receive(&passing, uplink, &note, &[&[0xff; 12][..], &PROTOCOL, &[number; 50]].concat());
        }
        assert_eq!([next(&tap), next(&tap)], [7, 8]);
        datapath.detach().unwrap();
    });
}

/// The frame of a SYN of `port` to our listener, for the uplink's link address.
fn syn(port: u16) -> Vec<u8> {
    let address = getifaddrs().unwrap().find_map(|entry| {
        let link = *entry.address?.as_link_addr()?;
        (entry.interface_name == UPLINK).then(|| link.addr())?
    });
    let gateway: std::net::Ipv4Addr = GATEWAY_V4.parse().unwrap();
    [
        &address.unwrap()[..],
        &[2, 0, 0, 0, 0, 9, 8, 0],
        // 44 bytes, not to be fragmented, TCP.
        &[0x45, 0, 0, 44, 0, 0, 0x40, 0, 64, 6, 0, 0, 10, 77, 0, 2],
        &gateway.octets(),
        &port.to_be_bytes(),
        &8080u16.to_be_bytes(),
        // SYN with an MSS. The checksum is nobody's care.
        &[0, 0, 0, 9, 0, 0, 0, 0, 0x60, 2, 0xff, 0xff, 0x12, 0x34, 0, 0, 2, 4, 5, 0xb4],
    ]
    .concat()
}

/// Runs the XDP program of the agent on a SYN, which it answers with a note: the uplink takes no frames from XDP. Only of a live frame
/// does anybody hear.
fn answer(sandbox: &Sandbox, port: u16, is_live: bool) {
    let pin = sandbox.pin_root().join(format!("v{LAYOUT_VERSION}")).join("rauta_ingress");
    let program = Xdp::from_pin(pin, XdpAttachType::Interface).unwrap();
    let frame = syn(port);
    let context = [0, frame.len() as u32, 0, if_nametoindex(UPLINK).unwrap(), 0, 0];
    let attrs = if is_live { TestRunAttrs::new().xdp_live_frames(1) } else { TestRunAttrs::new() };
    let options = TestRunOptions {
        data_in: Some(&frame),
        ctx_in: Some(context.as_bytes()),
        attrs,
        ..TestRunOptions::default()
    };
    program.test_run(options).unwrap();
}

/// As with a driver that takes notes and does not give them to the stack.
#[test]
fn xdp_goes_where_its_notes_do_not_arrive() {
    in_sandbox(|sandbox| {
        let options = Options { hook: Hook::Xdp, ..sandbox.options() };
        let mut datapath = Datapath::start(&options).unwrap();
        let settings = Settings { heartbeat_timeout: u64::MAX, mss_v4: 1400, ..Settings::default() };
        datapath.set_settings(&settings).unwrap();
        let address = GATEWAY_V4.parse::<std::net::Ipv4Addr>().unwrap().to_ipv6_mapped().octets();
        let (listener, vip) =
            (ListenerKey::tcp(address, 8080u16.to_be_bytes()), Vip { socket: 1, listener: 0, flags: 0 });
        let write = Write { map: "VIPS", key: listener.as_bytes(), value: Some(vip.as_bytes()) };
        datapath.apply([write]).unwrap();
        for port in 4000..4004 {
            answer(sandbox, port, true);
            datapath.follow_devices().unwrap();
            assert_eq!(mode(&datapath), Some(XdpMode::Native), "TC has taken the note");
        }
        assert_eq!(datapath.reasons().unwrap()[0], 4, "all were answered");
        for (port, is_there) in [(5000, true), (5001, false)] {
            answer(sandbox, port, false);
            datapath.follow_devices().unwrap();
            assert_eq!(mode(&datapath).is_some(), is_there, "{port}");
        }
        assert_eq!(shown(), None);
        datapath.follow_interfaces().unwrap();
        assert_eq!((mode(&datapath), shown()), (None, None), "and stays away");
        datapath.detach().unwrap();
    });
}
