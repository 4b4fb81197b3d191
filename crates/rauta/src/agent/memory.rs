//! Memory that is free and still resident: after many connections have closed, or a large configuration was read.

/// How many ticks (seconds) there are between two looks.
const LOOK: u64 = 5;
/// So much may lie idle. To give it back and to take it again costs time, too.
const IDLE_BYTES: u64 = 4 << 20;

/// Gives the system back what the allocator keeps without need.
#[derive(Debug, Default)]
pub(super) struct Memory {
    ticks: u64,
    /// What was idle after it was given back last: pieces too small for that.
    rest: u64,
}

impl Memory {
    /// Looks now and then, and gives back what came since.
    pub(super) fn tick(&mut self) {
        self.ticks += 1;
        if !self.ticks.is_multiple_of(LOOK) {
            return;
        }
        let Some(idle) = idle() else { return };
        self.rest = self.rest.min(idle);
        if idle - self.rest > IDLE_BYTES {
            give_back();
            self.rest = self::idle().unwrap_or(0);
            tracing::debug!(idle_bytes = idle, left_bytes = self.rest, "gave memory back");
        }
    }
}

/// Resident bytes that no allocation has.
#[cfg(target_env = "gnu")]
fn idle() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
    let resident_kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    // SAFETY: mallinfo2 has no arguments and only reads the allocator's own figures.
    let info = unsafe { libc::mallinfo2() };
    let used = u64::try_from(info.uordblks + info.hblkhd).ok()?;
    Some((resident_kib * 1024).saturating_sub(used))
}

#[cfg(target_env = "gnu")]
fn give_back() {
    // SAFETY: malloc_trim may be called at any time, from any thread.
    unsafe { libc::malloc_trim(0) };
}

/// Other allocators do that by themselves.
#[cfg(not(target_env = "gnu"))]
fn idle() -> Option<u64> {
    None
}

#[cfg(not(target_env = "gnu"))]
fn give_back() {}

#[cfg(all(test, target_env = "gnu"))]
mod tests {
    use super::*;

    #[test]
    fn what_was_used_and_is_free_goes_back() {
        // Small pieces: larger ones go back by themselves.
        let mut pieces: Vec<Box<[u8; 1000]>> = (0..40_000).map(|_| Box::new([1; 1000])).collect();
        // Something at the end keeps the heap from shrinking by itself.
        let last = pieces.pop();
        drop(pieces);
        let before = idle().unwrap();
        let mut memory = Memory::default();
        (0..LOOK).for_each(|_| memory.tick());
        let after = idle().unwrap();
        drop(last);
        assert!(before > IDLE_BYTES && after < before / 2, "{before} {after}");
    }
}
