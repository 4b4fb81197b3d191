//! By what a request is found again: its id, and the trace it belongs to.

use std::time::{Duration, SystemTime};

use http1::RequestHead;
use policy::{RequestIdText, TRACEPARENT, TRACESTATE, TraceContext};

use crate::client::Client;
use crate::config::IdConfig;
use crate::worker::Worker;

/// The id and the trace of one request, as far as the settings ask for them.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Ids {
    request: RequestId,
    pub(crate) trace: Option<Trace>,
}

#[derive(Clone, Copy, Debug, Default)]
enum RequestId {
    /// Nobody asks for one.
    #[default]
    None,
    /// A trusted proxy's own.
    Kept,
    Made(RequestIdText),
}

/// What is recorded of a request's trace.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Trace {
    /// The context that the gateway's own span has.
    pub(crate) own: TraceContext,
    /// The caller's span; none: the trace begins here.
    pub(crate) parent: Option<u64>,
}

/// Header lines that a request gets by its ids, and those that they stand in place of.
pub(crate) struct IdLines<'i> {
    pub(crate) insert: [Option<(&'i str, &'i [u8])>; 2],
    pub(crate) remove: [Option<&'i str>; 3],
}

impl Ids {
    /// Takes them from the request, or makes them.
    ///
    /// An id is a trusted proxy's word or our own: others could write anything into the logs of all behind us. A trace's
    /// context is taken from everybody (W3C Trace Context section 4.3: "vendors MUST" continue a valid one): it says
    /// nothing that is believed.
    pub(crate) fn of(worker: &Worker, client: &Client, head: &RequestHead) -> Self {
        let config = &worker.config().ids;
        let request = match config.request_id_header.as_deref() {
            None => RequestId::None,
            Some(name) if client.is_trusted_proxy && brings_id(head, name) => RequestId::Kept,
            Some(_) => {
                let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
                let unix_ms = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
                RequestId::Made(policy::request_id(unix_ms, worker.random_id()))
            }
        };
        let trace = config.trace_context.then(|| Trace::of(worker, config, head));
        Self { request, trace }
    }

    /// The request's id, as its endpoint sees it.
    pub(crate) fn request_id<'i>(&'i self, config: &IdConfig, head: &'i RequestHead) -> Option<&'i str> {
        let id = match &self.request {
            RequestId::None => return None,
            RequestId::Kept => head.values(config.request_id_header.as_deref()?).next()?,
            RequestId::Made(id) => id,
        };
        std::str::from_utf8(id).ok()
    }

    /// What changes in the head for the endpoint; `traceparent`: the context of this try.
    pub(crate) fn lines<'i>(&'i self, config: &'i IdConfig, traceparent: Option<&'i str>) -> IdLines<'i> {
        let made = match (&self.request, config.request_id_header.as_deref()) {
            (RequestId::Made(id), Some(name)) => Some((name, &id[..])),
            _ => None,
        };
        let begins = self.trace.is_some_and(|trace| trace.parent.is_none());
        IdLines {
            insert: [made, traceparent.map(|context| (TRACEPARENT, context.as_bytes()))],
            // Section 4.3: the state goes with a context that is not valid.
            remove: [
                made.map(|(name, _)| name),
                self.trace.is_some().then_some(TRACEPARENT),
                begins.then_some(TRACESTATE),
            ],
        }
    }
}

impl Trace {
    fn of(worker: &Worker, config: &IdConfig, head: &RequestHead) -> Self {
        let mut lines = head.values(TRACEPARENT);
        // More than one is none that is valid.
        let came = lines.next().filter(|_| lines.next().is_none()).and_then(TraceContext::parse);
        match came {
            Some(came) => Self { own: came.of_span(worker.random()), parent: Some(came.span) },
            None => {
                let is_sampled = worker.random().is_multiple_of(config.sample_one_in.max(1));
                let own = TraceContext::first(worker.random_id(), worker.random(), is_sampled);
                Self { own, parent: None }
            }
        }
    }
}

fn brings_id(head: &RequestHead, name: &str) -> bool {
    let mut lines = head.values(name);
    lines.next().is_some_and(policy::is_request_id) && lines.next().is_none()
}
