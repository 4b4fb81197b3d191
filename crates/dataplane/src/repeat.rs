//! A bounded loop that the verifier walks once: `bpf_loop` in the kernel, a plain loop elsewhere.

/// Whether a loop goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// To the next round.
    Next,
    /// Out of the loop.
    Stop,
}

/// Calls `step` with 0, 1, 2... at most `rounds` times (a constant, or bounded by one: at most 2^23), until it says
/// [`Step::Stop`].
///
/// `step` must not capture anything: its state is `context`, whose fields the verifier forgets at each round.
///
/// Source: helper `bpf_loop`, Linux commit e6f2dd0f8067 (5.17).
#[inline(always)]
pub fn repeat<C, F: Fn(u32, &mut C) -> Step>(rounds: u32, context: &mut C, step: F) {
    const { assert!(size_of::<F>() == 0, "a step captures nothing") };
    #[cfg(not(target_arch = "bpf"))]
    for round in 0..rounds {
        if step(round, context) == Step::Stop {
            break;
        }
    }
    #[cfg(target_arch = "bpf")]
    {
        use core::ffi::c_void;
        let _ = step;
        let callback: unsafe extern "C" fn(u64, *mut c_void) -> i64 = trampoline::<C, F>;
        // SAFETY: 181 is the number of bpf_loop in every kernel that has it.
        let bpf_loop: unsafe extern "C" fn(u32, *mut c_void, *mut c_void, u64) -> i64 =
            unsafe { core::mem::transmute(181usize) };
        // SAFETY: the callback gets `context` back as what it is, during this call only.
        unsafe { bpf_loop(rounds, callback as *mut c_void, core::ptr::from_mut(context).cast(), 0) };
    }
}

#[cfg(target_arch = "bpf")]
unsafe extern "C" fn trampoline<C, F: Fn(u32, &mut C) -> Step>(
    round: u64,
    context: *mut core::ffi::c_void,
) -> i64 {
    // SAFETY: `F` has size 0, so there is nothing to read of it.
    let step: F = unsafe { core::mem::transmute_copy(&()) };
    // SAFETY: `repeat` passed a `&mut C`.
    let context = unsafe { &mut *context.cast::<C>() };
    i64::from(step(round as u32, context) == Step::Stop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_stops_at_the_bound_or_when_told() {
        let mut rounds = 0;
        repeat(5, &mut rounds, |_, rounds| {
            *rounds += 1;
            Step::Next
        });
        assert_eq!(rounds, 5);
        repeat(5, &mut rounds, |round, rounds| {
            *rounds += 1;
            if round == 1 { Step::Stop } else { Step::Next }
        });
        assert_eq!(rounds, 7);
    }
}
