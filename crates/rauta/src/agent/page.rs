//! The status page.

use admin::{Cell, Mood, Page};
use api::v1::{Backend, Diagnostic, Route, Status};

use crate::view::text::number;
use crate::view::{kernel, tables};

/// The page of an agent.
pub(crate) fn page(
    status: &Status,
    routes: &[Route],
    backends: &[Backend],
    diagnostics: &[Diagnostic],
) -> Page {
    let headline = match (status.ready, status.errors) {
        (false, _) => Cell::new(format!("not ready: {}", status.not_ready_reason), Mood::Bad),
        (true, 0) => Cell::new("serving", Mood::Good),
        (true, _) => Cell::new("serving, with errors in the configuration", Mood::Warn),
    };
    let mut tables = vec![
        tables::listeners(&status.listeners),
        tables::routes(routes, true),
        tables::backends(backends, true),
        tables::diagnostics(diagnostics),
    ];
    let in_kernel = status.dataplane.iter().flat_map(|dataplane| &dataplane.tables);
    let in_kernel: Vec<_> = in_kernel.cloned().collect();
    // What is wrong comes first.
    if !diagnostics.is_empty() {
        tables.rotate_right(1);
    }
    if !in_kernel.is_empty() {
        tables.push(kernel::tables(&in_kernel));
    }
    Page { headline, facts: facts(status), tables }
}

/// Names and values, for the page and for `rauta status`.
pub(crate) fn facts(status: &Status) -> Vec<(&'static str, Cell)> {
    let traffic = status.traffic.unwrap_or_default();
    let dataplane = status.dataplane.clone().unwrap_or_default();
    let wrong = match (status.errors, status.warnings) {
        (0, 0) => Cell::new("none", Mood::Good),
        (0, warnings) => Cell::new(number(warnings, "warning"), Mood::Warn),
        (errors, warnings) => {
            Cell::new(format!("{}, {}", number(errors, "error"), number(warnings, "warning")), Mood::Bad)
        }
    };
    let age = status.snapshot_age_ms.map_or_else(String::new, |ms| format!(", {} old", span(ms / 1000)));
    let percent = if traffic.requests == 0 {
        String::new()
    } else {
        #[expect(clippy::cast_precision_loss, reason = "a percentage for people")]
        let share = traffic.responses_5xx as f64 / traffic.requests as f64 * 100.0;
        format!(" ({share:.2} %)")
    };
    let mut facts = vec![
        ("version", Cell::from(&status.version)),
        ("process", format!("{}, {}", status.pid, number(status.threads, "proxy thread")).into()),
        ("uptime", span(status.uptime_seconds).into()),
        (
            "memory",
            format!(
                "{:.1} MiB",
                f64::from(u32::try_from(status.resident_bytes >> 10).unwrap_or(u32::MAX)) / 1024.0
            )
            .into(),
        ),
        (
            "source",
            format!(
                "{} ({}, {})",
                status.sources.join(", "),
                number(status.files, "file"),
                number(status.objects, "object")
            )
            .into(),
        ),
        ("snapshot", format!("{}{age}", status.snapshot_version).into()),
        (
            "serves",
            format!(
                "{}, {}, {}",
                number(status.routes, "route"),
                number(status.backends, "backend"),
                number(status.endpoints, "endpoint")
            )
            .into(),
        ),
        ("configuration errors", wrong),
        (
            "requests in userspace",
            format!("{}, {} answered 5xx{percent}", traffic.requests, traffic.responses_5xx).into(),
        ),
        ("malformed requests", traffic.refusals.to_string().into()),
        (
            "connections",
            format!("{} open, {} in all", traffic.connections_active, traffic.connections).into(),
        ),
        (
            "to endpoints",
            format!(
                "{}, {}",
                number(traffic.upstream_connections, "connection"),
                number(traffic.upstream_reuses, "reuse")
            )
            .into(),
        ),
        ("kernel programs", Cell::from(&dataplane.summary)),
    ];
    if !dataplane.attachments.is_empty() {
        facts.push(("interfaces", dataplane.attachments.join(", ").into()));
    }
    if let Some(counters) = dataplane.counters {
        let text = format!(
            "{} packets: tier 1 {}, tier 2 {}, tier 3 {}, dropped {}",
            counters.packets_total,
            counters.packets_tier1,
            counters.packets_tier2,
            counters.packets_tier3,
            counters.packets_dropped
        );
        facts.push(("kernel counters", text.into()));
    }
    if let Some(tier) = &dataplane.tier {
        facts.extend(kernel::facts(tier, traffic.requests));
    }
    facts.extend(kernel::memory(&dataplane));
    facts
}

/// A span of time for people.
fn span(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{} h {} min", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3_600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_read_well() {
        let spans = [0, 59, 61, 3_599, 7_260, 90_000].map(span);
        assert_eq!(spans, ["0 s", "59 s", "1 min 1 s", "59 min 59 s", "2 h 1 min", "1 d 1 h"]);
    }

    #[test]
    fn the_page_says_why_it_is_not_ready_and_shows_errors_first() {
        let status = Status { not_ready_reason: "draining".into(), errors: 1, ..Status::default() };
        let found = Diagnostic { severity: "error".into(), ..Diagnostic::default() };
        let page = page(&status, &[], &[], &[found]);
        assert_eq!(page.headline.text, "not ready: draining");
        assert_eq!(page.tables[0].title, "Diagnostics");
        let html = admin::render(&page);
        for part in ["Listeners", "Routes", "Backends", "1 error, 0 warnings"] {
            assert!(html.contains(part), "no {part}");
        }
    }
}
