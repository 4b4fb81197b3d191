//! The agent as the control API and the status page see it.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use admin::{AdminView, Page, Readiness};
use api::v1::{
    Backend, Dataplane, DataplaneCounters, Diagnostic, ExplainFlowRequest, ExplainRequestRequest,
    Explanation, FlowExplanation, ListFlowsRequest, ListFlowsResponse, Listener, NewRequest, Reason, Route,
    Status, TraceEvent, TraceRequest, Traffic,
};
use api::{ControlView, ExplainError, KernelError};
use model::Severity;
use telemetry::{ConnectResult, Protocol};
use tokio::sync::mpsc::Receiver;

use super::page;
use super::pod_name;
use super::state::{Agent, Phase};
use crate::view::placed::served;
use crate::view::question::Question;
use crate::view::{self, explain, text};

impl ControlView for Agent {
    fn status(&self) -> Status {
        let state = self.gateway.state();
        let snapshot = &state.snapshot;
        let loaded = self.loaded();
        let not_ready = self.not_ready();
        let count = |severity| {
            let found = loaded.iter().flat_map(|loaded| &loaded.diagnostics);
            text::small(found.filter(|found| found.severity == severity).count())
        };
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            uptime_seconds: self.started.elapsed().as_secs(),
            ready: not_ready.is_none(),
            not_ready_reason: not_ready.unwrap_or_default(),
            snapshot_version: snapshot.version,
            snapshot_age_ms: loaded.as_ref().and_then(|loaded| age_ms(loaded)),
            sources: self.sources.clone(),
            files: loaded.as_ref().map_or(0, |loaded| text::small(loaded.files)),
            objects: loaded.as_ref().map_or(0, |loaded| text::small(loaded.objects)),
            routes: text::small(snapshot.routes.len() + snapshot.l4_routes.len()),
            backends: text::small(snapshot.backends.len()),
            endpoints: text::small(snapshot.backends.values().map(|backend| backend.endpoints.len()).sum()),
            errors: count(Severity::Error),
            warnings: count(Severity::Warning),
            listeners: self.listeners(),
            traffic: Some(self.traffic()),
            dataplane: Some(self.dataplane()),
            threads: text::small(self.threads),
            resident_bytes: telemetry::resident_bytes().unwrap_or(0),
            pod: pod_name().unwrap_or_default(),
        }
    }

    fn routes(&self) -> Vec<Route> {
        let snapshot = Arc::clone(&self.gateway.state().snapshot);
        let placements = self.kernel.placements();
        let mut routes = view::routes(&snapshot);
        for (route, shown) in snapshot.routes.iter().zip(&mut routes) {
            // The kernel may be a snapshot behind, or not route at all.
            (shown.served_tier, shown.tier_reason) = served(placements.get(&route.id));
        }
        routes
    }

    fn backends(&self) -> Vec<Backend> {
        view::live_backends(&self.gateway.state())
    }

    fn explain(&self, request: &ExplainRequestRequest) -> Result<Explanation, ExplainError> {
        let state = self.gateway.state();
        let mut explanation =
            explain::explain(&state.snapshot, &state.table, self.gateway.path_rules(), request)?;
        if let Some(route) = &mut explanation.route {
            let placements = self.kernel.placements();
            let is_it = |id: &model::RouteId| id.rule == route.rule && id.object.to_string() == route.object;
            let placed = placements.iter().find(|(id, _)| is_it(id)).map(|(_, placed)| placed);
            explanation.steps.push(text::placement(placed, &self.kernel.summary()));
            (route.served_tier, route.tier_reason) = served(placed);
        }
        Ok(explanation)
    }

    fn snapshot_json(&self) -> Vec<u8> {
        // The snapshot's types cannot fail to serialise: no maps with keys other than text, no foreign code.
        serde_json::to_vec(&*self.gateway.state().snapshot).unwrap_or_default()
    }

    fn diagnostics(&self) -> Vec<Diagnostic> {
        let loaded = self.loaded();
        loaded.iter().flat_map(|loaded| &loaded.diagnostics).map(text::diagnostic).collect()
    }

    fn flows(&self, request: &ListFlowsRequest) -> Result<ListFlowsResponse, KernelError> {
        self.kernel.flows(request)
    }

    fn reasons(&self) -> Result<Vec<Reason>, KernelError> {
        self.kernel.reasons()
    }

    fn explain_flow(&self, request: &ExplainFlowRequest) -> Result<FlowExplanation, KernelError> {
        let mut found = self.kernel.explain_flow(request)?;
        let is_handed =
            found.steps.iter().flat_map(|step| &step.reasons).any(|why| why.starts_with("hand_off_"));
        if let Some(new) = request.request.as_ref().filter(|_| is_handed) {
            found.facts.extend(self.in_userspace(request, new)?);
        }
        Ok(found)
    }

    fn trace(&self, request: &TraceRequest) -> Result<Receiver<TraceEvent>, KernelError> {
        self.kernel.trace(request.one_in)
    }
}

impl AdminView for Agent {
    fn readiness(&self) -> Readiness {
        match self.not_ready() {
            None => Readiness::Ready,
            Some(reason) => Readiness::NotReady(reason),
        }
    }

    fn page(&self) -> Page {
        let (status, diagnostics) = (self.status(), self.diagnostics());
        page::page(&status, &ControlView::routes(self), &ControlView::backends(self), &diagnostics)
    }
}

impl Agent {
    /// What userspace does with the first request of a connection that it is given.
    fn in_userspace(
        &self,
        asked: &ExplainFlowRequest,
        new: &NewRequest,
    ) -> Result<Vec<String>, ExplainError> {
        let address = |text: &str| text.parse().or_else(|_| text.parse().map(|at: SocketAddr| at.ip()));
        let client = address(&asked.client).map(|client: IpAddr| client.to_string()).unwrap_or_default();
        let explanation = self.explain(&Question::of_new(new)?.at(&asked.vip, client))?;
        let mut facts = vec![format!("userspace then: {}", explanation.outcome)];
        if let Some(route) = &explanation.route {
            let name = format!("{} rule {}", route.object, route.rule);
            facts.push(match route.tier_reason.as_str() {
                "" => format!("the route: {name}"),
                reason => format!("the route: {name}, which is userspace's since {reason}"),
            });
        }
        Ok(facts)
    }

    fn listeners(&self) -> Vec<Listener> {
        let problems: Arc<_> = self.problems();
        let is_draining = self.phase() == Phase::Draining;
        view::listeners(&self.gateway.state().snapshot, |listener| {
            let problem = problems.iter().find(|problem| problem.listeners.contains(&listener.id));
            match problem {
                Some(problem) => problem.text.clone(),
                None if is_draining => "draining".to_owned(),
                None => String::new(),
            }
        })
    }

    fn traffic(&self) -> Traffic {
        let gateways = self.metrics.gateways();
        let requests = gateways.iter().map(|(_, gateway)| gateway.requests());
        let (requests, responses_5xx) = requests.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
        Traffic {
            requests,
            requests_cleartext_http11: self.metrics.requests.get(Protocol::Http11, false),
            responses_5xx,
            refusals: self.metrics.refusals.values().iter().map(|(_, count)| count).sum(),
            connections: self.metrics.connections_accepted.get(),
            connections_active: self.metrics.connections_active.get(),
            upstream_connections: self.metrics.upstream_connects(ConnectResult::Ok),
            upstream_reuses: self.metrics.upstream_reuses.get(),
        }
    }

    fn dataplane(&self) -> Dataplane {
        let counters = self.kernel.counters().map(|counters| DataplaneCounters {
            packets_total: counters.packets_total,
            packets_tier1: counters.packets_tier1,
            packets_tier2: counters.packets_tier2,
            packets_tier3: counters.packets_tier3,
            packets_dropped: counters.packets_dropped,
            http_parse_errors: counters.http_parse_errors,
        });
        Dataplane {
            summary: self.kernel.summary(),
            attachments: self.kernel.attachments(),
            counters,
            tier: self.kernel.tier(),
            ..self.kernel.room()
        }
    }
}

fn age_ms(loaded: &translate::Loaded) -> Option<u64> {
    u64::try_from(loaded.changed_at.elapsed().ok()?.as_millis()).ok()
}
