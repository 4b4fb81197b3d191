//! Insertion points: text that the endpoint gets and the client never sent.
//!
//! Text of length L stands before the client's byte p. In the leg's space the bytes up to p are shifted by `seq_add`, those
//! from p on by `seq_add + L`, and by L more behind each further point. Once the endpoint has acknowledged the text, L goes
//! into `seq_add` and the point is forgotten: whatever the client still repeats from before it is old for the endpoint.

use wire::{Flow, POINTS_MAX};

use crate::sequence::{before, not_after};

/// The client's `seq` in the space of the leg. The text at a point that is `seq` itself comes behind it.
#[inline(always)]
#[must_use]
pub fn to_leg(flow: &Flow, seq: u32) -> u32 {
    let mut inserted = 0u32;
    let mut i = 0;
    while i < POINTS_MAX {
        if (i as u8) < flow.points_used && before(flow.points[i], seq) {
            inserted = inserted.wrapping_add(u32::from(flow.insert_len));
        }
        i += 1;
    }
    seq.wrapping_add(flow.seq_add).wrapping_add(inserted)
}

/// The endpoint's acknowledgement in the space of the client. One inside the text acknowledges up to the point, and one inside what
/// the endpoint is told first nothing.
#[inline(always)]
#[must_use]
pub fn to_client(flow: &Flow, ack: u32) -> u32 {
    let length = u32::from(flow.insert_len);
    let mut seq = ack.wrapping_sub(flow.seq_add);
    if super::is_due(flow) && before(seq, flow.request_seq) {
        seq = flow.request_seq;
    }
    let mut i = 0;
    while i < POINTS_MAX {
        let point = flow.points[i];
        if (i as u8) < flow.points_used && before(point, seq) {
            let behind = seq.wrapping_sub(length);
            seq = if before(behind, point) { point } else { behind };
        }
        i += 1;
    }
    seq
}

/// Forgets the points whose text `ack` (in the leg's space) covers.
#[inline(always)]
pub fn fold(flow: &mut Flow, ack: u32) {
    let length = u32::from(flow.insert_len);
    let mut i = 0;
    while i < POINTS_MAX {
        if flow.points_used == 0 {
            break;
        }
        // Just behind the first point's text, in the leg's space.
        let behind = flow.points[0].wrapping_add(flow.seq_add).wrapping_add(length);
        if before(ack, behind) {
            break;
        }
        flow.seq_add = flow.seq_add.wrapping_add(length);
        flow.points_used -= 1;
        let mut j = 0;
        while j < POINTS_MAX - 1 {
            flow.points[j] = flow.points[j + 1];
            j += 1;
        }
        i += 1;
    }
}

/// Adds a point behind all others; the caller has seen that there is room.
#[inline(always)]
pub(super) fn add(flow: &mut Flow, point: u32) {
    let mut i = 0;
    while i < POINTS_MAX {
        if i as u8 == flow.points_used {
            flow.points[i] = point;
        }
        i += 1;
    }
    flow.points_used = (flow.points_used + 1).min(POINTS_MAX as u8);
}

/// Takes out the points from `seq` on.
#[inline(always)]
pub(super) fn forget_from(flow: &mut Flow, seq: u32) {
    let mut kept = 0;
    let mut i = 0;
    while i < POINTS_MAX {
        if (i as u8) < flow.points_used && before(flow.points[i], seq) {
            kept += 1;
        }
        i += 1;
    }
    flow.points_used = kept;
}

/// The first two points in `seq..seq + length`: (the first, the second); `u32::MAX` where there is none, else the distance from
/// `seq`.
#[inline(always)]
pub(super) fn within(flow: &Flow, seq: u32, length: u32) -> (u32, u32) {
    let (mut first, mut second) = (u32::MAX, u32::MAX);
    let mut i = 0;
    while i < POINTS_MAX {
        let at = flow.points[i].wrapping_sub(seq);
        if (i as u8) < flow.points_used && not_after(seq, flow.points[i]) && at < length {
            if first == u32::MAX {
                first = at;
            } else if second == u32::MAX {
                second = at;
            }
        }
        i += 1;
    }
    (first, second)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow(points: &[u32]) -> Flow {
        let mut flow = Flow { insert_len: 10, seq_add: 1000, ..Flow::default() };
        points.iter().for_each(|&p| add(&mut flow, p));
        flow
    }

    #[test]
    fn bytes_before_at_and_behind_points() {
        let flow = flow(&[100, 200]);
        assert_eq!([99, 100, 101, 200, 201].map(|seq| to_leg(&flow, seq)), [1099, 1100, 1111, 1210, 1221]);
    }

    #[test]
    fn every_acknowledgement_maps_back_to_what_it_covers() {
        for base in [0u32, u32::MAX - 150] {
            let at = |n: u32| base.wrapping_add(n);
            let flow = Flow { seq_add: base, ..flow(&[at(100), at(200)]) };
            // The leg's stream: client bytes 0..100, ten of text, 100..200, ten of text, 200..300.
            let leg = |n: u32| at(n).wrapping_add(base);
            for (ack, seq) in [
                (99, 99),
                (100, 100),
                (101, 100),
                (109, 100),
                (110, 100),
                (111, 101),
                (210, 200),
                (219, 200),
                (220, 200),
                (221, 201),
            ] {
                assert_eq!(to_client(&flow, leg(ack)), at(seq), "{base} {ack}");
            }
        }
    }

    #[test]
    fn folding_changes_no_mapping_of_what_is_still_open() {
        let (whole, mut folded) = (flow(&[100, 200]), flow(&[100, 200]));
        fold(&mut folded, 1109);
        assert_eq!(folded.points_used, 2, "the text is not covered yet");
        fold(&mut folded, 1110);
        assert_eq!((folded.points_used, folded.seq_add), (1, 1010));
        for seq in 101..300 {
            assert_eq!(to_leg(&whole, seq), to_leg(&folded, seq));
        }
        for ack in 1111..1400 {
            assert_eq!(to_client(&whole, ack), to_client(&folded, ack));
        }
        fold(&mut folded, 1220);
        assert_eq!((folded.points_used, folded.seq_add), (0, 1020));
    }

    #[test]
    fn a_segment_finds_the_points_in_it() {
        let flow = flow(&[100, 200, 300]);
        assert_eq!(within(&flow, 50, 50), (u32::MAX, u32::MAX));
        assert_eq!(within(&flow, 50, 51), (50, u32::MAX));
        assert_eq!(within(&flow, 100, 101), (0, 100));
        assert_eq!(within(&flow, 101, 500), (99, 199));
    }

    #[test]
    fn points_can_be_taken_back() {
        let mut flow = flow(&[100, 200, 300]);
        forget_from(&mut flow, 200);
        assert_eq!((flow.points_used, flow.points[0]), (1, 100));
    }
}
