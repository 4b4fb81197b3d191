//! The scrape: every series by name.

mod health;
mod kernel;
mod l4;

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use crate::family::OTHER;
use crate::gateway::{CLASSES, GatewayTotals};
use crate::sharded::HistogramTotals;
use crate::{DatapathCounters, GATEWAYS_MAX, ListenerCounters, Metrics, process};

/// Everything in OpenMetrics text.
pub(crate) fn encode(metrics: &Arc<Metrics>) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Scrape(Arc::clone(metrics))));
    let mut out = String::with_capacity(16 * 1024);
    // Writing into a String cannot fail.
    let _ = text::encode(&mut out, &registry);
    out
}

#[derive(Debug)]
struct Scrape(Arc<Metrics>);

type Label<'a> = (&'static str, Cow<'a, str>);

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let metrics = &*self.0;
        let to = &mut encoder;
        gateways(to, metrics)?;
        routes(to, metrics)?;
        connections(to, metrics)?;
        l4::encode(to, metrics)?;
        health::encode(to, metrics)?;
        config(to, metrics)?;
        if let Some(counters) = metrics.datapath() {
            datapath(to, &counters)?;
            if let Some(counters) = &counters.kernel {
                kernel::encode(to, counters)?;
            }
        }
        process_stats(to)
    }
}

fn gateways(to: &mut DescriptorEncoder<'_>, metrics: &Metrics) -> fmt::Result {
    let totals: Vec<(String, GatewayTotals)> =
        metrics.gateways().into_iter().map(|(name, gateway)| (name, gateway.totals())).collect();
    let per_class = totals.iter().flat_map(|(name, totals)| {
        // Classes that never occurred have no series.
        CLASSES.iter().zip(totals.requests).filter(|(_, count)| *count > 0).map(move |(class, count)| {
            (vec![("gateway", Cow::from(name.as_str())), ("code", Cow::from(*class))], count)
        })
    });
    counter(to, "rauta_requests", "Requests answered, by class of status code.", per_class)?;
    let by_name = |value: fn(&GatewayTotals) -> u64| {
        totals.iter().map(move |(name, totals)| (vec![("gateway", Cow::from(name.as_str()))], value(totals)))
    };
    counter(to, "rauta_request_bytes", "Bytes received from clients.", by_name(|totals| totals.bytes_in))?;
    counter(to, "rauta_response_bytes", "Bytes sent to clients.", by_name(|totals| totals.bytes_out))?;
    let durations =
        totals.iter().map(|(name, totals)| (vec![("gateway", Cow::from(name.as_str()))], totals.duration));
    let help = "From the first byte of a request to the last byte of its response.";
    histogram(to, "rauta_request_duration_seconds", help, durations)
}

fn routes(to: &mut DescriptorEncoder<'_>, metrics: &Metrics) -> fmt::Result {
    let totals: Vec<_> =
        metrics.routes.all().into_iter().map(|(name, route)| (name, route.totals())).collect();
    if totals.is_empty() {
        return Ok(());
    }
    let per_class = totals.iter().flat_map(|(name, totals)| {
        CLASSES.iter().zip(totals.requests).filter(|(_, count)| *count > 0).map(move |(class, count)| {
            (vec![("route", Cow::from(name.as_str())), ("class", Cow::from(*class))], count)
        })
    });
    counter(
        to,
        "rauta_route_responses",
        "Responses of userspace by route and class of status code.",
        per_class,
    )?;
    let durations =
        totals.iter().map(|(name, totals)| (vec![("route", Cow::from(name.as_str()))], totals.duration));
    let help = "From the first byte of a request to the last byte of its response, by route.";
    histogram(to, "rauta_route_request_duration_seconds", help, durations)
}

fn connections(to: &mut DescriptorEncoder<'_>, metrics: &Metrics) -> fmt::Result {
    // A counter `x_total` belongs to the family `x`, so no gauge can be called `x`: gauges of the same thing end in
    // `_active` (OpenMetrics 1.0, "MetricFamily").
    let one = |value| [(vec![], value)];
    let accepted = metrics.connections_accepted.get();
    counter(to, "rauta_downstream_connections", "Client connections accepted.", one(accepted))?;
    let rejected = metrics.connections_rejected.get();
    let help = "Client connections closed at once: too many.";
    counter(to, "rauta_downstream_connections_rejected", help, one(rejected))?;
    let active = metrics.connections_active.get();
    gauge(to, "rauta_downstream_connections_active", "Client connections open now.", [(vec![], active)])?;

    let by_protocol =
        metrics.requests.values().filter(|(.., count)| *count > 0).map(|(protocol, scheme, count)| {
            (vec![("protocol", Cow::from(protocol)), ("scheme", Cow::from(scheme))], count)
        });
    let help = "Requests answered in userspace, by what they came by.";
    counter(to, "rauta_downstream_requests", help, by_protocol)?;

    let connects = metrics.connects().map(|(result, count)| (vec![("result", Cow::from(result))], count));
    counter(to, "rauta_upstream_connections", "Attempts to connect to endpoints, by result.", connects)?;
    let reuses = metrics.upstream_reuses.get();
    counter(to, "rauta_upstream_reuses", "Requests sent over a kept connection.", one(reuses))?;
    let retries = metrics.upstream_retries.get();
    counter(to, "rauta_upstream_retries", "Requests sent again to another endpoint.", one(retries))?;
    let active = metrics.upstream_connections_active.get();
    let help = "Connections to endpoints open now, kept ones included.";
    gauge(to, "rauta_upstream_connections_active", help, [(vec![], active)])?;

    for (name, help, family) in [
        ("rauta_compression_input_bytes", "Bytes of bodies that were compressed.", &metrics.compression_in),
        ("rauta_compression_output_bytes", "Bytes that were made of them.", &metrics.compression_out),
    ] {
        let values = family.values();
        counter(
            to,
            name,
            help,
            values.into_iter().map(|(coding, sum)| (vec![("coding", coding.into())], sum)),
        )?;
    }
    let failures = metrics.ext_auth_failures.values();
    let failures =
        failures.into_iter().map(|(outcome, count)| (vec![("outcome", Cow::from(outcome))], count));
    let help = "Requests that an external authorization service could not be asked about: refused (closed), or let through (open).";
    counter(to, "rauta_ext_auth_failures", help, failures)?;
    let mirrors = metrics.mirrors.values();
    let mirrors = mirrors.into_iter().map(|(result, count)| (vec![("result", Cow::from(result))], count));
    counter(to, "rauta_mirrored_requests", "Copies of requests, by what became of them.", mirrors)?;
    let reasons = |values: Vec<(&'static str, u64)>| {
        values.into_iter().map(|(reason, count)| (vec![("reason", Cow::from(reason))], count))
    };
    counter(
        to,
        "rauta_refusals",
        "Malformed requests refused, by reason.",
        reasons(metrics.refusals.values()),
    )?;
    counter(to, "rauta_spans", "Spans that the collector took.", one(metrics.spans_sent.get()))?;
    let help = "Spans that the collector did not get, by reason.";
    counter(to, "rauta_spans_dropped", help, reasons(metrics.spans_dropped.values()))?;
    let help = "Lines of the access log that were written.";
    counter(to, "rauta_access_log_lines", help, one(metrics.access_lines.get()))?;
    let help = "Lines of the access log that were dropped, by reason.";
    counter(to, "rauta_access_log_dropped", help, reasons(metrics.access_dropped.values()))?;
    let help = "Values of sessions that were of no use, by reason.";
    counter(to, "rauta_session_refusals", help, reasons(metrics.session_refusals.values()))?;
    let help = "TLS handshakes that failed, by reason.";
    counter(to, "rauta_tls_handshake_failures", help, reasons(metrics.tls_failures.values()))?;
    let help = "Responses made by the gateway itself, by reason.";
    counter(to, "rauta_responses_generated", help, reasons(metrics.responses_generated.values()))
}

fn config(to: &mut DescriptorEncoder<'_>, metrics: &Metrics) -> fmt::Result {
    let version = metrics.snapshot_version.load(Relaxed);
    gauge(to, "rauta_snapshot_version", "The snapshot that is served.", [(vec![], signed(version))])?;
    let diagnostics = [
        (vec![("severity", Cow::from("error"))], signed(metrics.diagnostics_errors.load(Relaxed))),
        (vec![("severity", Cow::from("warning"))], signed(metrics.diagnostics_warnings.load(Relaxed))),
    ];
    gauge(to, "rauta_config_diagnostics", "Errors and warnings of the configuration now.", diagnostics)?;
    let problems = signed(metrics.listener_problems.load(Relaxed));
    gauge(
        to,
        "rauta_listener_problems",
        "Listener addresses that could not be bound.",
        [(vec![], problems)],
    )?;
    let help = "From a changed configuration to sockets and tables in place.";
    histogram(to, "rauta_config_apply_seconds", help, [(vec![], metrics.config_apply.totals())])?;
    let help =
        "From the first event of a change to its being in force in all tiers; not the first configuration.";
    let totals = metrics.config_propagation.totals();
    histogram(to, "rauta_config_propagation_seconds", help, [(vec![], totals)])?;
    let version = vec![("version", Cow::from(env!("CARGO_PKG_VERSION")))];
    gauge(to, "rauta_build_info", "The version of the agent; always 1.", [(version, 1)])
}

fn datapath(to: &mut DescriptorEncoder<'_>, counters: &DatapathCounters) -> fmt::Result {
    let six = [
        ("rauta_datapath_packets", "METRICS packets_total: packets to us.", counters.packets_total),
        ("rauta_datapath_packets_tier1", "METRICS packets_tier1: decided by XDP.", counters.packets_tier1),
        ("rauta_datapath_packets_tier2", "METRICS packets_tier2: decided by TC.", counters.packets_tier2),
        ("rauta_datapath_packets_tier3", "METRICS packets_tier3: to userspace.", counters.packets_tier3),
        ("rauta_datapath_packets_dropped", "METRICS packets_dropped.", counters.packets_dropped),
        ("rauta_datapath_http_parse_errors", "METRICS http_parse_errors.", counters.http_parse_errors),
    ];
    for (name, help, value) in six {
        counter(to, name, help, [(vec![], value)])?;
    }
    let listeners = bounded(&counters.listeners);
    let labels = |listener: &ListenerCounters| {
        vec![
            ("listener", Cow::from(listener.listener.clone())),
            ("address", Cow::from(listener.address.clone())),
        ]
    };
    let packets = listeners.iter().map(|listener| (labels(listener), listener.packets));
    counter(
        to,
        "rauta_listener_packets",
        "Packets to a listener's address, counted in the kernel.",
        packets,
    )?;
    let begun = listeners.iter().map(|listener| (labels(listener), listener.connections));
    let help = "Connections begun to a listener's address, counted in the kernel.";
    counter(to, "rauta_listener_connections", help, begun)
}

/// The first listeners as they are, the others as one.
fn bounded(listeners: &[ListenerCounters]) -> Vec<ListenerCounters> {
    let (own, rest) = listeners.split_at(listeners.len().min(GATEWAYS_MAX));
    let mut bounded = own.to_vec();
    if !rest.is_empty() {
        bounded.push(ListenerCounters {
            listener: OTHER.to_owned(),
            address: OTHER.to_owned(),
            packets: rest.iter().map(|listener| listener.packets).sum(),
            connections: rest.iter().map(|listener| listener.connections).sum(),
        });
    }
    bounded
}

fn process_stats(to: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let stats = process::read();
    if let Some(seconds) = stats.cpu_seconds {
        let mut metric =
            to.encode_descriptor("process_cpu_seconds", "CPU time used.", None, MetricType::Counter)?;
        metric.encode_counter::<NoLabelSet, _, f64>(&seconds, None)?;
    }
    if let Some(seconds) = stats.start_unix_seconds {
        let help = "When the agent started, in seconds since 1970.";
        let mut metric = to.encode_descriptor("process_start_time_seconds", help, None, MetricType::Gauge)?;
        metric.encode_gauge(&seconds)?;
    }
    let gauges = [
        ("process_resident_memory_bytes", "Resident memory.", stats.resident_bytes),
        ("process_threads", "Threads.", stats.threads),
        ("process_open_fds", "Open file descriptors.", stats.open_fds),
        ("process_max_fds", "Limit of open file descriptors.", stats.max_fds),
    ];
    for (name, help, value) in gauges {
        if let Some(value) = value {
            gauge(to, name, help, [(vec![], signed(value))])?;
        }
    }
    Ok(())
}

/// Writes a counter; the format adds `_total` to the name.
fn counter<'a>(
    to: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    values: impl IntoIterator<Item = (Vec<Label<'a>>, u64)>,
) -> fmt::Result {
    let mut metric = to.encode_descriptor(name, help, None, MetricType::Counter)?;
    for (labels, value) in values {
        if labels.is_empty() {
            metric.encode_counter::<NoLabelSet, _, u64>(&value, None)?;
        } else {
            let labels = Labels(labels);
            metric.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&value, None)?;
        }
    }
    Ok(())
}

fn gauge<'a>(
    to: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    values: impl IntoIterator<Item = (Vec<Label<'a>>, i64)>,
) -> fmt::Result {
    let mut metric = to.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for (labels, value) in values {
        if labels.is_empty() {
            metric.encode_gauge(&value)?;
        } else {
            metric.encode_family(&Labels(labels))?.encode_gauge(&value)?;
        }
    }
    Ok(())
}

fn histogram<'a>(
    to: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    values: impl IntoIterator<Item = (Vec<Label<'a>>, HistogramTotals)>,
) -> fmt::Result {
    let mut metric = to.encode_descriptor(name, help, None, MetricType::Histogram)?;
    for (labels, totals) in values {
        let (sum, count, buckets) = (totals.sum_seconds(), totals.count(), totals.buckets_seconds());
        if labels.is_empty() {
            metric.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)?;
        } else {
            let labels = Labels(labels);
            metric.encode_family(&labels)?.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)?;
        }
    }
    Ok(())
}

struct Labels<'a>(Vec<Label<'a>>);

impl EncodeLabelSet for Labels<'_> {
    fn encode(&self, encoder: &mut prometheus_client::encoding::LabelSetEncoder<'_>) -> fmt::Result {
        self.0.as_slice().encode(encoder)
    }
}

/// The encoder's gauges are signed; ours never come near the end.
fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::ConnectResult;

    fn series(text: &str) -> impl Iterator<Item = &str> {
        text.lines().filter(|line| !line.starts_with('#'))
    }

    #[test]
    fn every_family_is_there_under_its_name() {
        let metrics = Metrics::new(2);
        metrics.connections_accepted.add(0, 3);
        metrics.connections_active.inc(1);
        metrics.upstream_connected(0, ConnectResult::Refused);
        metrics.upstream_reuses.add(1, 9);
        metrics.refused(0, "bare LF");
        metrics.tls_failed(0, "handshake failed");
        metrics.response_generated(1, "no route");
        metrics.mirrored(0, "ok");
        metrics.session_refused(1, "expired");
        metrics.health().probed("refused");
        metrics.health().set(3, 4, 2, 1);
        metrics.health().ejected();
        metrics.set_diagnostics(2, 1);
        metrics.config_applied(7, Duration::from_millis(3), 1);
        metrics.gateway("shop/web").observe(1, 200, Duration::from_millis(2), 50, 600);
        let text = metrics.encode();
        for line in [
            r#"rauta_requests_total{gateway="shop/web",code="2xx"} 1"#,
            r#"rauta_request_bytes_total{gateway="shop/web"} 50"#,
            r#"rauta_response_bytes_total{gateway="shop/web"} 600"#,
            r#"rauta_request_duration_seconds_bucket{le="0.0025",gateway="shop/web"} 1"#,
            r#"rauta_request_duration_seconds_bucket{le="+Inf",gateway="shop/web"} 1"#,
            r#"rauta_request_duration_seconds_count{gateway="shop/web"} 1"#,
            "rauta_downstream_connections_total 3",
            "rauta_downstream_connections_active 1",
            r#"rauta_upstream_connections_total{result="refused"} 1"#,
            r#"rauta_upstream_connections_total{result="ok"} 0"#,
            "rauta_upstream_reuses_total 9",
            r#"rauta_refusals_total{reason="bare LF"} 1"#,
            r#"rauta_mirrored_requests_total{result="ok"} 1"#,
            r#"rauta_session_refusals_total{reason="expired"} 1"#,
            r#"rauta_tls_handshake_failures_total{reason="handshake failed"} 1"#,
            r#"rauta_responses_generated_total{reason="no route"} 1"#,
            r#"rauta_health_probes_total{result="refused"} 1"#,
            "rauta_endpoints_unhealthy 3",
            "rauta_endpoints_ejected 4",
            r#"rauta_endpoint_ejections_total{result="ejected"} 1"#,
            "rauta_backends_panicked 2",
            "rauta_backend_panics_total 1",
            "rauta_snapshot_version 7",
            r#"rauta_config_diagnostics{severity="error"} 2"#,
            r#"rauta_config_diagnostics{severity="warning"} 1"#,
            "rauta_listener_problems 1",
            "rauta_config_apply_seconds_count 1",
            concat!("rauta_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1"),
        ] {
            assert!(text.lines().any(|found| found == line), "no line {line} in:\n{text}");
        }
        for name in ["process_cpu_seconds_total", "process_resident_memory_bytes", "process_open_fds"] {
            assert!(series(&text).any(|line| line.starts_with(name)), "no {name} in:\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
        assert!(!text.contains("rauta_datapath"), "no kernel programs, no kernel series");
    }

    #[test]
    fn the_kernels_six_counters_keep_their_names() {
        let metrics = Metrics::new(1);
        metrics.set_datapath_source(Box::new(|| {
            Some(DatapathCounters {
                packets_total: 1,
                packets_tier1: 2,
                packets_tier2: 3,
                packets_tier3: 4,
                packets_dropped: 5,
                http_parse_errors: 6,
                listeners: vec![ListenerCounters {
                    listener: "default/web/http".into(),
                    address: "0.0.0.0:80".into(),
                    packets: 7,
                    connections: 8,
                }],
                kernel: None,
            })
        }));
        let text = metrics.encode();
        for line in [
            "rauta_datapath_packets_total 1",
            "rauta_datapath_packets_tier1_total 2",
            "rauta_datapath_packets_tier2_total 3",
            "rauta_datapath_packets_tier3_total 4",
            "rauta_datapath_packets_dropped_total 5",
            "rauta_datapath_http_parse_errors_total 6",
            r#"rauta_listener_packets_total{listener="default/web/http",address="0.0.0.0:80"} 7"#,
            r#"rauta_listener_connections_total{listener="default/web/http",address="0.0.0.0:80"} 8"#,
        ] {
            assert!(text.lines().any(|found| found == line), "no line {line} in:\n{text}");
        }
        for name in ["packets_total", "packets_tier1", "packets_tier2", "packets_tier3", "packets_dropped"] {
            assert!(text.contains(&format!("METRICS {name}:")) || text.contains(&format!("METRICS {name}.")));
        }
    }

    #[test]
    fn gateways_beyond_the_bound_fold_into_other() {
        let metrics = Metrics::new(1);
        for i in 0..GATEWAYS_MAX + 50 {
            metrics.gateway(&format!("ns/gateway-{i}")).observe(0, 200, Duration::ZERO, 0, 0);
        }
        let text = metrics.encode();
        let requests: Vec<_> =
            series(&text).filter(|line| line.starts_with("rauta_requests_total")).collect();
        assert_eq!(requests.len(), GATEWAYS_MAX + 1);
        assert!(requests.contains(&r#"rauta_requests_total{gateway="other",code="2xx"} 50"#));
    }

    #[test]
    fn listeners_beyond_the_bound_fold_into_other() {
        let one = |i: usize| ListenerCounters {
            listener: format!("ns/gateway/{i}"),
            address: format!("0.0.0.0:{i}"),
            packets: 2,
            connections: 1,
        };
        let many: Vec<_> = (0..GATEWAYS_MAX + 3).map(one).collect();
        let bounded = bounded(&many);
        assert_eq!(bounded.len(), GATEWAYS_MAX + 1);
        let last = bounded.last().unwrap();
        assert_eq!((last.listener.as_str(), last.packets, last.connections), (OTHER, 6, 3));
        assert_eq!(super::bounded(&many[..2]), many[..2]);
    }

    #[test]
    fn label_values_are_escaped() {
        let metrics = Metrics::new(1);
        metrics.gateway("a\"b\\c\nd").observe(0, 200, Duration::ZERO, 0, 0);
        assert!(metrics.encode().contains(r#"gateway="a\"b\\c\nd""#));
    }
}
