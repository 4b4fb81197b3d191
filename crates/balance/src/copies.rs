/// Who gets copies of a share of requests each, by the lot of a request: 32 random bits.
///
/// Two that draw the same lot for a request agree on whether it is copied at all, whoever of them makes the copies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Copies {
    shares: Vec<Share>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Share {
    numerator: u32,
    denominator: u32,
    /// Requests with a lot below are copied to this one or one before it.
    up_to: u64,
}

impl Copies {
    /// Of so many requests (the second number, at least 1) so many (the first) are copied, to each one independently.
    pub fn new(shares: impl IntoIterator<Item = (u32, u32)>) -> Self {
        // The part of requests that nobody so far gets, of 2^64.
        let mut rest = 1_u128 << 64;
        let share = |(numerator, denominator): (u32, u32)| {
            let (numerator, denominator) = (numerator.min(denominator), denominator.max(1));
            rest = rest * u128::from(denominator - numerator) / u128::from(denominator);
            let copied = (1_u128 << 64) - rest;
            // Rounded; at most 2^32.
            let up_to = u64::try_from((copied + (1 << 31)) >> 32).unwrap_or(u64::MAX);
            Share { numerator, denominator, up_to }
        };
        Self { shares: shares.into_iter().map(share).collect() }
    }

    /// Requests with a lot below are copied, 0: none, 2^32: all.
    pub fn below(&self) -> u64 {
        self.shares.last().map_or(0, |share| share.up_to)
    }

    /// The places of those who get a copy of the request with this lot; `random` gives 64 random bits.
    pub fn of(&self, lot: u32, mut random: impl FnMut() -> u64) -> Vec<usize> {
        // The lot says who is the first. Those behind it are asked by themselves: what the lot says of them is used up.
        let first = self.shares.partition_point(|share| share.up_to <= u64::from(lot));
        let takes =
            |share: &Share, random: u64| random % u64::from(share.denominator) < u64::from(share.numerator);
        let later = self.shares.iter().enumerate().skip(first + 1);
        let later = later.filter_map(|(place, share)| takes(share, random()).then_some(place));
        (first < self.shares.len()).then_some(first).into_iter().chain(later).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mix;

    /// How many of 2^16 requests each one, and anybody, gets.
    fn counts(shares: &[(u32, u32)]) -> (Vec<u32>, u32) {
        let copies = Copies::new(shares.iter().copied());
        let (mut each, mut any, mut seed) = (vec![0; shares.len()], 0, 0);
        for lot in (0..1_u32 << 16).map(|n| n << 16 | 0x8000) {
            let random = || {
                seed += 1;
                mix(seed)
            };
            let places = copies.of(lot, random);
            assert_eq!(!places.is_empty(), u64::from(lot) < copies.below());
            any += u32::from(!places.is_empty());
            places.into_iter().for_each(|place| each[place] += 1);
        }
        (each, any)
    }

    #[test]
    fn each_gets_its_share_and_all_of_them_are_below_the_bound() {
        let near = |found: u32, share: f64| {
            // Four deviations of a draw for each request.
            let (wanted, deviation) = (65_536.0 * share, (65_536.0 * share * (1.0 - share)).sqrt());
            assert!((f64::from(found) - wanted).abs() <= 4.0 * deviation + 1.0, "{found} for {share}");
        };
        for shares in [&[(1, 4)][..], &[(35, 100), (50, 100)], &[(1, 3), (0, 7), (5, 1000), (2, 3)]] {
            let (each, any) = counts(shares);
            let parts = || shares.iter().map(|&(n, d)| f64::from(n) / f64::from(d));
            each.into_iter().zip(parts()).for_each(|(found, share)| near(found, share));
            let none: f64 = parts().map(|share| 1.0 - share).product();
            assert!(
                (f64::from(any) - 65_536.0 * (1.0 - none)).abs() <= 1.0,
                "{any}: lots are spread evenly here"
            );
        }
    }

    /// Whether one gets a request tells nothing of whether another gets it.
    #[test]
    fn shares_are_independent_of_each_other() {
        let copies = Copies::new([(1, 2), (1, 2)]);
        let mut seed = 0;
        let both = (0..1_u32 << 14).filter(|n| {
            let random = || {
                seed += 1;
                mix(seed)
            };
            copies.of(n << 18, random).len() == 2
        });
        assert!(both.count().abs_diff(1 << 12) < 4 * 56, "a quarter of them");
    }

    #[test]
    fn none_and_all_are_exact() {
        for (shares, below) in [
            (&[][..], 0),
            (&[(0, 100)][..], 0),
            (&[(100, 100)], 1 << 32),
            (&[(1, 2), (7, 7)], 1 << 32),
            (&[(1, 2)], 1 << 31),
            (&[(1, u32::MAX)], 1),
            (&[(u32::MAX - 1, u32::MAX)], (1 << 32) - 1),
        ] {
            assert_eq!(Copies::new(shares.iter().copied()).below(), below, "{shares:?}");
        }
        let all = Copies::new([(1, 1), (0, 5), (3, 3)]);
        assert_eq!((all.of(0, || 4), all.of(u32::MAX, || 4)), (vec![0, 2], vec![0, 2]));
    }
}
