//! Limits and faults of a RoutePolicy.

use std::time::Duration;

use model::{FaultInjection, RateLimit, RateLimitKey, Share};
use resources::{RateLimitKeyType, RateLimitUnit};

use super::route_policy::CLOSES;
use crate::report::Report;
use crate::{duration, pattern};

/// What follows a problem with a fault, which protects nothing.
const LEFT_OUT: &str = "so no fault is injected";
/// The most of requests and bursts: one a nanosecond.
const REQUESTS_MAX: u32 = 1_000_000_000;
/// The longest delay.
const DELAY_MAX: Duration = Duration::from_secs(3600);

/// How many requests pass; none: it cannot be.
pub(super) fn rate_limit(said: &resources::RateLimit, report: &mut Report<'_>) -> Option<RateLimit> {
    let mut is_good = true;
    let burst = said.burst.unwrap_or(said.requests);
    for (name, number) in [("requests", said.requests), ("burst", burst)] {
        if !(1..=REQUESTS_MAX).contains(&number) && (name == "requests" || said.burst.is_some()) {
            let message =
                format!("{number} is no number of requests, {CLOSES}: it must be from 1 to {REQUESTS_MAX}");
            report.invalid(format!("spec.rateLimit.{name}"), message);
            is_good = false;
        }
    }
    let field = "spec.rateLimit.key.header";
    let key = said.key.as_ref().map(|key| (key.kind, key.header.as_deref()));
    let key = match key.unwrap_or_default() {
        (RateLimitKeyType::Route, None) => Some(RateLimitKey::Route),
        (RateLimitKeyType::Address, None) => Some(RateLimitKey::Address),
        (RateLimitKeyType::Header, Some(name)) if pattern::is_token(name) => {
            Some(RateLimitKey::Header(name.to_ascii_lowercase().into()))
        }
        (RateLimitKeyType::Header, Some(name)) => {
            report.invalid(field, format!("{name:?} is no name of a header, {CLOSES}"));
            None
        }
        (RateLimitKeyType::Header, None) => {
            report.invalid(field, format!("is missing beside type Header, {CLOSES}: name one"));
            None
        }
        (_, Some(_)) => {
            report.invalid(
                field,
                format!("has no effect without type Header, {CLOSES}: write that, or remove it"),
            );
            None
        }
    };
    let period = Duration::from_secs(match said.unit {
        RateLimitUnit::Second => 1,
        RateLimitUnit::Minute => 60,
        RateLimitUnit::Hour => 3600,
        RateLimitUnit::Day => 86_400,
    });
    key.filter(|_| is_good).map(|key| RateLimit {
        requests: said.requests,
        period,
        burst,
        key,
        exempt: Vec::new(),
        status: RateLimit::TOO_MANY,
        is_of_object: false,
    })
}

/// What goes wrong on purpose; none: it cannot be, and nothing does.
pub(super) fn injection(said: &resources::FaultInjection, report: &mut Report<'_>) -> Option<FaultInjection> {
    let field = "spec.faultInjection";
    if said.delay.is_none() && said.abort.is_none() {
        report.invalid(field, format!("is empty, {LEFT_OUT}: write delay or abort"));
        return None;
    }
    let delay = said.delay.as_ref().map(|delay| {
        let time = duration::parse(&delay.fixed_delay).filter(|time| *time <= DELAY_MAX);
        if time.is_none() {
            let message =
                format!("{:?} is no time up to an hour, {LEFT_OUT}: write 500ms or 2s", delay.fixed_delay);
            report.invalid(format!("{field}.delay.fixedDelay"), message);
        }
        let share = per_million(delay.percentage, &format!("{field}.delay.percentage"), report);
        Some(Share { value: time?, per_million: share? })
    });
    let abort = said.abort.as_ref().map(|abort| {
        let status = Some(abort.http_status).filter(|status| (200..=599).contains(status));
        if status.is_none() {
            let message =
                format!("{} is no status of a response, {LEFT_OUT}: write 200 to 599", abort.http_status);
            report.invalid(format!("{field}.abort.httpStatus"), message);
        }
        let share = per_million(abort.percentage, &format!("{field}.abort.percentage"), report);
        Some(Share { value: status?, per_million: share? })
    });
    // A part that cannot be: the other is not had alone.
    Some(FaultInjection { delay: transposed(delay)?, abort: transposed(abort)? })
}

fn transposed<T>(part: Option<Option<T>>) -> Option<Option<T>> {
    part.map_or(Some(None), |part| part.map(Some))
}

fn per_million(percentage: Option<f64>, field: &str, report: &mut Report<'_>) -> Option<u32> {
    let percentage = percentage.unwrap_or(100.0);
    if !(0.0..=100.0).contains(&percentage) {
        report.invalid(field, format!("{percentage} is no percentage, {LEFT_OUT}: it must be from 0 to 100"));
        return None;
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is from 0 to a million")]
    let share = (percentage * 10_000.0).round() as u32;
    Some(share)
}
