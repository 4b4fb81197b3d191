//! An allocator that counts what one thread asks for.

use std::alloc::{GlobalAlloc, Layout, System};
use std::backtrace::Backtrace;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering::Relaxed};

pub struct Counting;

/// The thread that is watched, by its number in the kernel; 0: none.
static WATCHED: AtomicI32 = AtomicI32::new(0);
static COUNT: AtomicU64 = AtomicU64::new(0);
/// Whether the places are remembered, too.
static LOOKS: AtomicBool = AtomicBool::new(false);
static PLACES: Mutex<BTreeMap<String, u64>> = Mutex::new(BTreeMap::new());

thread_local! {
    static THREAD: Cell<i32> = const { Cell::new(0) };
    /// Set while the watcher itself allocates.
    static IS_LOOKING: Cell<bool> = const { Cell::new(false) };
}

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if WATCHED.load(Relaxed) == thread() {
            note();
        }
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(at, layout) }
    }
}

/// Watches the one thread of this process with that name, which must have begun to run.
pub fn watch(name: &str) {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let named = tasks.filter_map(|task| {
        let path = task.unwrap().path();
        let is_it = std::fs::read_to_string(path.join("comm")).is_ok_and(|comm| comm.trim_end() == name);
        is_it.then(|| path.file_name().unwrap().to_str().unwrap().parse().unwrap())
    });
    let found: Vec<i32> = named.collect();
    assert_eq!(found.len(), 1, "threads called {name}");
    WATCHED.store(found[0], Relaxed);
}

/// What the watched threads have asked for so far.
pub fn count() -> u64 {
    COUNT.load(Relaxed)
}

/// Remembers the places from here on, or not; returns those of before, the most frequent first.
pub fn look(at_places: bool) -> Vec<(u64, String)> {
    LOOKS.store(at_places, Relaxed);
    let mut seen: Vec<_> =
        std::mem::take(&mut *PLACES.lock().unwrap()).into_iter().map(|(p, n)| (n, p)).collect();
    seen.sort_by_key(|(count, _)| std::cmp::Reverse(*count));
    seen
}

fn thread() -> i32 {
    THREAD.with(|known| {
        if known.get() == 0 {
            // SAFETY: gettid(2) has no conditions.
            known.set(unsafe { libc::gettid() });
        }
        known.get()
    })
}

fn note() {
    if IS_LOOKING.get() {
        return;
    }
    COUNT.fetch_add(1, Relaxed);
    if LOOKS.load(Relaxed) {
        IS_LOOKING.set(true);
        let place = place(&Backtrace::force_capture().to_string());
        *PLACES.lock().unwrap().entry(place).or_default() += 1;
        IS_LOOKING.set(false);
    }
}

/// The innermost lines that are neither the standard library's nor this file's, each with its function.
fn place(trace: &str) -> String {
    const FRAMES: usize = 8;
    let is_ours =
        |at: &str| !at.contains("/rustc/") && !at.contains("/rustlib/") && !at.contains("/allocations/");
    let mut function = "";
    let mut frames = Vec::new();
    for line in trace.lines().map(str::trim) {
        match line.strip_prefix("at ") {
            // The crate's name and the line are enough.
            Some(at) if is_ours(at) => {
                let from = at.match_indices('/').rev().nth(2).map_or(0, |(slash, _)| slash + 1);
                frames.push(format!("{} {function}", &at[from..]));
            }
            Some(_) => {}
            None => function = line.split_once(": ").map_or(line, |(_, name)| name),
        }
    }
    frames.truncate(FRAMES);
    frames.join("\n        ")
}
