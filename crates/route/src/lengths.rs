use std::ops::Range;

/// So many lengths are tried one by one.
const ONE_BY_ONE_MAX: usize = 4;

/// Where to go on looking for the longest prefix among the lengths at the places `range`, in ascending order, which is
/// not empty: at a longer one after a hit, at a shorter one after a miss.
///
/// Few lengths are tried from the longest on: no marker is needed, and often the first one hits. More are searched by
/// halves: for a hit to tell that there may be more, each prefix leaves a marker at every length where the search for it
/// comes by.
///
/// Source: Waldvogel et al., "Scalable High Speed IP Routing Lookups", SIGCOMM 1997, section 3.
#[inline]
pub(crate) fn middle(range: &Range<usize>) -> usize {
    if range.len() <= ONE_BY_ONE_MAX { range.end - 1 } else { range.start + range.len() / 2 }
}

/// The places of the lengths at which the prefix whose length is at place `own`, of `count`, leaves markers.
pub(crate) fn markers(own: usize, count: usize) -> impl Iterator<Item = usize> {
    let mut range = 0..count;
    std::iter::from_fn(move || {
        loop {
            if range.is_empty() {
                return None;
            }
            let at = middle(&range);
            if at > own {
                range.end = at;
            } else if at == own {
                return None;
            } else {
                range.start = at + 1;
                return Some(at);
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_lengths_need_no_markers_and_many_only_few() {
        for count in 0..=ONE_BY_ONE_MAX {
            assert!((0..count).all(|own| markers(own, count).next().is_none()));
        }
        assert_eq!(markers(999, 1_000).collect::<Vec<_>>(), [500, 750, 875, 938, 969, 985, 993, 997]);
        assert!((0..1_000).all(|own| markers(own, 1_000).count() <= 10));
    }

    /// By its markers every prefix is found, and the search is short.
    #[test]
    fn the_search_finds_the_longest_present() {
        for count in 1..200 {
            for own in 0..count {
                let present: Vec<usize> = markers(own, count).chain([own]).collect();
                let (mut range, mut found, mut steps) = (0..count, None, 0);
                while !range.is_empty() {
                    let at = middle(&range);
                    steps += 1;
                    if present.contains(&at) {
                        found = Some(at);
                        range.start = at + 1;
                    } else {
                        range.end = at;
                    }
                }
                assert_eq!(found, Some(own), "{own} of {count}");
                assert!(steps <= 11, "{steps} steps for {own} of {count}");
            }
        }
    }
}
