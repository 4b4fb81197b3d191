//! What is decided before the stack, and what is not.

use wire::Reason;

use crate::lockstep::Both;
use crate::support::segment::{ACK, PSH, SYN, Seg};
use crate::support::tables::{SOURCE, VIP, VIP6};
use crate::talk::{Talk, bind, layouts, respond};

/// Runs a step, and says how many frames of it were left to TC.
fn deferred<R>(both: &mut Both, step: impl FnOnce(&mut Both) -> R) -> (R, u64) {
    let before = both.program.deferred;
    let result = step(both);
    (result, both.program.deferred - before)
}

#[test]
fn a_request_and_its_response_never_reach_tc() {
    let both = &mut *Both::shared();
    let [linux, ..] = layouts();
    let ((), left) = deferred(both, |both| {
        let mut talk = Talk::open(both, "198.51.100.77:41001", VIP, linux);
        let head = "GET /api HTTP/1.1\r\nHost: a\r\n\r\n";
        let mut leg = bind(both, &mut talk, head, ("10.1.0.2:80", SOURCE), Reason::Bound);
        respond(both, &mut talk, &mut leg, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        let request = talk.request(head);
        both.sends("the next request", &request, &[Reason::Reused]);
    });
    assert_eq!(left, 0);
}

/// Sockets take packets of the stack alone, and what comes behind must not overtake them.
#[test]
fn what_userspace_gets_is_left_to_tc_untouched() {
    let both = &mut *Both::shared();
    let [one, another, ..] = layouts();
    let ((), left) = deferred(both, |both| {
        let talk = Talk::open(both, "198.51.100.81:41005", VIP, one);
        let request = talk.request("GET /%61 HTTP/1.1\r\nHost: a\r\n\r\n");
        both.hands_off("the first request", &request);
    });
    assert_eq!(left, 1);
    let mut talk = Talk::open(both, "198.51.100.82:41006", VIP, another);
    let mut leg =
        bind(both, &mut talk, "GET /api HTTP/1.1\r\nHost: a\r\n\r\n", ("10.1.0.2:80", SOURCE), Reason::Bound);
    respond(both, &mut talk, &mut leg, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    let ((), left) = deferred(both, |both| {
        let request = talk.request("GET /%61 HTTP/1.1\r\nHost: a\r\n\r\n");
        both.hands_off("a later one", &request);
        let behind = Seg { seq: request.seq.wrapping_add(request.data.len() as u32), ..request.clone() };
        both.drops("what comes behind it", &behind, Reason::DropEarly);
        both.hands_off("its repetition", &request);
    });
    assert_eq!(left, 3);
}

#[test]
fn what_is_not_ours_is_left_to_tc_untouched() {
    let both = &mut *Both::shared();
    let syn = |to: &str| Seg::new("198.51.100.78:41002".parse().unwrap(), to.parse().unwrap(), SYN, 9, 0);
    // Another port; a machine behind us.
    for to in ["192.0.2.1:8081", "203.0.113.7:8080"] {
        let ((), left) = deferred(both, |both| both.passes(to, &syn(to).frame(), None));
        assert_eq!(left, 1, "{to}");
    }
}

#[test]
fn what_has_no_room_for_a_note_is_tcs_and_counted() {
    let both = &mut *Both::shared();
    let counted = |both: &Both| both.program.counted(Reason::PassNoRoom);
    let before = counted(both);
    for to in [VIP, VIP6] {
        let from = if to == VIP { "198.51.100.83:41007" } else { "[2001:db8:9::83]:41007" };
        let syn = Seg::new(from.parse().unwrap(), to.parse().unwrap(), SYN, 9, 0);
        assert!(both.program.passes_for_want_of_room(&syn.frame()), "{to}");
        both.sends("with room", &syn, &[Reason::SynCookie]);
    }
    assert_eq!(counted(both), before + 2);
}

/// A switch floods what it has not learned. At TC the stack says whose a frame is, here its receiver does.
#[test]
fn frames_for_other_machines_are_not_looked_at() {
    let both = &mut *Both::shared();
    for to in [VIP, VIP6] {
        let from = if to == VIP { "198.51.100.79:41003" } else { "[2001:db8:9::79]:41003" };
        let mut frame = Seg::new(from.parse().unwrap(), to.parse().unwrap(), SYN, 9, 0).frame();
        frame[..6].copy_from_slice(&[2, 0, 0, 0, 0, 1]);
        let (_, left) = deferred(both, |both| both.program.run(&frame).0);
        assert_eq!(left, 1, "{to}");
    }
}

/// Its checksum field has the sum of the pseudo-header: the host that sent it left the rest to its device.
#[test]
fn a_checksum_that_is_left_to_a_device_is_seen_by_the_stack_alone() {
    let both = &mut *Both::shared();
    for (client, vip) in [("198.51.100.80:41004", VIP), ("[2001:db8:9::80]:41004", VIP6)] {
        let [linux, ..] = layouts();
        let talk = Talk::open(both, client, vip, linux);
        let segment = talk.seg(ACK | PSH, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        let frame = crate::support::segment::with_checksum_left_to_device(segment.frame());
        let (_, left) = deferred(both, |both| both.program.run(&frame).0);
        assert_eq!(left, 1, "{client}");
    }
}
