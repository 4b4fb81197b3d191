//! One request: which route it takes, and what becomes of it.

use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use http1::{LineEdits, RequestHead, ResponseHead};
use model::{Listener, Redirect, Route, Scheme};
use policy::{CORS_HEADERS, CorsLines, CorsRequest, CorsVerdict, RuledPath};
use route::Lookup;
use tokio::time::Instant;

use crate::downstream::{Downstream, Fate};
use crate::forward::{self, Forward};
use crate::forwarded::Forwarded;
use crate::guard::Stop;
use crate::ids::Ids;
use crate::reply::{Extra, Outcome, Page, STATUS_CLIENT_GONE, answer, answer_with};
use crate::request_body::RequestBody;
use crate::state::{CompiledAction, State};
use crate::story::{self, Story, Told};
use crate::transport::Transport;
use crate::worker::Worker;

/// Serves one request whose head is there.
pub(crate) async fn handle<S: Transport>(
    worker: &Rc<Worker>,
    down: &mut Downstream<S>,
    head: &mut RequestHead,
    response: &mut ResponseHead,
) -> Fate {
    let started = Instant::now();
    let state = worker.state();
    let mut body = RequestBody::new(head.framing(), &worker.config().limits);
    down.story = Story { ids: Ids::of(worker, &down.client, head), ..Default::default() };
    let (outcome, taken) = match worker.config().paths.apply(head.path()) {
        RuledPath::Same => decide(worker, down, head, response, &mut body, &state, started).await,
        RuledPath::Changed(path) => {
            head.set_path(path);
            decide(worker, down, head, response, &mut body, &state, started).await
        }
        RuledPath::Redirect(path) => {
            (redirect_to(worker, down, head, &mut body, &path).await, Taken::default())
        }
        RuledPath::Rejected(reason) => {
            (answer(worker, down, head, &mut body, 400, reason).await, Taken::default())
        }
    };
    let Taken { listener, route } = taken;
    let bytes_in = head.bytes().len() as u64 + body.bytes();
    worker.return_buffer(body.replay.into_memory());
    if let Some(gateway) = listener.and_then(|l| state.gateway(&l.id)) {
        gateway.observe(worker.index, outcome.status, started.elapsed(), bytes_in, outcome.bytes_out);
    }
    if let Some(metrics) = route.and_then(|(index, _)| state.route(index).metrics.as_ref()) {
        metrics.observe(worker.index, outcome.status, started.elapsed(), bytes_in, outcome.bytes_out);
    }
    let (listener, route) = (listener.map(|listener| &**listener), route.map(|(_, route)| route));
    let (protocol, story) = (story::protocol(down, head), &down.story);
    worker.metrics().requests.inc(worker.index, protocol, down.client.secured.is_some());
    let told = Told { story, protocol, head, listener, route, started, bytes_in, outcome };
    story::tell(worker, &down.client, &told);
    outcome.fate
}

/// Sends the client to the path that its own one stands for. With the host in front: two slashes would lead to another.
async fn redirect_to<S: Transport>(
    worker: &Worker,
    down: &mut Downstream<S>,
    head: &RequestHead,
    body: &mut RequestBody,
    path: &str,
) -> Outcome {
    let dialled = down.client.local.to_string();
    let authority = if head.authority().is_empty() { &dialled } else { head.authority() };
    let mark = if head.query().is_some() { "?" } else { "" };
    let query = head.query().unwrap_or_default();
    let location = format!("{}://{authority}{path}{mark}{query}", down.client.scheme());
    let headers = [("Location", location.as_bytes())];
    let extra = Extra { headers: &headers, ..Default::default() };
    // Another status than 308, which clients remember: the rule is a setting.
    answer_with(worker, down, head, body, (307, "path with an escaped slash".into()), extra).await
}

/// Whose request it turned out to be.
#[derive(Default)]
struct Taken<'s> {
    listener: Option<&'s Arc<Listener>>,
    /// Its number and what it is.
    route: Option<(usize, &'s Route)>,
}

async fn decide<'s, S: Transport>(
    worker: &Rc<Worker>,
    down: &mut Downstream<S>,
    head: &RequestHead,
    response: &mut ResponseHead,
    body: &mut RequestBody,
    state: &'s State,
    started: Instant,
) -> (Outcome, Taken<'s>) {
    let Some(socket) = state.table.socket(down.client.local.ip(), down.client.local.port()) else {
        return (
            answer(worker, down, head, body, 404, "no listener on this address").await,
            Taken::default(),
        );
    };
    let request = route::Request {
        host: head.host(),
        path: head.path(),
        query: head.query(),
        method: head.method(),
        headers: &HeadersOf(head),
    };
    let found = socket.lookup(&request);
    // A name in TLS that belongs to one listener must not open the routes of another (RFC 9110 section 15.5.20).
    let named = match &found {
        Lookup::Match { listener, .. } | Lookup::NoRoute { listener } => Some(&listener.id),
        Lookup::NoListener => None,
    };
    if let (Some(named), Some(secured)) = (named, &down.client.secured)
        && named != secured
    {
        return (
            answer(worker, down, head, body, 421, "host of another listener than the TLS name").await,
            Taken::default(),
        );
    }
    let (listener, route, route_index) = match found {
        Lookup::Match { listener, route, route_index, .. } => (listener, route, route_index),
        Lookup::NoRoute { listener } => {
            let taken = Taken { listener: Some(listener), route: None };
            return (answer(worker, down, head, body, 404, "no route").await, taken);
        }
        Lookup::NoListener => {
            return (
                answer(worker, down, head, body, 404, "no listener for this host").await,
                Taken::default(),
            );
        }
    };
    let taken = Taken { listener: Some(listener), route: Some((route_index, route)) };
    let compiled = state.route(route_index);
    let guard = compiled.guards.as_ref().and_then(|guards| guards.on(&listener.id));
    if let Some(guard) = guard
        && let Err((status, reason)) = guard.lets_in(|| down.client.address(worker, head))
    {
        let extra = Extra { page: guard.page(status), ..Default::default() };
        return (answer_with(worker, down, head, body, (status, reason.into()), extra).await, taken);
    }
    // Before anything that might ask for a password.
    if let Some(redirect) = &route.filters.https_redirect
        && !came_by_https(down, head)
    {
        return (redirected(worker, down, head, body, redirect, listener, (None, &[])).await, taken);
    }
    let said = compiled.cors.as_deref();
    let judged = said.map(|cors| cors.judge(&CorsRequest::read(head.method(), |name| head.values(name))));
    let cors = match judged {
        None => None,
        Some(CorsVerdict::Pass(lines)) => Some(lines),
        Some(CorsVerdict::Preflight(lines)) => {
            let extra = Extra { headers: lines.as_slice(), ..Default::default() };
            let said = (204, "CORS preflight".into());
            return (answer_with(worker, down, head, body, said, extra).await, taken);
        }
        Some(CorsVerdict::Denied) => {
            let reason = "the rule's CORS filter does not allow this origin";
            let extra = Extra { page: guard.and_then(|guard| guard.page(403)), ..Default::default() };
            return (answer_with(worker, down, head, body, (403, reason.into()), extra).await, taken);
        }
    };
    let (mut changes, mut _counted) = (None, None);
    if let Some(guard) = guard {
        // On the heap, where only requests of such routes are: what is waited for in here has no part in the others.
        match Box::pin(guard.pass(worker, listener, down, head)).await {
            Ok(passed) => {
                if let Some(bytes) = passed.body_max {
                    body.limit(bytes);
                }
                (changes, _counted) = (passed.changes, passed.counted);
                body.forbid_trailers(changes.as_ref());
            }
            Err(Stop::Gone) => {
                return (Outcome { fate: Fate::Close, status: STATUS_CLIENT_GONE, bytes_out: 0 }, taken);
            }
            Err(Stop::Told(denial)) => {
                // Where a filter says what scripts may do, nobody else does.
                let is_ours = |name: &str| CORS_HEADERS.iter().any(|own| own.eq_ignore_ascii_case(name));
                let told = denial.headers.iter().map(|(name, value)| (&**name, &**value));
                let told = told.filter(|(name, _)| cors.is_none() || !is_ours(name));
                let headers: Vec<_> =
                    cors.as_ref().map_or(&[][..], CorsLines::as_slice).iter().copied().chain(told).collect();
                let page = Some(Page { content_type: &denial.content_type, body: &denial.body });
                let extra = Extra { headers: &headers, page, lines: None };
                let said = (denial.status, "external authorization said no".into());
                return (answer_with(worker, down, head, body, said, extra).await, taken);
            }
            Err(Stop::Answer(said)) => {
                let cors = cors.as_ref().map_or(&[][..], CorsLines::as_slice);
                let own = said.headers.iter().map(|(name, value)| (*name, value.as_bytes()));
                let headers: Vec<_> = cors.iter().copied().chain(own).collect();
                let extra = Extra {
                    headers: &headers,
                    page: said.page.or_else(|| guard.page(said.status)),
                    ..Default::default()
                };
                let said = (said.status, said.reason.into());
                return (answer_with(worker, down, head, body, said, extra).await, taken);
            }
        }
    }
    let outcome = match &*compiled.action {
        CompiledAction::Respond { status, reason } => {
            let extra = Extra { page: guard.and_then(|guard| guard.page(*status)), ..Default::default() };
            let said = (*status, reason.to_string().into());
            answer_with(worker, down, head, body, said, extra).await
        }
        CompiledAction::Redirect { redirect, plan } => {
            let more = (plan.response_lines(), cors.as_ref().map_or(&[][..], CorsLines::as_slice));
            redirected(worker, down, head, body, redirect, listener, more).await
        }
        CompiledAction::Forward(action) => {
            let is_on = listener.forwarded_headers && route.forwarded_headers;
            let brings = head.has_forwarding_headers();
            let forwarded = Forwarded::new(&down.client, brings, is_on)
                .with_host_where_none(head.authority(), down.client.local);
            let ids = down.story.ids;
            let work =
                Forward { worker, head, action, listener, forwarded, ids, cors, guard, changes, started };
            forward::forward(&work, down, body, response).await
        }
    };
    (outcome, taken)
}

/// Whether a request came over HTTPS, to this gateway or to a trusted proxy before it: with several, what the first one saw counts.
fn came_by_https<S: Transport>(down: &Downstream<S>, head: &RequestHead) -> bool {
    let said = || head.values("x-forwarded-proto").next().map(|value| value.split(|&byte| byte == b','));
    let first = || said().and_then(|mut schemes| schemes.next()).map(<[u8]>::trim_ascii);
    down.client.secured.is_some()
        || (down.client.is_trusted_proxy
            && first().is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"https")))
}

/// Sends the client where a redirect says; `more`: further lines of the answer.
async fn redirected<S: Transport>(
    worker: &Worker,
    down: &mut Downstream<S>,
    head: &RequestHead,
    body: &mut RequestBody,
    redirect: &Redirect,
    listener: &Listener,
    (lines, headers): (Option<&LineEdits>, &[(&str, &[u8])]),
) -> Outcome {
    let dialled = match (head.host(), down.client.local.ip()) {
        ("", IpAddr::V4(ip)) => ip.to_string(),
        ("", IpAddr::V6(ip)) => format!("[{ip}]"),
        _ => String::new(),
    };
    let asked = policy::Asked {
        scheme: if down.client.secured.is_some() { Scheme::Https } else { Scheme::Http },
        // HTTP/1.0 may name no host.
        host: if head.host().is_empty() { &dialled } else { head.host() },
        listener_port: listener.known_port(),
        path: head.path(),
        query: head.query(),
    };
    let location = policy::location(redirect, &asked);
    let headers: Vec<_> =
        [("Location", location.as_bytes())].into_iter().chain(headers.iter().copied()).collect();
    let extra = Extra { headers: &headers, lines, page: None };
    answer_with(worker, down, head, body, (redirect.status, "redirect".into()), extra).await
}

struct HeadersOf<'h>(&'h RequestHead);

impl route::Headers for HeadersOf<'_> {
    fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> + 'a {
        self.0.values(name)
    }
}
