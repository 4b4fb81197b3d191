//! Spans, as a collector gets them: its messages are read by OpenTelemetry's own types.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers, too")]

mod support;

use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::trace::v1::Span;
use otlp::{Exporter, Exporting};
use prost::Message;
use proxy::{Config, IdConfig};
use support::{Lab, PATIENCE, Scripted, content_length, eventually, free_port, rule};

/// `SPAN_KIND_SERVER`, `SPAN_KIND_CLIENT`, `STATUS_CODE_ERROR`.
const SERVER: i32 = 2;
const CLIENT: i32 = 3;
const ERROR: i32 = 2;

struct Collected {
    requests: Receiver<(String, Vec<u8>)>,
    _collector: Scripted,
    _exporting: Exporting,
    metrics: Arc<telemetry::Metrics>,
    config: Config,
}

/// A collector that answers with `status`, and a gateway's settings for it.
fn collected(status: u16) -> Collected {
    let (tell, requests) = channel();
    let tell = Mutex::new(tell);
    let collector = Scripted::new(move |conn| {
        while let Some(head) = conn.head() {
            let body = conn.body(content_length(&head));
            // The test may be over.
            let _ = tell.lock().unwrap().send((head, body));
            conn.send(&format!("HTTP/1.1 {status} X\r\nContent-Length: 2\r\n\r\n{{}}"));
        }
    });
    let metrics = telemetry::Metrics::new(1);
    let url = format!("http://{}", collector.address).parse().unwrap();
    let (spans, exporting) = Exporter::start(url, metrics.clone(), || {}).unwrap();
    let ids = IdConfig { trace_context: true, sample_one_in: 1, ..Default::default() };
    let config = Config { threads: 1, ids, spans: Some(spans), ..Default::default() };
    Collected { requests, _collector: collector, _exporting: exporting, metrics, config }
}

impl Collected {
    /// So many spans, in the order they were sent.
    fn spans(&self, count: usize) -> Vec<Span> {
        let mut spans = Vec::new();
        while spans.len() < count {
            let (head, body) = self.requests.recv_timeout(PATIENCE).unwrap();
            assert!(head.starts_with("POST /v1/traces HTTP/1.1\r\n"), "{head}");
            assert!(head.contains("\r\nContent-Type: application/x-protobuf\r\n"), "{head}");
            let request = ExportTraceServiceRequest::decode(&*body).unwrap();
            for resource in request.resource_spans {
                assert_eq!(text(&resource.resource.unwrap().attributes, "service.name"), "rauta");
                spans.extend(resource.scope_spans.into_iter().flat_map(|scope| scope.spans));
            }
        }
        assert_eq!(spans.len(), count);
        spans
    }
}

/// An attribute as text; empty: there is none.
fn text(attributes: &[KeyValue], key: &str) -> String {
    let found = attributes.iter().find(|attribute| attribute.key == key);
    match found.and_then(|attribute| attribute.value.as_ref()?.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::IntValue(number)) => number.to_string(),
        _ => String::new(),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn a_request_is_a_span_of_the_gateway_and_one_of_its_try() {
    let collected = collected(200);
    let endpoint = Scripted::echo("one");
    let lab = Lab::with(collected.config.clone(), &[rule("/", &[endpoint.address])]);
    let mut client = lab.client();
    client.send(
        "GET /a?secret HTTP/1.1\r\nHost: a.test\r\nUser-Agent: x\r\n\
         traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n\r\n",
    );
    assert_eq!(client.response().status, 200);
    let spans = collected.spans(2);
    let (tried, own) = (&spans[0], &spans[1]);
    assert_eq!((own.kind, tried.kind), (SERVER, CLIENT));
    for span in &spans {
        assert_eq!(hex(&span.trace_id), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert!(span.start_time_unix_nano > 0 && span.end_time_unix_nano >= span.start_time_unix_nano);
        assert_eq!(span.status, None);
        assert_eq!(text(&span.attributes, "http.request.method"), "GET");
        assert_eq!(text(&span.attributes, "http.response.status_code"), "200");
    }
    assert_eq!(
        (hex(&own.parent_span_id).as_str(), &tried.parent_span_id),
        ("00f067aa0ba902b7", &own.span_id)
    );
    let received = endpoint.received();
    assert!(received.contains(&format!("-{}-01\r\n", hex(&tried.span_id))), "{received}");
    assert_eq!((own.name.as_str(), tried.name.as_str()), ("GET HTTPRoute test/r rule 0", "GET"));
    for (key, expected) in [
        ("url.path", "/a"),
        ("url.scheme", "http"),
        ("server.address", "a.test"),
        ("client.address", "127.0.0.1"),
        ("network.protocol.version", "1.1"),
        ("user_agent.original", "x"),
    ] {
        assert_eq!(text(&own.attributes, key), expected, "{key}");
    }
    assert_eq!(text(&tried.attributes, "server.port"), endpoint.address.port().to_string());
    eventually("the count", || collected.metrics.spans_sent.get() == 2);
}

#[test]
fn every_try_is_a_span_and_failures_say_why() {
    let collected = collected(200);
    let endpoint = Scripted::new(|conn| {
        while conn.head().is_some() {
            conn.send("HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n");
        }
    });
    let (busy, one, two) = ([endpoint.address], [free_port()], [free_port(), free_port()]);
    let rules = [rule("/", &busy), rule("/dead", &one), rule("/two", &two)];
    let lab = Lab::with(collected.config.clone(), &rules);
    assert_eq!(lab.client().get("/dead").status, 503);
    let spans = collected.spans(2);
    let (tried, own) = (&spans[0], &spans[1]);
    for span in [own, tried] {
        let status = span.status.as_ref().unwrap();
        assert_eq!((status.code, status.message.as_str()), (ERROR, "endpoint refused the connection"));
    }
    assert_eq!(text(&tried.attributes, "error.type"), "endpoint refused the connection");
    assert_eq!(text(&own.attributes, "error.type"), "503");
    // The answer of an endpoint, be it a bad one.
    assert_eq!(lab.client().get("/").status, 503);
    let spans = collected.spans(2);
    assert_eq!(text(&spans[0].attributes, "http.response.status_code"), "503");
    assert_eq!(text(&spans[0].attributes, "error.type"), "503");
    assert_eq!(lab.client().get("/two").status, 503);
    let spans = collected.spans(3);
    let resent = spans.iter().map(|span| text(&span.attributes, "http.request.resend_count"));
    assert_eq!(resent.collect::<Vec<_>>(), ["", "1", ""]);
    assert_ne!(spans[0].span_id, spans[1].span_id);
}

#[test]
fn what_is_not_sampled_is_not_sent() {
    let collected = collected(200);
    let endpoint = Scripted::echo("one");
    let lab = Lab::with(collected.config.clone(), &[rule("/", &[endpoint.address])]);
    let mut client = lab.client();
    let unsampled = "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";
    client.send(format!("GET / HTTP/1.1\r\nHost: a\r\n{unsampled}\r\n\r\n"));
    assert_eq!(client.response().status, 200);
    assert_eq!(client.get("/none/../x").status, 200);
    let spans = collected.spans(2);
    assert!(spans.iter().all(|span| hex(&span.trace_id) != "4bf92f3577b34da6a3ce929d0e0e4736"));
}

#[test]
fn a_collector_that_takes_nothing_costs_spans_and_no_requests() {
    let refusing = collected(503);
    let endpoint = Scripted::echo("one");
    let lab = Lab::with(refusing.config.clone(), &[rule("/", &[endpoint.address])]);
    let mut client = lab.client();
    (0..3).for_each(|_| assert_eq!(client.get("/").status, 200));
    let dropped = |metrics: &telemetry::Metrics| metrics.spans_dropped.values();
    eventually("refused spans to be counted", || dropped(&refusing.metrics) == [("refused", 6)]);
    let metrics = telemetry::Metrics::new(1);
    let url = format!("http://{}", free_port()).parse().unwrap();
    let (spans, _exporting) = Exporter::start(url, metrics.clone(), || {}).unwrap();
    let lab = Lab::with(
        Config { spans: Some(spans), ..refusing.config.clone() },
        &[rule("/", &[endpoint.address])],
    );
    let mut client = lab.client();
    (0..2000).for_each(|_| assert_eq!(client.get("/").status, 200));
    let total = || dropped(&metrics).iter().map(|(_, count)| count).sum::<u64>();
    eventually("every span to be counted", || total() == 4000);
    assert_eq!(metrics.spans_sent.get(), 0);
}
