//! From scope to scope and from candidate to candidate.

use wire::{Candidate, HostRecord, Payload, RequestFacts, SCOPES_MAX};

use super::{LookupScratch, Punt, Tables, headers, path};
use crate::repeat::{Step, repeat};

/// Scopes begun and candidates looked at.
const STEPS_MAX: u32 = 64;

struct Walk<'a, T> {
    tables: &'a T,
    payload: &'a Payload,
    facts: &'a RequestFacts,
    scratch: &'a mut LookupScratch,
}

/// Goes through the scopes in `scratch` and leaves the decision there.
#[inline(always)]
pub(super) fn walk<T: Tables>(
    tables: &T,
    payload: &Payload,
    facts: &RequestFacts,
    scratch: &mut LookupScratch,
) {
    scratch.begun = 0;
    scratch.candidate = 0;
    scratch.punt = Punt::TooManySteps as u32;
    let mut walk = Walk { tables, payload, facts, scratch };
    repeat(STEPS_MAX, &mut walk, |_, walk| match walk.scratch.candidate {
        0 => begin(walk),
        candidate => consider(walk, candidate),
    });
}

/// Begins the next scope.
#[inline(always)]
fn begin<T: Tables>(walk: &mut Walk<'_, T>) -> Step {
    let scratch = &mut *walk.scratch;
    let place = scratch.begun as usize;
    let scope = if place < SCOPES_MAX { scratch.scopes[place & (SCOPES_MAX - 1)] } else { 0 };
    if scope == 0 || scope == HostRecord::TIER3 {
        scratch.punt = if scope == 0 { Punt::NoRoute } else { Punt::RouteOfUserspace } as u32;
        return Step::Stop;
    }
    scratch.begun += 1;
    scratch.scope = scope;
    scratch.candidate = path::first(walk.tables, scratch);
    if scratch.punt == Punt::TooManySteps as u32 { Step::Next } else { Step::Stop }
}

/// Takes the candidate, or goes on to the next one.
#[inline(always)]
fn consider<T: Tables>(walk: &mut Walk<'_, T>, index: u32) -> Step {
    let scratch = &mut *walk.scratch;
    let candidate = match walk.tables.candidate(index) {
        Some(candidate) if candidate.scope == scratch.scope => candidate,
        _ => return stop(scratch, Punt::Changed),
    };
    let method = u32::from(walk.facts.method) & 31;
    let holds = candidate.methods >> method & 1 == 1
        && match candidate.conditions {
            0 => true,
            conditions => match walk.tables.conditions(conditions) {
                Some(conditions) if conditions.scope == scratch.scope => {
                    headers::hold(conditions, walk.payload, walk.facts)
                }
                _ => return stop(scratch, Punt::Changed),
            },
        };
    if !holds {
        scratch.candidate = candidate.next;
        return Step::Next;
    }
    if candidate.flags & Candidate::TIER3 != 0 {
        return stop(scratch, Punt::RouteOfUserspace);
    }
    scratch.action = candidate.action;
    scratch.punt = 0;
    Step::Stop
}

#[inline(always)]
fn stop(scratch: &mut LookupScratch, punt: Punt) -> Step {
    scratch.punt = punt as u32;
    Step::Stop
}
