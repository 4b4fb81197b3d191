//! What RoutePolicies ask of a request before it goes on: planned when a snapshot is taken up, asked per request. A route without
//! them has none of this.

use std::net::IpAddr;

use http1::{Framing, RequestHead};
use model::{AttachedPolicies, DirectResponse, ListenerId, Policies};

use crate::reply::Page;

/// What a route asks, by listener.
pub(crate) struct Guards(Box<[(Box<[ListenerId]>, Guard)]>);

/// What a route asks on some of its listeners.
pub(crate) struct Guard {
    policies: Policies,
}

/// Why a request does not go on: a status, and a reason for people.
pub(crate) type Refusal = (u16, &'static str);

impl Guards {
    /// None: the route asks nothing.
    pub(crate) fn new(attached: &[AttachedPolicies]) -> Option<Box<Self>> {
        let guard =
            |one: &AttachedPolicies| (one.listeners.clone().into(), Guard { policies: one.policies.clone() });
        (!attached.is_empty()).then(|| Box::new(Self(attached.iter().map(guard).collect())))
    }

    /// What is asked of requests that come in by `listener`.
    pub(crate) fn on(&self, listener: &ListenerId) -> Option<&Guard> {
        self.0.iter().find(|(listeners, _)| listeners.contains(listener)).map(|(_, guard)| guard)
    }
}

impl Guard {
    /// Whether who asks may ask at all; `address` says where the request came from.
    pub(crate) fn lets_in(&self, address: impl FnOnce() -> Option<IpAddr>) -> Result<(), Refusal> {
        if self.policies.is_closed {
            return Err((500, "a RoutePolicy of the route cannot be understood"));
        }
        match &self.policies.ip_rules {
            Some(rules) if !policy::is_let_in(rules, address()) => {
                Err((403, "the route's RoutePolicy does not let this address in"))
            }
            _ => Ok(()),
        }
    }

    /// The answer that is given instead of an endpoint's.
    pub(crate) fn direct_response(&self) -> Option<(u16, Page<'_>)> {
        let DirectResponse { status, content_type, body } = self.policies.direct_response.as_ref()?;
        Some((*status, Page { content_type, body }))
    }

    /// The most bytes of a body; an error for a request that announces more.
    pub(crate) fn body_max(&self, head: &RequestHead) -> Result<Option<u64>, Refusal> {
        let max = self.policies.request_body_max;
        match (max, head.framing()) {
            (Some(max), Framing::Length(announced)) if announced > max => {
                Err((413, "the body is larger than the route's RoutePolicy allows"))
            }
            _ => Ok(max),
        }
    }
}
