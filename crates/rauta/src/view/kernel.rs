//! What the kernel tier does, as tables and lines.

use std::collections::HashMap;

use admin::{Cell, Mood, Table};
use api::v1::{Dataplane, Flow, KernelTable, KernelTier, ListFlowsResponse, Reason, RunTime, TraceEvent};

use super::flow::span;
use super::text::number;

/// Connections in the kernel; `wide` adds listeners and legs.
pub(crate) fn flows(answer: &ListFlowsResponse, wide: bool) -> Table {
    let narrow = ["client", "vip", "state", "endpoint", "route", "requests", "outstanding", "age", "idle"];
    let columns = if wide { [&narrow[..], &["legs", "listener"]].concat() } else { narrow.to_vec() };
    let mut table = Table::new("Flows", &columns, "The kernel has no such connection.");
    for flow in &answer.flows {
        let mut row = vec![
            Cell::from(&flow.client),
            Cell::from(&flow.vip),
            state(flow),
            or_dash(&flow.endpoint),
            or_dash(&flow.route),
            flow.requests.to_string().into(),
            flow.outstanding.to_string().into(),
            span(flow.age_ms).into(),
            span(flow.idle_ms).into(),
        ];
        if wide {
            row.extend([flow.legs.to_string().into(), or_dash(&flow.listener)]);
        }
        table.row(row);
    }
    table
}

/// How many connections there are beside those that are listed.
pub(crate) fn flows_summary(answer: &ListFlowsResponse) -> String {
    let shown = answer.flows.len() as u64;
    let of = if shown < answer.matching {
        format!("{shown} of {} shown (--limit N shows more); ", answer.matching)
    } else {
        String::new()
    };
    format!("{of}{} in the kernel, room for {}", number(answer.in_use, "connection"), answer.max)
}

/// Reasons by count. `before` has the counts of the look before, to show what came since.
pub(crate) fn reasons(reasons: &[Reason], before: Option<&HashMap<String, u64>>) -> Table {
    let mut columns = vec!["reason", "kind", "count"];
    if before.is_some() {
        columns.push("new");
    }
    columns.push("meaning");
    let mut table = Table::new("Reasons", &columns, "The kernel programs have seen nothing yet.");
    for reason in reasons {
        let mood = match reason.kind.as_str() {
            "drop" => Mood::Bad,
            "hold" | "hand_off" => Mood::Warn,
            _ => Mood::Plain,
        };
        let mut row = vec![
            Cell::from(&reason.reason),
            Cell::new(reason.kind.replace('_', "-"), mood),
            reason.count.to_string().into(),
        ];
        if let Some(before) = before {
            let new = reason.count.saturating_sub(before.get(&reason.reason).copied().unwrap_or(0));
            row.push(if new == 0 { Cell::default() } else { format!("+{new}").into() });
        }
        row.push(Cell::from(&reason.meaning));
        table.row(row);
    }
    table
}

/// The columns of [`event`].
pub(crate) fn event_heads() -> String {
    line(["TIME", "TIER", "REASON", "CLIENT", "VIP", "ENDPOINT", "STATUS", "FIRST BYTE", "ROUTE", "REQUEST"])
}

/// An event in one line, of the same width as the others where names are not long.
pub(crate) fn event(event: &TraceEvent) -> String {
    let micros = event.boot_ns / 1_000;
    let time = format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000);
    let tier = event.tier.to_string();
    let status = if event.status == 0 { "-".to_owned() } else { event.status.to_string() };
    let took =
        if event.first_byte_ns == 0 { "-".to_owned() } else { format!("{} us", event.first_byte_ns / 1_000) };
    let text = |text: &str| if text.is_empty() { "-".to_owned() } else { printable(text) };
    let (endpoint, route) = (text(&event.endpoint), text(&event.route));
    let (reason, client, vip) = (&event.reason, &event.client, &event.vip);
    let request = match event.path.as_str() {
        "" => "-".to_owned(),
        path => printable(&format!("{} {}{path}", event.method, event.host)),
    };
    line([&time, &tier, reason, client, vip, &endpoint, &status, &took, &route, &request].map(String::as_str))
}

/// Names and values of the kernel tier for `rauta status` and the page; `userspace` is the number of requests that userspace
/// answered.
pub(crate) fn facts(tier: &KernelTier, userspace: u64) -> Vec<(&'static str, Cell)> {
    let all = tier.requests + userspace;
    let by_tier = format!(
        "kernel {}{}, userspace {userspace}{}, {} handed off",
        tier.requests,
        share(tier.requests, all),
        share(userspace, all),
        number(tier.hand_offs, "connection")
    );
    let full = tier.flows * 10 >= u64::from(tier.flows_max) * 9;
    let flows = format!("{} of {}, {} of {} legs", tier.flows, tier.flows_max, tier.legs, tier.legs_max);
    let mut facts = vec![
        ("requests by tier", by_tier.into()),
        ("flows in the kernel", Cell::new(flows, if full { Mood::Warn } else { Mood::Plain })),
    ];
    if let Some(time) = &tier.run_time {
        facts.push(("kernel time", run_time(time).into()));
    }
    facts
}

/// What the kernel's maps take.
pub(crate) fn memory(dataplane: &Dataplane) -> Option<(&'static str, Cell)> {
    let (all, connections) = (dataplane.map_bytes, dataplane.connection_map_bytes);
    let text = || {
        format!("{} for connections, {} for all else", megabytes(connections), megabytes(all - connections))
    };
    (all > 0).then(|| ("kernel memory", text().into()))
}

/// How full the kernel's tables are.
pub(crate) fn tables(tables: &[KernelTable]) -> Table {
    let columns = ["table", "map", "used", "size", "limit", "memory"];
    let mut table = Table::new("Kernel tables", &columns, "The kernel does not route.");
    for one in tables {
        let is_full = one.used * 10 >= u64::from(one.max) * 9;
        table.row([
            Cell::from(&one.name),
            Cell::from(&one.map),
            Cell::new(one.used.to_string(), if is_full { Mood::Warn } else { Mood::Plain }),
            one.size.to_string().into(),
            one.max.to_string().into(),
            megabytes(one.bytes).into(),
        ]);
    }
    table
}

fn megabytes(bytes: u64) -> String {
    let tenths = (bytes + 50_000) / 100_000;
    format!("{}.{} MB", tenths / 10, tenths % 10)
}

fn run_time(time: &RunTime) -> String {
    match (time.nanoseconds.checked_div(time.packets), time.measured) {
        (Some(each), true) => format!("{each} ns per packet, over {}", number(time.packets, "packet")),
        (Some(each), false) => format!(
            "{each} ns per packet, over {}; not measured any more (kernel.bpf_stats_enabled is 0)",
            number(time.packets, "packet")
        ),
        (None, true) => "no packet since it is measured".to_owned(),
        (None, false) => {
            "not measured: `sysctl kernel.bpf_stats_enabled=1` begins to, and costs some of it".to_owned()
        }
    }
}

fn share(part: u64, all: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "a percentage for people")]
    let percent = |part: u64, all: u64| part as f64 / all as f64 * 100.0;
    if all == 0 { String::new() } else { format!(" ({:.1} %)", percent(part, all)) }
}

fn line(cells: [&str; 10]) -> String {
    let [time, tier, reason, client, vip, endpoint, status, took, route, request] = cells;
    format!(
        "{time:<15}{tier:<6}{reason:<22}{client:<23}{vip:<23}{endpoint:<23}{status:<8}{took:<12}{route:<40} {request}\n"
    )
}

/// A terminal obeys control characters.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

fn state(flow: &Flow) -> Cell {
    let mood = match flow.state.as_str() {
        "spliced" => Mood::Good,
        "opening" => Mood::Warn,
        _ => Mood::Faint,
    };
    Cell::new(&flow.state, mood)
}

fn or_dash(text: &str) -> Cell {
    if text.is_empty() { Cell::new("-", Mood::Faint) } else { text.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow(client: &str, endpoint: &str) -> Flow {
        Flow {
            client: client.into(),
            vip: "198.51.100.1:80".into(),
            state: "spliced".into(),
            endpoint: endpoint.into(),
            requests: 12,
            age_ms: 61_000,
            idle_ms: 40,
            ..Flow::default()
        }
    }

    #[test]
    fn flows_are_listed_with_what_is_not_shown() {
        let flows_of = |matching| ListFlowsResponse {
            flows: vec![flow("192.0.2.1:1", "10.0.0.1:80"), flow("192.0.2.2:2", "")],
            matching,
            in_use: 9,
            max: 100,
        };
        let text = flows(&flows_of(2), false).to_text(false);
        assert!(text.contains("192.0.2.1:1  198.51.100.1:80  spliced  10.0.0.1:80"), "{text}");
        assert!(text.contains("12        0            1 min 1 s  40 ms"), "{text}");
        assert_eq!(flows_summary(&flows_of(2)), "9 connections in the kernel, room for 100");
        assert!(flows_summary(&flows_of(7)).starts_with("2 of 7 shown (--limit N shows more); 9 "));
        let wide = flows(&flows_of(2), true);
        assert!(wide.rows.iter().all(|row| row.len() == wide.columns.len()));
        assert!(flows(&ListFlowsResponse::default(), false).to_text(false).contains("no such connection"));
    }

    #[test]
    fn reasons_show_what_came_since_the_last_look() {
        let reason = |name: &str, kind: &str, count| Reason {
            reason: name.into(),
            kind: kind.into(),
            count,
            meaning: "why".into(),
        };
        let all = [reason("bound", "event", 12), reason("hand_off_route", "hand_off", 3)];
        let text = reasons(&all, None).to_text(false);
        assert_eq!(
            text,
            "REASON          KIND      COUNT  MEANING\n\
             bound           event     12     why\n\
             hand_off_route  hand-off  3      why\n"
        );
        let before = HashMap::from([("bound".to_owned(), 10), ("hand_off_route".to_owned(), 3)]);
        let table = reasons(&all, Some(&before));
        assert_eq!((table.rows[0][3].text.as_str(), table.rows[1][3].text.as_str()), ("+2", ""));
        assert!(table.rows.iter().all(|row| row.len() == table.columns.len()));
    }

    #[test]
    fn every_reason_is_in_the_reference() {
        let page = include_str!("../../../../docs/reference/kernel-reasons.md");
        for reason in wire::Reason::ALL {
            let row = format!("| `{}` | {}", reason.as_str(), reason.meaning());
            assert!(page.contains(&row), "docs/reference/kernel-reasons.md has no row {row}");
        }
    }

    #[test]
    fn events_stand_under_their_heads() {
        let answered = TraceEvent {
            boot_ns: 12_345_678_901,
            client: "192.0.2.1:40000".into(),
            vip: "198.51.100.1:80".into(),
            route: "HTTPRoute shop/web\u{1b} rule 0".into(),
            endpoint: "10.0.0.1:8080".into(),
            tier: 2,
            reason: "answered".into(),
            status: 200,
            first_byte_ns: 314_000,
            ..TraceEvent::default()
        };
        let (heads, text) = (event_heads(), event(&answered));
        for (head, value) in
            [("TIER", "2 "), ("ENDPOINT", "10.0.0.1:8080"), ("STATUS", "200"), ("FIRST", "314 us")]
        {
            assert_eq!(heads.find(head), text.find(value), "{head}\n{heads}{text}");
        }
        assert!(text.starts_with("12.345678 ") && text.ends_with(" -\n"), "{text}");
        assert!(text.contains("HTTPRoute shop/web? rule 0 "), "{text}");
        let asks = TraceEvent {
            method: "GET".into(),
            host: "a.test".into(),
            path: "/x\u{1b}...".into(),
            ..TraceEvent::default()
        };
        assert!(event(&asks).ends_with(" GET a.test/x?...\n"), "{}", event(&asks));
        let handed = event(&TraceEvent { tier: 3, ..TraceEvent::default() });
        assert!(handed.contains("-       -           -"), "{handed}");
    }

    #[test]
    fn tables_are_listed_with_their_limits_and_memory() {
        let table = |used, size, max| KernelTable {
            name: "routes".into(),
            map: "ROUTES".into(),
            used,
            size,
            max,
            bytes: 1_449_999,
        };
        let text = tables(&[table(12, 2048, 131_072)]).to_text(false);
        assert_eq!(
            text,
            "TABLE   MAP     USED  SIZE  LIMIT   MEMORY\n\
             routes  ROUTES  12    2048  131072  1.4 MB\n"
        );
        let mood = |used| tables(&[table(used, 100, 100)]).rows[0][2].mood;
        assert_eq!((mood(89), mood(90)), (Mood::Plain, Mood::Warn));
        let dataplane =
            Dataplane { map_bytes: 70_000_000, connection_map_bytes: 59_950_000, ..Dataplane::default() };
        assert_eq!(memory(&dataplane).unwrap().1.text, "60.0 MB for connections, 10.1 MB for all else");
        assert!(memory(&Dataplane::default()).is_none(), "no maps");
    }

    #[test]
    fn the_share_of_each_tier_and_the_time_per_packet_are_told() {
        let time = |measured, packets| Some(RunTime { measured, nanoseconds: 6_000, packets });
        let tier =
            KernelTier { requests: 95, hand_offs: 1, flows: 90, flows_max: 100, ..KernelTier::default() };
        let text = |tier: &KernelTier, name: &str| {
            facts(tier, 5).into_iter().find(|(found, _)| *found == name).unwrap().1
        };
        let requests = text(&tier, "requests by tier").text;
        assert_eq!(requests, "kernel 95 (95.0 %), userspace 5 (5.0 %), 1 connection handed off");
        assert_eq!(text(&tier, "flows in the kernel").mood, Mood::Warn, "nearly full");
        let kernel_time = |run_time| text(&KernelTier { run_time, ..tier }, "kernel time").text;
        assert_eq!(kernel_time(time(true, 10)), "600 ns per packet, over 10 packets");
        assert!(kernel_time(time(false, 10)).contains("not measured any more"));
        assert!(kernel_time(time(false, 0)).contains("sysctl kernel.bpf_stats_enabled=1"));
        assert!(!facts(&tier, 5).iter().any(|(name, _)| *name == "kernel time"));
        assert!(!facts(&KernelTier::default(), 0)[0].1.text.contains('%'));
    }
}
