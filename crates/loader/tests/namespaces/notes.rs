//! Notes that XDP leaves in front of packets: TC believes those of its own agent about its own interface.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use aya::{Ebpf, EbpfLoader, TestRun, TestRunAttrs, TestRunOptions, programs::Xdp};
use dataplane::engine::{Note, Verdict};
use loader::{Datapath, Hook, Options};
use nix::{
    net::if_::if_nametoindex,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::socket::{MsgFlags, recv},
};
use wire::Settings;
use zerocopy::IntoBytes;

use crate::machine::tap;
use crate::sandbox::{UPLINK, in_sandbox, lay_wire};

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
