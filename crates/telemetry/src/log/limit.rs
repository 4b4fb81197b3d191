use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing::callsite::Identifier;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber, warn};
use tracing_subscriber::layer::{Context, Layer};

/// Lines a second from one place in the code.
const EVENTS_MAX: u32 = 20;

const WINDOW: Duration = Duration::from_secs(1);

/// Crates whose warnings a client or an endpoint can cause at will.
const TARGETS: [&str; 2] = ["proxy", "http1"];

/// Keeps clients and endpoints from filling the disk: at most 20 warnings or errors a second from one place in the data
/// plane's code. Everything else passes.
#[derive(Clone, Debug, Default)]
pub struct Limiter {
    callsites: Arc<Mutex<HashMap<Identifier, Window>>>,
}

#[derive(Debug)]
struct Window {
    start: Instant,
    passed: u32,
    suppressed: u64,
    /// The first suppressed message.
    example: String,
}

impl Limiter {
    /// Logs how many lines were suppressed since the last call, one line per place in the code.
    pub fn report(&self) {
        for (suppressed, example) in self.take_suppressed() {
            warn!(target: "rauta::log", suppressed, "suppressed {suppressed} more like: {example}");
        }
    }

    pub(super) fn layer(&self) -> LimitLayer {
        LimitLayer(self.clone())
    }

    fn take_suppressed(&self) -> Vec<(u64, String)> {
        let mut callsites = self.callsites.lock().unwrap_or_else(PoisonError::into_inner);
        let suppressed = callsites.values_mut().filter(|window| window.suppressed > 0);
        suppressed.map(|w| (std::mem::take(&mut w.suppressed), std::mem::take(&mut w.example))).collect()
    }

    /// Whether one more event of `callsite` may pass at `now`.
    fn admit(&self, callsite: Identifier, now: Instant, message: impl FnOnce() -> String) -> bool {
        let mut callsites = self.callsites.lock().unwrap_or_else(PoisonError::into_inner);
        let window = callsites.entry(callsite).or_insert_with(|| Window {
            start: now,
            passed: 0,
            suppressed: 0,
            example: String::new(),
        });
        if now.duration_since(window.start) >= WINDOW {
            (window.start, window.passed) = (now, 0);
        }
        if window.passed < EVENTS_MAX {
            window.passed += 1;
            return true;
        }
        if window.suppressed == 0 {
            window.example = message();
        }
        window.suppressed += 1;
        false
    }
}

pub(super) struct LimitLayer(Limiter);

impl<S: Subscriber> Layer<S> for LimitLayer {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        let metadata = event.metadata();
        !is_limited(metadata)
            || self.0.admit(metadata.callsite(), Instant::now(), || {
                let mut message = Message::default();
                event.record(&mut message);
                message.0
            })
    }
}

fn is_limited(metadata: &Metadata<'_>) -> bool {
    let target = metadata.target();
    let krate = target.split_once("::").map_or(target, |(krate, _)| krate);
    *metadata.level() <= Level::WARN && TARGETS.contains(&krate)
}

/// The text of an event, without its other fields.
#[derive(Default)]
struct Message(String);

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.0 = format!("{value:?}");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

    use tracing::subscriber::with_default;
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    #[derive(Clone, Default)]
    struct Count(Arc<AtomicU32>);

    impl<S: Subscriber> Layer<S> for Count {
        fn on_event(&self, _: &Event<'_>, _: Context<'_, S>) {
            self.0.fetch_add(1, Relaxed);
        }
    }

    /// Runs `log` 100 times; returns how many lines came out and what was suppressed.
    fn hundred(log: impl Fn(u32)) -> (u32, Vec<(u64, String)>) {
        let (limiter, count) = (Limiter::default(), Count::default());
        let subscriber = tracing_subscriber::registry().with(limiter.layer()).with(count.clone());
        with_default(subscriber, || (0..100).for_each(log));
        (count.0.load(Relaxed), limiter.take_suppressed())
    }

    #[test]
    fn a_flood_from_the_data_plane_is_cut_and_counted() {
        let (lines, suppressed) =
            hundred(|i| warn!(target: "proxy::upstream", number = i, "cannot connect, try {i}"));
        // The hundred may straddle the end of a second.
        assert!((20..=40).contains(&lines), "{lines} lines");
        assert_eq!(suppressed.len(), 1);
        assert_eq!(suppressed[0].0, u64::from(100 - lines));
        assert_eq!(suppressed[0].1, "cannot connect, try 20");
    }

    #[test]
    fn other_crates_and_lower_levels_pass() {
        assert_eq!(hundred(|_| warn!(target: "rauta::agent", "a diagnostic")), (100, vec![]));
        assert_eq!(hundred(|_| warn!(target: "proxyish", "not the proxy crate")), (100, vec![]));
        assert_eq!(hundred(|_| tracing::info!(target: "proxy", "a state change")), (100, vec![]));
    }

    #[test]
    fn every_place_has_its_own_limit_and_a_new_one_each_second() {
        let limiter = Limiter::default();
        let (one, other) = (callsite!(), callsite!());
        let now = Instant::now();
        let passed = |callsite: &Identifier, at: Instant| {
            (0..50).filter(|_| limiter.admit(callsite.clone(), at, String::new)).count()
        };
        assert_eq!(passed(&one, now), 20);
        assert_eq!(passed(&other, now), 20);
        assert_eq!(passed(&one, now + Duration::from_millis(999)), 0);
        assert_eq!(passed(&one, now + Duration::from_secs(1)), 20);
        let mut suppressed: Vec<u64> = limiter.take_suppressed().into_iter().map(|(n, _)| n).collect();
        suppressed.sort_unstable();
        assert_eq!(suppressed, [30, 110]);
        assert!(limiter.take_suppressed().is_empty(), "reported once");
    }

    /// The identity of a place in the code.
    macro_rules! callsite {
        () => {{
            let found = Arc::new(Mutex::new(None));
            let seen = Arc::clone(&found);
            let subscriber = tracing_subscriber::registry().with(Seen(seen));
            with_default(subscriber, || warn!("here"));
            let identifier = found.lock().unwrap().clone();
            identifier.unwrap()
        }};
    }
    use callsite;

    struct Seen(Arc<Mutex<Option<Identifier>>>);

    impl<S: Subscriber> Layer<S> for Seen {
        fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
            *self.0.lock().unwrap() = Some(event.metadata().callsite());
        }
    }
}
