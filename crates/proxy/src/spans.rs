//! Spans of a request: the gateway's own, and one for each try at an endpoint.
//!
//! Source: OpenTelemetry semantic conventions 1.37, "HTTP spans".

use std::borrow::Cow;
use std::net::SocketAddr;
use std::time::SystemTime;

use otlp::{Kind, Span, Value};
use policy::TraceContext;
use telemetry::Protocol;

use crate::client::Client;
use crate::forward::Forward;
use crate::story::{Story, Told};
use crate::worker::Worker;

/// Methods that are named; others are one (RFC 9110 section 9, RFC 5789).
const METHODS: [&str; 9] = ["CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"];
const OTHER_METHOD: &str = "_OTHER";

/// A try at an endpoint.
pub(crate) struct Tried {
    /// The context that the endpoint got.
    pub(crate) context: TraceContext,
    pub(crate) endpoint: SocketAddr,
    pub(crate) start: SystemTime,
    pub(crate) end: SystemTime,
    /// What it answered, if it did.
    pub(crate) status: Option<u16>,
    /// Why it did not.
    pub(crate) error: Option<&'static str>,
}

impl Forward<'_> {
    /// Whether spans of this request are sent.
    pub(crate) fn records(&self) -> bool {
        self.worker.config().spans.is_some() && self.ids.trace.is_some_and(|trace| trace.own.is_sampled())
    }

    /// The context of one try.
    pub(crate) fn context(&self) -> Option<TraceContext> {
        self.ids.trace.map(|trace| trace.own.of_span(self.worker.random()))
    }

    /// Remembers a try that came no further than the connection.
    pub(crate) fn not_connected(&self, story: &mut Story, endpoint: SocketAddr, reason: &'static str) {
        let Some(context) = self.context().filter(|_| self.records()) else { return };
        let end = SystemTime::now();
        let start = end.checked_sub(story.connect.unwrap_or_default()).unwrap_or(end);
        story.tried.push(Tried { context, endpoint, start, end, status: None, error: Some(reason) });
    }
}

/// Sends the spans of a request that is over, if its trace is recorded.
pub(crate) fn send(worker: &Worker, client: &Client, told: &Told<'_>, start: SystemTime, end: SystemTime) {
    let Some(exporter) = &worker.config().spans else { return };
    let Some(trace) = told.story.ids.trace.filter(|trace| trace.own.is_sampled()) else { return };
    let method = told.head.method();
    let known = if METHODS.contains(&method) { method } else { OTHER_METHOD };
    for (resent, tried) in told.story.tried.iter().enumerate() {
        let mut attributes = vec![
            ("http.request.method", known.into()),
            ("server.address", Value::Text(tried.endpoint.ip().to_string())),
            ("server.port", tried.endpoint.port().into()),
        ];
        attributes.extend(tried.status.map(|status| ("http.response.status_code", status.into())));
        if resent > 0 {
            let count = i64::try_from(resent).unwrap_or(i64::MAX);
            attributes.push(("http.request.resend_count", Value::Number(count)));
        }
        // A client's span fails by 4xx, too.
        let status_error = tried.status.filter(|status| *status >= 400).map(|status| status.to_string());
        let error = tried.error.map(Cow::Borrowed).or(status_error.map(Cow::Owned));
        attributes.extend(error.as_deref().map(|error| ("error.type", error.into())));
        let span = Span {
            trace: tried.context.trace,
            id: tried.context.span,
            parent: Some(trace.own.span),
            kind: Kind::Client,
            name: known.to_owned(),
            start: tried.start,
            end: tried.end,
            attributes,
            error,
        };
        exporter.send(worker.index, span);
    }
    exporter.send(worker.index, own(client, told, known, (start, end)));
}

/// The gateway's own.
fn own(client: &Client, told: &Told<'_>, method: &str, (start, end): (SystemTime, SystemTime)) -> Span {
    let Told { head, story, outcome, .. } = told;
    let version = match told.protocol {
        Protocol::Http10 => "1.0",
        Protocol::Http11 => "1.1",
        Protocol::Http2 => "2",
    };
    let mut attributes = vec![
        ("http.request.method", method.into()),
        ("url.scheme", client.scheme().into()),
        ("url.path", head.sent_path().into()),
        ("network.protocol.version", version.into()),
        ("client.address", Value::Text(client.peer.ip().to_string())),
        ("http.response.status_code", outcome.status.into()),
    ];
    if method == OTHER_METHOD {
        attributes.push(("http.request.method_original", head.method().into()));
    }
    if !head.host().is_empty() {
        attributes.push(("server.address", head.host().into()));
    }
    if let Some(agent) = head.values("user-agent").next() {
        attributes.push(("user_agent.original", Value::Text(String::from_utf8_lossy(agent).into_owned())));
    }
    let route = told.route.map(|route| route.id.to_string());
    let name = match &route {
        Some(route) => format!("{method} {route}"),
        None => method.to_owned(),
    };
    attributes.extend(route.map(|route| ("rauta.route", Value::Text(route))));
    // A server's span fails by 5xx only: what a client does wrong is not its fault.
    let error = (outcome.status >= 500).then(|| {
        attributes.push(("error.type", Value::Text(outcome.status.to_string())));
        story.reason.clone().unwrap_or_default()
    });
    let (trace, id, parent) = match story.ids.trace {
        Some(trace) => (trace.own.trace, trace.own.span, trace.parent),
        None => (0, 0, None),
    };
    Span { trace, id, parent, kind: Kind::Server, name, start, end, attributes, error }
}
