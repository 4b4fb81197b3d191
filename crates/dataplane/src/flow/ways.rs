//! The ways of a connection: learnt from segments that come by them, asked for anew where a side seems to hear nothing.

use wire::{Flow, Hop};

use super::{ClientStep, EndpointStep, Plan};
use crate::image::Image;

/// Repetitions in a row behind which each second one leaves the way to the host, which looks it up anew: routers and link
/// addresses change. Not all of them: the host may know no way where the one that was learnt still works.
const REPEATS_MAX: u8 = 3;

/// `Flow::repeats` counts what was repeated to the endpoint in its lower half, to the client in the upper one.
const HALF: u8 = 4;
const MASK: u8 = 0x0f;

/// What is sent to the endpoint was sent before.
#[inline(always)]
pub(super) fn repeated_up(flow: &mut Flow, plan: &mut Plan) {
    let count = next(flow.repeats & MASK);
    flow.repeats = flow.repeats & !MASK | count;
    ask_anew(count, plan);
}

/// Whether the endpoint was sent something again since it was heard last.
#[inline(always)]
pub(super) const fn is_repeated_up(flow: &Flow) -> bool {
    flow.repeats & MASK != 0
}

/// What is sent to the client was sent before.
#[inline(always)]
pub(super) fn repeated_down(flow: &mut Flow, plan: &mut Plan) {
    let count = next(flow.repeats >> HALF);
    flow.repeats = flow.repeats & MASK | count << HALF;
    ask_anew(count, plan);
}

/// The endpoint hears us.
#[inline(always)]
pub(super) const fn heard_up(flow: &mut Flow) {
    flow.repeats &= !MASK;
}

/// The client hears us.
#[inline(always)]
pub(super) const fn heard_down(flow: &mut Flow) {
    flow.repeats &= MASK;
}

/// Takes over from where a segment of the endpoint came, if that is news. One that acknowledges exactly what the endpoint has
/// acknowledged: not any that happens to fit a window.
#[inline(always)]
pub fn learn_way_up(flow: &mut Flow, image: &Image, device: u32, step: EndpointStep) {
    if step == EndpointStep::Forward && image.ack == flow.leg_ack {
        follow(&mut flow.up, image, device);
    }
}

/// The same of the client: from a segment that ends where the client's newest byte does.
#[inline(always)]
pub fn learn_way_down(flow: &mut Flow, image: &Image, device: u32, step: ClientStep) {
    if step == ClientStep::Forward && image.end() == flow.client_end {
        follow(&mut flow.down, image, device);
    }
}

/// Routers share link addresses (RFC 9568 section 7.3): the device tells them apart.
#[inline(always)]
fn follow(way: &mut Hop, image: &Image, device: u32) {
    let [a, b, c, d, e, f, g, h, i, j, k, l] = image.link;
    let from = [g, h, i, j, k, l];
    if way.destination != from || way.device != device {
        *way = Hop { device, destination: from, source: [a, b, c, d, e, f] };
    }
}

/// Counted up to the largest number, and from there in a circle that keeps odd and even apart.
#[inline(always)]
const fn next(count: u8) -> u8 {
    if count == MASK { REPEATS_MAX + 1 } else { count + 1 }
}

#[inline(always)]
fn ask_anew(count: u8, plan: &mut Plan) {
    if count >= REPEATS_MAX && count & 1 == 1 {
        plan.hop = Hop { device: plan.hop.device, ..Hop::default() };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_second_repetition_behind_the_third_asks_anew() {
        let hop = Hop { device: 3, destination: [1; 6], source: [2; 6] };
        let asks = |repeat: fn(&mut Flow, &mut Plan), flow: &mut Flow| {
            let mut plan = Plan { hop, ..Plan::default() };
            repeat(flow, &mut plan);
            assert_eq!(plan.hop.device, 3);
            plan.hop.destination == [0; 6]
        };
        let mut flow = Flow::default();
        for turn in 1..60 {
            assert_eq!(asks(repeated_up, &mut flow), turn >= 3 && turn % 2 == 1, "{turn}");
        }
        for turn in 1..60 {
            assert_eq!(asks(repeated_down, &mut flow), turn >= 3 && turn % 2 == 1, "{turn}");
        }
        let before = flow.repeats & MASK;
        heard_down(&mut flow);
        assert_eq!(flow.repeats, before, "each side is counted by itself");
        heard_up(&mut flow);
        assert!(!asks(repeated_up, &mut flow) && !asks(repeated_up, &mut flow));
    }

    #[test]
    fn a_way_is_learnt_from_what_is_in_its_place_alone() {
        fn learnt(ack: u32, step: EndpointStep) -> Hop {
            let mut flow = Flow { leg_ack: 77, ..Flow::default() };
            let image = Image { ack, link: [1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2], ..Image::default() };
            learn_way_up(&mut flow, &image, 5, step);
            flow.up
        }
        let new = Hop { device: 5, destination: [2; 6], source: [1; 6] };
        assert_eq!(learnt(77, EndpointStep::Forward), new);
        assert_eq!(learnt(76, EndpointStep::Forward), Hop::default());
        assert_eq!(learnt(77, EndpointStep::Useless), Hop::default());
    }

    #[test]
    fn a_client_is_followed_to_another_device_though_its_router_has_one_address_on_both() {
        let way = Hop { device: 5, destination: [2; 6], source: [1; 6] };
        let mut flow = Flow { client_end: 100, down: way, ..Flow::default() };
        let image = Image { seq: 100, link: [1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2], ..Image::default() };
        learn_way_down(&mut flow, &Image { seq: 99, ..image }, 6, ClientStep::Forward);
        learn_way_down(&mut flow, &image, 6, ClientStep::Early);
        assert_eq!(flow.down, way);
        learn_way_down(&mut flow, &image, 6, ClientStep::Forward);
        assert_eq!(flow.down, Hop { device: 6, ..way });
    }
}
