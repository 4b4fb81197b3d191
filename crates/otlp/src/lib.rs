//! Spans of requests, sent to a collector of OpenTelemetry: OTLP over HTTP/1.1, as protobuf.
//!
//! ```text
//!  proxy threads ── Exporter::send, never waits ──> bounded queue ──> one thread: batches ── POST ──> collector
//! ```
//!
//! Source: OTLP 1.7, "OTLP/HTTP"; the messages are opentelemetry-proto's `trace/v1/trace.proto`.
//!
//! Invariants: a span that finds the queue full, or a collector that does not take it, is dropped and counted.

mod collector;
mod export;
mod message;
mod span;

pub use collector::{Collector, CollectorError};
pub use export::{Exporter, Exporting, StartError};
pub use span::{Kind, Span, Value};
