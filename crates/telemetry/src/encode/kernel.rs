//! The series of the kernel tier.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

use super::{Label, Labels, counter, gauge, signed};
use crate::family::OTHER;
use crate::gateway::CLASSES;
use crate::{GATEWAYS_MAX, KernelCounters, KernelResponses, KernelTable};

/// Times below this bound fall into one bucket, in microseconds: nobody answers that fast.
const FIRST_BOUND_US: u64 = 16;

/// And those above this one: nobody waits so long.
const LAST_BOUND_US: u64 = 1 << 24;

pub(super) fn encode(to: &mut DescriptorEncoder<'_>, counters: &KernelCounters) -> fmt::Result {
    let events = counters.events.iter().map(|&(kind, reason, count)| {
        (vec![("kind", Cow::from(kind)), ("reason", Cow::from(reason))], count)
    });
    let help = "What became of packets and requests in the kernel, by reason.";
    counter(to, "rauta_kernel_events", help, events)?;

    responses(to, "", &bounded(&counters.responses))?;
    for (of, counted) in [("route_", &counters.routes), ("endpoint_", &counters.endpoints)] {
        if !counted.is_empty() {
            responses(to, of, counted)?;
        }
    }

    for (name, help, value) in [
        ("rauta_kernel_flows", "Client connections in the kernel now.", counters.flows),
        ("rauta_kernel_flows_max", "Room for client connections in the kernel.", counters.flows_max),
        ("rauta_kernel_legs", "Legs to endpoints in the kernel now.", counters.legs),
        ("rauta_kernel_legs_max", "Room for legs in the kernel.", counters.legs_max),
        (
            "rauta_kernel_legs_waiting",
            "Legs that wait for a client in the kernel now.",
            counters.legs_waiting,
        ),
    ] {
        gauge(to, name, help, [(vec![], signed(value))])?;
    }
    type Of = fn(&KernelTable) -> u64;
    let series: [(&str, &str, Of); 4] = [
        ("rauta_kernel_table_entries", "Entries in use of the kernel's tables of routes.", |table| {
            table.used
        }),
        ("rauta_kernel_table_size", "Room in the kernel's tables of routes now.", |table| table.size),
        ("rauta_kernel_table_max", "Room in the kernel's tables of routes when they have grown.", |table| {
            table.max
        }),
        (
            "rauta_kernel_table_lacking",
            "Sockets, hosts, rules or backends that are userspace's for want of room in the table.",
            |table| table.lacking,
        ),
    ];
    for (name, help, of) in series {
        let tables = counters.tables.iter();
        let values = tables.map(|table| (vec![("table", Cow::from(table.name))], signed(of(table))));
        gauge(to, name, help, values.collect::<Vec<_>>())?;
    }
    let (grown, failed) = counters.growths;
    let results = [("grown", grown), ("failed", failed)];
    let results = results.map(|(result, count)| (vec![("result", Cow::from(result))], count));
    let help = "How often the kernel's tables of routes were to grow.";
    counter(to, "rauta_kernel_table_growths", help, results)?;
    let bytes = counters.map_bytes.iter().filter(|(_, bytes)| *bytes > 0);
    let bytes = bytes.map(|(of, bytes)| (vec![("of", Cow::from(*of))], signed(*bytes)));
    gauge(to, "rauta_kernel_map_bytes", "Memory of the kernel's maps.", bytes.collect::<Vec<_>>())?;
    let help = "Entries of the kernel's tables that this agent has written or removed.";
    counter(to, "rauta_kernel_table_writes", help, [(vec![], counters.table_writes)])
}

/// Classes and times; `of` is a part of the series' names.
fn responses(to: &mut DescriptorEncoder<'_>, of: &str, counted: &[KernelResponses]) -> fmt::Result {
    let classes = counted.iter().flat_map(|at| {
        let seen = CLASSES.iter().zip(at.classes).filter(|(_, count)| *count > 0);
        seen.map(|(class, count)| ([labels(at), vec![("class", Cow::from(*class))]].concat(), count))
    });
    let help = "Responses through the kernel, by class of status code.";
    counter(to, &format!("rauta_kernel_{of}responses"), help, classes)?;

    let help = "From a request to the first byte of its response, through the kernel.";
    let name = format!("rauta_kernel_{of}first_byte_seconds");
    let mut metric = to.encode_descriptor(&name, help, None, MetricType::Histogram)?;
    for at in counted {
        let buckets = buckets(&at.first_byte);
        let count = buckets.iter().map(|(_, count)| count).sum();
        let sum = Duration::from_nanos(at.first_byte_ns).as_secs_f64();
        metric
            .encode_family(&Labels(labels(at)))?
            .encode_histogram::<NoLabelSet>(sum, count, &buckets, None)?;
    }
    Ok(())
}

fn labels(at: &KernelResponses) -> Vec<Label<'_>> {
    at.labels.iter().map(|(name, value)| (*name, Cow::from(value.as_str()))).collect()
}

/// Bounds in seconds with their own counts; what is below the first bound or above the last is one bucket each.
fn buckets(counts: &[(Option<u64>, u64)]) -> Vec<(f64, u64)> {
    let mut buckets: Vec<(f64, u64)> = Vec::with_capacity(counts.len());
    let (mut below, mut above) = (0, 0);
    for &(bound, count) in counts {
        match bound {
            Some(us) if us < FIRST_BOUND_US => below += count,
            Some(us) if us <= LAST_BOUND_US => {
                buckets.push((Duration::from_micros(us).as_secs_f64(), count + std::mem::take(&mut below)));
            }
            _ => above += count,
        }
    }
    buckets.push((f64::INFINITY, above + below));
    buckets
}

/// The first listeners as they are, the others as one.
fn bounded(listeners: &[KernelResponses]) -> Vec<KernelResponses> {
    let (own, rest) = listeners.split_at(listeners.len().min(GATEWAYS_MAX));
    let mut bounded = own.to_vec();
    let Some((first, more)) = rest.split_first() else { return bounded };
    let labels = first.labels.iter().map(|&(name, _)| (name, OTHER.to_owned())).collect();
    let mut other = KernelResponses { labels, ..first.clone() };
    for one in more {
        let classes = other.classes.iter_mut().zip(one.classes);
        let times = other
            .first_byte
            .iter_mut()
            .map(|(_, count)| count)
            .zip(one.first_byte.iter().map(|(_, count)| *count));
        for (sum, count) in classes.chain(times) {
            *sum += count;
        }
        other.first_byte_ns += one.first_byte_ns;
    }
    bounded.push(other);
    bounded
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DatapathCounters, Metrics};

    fn responses(listener: &str) -> KernelResponses {
        KernelResponses {
            labels: vec![("listener", listener.into()), ("address", "198.51.100.1:80".into())],
            classes: [0, 5, 0, 1, 0, 0],
            first_byte: vec![
                (Some(4), 1),
                (Some(8), 1),
                (Some(16), 0),
                (Some(32), 3),
                (Some(1 << 30), 1),
                (None, 0),
            ],
            first_byte_ns: 1_500_000_000,
        }
    }

    fn text(counters: KernelCounters) -> String {
        let metrics = Metrics::new(1);
        metrics.set_datapath_source(Box::new(move || {
            Some(DatapathCounters { kernel: Some(counters.clone()), ..DatapathCounters::default() })
        }));
        metrics.encode()
    }

    #[test]
    fn the_kernel_tier_has_its_series() {
        let text = text(KernelCounters {
            events: vec![("event", "bound", 4), ("drop", "drop_gap", 2)],
            responses: vec![responses("shop/web/http")],
            routes: vec![KernelResponses {
                labels: vec![("route", "HTTPRoute shop/web rule 0".into())],
                ..responses("")
            }],
            endpoints: vec![],
            flows: 3,
            flows_max: 65_536,
            legs: 4,
            legs_max: 131_072,
            legs_waiting: 7,
            table_writes: 9,
            tables: vec![KernelTable { name: "routes", used: 5, size: 2048, max: 4096, lacking: 7 }],
            growths: (2, 1),
            map_bytes: [("connections", 60), ("other", 20)],
        });
        let labels = r#"listener="shop/web/http",address="198.51.100.1:80""#;
        for line in [
            r#"rauta_kernel_events_total{kind="event",reason="bound"} 4"#,
            r#"rauta_kernel_events_total{kind="drop",reason="drop_gap"} 2"#,
            &format!(r#"rauta_kernel_responses_total{{{labels},class="2xx"}} 5"#),
            &format!(r#"rauta_kernel_responses_total{{{labels},class="4xx"}} 1"#),
            &format!(r#"rauta_kernel_first_byte_seconds_bucket{{le="0.000016",{labels}}} 2"#),
            &format!(r#"rauta_kernel_first_byte_seconds_bucket{{le="0.000032",{labels}}} 5"#),
            &format!(r#"rauta_kernel_first_byte_seconds_bucket{{le="+Inf",{labels}}} 6"#),
            &format!(r#"rauta_kernel_first_byte_seconds_count{{{labels}}} 6"#),
            &format!(r#"rauta_kernel_first_byte_seconds_sum{{{labels}}} 1.5"#),
            r#"rauta_kernel_route_responses_total{route="HTTPRoute shop/web rule 0",class="2xx"} 5"#,
            r#"rauta_kernel_route_first_byte_seconds_count{route="HTTPRoute shop/web rule 0"} 6"#,
            "rauta_kernel_flows 3",
            "rauta_kernel_flows_max 65536",
            "rauta_kernel_legs 4",
            "rauta_kernel_legs_max 131072",
            "rauta_kernel_legs_waiting 7",
            "rauta_kernel_table_writes_total 9",
            r#"rauta_kernel_table_entries{table="routes"} 5"#,
            r#"rauta_kernel_table_size{table="routes"} 2048"#,
            r#"rauta_kernel_table_max{table="routes"} 4096"#,
            r#"rauta_kernel_table_lacking{table="routes"} 7"#,
            r#"rauta_kernel_table_growths_total{result="grown"} 2"#,
            r#"rauta_kernel_table_growths_total{result="failed"} 1"#,
            r#"rauta_kernel_map_bytes{of="other"} 20"#,
        ] {
            assert!(text.lines().any(|found| found == line), "no line {line} in:\n{text}");
        }
        assert!(!text.contains("le=\"1073"), "{text}");
        assert!(!text.contains("rauta_kernel_endpoint_"), "what is not counted has no series: {text}");
        assert!(!text.contains(r#"class="5xx""#), "what never occurred has no series");
    }

    #[test]
    fn listeners_beyond_the_bound_fold_into_other() {
        let many = (0..GATEWAYS_MAX + 3).map(|i| responses(&format!("ns/gateway/{i}"))).collect();
        let text = text(KernelCounters { responses: many, ..KernelCounters::default() });
        let other = r#"rauta_kernel_responses_total{listener="other",address="other",class="2xx"} 15"#;
        assert!(text.lines().any(|line| line == other), "{text}");
        let counts =
            text.lines().filter(|line| line.starts_with("rauta_kernel_first_byte_seconds_count")).count();
        assert_eq!(counts, GATEWAYS_MAX + 1);
    }
}
