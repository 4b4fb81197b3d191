use wire::{Flow, TcpFlags};

use super::{Plan, REACH, state};
use crate::image::Image;
use crate::sequence::{before, is_near};

/// What to do with a segment of a connection that was given to the host, and that no socket of it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum HandedStep {
    /// It is the one to be given to the host: the attempt before this one came to nothing.
    HandOff,
    /// Answer the client as the plan says.
    Answer,
    /// Nothing to send, and the connection is over.
    Forget,
    /// Far from where the connection is, or the host has ended it: it may belong to a new one on the same ports.
    Stray,
    /// Drop: ahead of what was given to the host. The client sends it again.
    Early,
    /// Drop: nothing that anyone waits for.
    Useless,
}

/// A segment of the client while no socket has the connection.
#[inline(always)]
pub fn on_handed(flow: &mut Flow, image: &Image, plan: &mut Plan) -> HandedStep {
    let is_near = is_near(image.seq, flow.next_seq, REACH)
        && !(image.has(TcpFlags::ACK) && before(flow.sent_end, image.ack));
    if flow.client != image.tuple || flow.state != state::HANDED || !is_near {
        return HandedStep::Stray;
    }
    if image.has(TcpFlags::RST) {
        if image.seq != flow.next_seq {
            return HandedStep::Useless;
        }
        flow.state = state::FREE;
        return HandedStep::Forget;
    }
    let has_data = image.payload_len != 0;
    if image.seq == flow.next_seq {
        if has_data {
            return HandedStep::HandOff;
        }
        if !image.has(TcpFlags::FIN) {
            return HandedStep::Useless;
        }
        flow.client_end = image.end();
        plan.answer_client(flow, image, TcpFlags::FIN | TcpFlags::ACK);
        flow.sent_end = flow.sent_end.wrapping_add(1);
        flow.state = state::CLOSING;
        return HandedStep::Answer;
    }
    if before(flow.next_seq, image.seq) {
        return HandedStep::Early;
    }
    // Bytes that were answered before, or a probe: without an answer the client would repeat them before all others.
    if !has_data && image.seq != flow.next_seq.wrapping_sub(1) {
        return HandedStep::Useless;
    }
    plan.answer_client(flow, image, TcpFlags::ACK);
    plan.ack = flow.next_seq;
    HandedStep::Answer
}

/// A segment of the client while a socket has the connection. Once the client has seen bytes of it, or has closed or reset
/// it, nothing is given to the host again: what comes later and looks like it is a late copy.
#[inline(always)]
pub fn on_taken(flow: &mut Flow, image: &Image) {
    let has_more = before(flow.sent_end, image.ack) && is_near(image.ack, flow.sent_end, REACH);
    let has_seen = image.has(TcpFlags::ACK) && has_more;
    let ends = image.has(TcpFlags::FIN | TcpFlags::RST) && is_near(image.seq, flow.next_seq, REACH);
    if flow.client == image.tuple && flow.state == state::HANDED && (has_seen || ends) {
        flow.state = state::TAKEN;
    }
}
