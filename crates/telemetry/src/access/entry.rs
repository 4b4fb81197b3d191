use std::fmt;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use super::escape::{Escaped, Style};
use super::time::write_time;

/// What is logged of a request. What is not known of it is not there.
#[derive(Clone, Copy, Debug, Default)]
pub struct Entry<'e> {
    /// When its head was there.
    pub time: Option<SystemTime>,
    /// The peer, or who it is by the PROXY protocol.
    pub client: Option<SocketAddr>,
    /// The listener that took it.
    pub listener: Option<&'e dyn Show>,
    /// The rule that took it.
    pub route: Option<&'e dyn Show>,
    /// The endpoint that had it last.
    pub endpoint: Option<SocketAddr>,
    /// As sent.
    pub method: Option<&'e str>,
    /// In lower case, without port.
    pub host: Option<&'e str>,
    /// As sent, without the query.
    pub path: Option<&'e str>,
    /// As sent.
    pub query: Option<&'e str>,
    /// What the client got; 499: it left before.
    pub status: u16,
    /// Why the gateway answered itself, or why an answer broke off.
    pub reason: Option<&'e str>,
    /// Who served it: 1 and 2 for the kernel, in XDP and at TC, 3 for userspace.
    pub tier: u8,
    /// What came from the client, head and framing included.
    pub bytes_in: Option<u64>,
    /// What went to the client, head and framing included.
    pub bytes_out: Option<u64>,
    /// From the end of the request's head to the last byte of the response.
    pub duration: Option<Duration>,
    /// From the end of the request's head to the response's head.
    pub first_byte: Option<Duration>,
    /// Connecting to the endpoint, where that was done for this request.
    pub connect: Option<Duration>,
    /// `HTTP/1.1`…
    pub protocol: Option<&'static str>,
    /// `TLSv1.3`…
    pub tls_version: Option<&'static str>,
    /// The name that the client asked for in TLS.
    pub sni: Option<&'e str>,
    /// As sent.
    pub user_agent: Option<&'e [u8]>,
    /// Its id, where there are such.
    pub request_id: Option<&'e str>,
    /// Its trace, where it belongs to one.
    pub trace_id: Option<u128>,
}

/// What can be shown.
pub trait Show: fmt::Display + fmt::Debug {}

impl<T: fmt::Display + fmt::Debug> Show for T {}

/// A field of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// [`Entry::time`], RFC 3339 in UTC with milliseconds.
    Time,
    /// [`Entry::client`]
    Client,
    /// [`Entry::listener`]
    Listener,
    /// [`Entry::route`]
    Route,
    /// [`Entry::endpoint`]
    Endpoint,
    /// [`Entry::method`]
    Method,
    /// [`Entry::host`]
    Host,
    /// [`Entry::path`]
    Path,
    /// [`Entry::query`]: not in JSON lines, since queries hold what is not for logs.
    Query,
    /// [`Entry::status`]
    Status,
    /// [`Entry::reason`]
    Reason,
    /// [`Entry::tier`]
    Tier,
    /// [`Entry::bytes_in`]
    BytesIn,
    /// [`Entry::bytes_out`]
    BytesOut,
    /// [`Entry::duration`] in milliseconds
    DurationMs,
    /// [`Entry::first_byte`] in milliseconds
    FirstByteMs,
    /// [`Entry::connect`] in milliseconds
    ConnectMs,
    /// [`Entry::protocol`]
    Protocol,
    /// [`Entry::tls_version`]
    TlsVersion,
    /// [`Entry::sni`]
    Sni,
    /// [`Entry::user_agent`]
    UserAgent,
    /// [`Entry::request_id`]
    RequestId,
    /// [`Entry::trace_id`], 32 hexadecimal digits
    TraceId,
}

impl Field {
    /// All, in the order of JSON lines.
    pub const ALL: [Self; 23] = [
        Self::Time,
        Self::Client,
        Self::Listener,
        Self::Route,
        Self::Endpoint,
        Self::Method,
        Self::Host,
        Self::Path,
        Self::Query,
        Self::Status,
        Self::Reason,
        Self::Tier,
        Self::BytesIn,
        Self::BytesOut,
        Self::DurationMs,
        Self::FirstByteMs,
        Self::ConnectMs,
        Self::Protocol,
        Self::TlsVersion,
        Self::Sni,
        Self::UserAgent,
        Self::RequestId,
        Self::TraceId,
    ];

    /// Its key in JSON, and its name in templates.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Time => "time",
            Self::Client => "client",
            Self::Listener => "listener",
            Self::Route => "route",
            Self::Endpoint => "endpoint",
            Self::Method => "method",
            Self::Host => "host",
            Self::Path => "path",
            Self::Query => "query",
            Self::Status => "status",
            Self::Reason => "reason",
            Self::Tier => "tier",
            Self::BytesIn => "bytes_in",
            Self::BytesOut => "bytes_out",
            Self::DurationMs => "duration_ms",
            Self::FirstByteMs => "first_byte_ms",
            Self::ConnectMs => "connect_ms",
            Self::Protocol => "protocol",
            Self::TlsVersion => "tls_version",
            Self::Sni => "sni",
            Self::UserAgent => "user_agent",
            Self::RequestId => "request_id",
            Self::TraceId => "trace_id",
        }
    }

    /// Whether its value is a number.
    pub(super) const fn is_number(self) -> bool {
        matches!(
            self,
            Self::Status
                | Self::Tier
                | Self::BytesIn
                | Self::BytesOut
                | Self::DurationMs
                | Self::FirstByteMs
                | Self::ConnectMs
        )
    }

    /// Whether the entry has it.
    pub(super) const fn is_in(self, entry: &Entry<'_>) -> bool {
        match self {
            Self::Time => entry.time.is_some(),
            Self::Client => entry.client.is_some(),
            Self::Listener => entry.listener.is_some(),
            Self::Route => entry.route.is_some(),
            Self::Endpoint => entry.endpoint.is_some(),
            Self::Method => entry.method.is_some(),
            Self::Host => entry.host.is_some(),
            Self::Path => entry.path.is_some(),
            Self::Query => entry.query.is_some(),
            Self::Status | Self::Tier => true,
            Self::BytesIn => entry.bytes_in.is_some(),
            Self::BytesOut => entry.bytes_out.is_some(),
            Self::Reason => entry.reason.is_some(),
            Self::DurationMs => entry.duration.is_some(),
            Self::FirstByteMs => entry.first_byte.is_some(),
            Self::ConnectMs => entry.connect.is_some(),
            Self::Protocol => entry.protocol.is_some(),
            Self::TlsVersion => entry.tls_version.is_some(),
            Self::Sni => entry.sni.is_some(),
            Self::UserAgent => entry.user_agent.is_some(),
            Self::RequestId => entry.request_id.is_some(),
            Self::TraceId => entry.trace_id.is_some(),
        }
    }

    /// Writes its value, escaped, without quotes; nothing if the entry lacks it.
    pub(super) fn write(self, entry: &Entry<'_>, out: &mut Vec<u8>, style: Style) {
        let mut to = Escaped::new(out, style);
        match self {
            Self::Time => entry.time.into_iter().for_each(|time| write_time(time, &mut to)),
            Self::Client => to.show(entry.client),
            Self::Listener => to.show(entry.listener),
            Self::Route => to.show(entry.route),
            Self::Endpoint => to.show(entry.endpoint),
            Self::Method => to.text(entry.method),
            Self::Host => to.text(entry.host),
            Self::Path => to.text(entry.path),
            Self::Query => to.text(entry.query),
            Self::Status => to.show(Some(entry.status)),
            Self::Reason => to.text(entry.reason),
            Self::Tier => to.show(Some(entry.tier)),
            Self::BytesIn => to.show(entry.bytes_in),
            Self::BytesOut => to.show(entry.bytes_out),
            Self::DurationMs => to.show(entry.duration.map(Milliseconds)),
            Self::FirstByteMs => to.show(entry.first_byte.map(Milliseconds)),
            Self::ConnectMs => to.show(entry.connect.map(Milliseconds)),
            Self::Protocol => to.text(entry.protocol),
            Self::TlsVersion => to.text(entry.tls_version),
            Self::Sni => to.text(entry.sni),
            Self::UserAgent => entry.user_agent.into_iter().for_each(|bytes| to.bytes(bytes)),
            Self::RequestId => to.text(entry.request_id),
            Self::TraceId => to.show(entry.trace_id.map(TraceId)),
        }
    }
}

struct Milliseconds(Duration);

impl fmt::Display for Milliseconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let us = self.0.as_micros();
        write!(f, "{}.{:03}", us / 1000, us % 1000)
    }
}

struct TraceId(u128);

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}
