//! Conditions on headers.

use wire::{HEADER_VALUE_MAX, HeaderConditions, Payload, RequestFacts};

use super::words::{mask, word_at, word_of};
use crate::repeat::{Step, repeat};

struct Checking<'a> {
    conditions: &'a HeaderConditions,
    payload: &'a Payload,
    facts: &'a RequestFacts,
    differs: u64,
}

/// Whether the request meets all of them.
#[inline(always)]
pub(super) fn hold(conditions: &HeaderConditions, payload: &Payload, facts: &RequestFacts) -> bool {
    let mut checking = Checking { conditions, payload, facts, differs: 0 };
    repeat(conditions.used & 7, &mut checking, |round, checking| {
        let condition = &checking.conditions.all[(round & 3) as usize];
        let number = condition.number & 15;
        let value = checking.facts.captures[number as usize];
        let len = u32::from(value.len);
        let mut differs = u64::from(checking.facts.captured >> number & 1 == 0);
        differs |= u64::from(len ^ condition.len);
        let mut index = 0;
        while index < HEADER_VALUE_MAX / 8 {
            let at = 8 * index as u32;
            let word = word_at(checking.payload, u32::from(value.start) + at) & mask(len.saturating_sub(at));
            // SAFETY: a value has 6 words and lies at offset 8 of a record aligned to 8.
            differs |= word ^ u64::from_le(unsafe { word_of(condition.value.as_ptr(), index) });
            index += 1;
        }
        checking.differs |= differs;
        if differs == 0 { Step::Next } else { Step::Stop }
    });
    checking.differs == 0
}
