use std::borrow::Cow;
use std::fmt;

use prometheus_client::encoding::DescriptorEncoder;

use super::{Label, counter, gauge};
use crate::Metrics;
use crate::l4::L4Totals;

/// What is passed on without being read.
pub(super) fn encode(to: &mut DescriptorEncoder<'_>, metrics: &Metrics) -> fmt::Result {
    let all: Vec<_> = metrics.passed_on().into_iter().map(|(key, one)| (key, one.totals())).collect();
    let labels = |(gateway, protocol): &(String, &'static str)| -> Vec<Label<'static>> {
        vec![("gateway", Cow::from(gateway.clone())), ("protocol", Cow::from(*protocol))]
    };
    let values = |value: fn(&L4Totals) -> u64| {
        let values: Vec<_> = all.iter().map(|(key, totals)| (labels(key), value(totals))).collect();
        values
    };
    let help = "TCP and TLS connections passed on, and UDP sessions.";
    counter(to, "rauta_l4_connections", help, values(|totals| totals.opened))?;
    let active: Vec<_> = all.iter().map(|(key, totals)| (labels(key), totals.active)).collect();
    gauge(to, "rauta_l4_connections_active", "TCP, TLS connections and UDP sessions open now.", active)?;
    let help = "Bytes passed on from clients to endpoints.";
    counter(to, "rauta_l4_received_bytes", help, values(|totals| totals.bytes_in))?;
    let help = "Bytes passed on from endpoints to clients.";
    counter(to, "rauta_l4_sent_bytes", help, values(|totals| totals.bytes_out))?;
    let refusals = metrics.l4_refusals.values().into_iter();
    let refusals = refusals.map(|(reason, count)| (vec![("reason", Cow::from(reason))], count));
    counter(
        to,
        "rauta_l4_refusals",
        "Connections, sessions and datagrams not passed on, by reason.",
        refusals,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_passed_on_has_series_by_gateway_and_protocol() {
        let metrics = Metrics::new(1);
        let tcp = metrics.l4("shop/db", "tcp");
        tcp.opened(0);
        tcp.moved(0, true, 5);
        tcp.moved(0, false, 7);
        metrics.l4_refused(0, "no route");
        let text = metrics.encode();
        for line in [
            r#"rauta_l4_connections_total{gateway="shop/db",protocol="tcp"} 1"#,
            r#"rauta_l4_connections_active{gateway="shop/db",protocol="tcp"} 1"#,
            r#"rauta_l4_received_bytes_total{gateway="shop/db",protocol="tcp"} 5"#,
            r#"rauta_l4_sent_bytes_total{gateway="shop/db",protocol="tcp"} 7"#,
            r#"rauta_l4_refusals_total{reason="no route"} 1"#,
        ] {
            assert!(text.lines().any(|found| found == line), "no line {line} in:\n{text}");
        }
    }
}
