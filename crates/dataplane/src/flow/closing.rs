//! Requests that say `Connection: close` while legs wait for the next client (`docs/adr/0038`).
//!
//! The endpoint is not told: the word is written over with spaces, in the request and whenever its client repeats those bytes. Our FIN
//! stands behind the response, at the byte after its end, whenever that end is sent: the endpoint repeats it until the client has it.
//! Where the end of the response cannot be seen there is no FIN of ours: the client, which has said that this is its last request, closes.

use wire::{Flow, RequestFacts, TcpFlags};

use super::{Plan, flag, leg_flag, phase, state};
use crate::image::Image;
use crate::sequence::before;

/// Length of `close`.
const WORD: u32 = 5;

/// Length of `keep-alive`, and of `close` with the spaces that make it as long.
const TOLD: u32 = 10;

/// What becomes of a segment whose client has lost its leg.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum After {
    /// The client has its leg still.
    Kept,
    /// It has none, and says more: the next request, or nothing that needs an answer.
    Silent,
    /// The client is answered as the plan says.
    Answer,
    /// The same, and the connection is over: its record is FREE.
    AnswerLast,
    /// Nothing is sent, and the connection is over: its record is FREE.
    Gone,
}

/// Takes over what a request says of its connection's end: whether the endpoint is not told.
#[inline(always)]
pub(super) fn take_over(flow: &mut Flow, image: &Image, facts: &RequestFacts) {
    flow.leg_flags &= !leg_flag::TAKES_CLOSE;
    if facts.flags & RequestFacts::CLOSE == 0 {
        return;
    }
    let is_open =
        flow.flags & (flag::CLOSE | flag::CLIENT_FIN | flag::LEG_FIN) == 0 && !image.has(TcpFlags::FIN);
    let may_wait = flow.told == 0 && flow.leg_flags & leg_flag::DOUBTFUL == 0;
    if facts.close_at != 0 && is_open && may_wait {
        flow.leg_flags |= leg_flag::TAKES_CLOSE;
        flow.close_at = image.seq.wrapping_add(facts.close_at);
    } else {
        flow.flags |= flag::CLOSE;
    }
}

/// A leg begins with the newest request. An endpoint that is told who the client is hears the word, too: its leg never waits.
#[inline(always)]
pub(super) fn begin(flow: &mut Flow, told: u32) {
    if told != 0 && asks_no_more(flow) {
        flow.flags |= flag::CLOSE;
        flow.leg_flags = 0;
    }
    // What a request said of the connection goes with it to another endpoint.
    flow.leg_flags &= leg_flag::TAKES_CLOSE;
}

/// Where the word is in the request that starts at `seq`; 0: it stays.
#[inline(always)]
#[must_use]
pub fn word_of(flow: &Flow, seq: u32) -> u32 {
    if flow.leg_flags & leg_flag::TAKES_CLOSE == 0 { 0 } else { flow.close_at.wrapping_sub(seq) }
}

/// Whether the client has said that it asks for nothing more.
#[inline(always)]
pub(super) const fn asks_no_more(flow: &Flow) -> bool {
    flow.leg_flags & leg_flag::TAKES_CLOSE != 0
}

/// Writes spaces over the word, as far as the client's segment has it.
#[inline(always)]
pub(super) fn blank(flow: &Flow, image: &Image, plan: &mut Plan) {
    if flow.leg_flags & leg_flag::TAKES_CLOSE != 0 {
        write_over(plan, flow.close_at.wrapping_sub(image.seq), WORD, WORD);
    }
}

/// Plans to write `len` bytes, of what is written from `skip` on, over those `ahead` of the start of the payload, as far as it has them.
#[inline(always)]
fn write_over(plan: &mut Plan, ahead: u32, len: u32, skip: u32) {
    let missing = 0u32.wrapping_sub(ahead);
    if ahead < plan.keep {
        plan.patch_at = ahead;
        plan.patch_from = skip;
        plan.patch_len = len.min(plan.keep - ahead);
    } else if missing < len && plan.keep != 0 {
        plan.patch_at = 0;
        plan.patch_from = skip + missing;
        plan.patch_len = (len - missing).min(plan.keep);
    }
}

/// Notes where the response, whose head is at hand and was never sent, says `keep-alive`: at `told_at`.
#[inline(always)]
pub(super) fn note_head(flow: &mut Flow, told_at: u32) {
    let is_one = flow.outstanding == 1 && flow.flags & flag::CLOSE == 0;
    if asks_no_more(flow) && is_one && !before(told_at, flow.sent_end) {
        flow.leg_flags |= leg_flag::TOLD;
        flow.told_at = told_at;
    }
}

/// A segment with data of the endpoint, which the plan sends to the client: it says `close`, and ends where the response does.
#[inline(always)]
pub(super) fn tell(flow: &mut Flow, image: &Image, plan: &mut Plan) {
    if !asks_no_more(flow) {
        return;
    }
    if flow.leg_flags & leg_flag::TOLD != 0 {
        write_over(plan, flow.told_at.wrapping_sub(plan.seq), TOLD, 0);
    }
    let leg_end = image.seq.wrapping_add(image.payload_len);
    let end = plan.seq.wrapping_add(image.payload_len);
    let is_end = flow.outstanding == 0
        && flow.phase == phase::HEAD
        && flow.leg_next == leg_end
        && flow.leg_end == leg_end
        && flow.flags & flag::ENDS == 0;
    if is_end && flow.leg_flags & leg_flag::FIN_SENT == 0 {
        flow.leg_flags |= leg_flag::FIN_SENT;
        flow.leg_fin = end;
        flow.sent_end = end.wrapping_add(1);
    }
    if is_ours(flow) && end == flow.leg_fin {
        plan.flags |= u32::from(TcpFlags::FIN);
    }
}

/// Whether the FIN that the client was sent is ours alone: the endpoint has sent none.
#[inline(always)]
pub(super) const fn is_ours(flow: &Flow) -> bool {
    flow.leg_flags & leg_flag::FIN_SENT != 0 && flow.flags & flag::LEG_FIN == 0
}

/// The client's acknowledgement as the endpoint may see it, which has sent no FIN.
#[inline(always)]
pub(super) const fn without_fin(flow: &Flow, ack: u32) -> u32 {
    let is_behind = is_ours(flow) && ack == flow.leg_fin.wrapping_add(1);
    ack.wrapping_sub(is_behind as u32)
}

/// Just behind the last byte of data that the client was sent.
#[inline(always)]
pub(super) const fn data_end(flow: &Flow) -> u32 {
    flow.sent_end.wrapping_sub(is_ours(flow) as u32)
}

/// Whether the client has all of the last response, and the segment says so.
#[inline(always)]
#[must_use]
pub fn is_through(flow: &Flow, image: &Image) -> bool {
    flow.state == state::SPLICED
        && is_ours(flow)
        && flow.flags & flag::CLIENT_FIN == 0
        && !before(image.ack, flow.leg_fin)
        && !before(image.seq, flow.next_seq)
}

/// The client's side of a connection whose leg is left while our FIN is out.
#[inline(always)]
pub(super) fn end_client(flow: &mut Flow) {
    flow.state = state::ENDING;
    flow.began = flow.last_seen;
    flow.flags &= flag::CLIENT_FIN;
    if flow.client_ack == flow.sent_end {
        flow.flags |= flag::LEG_FIN_ACKED;
    }
}

/// The connection has no leg any more; `image` is what its client has sent.
#[inline(always)]
pub fn after_leg(flow: &mut Flow, image: &Image, plan: &mut Plan) -> After {
    if image.has(TcpFlags::RST) {
        flow.state = state::FREE;
        return After::Gone;
    }
    let closes = image.has(TcpFlags::FIN) && image.payload_len == 0 && image.seq == flow.next_seq;
    if flow.state != state::ENDING {
        if !closes {
            return After::Silent;
        }
        flow.client_end = image.end();
        plan.answer_client(flow, image, TcpFlags::FIN | TcpFlags::ACK);
        flow.sent_end = flow.sent_end.wrapping_add(1);
        flow.state = state::CLOSING;
        return After::Answer;
    }
    let has_fin = image.ack == flow.sent_end;
    if closes && has_fin {
        flow.client_end = image.end();
        plan.answer_client(flow, image, TcpFlags::ACK);
        flow.state = state::FREE;
        return After::AnswerLast;
    }
    if has_fin || image.payload_len != 0 {
        return After::Silent;
    }
    if closes {
        flow.client_end = image.end();
        flow.state = state::CLOSING;
    }
    plan.answer_client(flow, image, TcpFlags::FIN | TcpFlags::ACK);
    plan.seq = flow.sent_end.wrapping_sub(1);
    After::Answer
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A response of 100 bytes to a last request was sent, up to `end`; the leg's numbers are 7000 more.
    fn answered(end: u32) -> (Flow, Image) {
        let flow = Flow {
            state: state::SPLICED,
            leg_flags: leg_flag::TAKES_CLOSE,
            leg_next: end.wrapping_add(7000),
            leg_end: end.wrapping_add(7000),
            ack_add: 7000,
            sent_end: end,
            client_ack: end.wrapping_sub(100),
            ..Flow::default()
        };
        let image = Image { seq: end.wrapping_add(6900), payload_len: 100, ..Image::default() };
        (flow, image)
    }

    fn told(flow: &mut Flow, image: &Image) -> bool {
        let mut plan = Plan::default();
        plan.down(flow, image);
        tell(flow, image, &mut plan);
        plan.flags & u32::from(TcpFlags::FIN) != 0
    }

    #[test]
    fn our_fin_is_where_the_response_ends_and_nowhere_else() {
        for end in [5000, 0, u32::MAX, 50] {
            let (mut flow, image) = answered(end);
            assert!(told(&mut flow, &image) && told(&mut flow, &image), "{end}: and again");
            assert_eq!((flow.leg_fin, flow.sent_end), (end, end.wrapping_add(1)), "{end}");
            assert!(!told(&mut flow, &Image { payload_len: 99, ..image }), "{end}: a piece without the end");
            let tail = Image { seq: image.seq.wrapping_add(90), payload_len: 10, ..image };
            assert!(told(&mut flow, &tail), "{end}: a piece with it");
        }
        for (what, change) in [
            ("a request is outstanding", (|flow| flow.outstanding = 1) as fn(&mut Flow)),
            ("nobody knows the end", |flow| flow.phase = phase::UNKNOWN),
            ("in a body", |flow| flow.phase = phase::BODY),
            ("a head is not whole", |flow| flow.phase = phase::PARTIAL),
            ("the walk stands elsewhere", |flow| flow.leg_next = 1),
            ("more was sent", |flow| flow.leg_end = flow.leg_end.wrapping_add(1)),
            ("the client has closed", |flow| flow.flags = flag::CLIENT_FIN),
            ("the endpoint has", |flow| flow.flags = flag::LEG_FIN),
            ("the endpoint says that it will", |flow| flow.flags = flag::CLOSE),
            ("nobody asked for it", |flow| flow.leg_flags = 0),
        ] {
            let (mut flow, image) = answered(5000);
            change(&mut flow);
            let before = flow;
            assert!(!told(&mut flow, &image) && flow == before, "{what}");
        }
    }

    #[test]
    fn a_client_is_told_by_a_head_of_which_it_has_nothing() {
        let is_told = |change: fn(&mut Flow)| {
            let mut flow = Flow { outstanding: 1, ..answered(u32::MAX).0 };
            change(&mut flow);
            note_head(&mut flow, 40);
            flow.leg_flags & leg_flag::TOLD != 0 && flow.told_at == 40
        };
        assert!(is_told(|_| {}) && is_told(|flow| flow.sent_end = 40));
        assert!(!is_told(|flow| flow.sent_end = 41), "a part of the word was sent as it came");
        assert!(!is_told(|flow| flow.outstanding = 2), "of another response");
        assert!(!is_told(|flow| flow.flags = flag::CLOSE), "the endpoint's to say");
        assert!(!is_told(|flow| flow.leg_flags = 0), "nobody asked for it");
    }

    #[test]
    fn the_endpoint_hears_nothing_of_our_fin() {
        let (mut flow, image) = answered(5000);
        let up = |flow: &Flow, ack: u32| {
            let mut plan = Plan::default();
            plan.up(flow, &Image { ack, ..Image::default() });
            plan.ack
        };
        assert_eq!(up(&flow, 5000), 12_000);
        told(&mut flow, &image);
        assert_eq!([4999, 5000, 5001].map(|ack| up(&flow, ack)), [11_999, 12_000, 12_000]);
        assert_eq!(data_end(&flow), 5000);
        flow.flags = flag::LEG_FIN;
        assert_eq!(up(&flow, 5001), 12_001, "it has sent one itself, of the same number");
    }

    #[test]
    fn what_is_written_over_is_the_same_in_each_piece() {
        for (len, skip) in [(WORD, WORD), (TOLD, 0)] {
            for place in 0..40u32 {
                for start in 0..40u32 {
                    for keep in 0..30u32 {
                        let mut plan = Plan { keep, ..Plan::default() };
                        write_over(&mut plan, place.wrapping_sub(start), len, skip);
                        for at in 0..keep {
                            let planned = at.wrapping_sub(plan.patch_at) < plan.patch_len;
                            let is_in = (start + at).wrapping_sub(place) < len;
                            assert_eq!(planned, is_in, "{place} {start} {keep} {at}");
                            if is_in {
                                assert_eq!(plan.patch_from + at - plan.patch_at, skip + start + at - place);
                            }
                        }
                        assert!(plan.patch_len == 0 || plan.patch_at + plan.patch_len <= keep);
                    }
                }
            }
        }
    }

    #[test]
    fn only_a_word_on_a_leg_without_doubts_is_taken_over() {
        let facts = RequestFacts { flags: RequestFacts::CLOSE, close_at: 40, ..RequestFacts::default() };
        let image = Image { seq: u32::MAX - 10, flags: u32::from(TcpFlags::ACK), ..Image::default() };
        let took = |flow: &Flow, image: &Image, facts: &RequestFacts| {
            let mut flow = *flow;
            take_over(&mut flow, image, facts);
            let is_taken = flow.leg_flags & leg_flag::TAKES_CLOSE != 0;
            assert_eq!(is_taken, word_of(&flow, image.seq) == facts.close_at && facts.close_at != 0);
            assert!(!is_taken || flow.close_at == image.seq.wrapping_add(40));
            (is_taken, flow.flags & flag::CLOSE != 0)
        };
        let new = Flow::default();
        assert_eq!(took(&new, &image, &facts), (true, false));
        assert_eq!(took(&new, &image, &RequestFacts::default()), (false, false));
        assert_eq!(took(&new, &image, &RequestFacts { close_at: 0, ..facts }), (false, true), "no pool");
        let with_fin = Image { flags: u32::from(TcpFlags::ACK | TcpFlags::FIN), ..image };
        assert_eq!(took(&new, &with_fin, &facts), (false, true));
        for told in [28, 28 | Flow::TOLD_HEARD] {
            assert_eq!(took(&Flow { told, ..new }, &image, &facts), (false, true), "its client's alone");
        }
        let doubtful = Flow { leg_flags: leg_flag::DOUBTFUL, ..new };
        assert_eq!(took(&doubtful, &image, &facts), (false, true));
        assert_eq!(took(&Flow { flags: flag::CLOSE, ..new }, &image, &facts), (false, true));
    }

    #[test]
    fn whoever_is_told_of_a_client_is_told_that_it_closes() {
        let taken = Flow { leg_flags: leg_flag::TAKES_CLOSE | leg_flag::DOUBTFUL, ..Flow::default() };
        let begun = |told: u32, flow: &Flow| {
            let mut flow = *flow;
            begin(&mut flow, told);
            (flow.leg_flags, flow.flags)
        };
        assert_eq!(begun(0, &taken), (leg_flag::TAKES_CLOSE, 0), "it goes with the request");
        assert_eq!(begun(28, &taken), (0, flag::CLOSE));
        assert_eq!(begun(28, &Flow { leg_flags: leg_flag::POOLED, ..Flow::default() }), (0, 0));
    }
}
