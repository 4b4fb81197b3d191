use wire::{Reason, TcpFlags, TcpOptions, Tuple};

use super::{Env, Owner, Scratch, Verdict, drop, emit, pass, way_back};
use crate::cookie;
use crate::flow::{Rival, on_syn};
use crate::initial;

/// The shift of the windows that the gateway itself announces.
pub(super) const WINDOW_SCALE: u8 = 7;

/// A SYN for one of our sockets: answered with a cookie, and forgotten.
#[inline(never)]
pub(super) fn segment<E: Env>(env: &mut E, scratch: &mut Scratch) -> Verdict {
    // RFC 9293 has no such segment: an answer would only show a scanner what listens.
    if scratch.image.has(TcpFlags::RST | TcpFlags::FIN) {
        return drop(env, Reason::DropFlags);
    }
    let (settings, is_v6) = (scratch.settings, scratch.image.is_v6 != 0);
    let now = env.now();
    if is_passive(&settings, now) {
        return pass(env, Reason::PassPassive);
    }
    // A socket that knows the tuple answers for itself; the hand-off could not insert another beside a TIME_WAIT.
    if matches!(env.owner(&scratch.image.tuple, is_v6), Owner::Connection | Owner::TimeWait) {
        return pass(env, Reason::PassOwned);
    }
    // RFC 9293 section 3.7.1: without the option 536; RFC 8200 section 8.3 gives 1220.
    let mss_default = if is_v6 { 1220 } else { 536 };
    scratch.image.options = TcpOptions { mss: mss_default, window_scale: TcpOptions::NO_SCALE, flags: 0 };
    if scratch.image.read_options().is_err() {
        return drop(env, Reason::DropOptions);
    }
    let image = &mut scratch.image;
    let mut isn = cookie::make(&settings.cookie_key, &image.tuple, image.seq, image.options, now);
    if is_known(env, &image.tuple, isn) {
        // The first request would be taken for a late copy of the other connection's.
        image.options = cookie::lesser(image.options);
        isn = cookie::make(&settings.cookie_key, &image.tuple, image.seq, image.options, now);
    }
    let (image, plan) = (&scratch.image, &mut scratch.plan);
    if let Some(flow) = env.flow(&image.tuple) {
        match env.locked(flow, |flow| on_syn(flow, image, isn, now, plan)) {
            Rival::Yes => {}
            Rival::Challenge => {
                let with_timestamps = scratch.plan.options.timestamps();
                return emit::bare(env, scratch, with_timestamps, Reason::Challenged);
            }
            Rival::Repeated | Rival::Useless => return drop(env, Reason::DropUseless),
        }
    }
    let (image, plan) = (&scratch.image, &mut scratch.plan);
    plan.tuple = image.tuple.reversed();
    plan.hop = way_back(env, image);
    plan.seq = isn;
    plan.ack = image.seq.wrapping_add(1);
    if image.options.timestamps() {
        plan.tsval = initial::timestamp(initial::offsets(&settings.cookie_key, &image.tuple), now);
    }
    plan.tsecr = image.tsval;
    // A small window would make clients halve their segments.
    plan.window = 65_535;
    plan.flags = u32::from(TcpFlags::SYN | TcpFlags::ACK);
    let offered = TcpOptions {
        mss: if is_v6 { settings.mss_v6 } else { settings.mss_v4 },
        window_scale: if image.options.window_scale == TcpOptions::NO_SCALE {
            TcpOptions::NO_SCALE
        } else {
            WINDOW_SCALE
        },
        flags: image.options.flags,
    };
    emit::handshake(env, scratch, offered, Reason::SynCookie)
}

/// Whether the cookie is that of the last connection of the tuple, or of the one that a new one would take the place of.
#[inline(always)]
fn is_known<E: Env>(env: &E, tuple: &Tuple, isn: u32) -> bool {
    // SAFETY: live map values; torn, they are another connection's, as if they had been evicted.
    env.closed(tuple).is_some_and(|last| unsafe { (*last).isn } == isn)
        || env.flow(tuple).is_some_and(|flow| unsafe { (&raw const (*flow).isn).read_volatile() } == isn)
}

/// Whether new connections are the stack's: the agent said so, or has been silent for too long.
#[inline(always)]
pub(super) const fn is_passive(settings: &wire::Settings, now: u64) -> bool {
    let silent = now.saturating_sub(settings.heartbeat);
    settings.flags & wire::Settings::PASSIVE != 0 || silent > settings.heartbeat_timeout
}
