//! What was told of one request, and the line that it becomes.

use std::net::SocketAddr;
use std::time::Duration;

use model::RouteId;
use telemetry::access::{Entry, Show};
use wire::{Event, Tuple};

use super::{Moment, Names, text};
use crate::view::flow;

/// What the log says of a request whose answer was not seen to begin in its time.
const UNANSWERED: &str = "no answer seen";

/// What was told of a request so far. The names are those of when it was told: numbers are soon others'.
pub(super) struct Told {
    client: Tuple,
    pub(super) lot: u32,
    /// When the newest of it was told.
    pub(super) heard_ns: u64,
    tier: u8,
    listener: String,
    pub(super) route: Option<RouteId>,
    /// Its number, and its name.
    endpoint: (u32, Option<SocketAddr>),
    asked: Option<Asked>,
    pub(super) answered: Option<Answered>,
}

/// What a request asks for.
struct Asked {
    at_ns: u64,
    method: Option<&'static str>,
    host: String,
    path: String,
    len: u32,
}

/// The head of its response.
pub(super) struct Answered {
    at_ns: u64,
    pub(super) status: u16,
    first_byte_ns: u64,
    begins_at: u32,
}

impl Told {
    /// Nothing but what every event tells.
    pub(super) fn of(event: &Event, names: &Names<'_>) -> Box<Self> {
        Box::new(Self {
            client: event.client,
            lot: event.lot,
            heard_ns: event.time,
            tier: event.tier,
            listener: (names.listener)(event.listener),
            route: (names.route)(event.route),
            endpoint: (event.endpoint, (names.endpoint)(event.endpoint)),
            asked: None,
            answered: None,
        })
    }

    /// It was bound: the first time, or to another endpoint, or again.
    pub(super) fn ask(&mut self, event: &Event, names: &Names<'_>) {
        let is_news = self.asked.is_none();
        let asked = || Asked {
            at_ns: event.time,
            method: text::method(event.method).filter(|_| event.path_len > 0),
            host: text::host(event).to_ascii_lowercase(),
            path: text::path(event),
            len: event.len,
        };
        self.asked.get_or_insert_with(asked);
        if !is_news {
            self.route = (names.route)(event.route);
            self.go_to(event.endpoint, names);
        }
    }

    /// Its response began. The route told with it is that of its connection's newest request.
    pub(super) fn answer(&mut self, event: &Event, names: &Names<'_>) {
        self.heard_ns = event.time;
        self.tier = event.tier;
        self.go_to(event.endpoint, names);
        self.answered = Some(Answered {
            at_ns: event.time,
            status: event.status,
            first_byte_ns: event.first_byte_ns,
            begins_at: event.begins_at,
        });
    }

    fn go_to(&mut self, endpoint: u32, names: &Names<'_>) {
        if self.endpoint.0 != endpoint {
            self.endpoint = (endpoint, (names.endpoint)(endpoint));
        }
    }

    pub(super) fn status(&self) -> u16 {
        self.answered.as_ref().map_or(0, |answered| answered.status)
    }

    /// Calls `add` with its line. `ended`: with its response's end.
    pub(super) fn line(&self, ended: Option<&Event>, now: Moment, add: impl FnOnce(&Entry<'_>)) {
        let answered = self.answered.as_ref();
        let began_ns = match (&self.asked, answered) {
            (Some(asked), _) => asked.at_ns,
            (None, Some(answered)) => answered.at_ns.saturating_sub(answered.first_byte_ns),
            (None, None) => self.heard_ns,
        };
        let asked = self.asked.as_ref().filter(|asked| !asked.path.is_empty());
        let first_byte = answered.map(|answered| answered.first_byte_ns).filter(|took| *took > 0);
        let bytes_out = |ended: &Event| Some(ended.ends_at.wrapping_sub(answered?.begins_at).into());
        add(&Entry {
            time: Some(now.wall(began_ns)),
            client: Some(flow::source(&self.client)),
            listener: (!self.listener.is_empty()).then_some(&self.listener as &dyn Show),
            route: self.route.as_ref().map(|route| route as &dyn Show),
            endpoint: self.endpoint.1,
            method: asked.and_then(|asked| asked.method),
            host: asked.map(|asked| asked.host.as_str()),
            path: asked.map(|asked| asked.path.as_str()),
            status: self.status(),
            reason: answered.is_none().then_some(UNANSWERED),
            tier: self.tier,
            bytes_in: asked.map(|asked| asked.len.into()),
            bytes_out: ended.and_then(bytes_out),
            duration: ended.and_then(|ended| self.duration(ended)),
            first_byte: first_byte.map(Duration::from_nanos),
            protocol: Some("HTTP/1.1"),
            ..Entry::default()
        });
    }

    /// How long the first byte took and those behind it. Where that is not known, as behind early hints, from when the request was told of.
    fn duration(&self, ended: &Event) -> Option<Duration> {
        let nanoseconds = match (&self.asked, &self.answered) {
            (_, Some(answered)) if answered.first_byte_ns > 0 => {
                answered.first_byte_ns.saturating_add(ended.time.saturating_sub(answered.at_ns))
            }
            (Some(asked), _) => ended.time.saturating_sub(asked.at_ns),
            _ => return None,
        };
        Some(Duration::from_nanos(nanoseconds))
    }
}
