//! Connections that the agent ends: its FIN is out, and comes again until the client has answered it.

use wire::{Flow, TcpFlags};

use super::{ClientStep, Plan, flag, leg_flag};
use crate::image::Image;
use crate::sequence::before;

/// A segment of the client. `sent_end` is behind our FIN. When both FINs are acknowledged the agent takes the record out: until
/// then, what was answered and comes again is answered again.
#[inline(always)]
pub(super) fn while_ending(flow: &mut Flow, image: &Image, plan: &mut Plan) -> ClientStep {
    let acks_ours = image.ack == flow.sent_end;
    if acks_ours {
        flow.flags |= flag::LEG_FIN_ACKED;
    }
    let end = image.seq.wrapping_add(image.payload_len);
    if image.payload_len != 0 && before(flow.client_end, end) {
        // A request that crossed the FIN: nobody will take it (RFC 9293 section 3.6.1, RFC 9112 section 9.5).
        plan.answer_client(flow, image, TcpFlags::RST | TcpFlags::ACK);
        plan.seq = image.ack;
        flow.flags |= flag::LEG_FIN_ACKED | flag::CLIENT_FIN_ACKED;
        return ClientStep::Answer;
    }
    if image.has(TcpFlags::FIN) && !before(flow.client_end, end) {
        if end == flow.client_end {
            flow.client_end = flow.client_end.wrapping_add(1);
            flow.flags |= flag::CLIENT_FIN | flag::CLIENT_FIN_ACKED;
        }
        plan.answer_client(flow, image, TcpFlags::ACK);
        if has_ended(flow) {
            flow.state = super::state::FREE;
            return ClientStep::AnswerLast;
        }
        return ClientStep::Answer;
    }
    if acks_ours && flow.flags & flag::CLIENT_FIN != 0 {
        flow.flags |= flag::CLIENT_FIN_ACKED;
    }
    ClientStep::Useless
}

/// Makes a record one whose connection ends: our FIN is the byte behind all that the client was sent. The leg is the caller's to
/// end.
pub fn end_for(flow: &mut Flow) {
    flow.state = super::state::ENDING;
    flow.leg = wire::Tuple::default();
    flow.flags &= flag::CLIENT_FIN;
    // It may be out already.
    if flow.leg_flags & leg_flag::FIN_SENT == 0 {
        flow.sent_end = flow.sent_end.wrapping_add(1);
    }
    flow.leg_flags = 0;
    flow.outstanding = 0;
}

/// Whether both sides of an ending connection are through.
pub const fn has_ended(flow: &Flow) -> bool {
    const BOTH: u8 = flag::LEG_FIN_ACKED | flag::CLIENT_FIN_ACKED;
    flow.flags & BOTH == BOTH
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::state;

    /// The client was sent up to 5000, and sent up to 1000 itself.
    fn ending(flags: u8) -> Flow {
        let mut flow =
            Flow { state: state::SPLICED, sent_end: 5000, client_end: 1000, flags, ..Flow::default() };
        end_for(&mut flow);
        flow
    }

    fn on(flow: &mut Flow, flags: u8, seq: u32, ack: u32, payload_len: u32) -> (ClientStep, Plan) {
        let mut plan = Plan::default();
        let image = Image { seq, ack, flags: u32::from(flags), payload_len, ..Image::default() };
        (while_ending(flow, &image, &mut plan), plan)
    }

    const ACK: u8 = TcpFlags::ACK;
    const FIN: u8 = TcpFlags::FIN | TcpFlags::ACK;

    #[test]
    fn a_client_that_answers_with_its_own_fin_ends_the_connection() {
        let mut flow = ending(0);
        assert_eq!(on(&mut flow, ACK, 1000, 5000, 0).0, ClientStep::Useless, "from before the FIN");
        assert_eq!(on(&mut flow, ACK, 1000, 5001, 0).0, ClientStep::Useless);
        assert!(flow.flags & flag::LEG_FIN_ACKED != 0 && !has_ended(&flow));
        for again in 0..2 {
            let (step, plan) = on(&mut flow, FIN, 1000, 5001, 0);
            assert_eq!((step, flow.state), (ClientStep::AnswerLast, state::FREE), "{again}");
            assert_eq!((plan.flags, plan.seq, plan.ack), (u32::from(ACK), 5001, 1001), "{again}");
            assert!(has_ended(&flow));
        }
    }

    #[test]
    fn fins_that_cross_are_each_answered() {
        let mut flow = ending(0);
        let (step, plan) = on(&mut flow, FIN, 1000, 5000, 0);
        assert_eq!((step, plan.ack), (ClientStep::Answer, 1001));
        assert!(!has_ended(&flow));
        assert_eq!(on(&mut flow, ACK, 1001, 5001, 0).0, ClientStep::Useless);
        assert!(has_ended(&flow));
    }

    #[test]
    fn a_half_closed_client_has_only_to_acknowledge() {
        let mut flow = ending(flag::CLIENT_FIN);
        on(&mut flow, ACK, 1000, 5001, 0);
        assert!(has_ended(&flow));
    }

    #[test]
    fn a_request_that_crosses_the_fin_is_refused_where_the_client_is() {
        let mut flow = ending(0);
        let (step, plan) = on(&mut flow, ACK, 1000, 5000, 80);
        assert_eq!((step, plan.flags, plan.seq), (ClientStep::Answer, u32::from(TcpFlags::RST | ACK), 5000));
        assert!(has_ended(&flow));
    }
}
