//! Comparison of sequence numbers and timestamps, which wrap at 2^32 (RFC 9293 section 3.4, RFC 7323 section 5.2).

/// Whether `a` comes before `b`.
#[inline(always)]
#[must_use]
pub const fn before(a: u32, b: u32) -> bool {
    (a.wrapping_sub(b) as i32) < 0
}

/// Whether `a` comes before `b` or is it.
#[inline(always)]
#[must_use]
pub const fn not_after(a: u32, b: u32) -> bool {
    (a.wrapping_sub(b) as i32) <= 0
}

/// The later of two.
#[inline(always)]
#[must_use]
pub const fn latest(a: u32, b: u32) -> u32 {
    if before(a, b) { b } else { a }
}

/// Whether `a` is within `reach` of `b`, on either side.
#[inline(always)]
#[must_use]
pub const fn is_near(a: u32, b: u32, reach: u32) -> bool {
    a.wrapping_sub(b).wrapping_add(reach) <= reach.wrapping_mul(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_holds_over_the_wrap() {
        assert!(before(u32::MAX, 3) && !before(3, u32::MAX) && !before(3, 3));
        assert!(not_after(3, 3) && not_after(u32::MAX, 0) && !not_after(1, 0));
        assert_eq!(latest(u32::MAX, 2), 2);
        assert!(is_near(u32::MAX, 2, 3) && is_near(2, u32::MAX, 3) && !is_near(2, u32::MAX - 1, 3));
    }
}
