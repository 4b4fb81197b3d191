//! Giving a connection to the host's stack, where userspace listens. A hook before the stack's packets leaves that to the one behind
//! it, before anything is counted or noted: see [`Env::PRECEDES`].

use wire::{Closed, Flow, Reason, TcpOptions};

use super::{Env, HandOff, Owner, Scratch, Verdict, copies, drop, observe, pass, syn};
use crate::flow::state;
use crate::image::Image;
use crate::sequence::latest;

/// A connection that has no flow: what the cookie said is in `image.options`.
#[inline(never)]
pub(super) fn first<E: Env>(env: &mut E, scratch: &mut Scratch, reason: Reason) -> Verdict {
    if E::PRECEDES {
        return Verdict::DEFER;
    }
    copies::note(env, scratch);
    let Scratch { image, attributes, .. } = &mut *scratch;
    *attributes = describe(image, image.options, image.tsecr);
    if env.hand_off(&image.tuple, image.is_v6 != 0, attributes) {
        // Until the client ends it the request may come again: the stack may have had no room for it.
        let isn = image.ack.wrapping_sub(1);
        env.note_closed(&image.tuple, &Closed { isn, is_over: 0 });
        observe::hand_off(env, scratch, reason, isn, 1);
        env.count(reason);
        return Verdict::PASS;
    }
    drop(env, Reason::DropHandOff)
}

/// A connection in the middle of its stream: `flow` is already in [`state::HANDED`].
#[inline(never)]
pub(super) fn midstream<E: Env>(
    env: &mut E,
    scratch: &mut Scratch,
    flow: *mut Flow,
    reason: Reason,
) -> Verdict {
    if E::PRECEDES {
        return Verdict::DEFER;
    }
    let (options, next_seq, sent_end, shown, is_handed, isn, before) = env.locked(flow, |flow| {
        let is_handed = flow.state == state::HANDED;
        let at = (flow.next_seq, flow.sent_end, flow.sent_tsval);
        (flow.client_options, at.0, at.1, at.2, is_handed, flow.isn, flow.requests)
    });
    let image = &scratch.image;
    match env.owner(&image.tuple, image.is_v6 != 0) {
        Owner::Connection => return pass(env, Reason::PassOwned),
        Owner::TimeWait => return pass(env, Reason::PassOwned),
        Owner::Listener | Owner::Nobody => {}
    }
    // The stack counts from this segment: it must be the first that is not answered for, and know all that was sent.
    let is_next = image.seq == next_seq && image.ack == sent_end && image.payload_len != 0;
    if !is_handed || !is_next {
        return drop(env, Reason::DropEarly);
    }
    copies::note(env, scratch);
    let Scratch { image, attributes, .. } = &mut *scratch;
    // The stack's timestamps go on from the newest that the client was shown, which it may not have echoed yet.
    *attributes = describe(image, options, latest(shown, image.tsecr));
    if env.hand_off(&image.tuple, image.is_v6 != 0, attributes) {
        // One that was given to a leg before was taken back.
        observe::hand_off(env, scratch, reason, isn, before.wrapping_add(1));
        env.count(reason);
        return Verdict::PASS;
    }
    drop(env, Reason::DropHandOff)
}

#[inline(always)]
fn describe(image: &Image, options: TcpOptions, tsecr: u32) -> HandOff {
    let has_scale = options.window_scale != TcpOptions::NO_SCALE;
    // Less than these the kernel refuses (RFC 879 and RFC 8200 section 5 less headers).
    let mss_least = if image.is_v6 != 0 { 1220 } else { 536 };
    HandOff {
        rcv_tsval: image.tsval,
        rcv_tsecr: tsecr,
        mss: options.mss.max(mss_least),
        rcv_wscale: if has_scale { syn::WINDOW_SCALE } else { 0 },
        snd_wscale: if has_scale { options.window_scale } else { 0 },
        wscale_ok: u8::from(has_scale),
        sack_ok: u8::from(options.sack()),
        tstamp_ok: u8::from(image.timestamps_at != 0),
        ..HandOff::default()
    }
}
