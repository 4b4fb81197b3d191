//! Where a connection or datagram would go: `tcp://10.0.0.1:5432`, `tls://db.example:443`, `udp://:53`.

use std::net::{IpAddr, Ipv6Addr};

use api::ExplainError;
use api::v1::{Candidate, Explanation};
use model::{Backend, BackendSecurity, BackendTarget, L4Route, Listener, Protocol, Snapshot};
use route::{L4Table, Table};

use super::text;

/// What somebody asks about.
struct Asked<'u> {
    protocol: Protocol,
    /// An address, or the name in TLS; empty: any.
    host: &'u str,
    port: u16,
}

/// Explains a URL of connections or datagrams; none if it is one of requests.
pub(crate) fn explain(
    snapshot: &Snapshot,
    table: &Table,
    url: &str,
) -> Option<Result<Explanation, ExplainError>> {
    let (scheme, rest) = url.split_once("://")?;
    let protocol = match scheme.to_ascii_lowercase().as_str() {
        "tcp" => Protocol::Tcp,
        "tls" => Protocol::Tls,
        "udp" => Protocol::Udp,
        _ => return None,
    };
    let parts = rest.trim_end_matches('/').rsplit_once(':');
    let asked = parts.and_then(|(host, port)| Some(Asked { protocol, host, port: port.parse().ok()? }));
    Some(match asked {
        Some(asked) => Ok(answer(snapshot, table, &asked)),
        None => Err(ExplainError::Url { url: url.to_owned() }),
    })
}

fn answer(snapshot: &Snapshot, table: &Table, asked: &Asked<'_>) -> Explanation {
    let mut explanation = Explanation::default();
    let l4 = L4Table::build(snapshot);
    let Some(listener) = listener(snapshot, table, &l4, asked, &mut explanation.steps) else {
        explanation.outcome = match asked.protocol {
            Protocol::Tls => "closed: nothing here has this name".to_owned(),
            Protocol::Udp => "nothing takes the datagram".to_owned(),
            _ => "no listener is at this address and port: the connection is refused".to_owned(),
        };
        return explanation;
    };
    explanation.listener = listener.id.to_string();
    let name = if asked.protocol == Protocol::Tls { asked.host } else { "" };
    let Some(route) = l4.lookup(&listener.id, name).and_then(|at| l4.route(at)) else {
        let rules = snapshot.l4_routes.iter().filter(|route| route.listeners.contains(&listener.id)).count();
        explanation.steps.push(format!("none of the {rules} rules on this listener takes it"));
        explanation.outcome = match asked.protocol {
            Protocol::Tls => "closed: no route has this name".to_owned(),
            Protocol::Udp => "dropped: no route".to_owned(),
            _ => "reset: no route".to_owned(),
        };
        return explanation;
    };
    explanation.steps.push(format!("{} takes it", route.id));
    explanation.route = Some(text::l4_route(route));
    // What came over TLS does not go on in cleartext where TLS is asked for.
    let ended_tls = asked.protocol == Protocol::Tls && listener.tls.is_some();
    let may_get = |backend: &Backend| !ended_tls || backend.security == BackendSecurity::Cleartext;
    candidates(snapshot, route, may_get, &mut explanation);
    explanation
}

fn listener<'s>(
    snapshot: &'s Snapshot,
    table: &'s Table,
    l4: &L4Table,
    asked: &Asked<'_>,
    steps: &mut Vec<String>,
) -> Option<&'s Listener> {
    let bare = asked.host.trim_start_matches('[').trim_end_matches(']');
    let address: IpAddr = bare.parse().unwrap_or(Ipv6Addr::UNSPECIFIED.into());
    if asked.protocol == Protocol::Udp {
        let found = l4.udp_listener(address, asked.port).and_then(|id| snapshot.listeners.get(id));
        let found = found.map(|listener| &**listener);
        match found {
            Some(listener) => steps.push(format!("listener {} has UDP port {}", listener.id, asked.port)),
            None => steps.push(format!("nothing takes datagrams on port {}", asked.port)),
        }
        return found;
    }
    let at = table.socket(address, asked.port);
    let Some(socket) = at.or_else(|| table.sockets().find(|socket| socket.port() == asked.port)) else {
        steps.push(format!("nothing listens on TCP port {}", asked.port));
        return None;
    };
    let first = socket.listeners().next()?;
    if asked.protocol == Protocol::Tcp {
        if first.protocol == Protocol::Tcp {
            steps.push(format!("listener {} has TCP port {}", first.id, asked.port));
            return Some(&**first);
        }
        steps.push(format!("port {} is listener {}'s, which is not of protocol TCP", asked.port, first.id));
        return None;
    }
    let found = first.protocol.begins_with_tls().then(|| socket.listener_of(asked.host)).flatten();
    let Some(found) = found else {
        steps.push(format!("no listener of port {} serves the name {:?} in TLS", asked.port, asked.host));
        return None;
    };
    let how = match (found.protocol, &found.tls) {
        (Protocol::Https, _) => "serves requests over TLS: ask for an https URL",
        (_, Some(_)) => "ends TLS here and passes on what it carries",
        (_, None) => "passes TLS on as it is",
    };
    steps.push(format!("listener {} takes the name {:?} and {how}", found.id, asked.host));
    Some(&**found)
}

/// The endpoints that may get it.
fn candidates(
    snapshot: &Snapshot,
    route: &L4Route,
    may_get: impl Fn(&Backend) -> bool,
    explanation: &mut Explanation,
) {
    let total: f64 = route.backends.iter().map(|reference| f64::from(reference.weight)).sum();
    let mut refused = 0.0;
    for reference in route.backends.iter().filter(|reference| reference.weight > 0) {
        let share = f64::from(reference.weight) / total * 100.0;
        let backend = match &reference.target {
            BackendTarget::Backend(id) => snapshot.backends.get(id),
            BackendTarget::Invalid(_) => None,
        };
        let backend = backend.filter(|backend| may_get(backend));
        let endpoints = backend.map(|backend| backend.endpoints.as_slice()).unwrap_or_default();
        let takes = |e: &&model::Endpoint| e.condition.takes_requests() && e.weight > 0;
        let weight: f64 = endpoints.iter().filter(takes).map(|endpoint| f64::from(endpoint.weight)).sum();
        if weight == 0.0 {
            refused += share;
        }
        let of = |endpoint: &model::Endpoint| Candidate {
            backend: backend.map(|backend| backend.id.to_string()).unwrap_or_default(),
            address: endpoint.address.to_string(),
            share_percent: share * f64::from(endpoint.weight) / weight,
        };
        explanation.candidates.extend(endpoints.iter().filter(takes).map(of));
    }
    if explanation.candidates.is_empty() {
        explanation.outcome =
            "refused: no backend of the rule can be followed, or has a ready endpoint".to_owned();
        return;
    }
    if refused > 0.0 {
        explanation.steps.push(format!("{refused:.1} % is refused: nothing can take it"));
    }
    let count = explanation.candidates.len();
    explanation.outcome = format!("passed on to one of {}", text::number(count as u64, "endpoint"));
}
