//! What the control API asks of the kernel tier.

use std::cmp::Reverse;
use std::net::{IpAddr, SocketAddr};

use api::KernelError;
use api::v1::{ExplainFlowRequest, FlowExplanation, ListFlowsRequest, ListFlowsResponse, Reason};
use dataplane::flow::state;
use loader::{Datapath, MapError};
use wire::{Flow, Tuple};

use super::counters::counts;
use super::routing::Routing;
use super::{Inner, Kernel, host};
use crate::view::flow::{self, mapped};

const SOCKET: &str = "address and port, such as 198.51.100.7:40000 or [2001:db8::7]:40000";
pub(super) const ADDRESS: &str =
    "address, with or without a port, such as 198.51.100.7 or [2001:db8::7]:40000";

impl Kernel {
    /// Connections that the kernel carries, the last used first.
    pub(crate) fn flows(&self, request: &ListFlowsRequest) -> Result<ListFlowsResponse, KernelError> {
        let client = Wanted::read("--client", &request.client)?;
        let endpoint = Wanted::read("--endpoint", &request.endpoint)?;
        let inner = self.lock();
        let (datapath, _) = inner.tier()?;
        let mut found = Vec::new();
        let mut in_use = 0;
        datapath
            .each_flow(|flow| {
                in_use += 1;
                let is_wanted = client.is_none_or(|wanted| wanted.fits(Some(flow::source(&flow.client))))
                    && endpoint.is_none_or(|wanted| wanted.fits(flow::endpoint(flow)));
                if flow.state != state::FREE && is_wanted {
                    found.push(*flow);
                }
            })
            .map_err(failed)?;
        let max = datapath.in_use().map_err(failed)?.flows_max;
        found.sort_unstable_by_key(|flow| Reverse(flow.last_seen));
        let matching = found.len() as u64;
        let limit = match usize::try_from(request.limit) {
            Ok(0) | Err(_) => usize::MAX,
            Ok(limit) => limit,
        };
        let now = loader::now();
        let flows = found.iter().take(limit).map(|flow| inner.row(flow, now)).collect();
        Ok(ListFlowsResponse { flows, matching, in_use, max })
    }

    /// How often programs gave each reason, the most frequent first.
    pub(crate) fn reasons(&self) -> Result<Vec<Reason>, KernelError> {
        let inner = self.lock();
        let (datapath, _) = inner.tier()?;
        let mut counted = counts(datapath);
        counted.sort_by_key(|(_, count)| Reverse(*count));
        let reason = |(reason, count): (wire::Reason, u64)| Reason {
            reason: reason.as_str().to_owned(),
            kind: reason.kind().to_owned(),
            count,
            meaning: reason.meaning().to_owned(),
        };
        Ok(counted.into_iter().map(reason).collect())
    }

    /// What the kernel knows of a connection, or would do with a new one.
    pub(crate) fn explain_flow(&self, request: &ExplainFlowRequest) -> Result<FlowExplanation, KernelError> {
        if let Some(new) = &request.request {
            return self.dry_run(request, new);
        }
        let (client, vip) = (socket("CLIENT", &request.client)?, socket("VIP", &request.vip)?);
        let inner = self.lock();
        let (datapath, _) = inner.tier()?;
        let key = Tuple {
            source: mapped(client.ip()),
            destination: mapped(vip.ip()),
            source_port: client.port().to_be_bytes(),
            destination_port: vip.port().to_be_bytes(),
        };
        let found = datapath.flow(&key).map_err(failed)?.filter(|flow| flow.state != state::FREE);
        let Some(found) = found else {
            // Reading the host's table takes its time where it is long.
            drop(inner);
            let whose = match host::state(client, vip) {
                Some(state) => format!("userspace (Tier 3) has it, {state}"),
                None => "nor has userspace (Tier 3): it ended or never was".to_owned(),
            };
            let outcome = format!("the kernel tier has no connection from {client} to {vip}: {whose}");
            return Ok(FlowExplanation { outcome, ..FlowExplanation::default() });
        };
        let row = inner.row(&found, loader::now());
        drop(inner);
        let outcome = match (found.state, row.endpoint.as_str()) {
            (state::HANDED | state::TAKEN, _) => match host::state(client, vip) {
                Some(state) => format!("handed off: userspace (Tier 3) has it, {state}"),
                None => "handed off, but userspace (Tier 3) does not have it yet, or not any more".to_owned(),
            },
            (_, "") => format!("the kernel tier has it, {}, without an endpoint", row.state),
            (_, endpoint) => format!("the kernel tier has it, {}, with endpoint {endpoint}", row.state),
        };
        Ok(FlowExplanation { outcome, facts: flow::facts(&found, &row), flow: Some(row), steps: vec![] })
    }
}

impl Inner {
    /// The programs, where they route.
    pub(super) fn tier(&self) -> Result<(&Datapath, &Routing), KernelError> {
        match (&self.datapath, &self.routing) {
            (Some(datapath), Some(routing)) => Ok((datapath, routing)),
            _ => Err(KernelError::Off { why: self.summary() }),
        }
    }

    pub(super) fn row(&self, flow: &Flow, now: u64) -> api::v1::Flow {
        let route = self.routing.as_ref().map(|routing| routing.route_name(flow.route)).unwrap_or_default();
        flow::row(flow, route, self.listener_at(flow.listener), now)
    }
}

pub(super) fn failed(error: MapError) -> KernelError {
    KernelError::Failed(Box::new(error))
}

/// An address, or one with its port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) address: IpAddr,
    pub(super) port: Option<u16>,
}

impl Wanted {
    /// None for the empty text: anything is wanted.
    pub(super) fn read(name: &'static str, text: &str) -> Result<Option<Self>, KernelError> {
        if text.is_empty() {
            return Ok(None);
        }
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Some(Self { address: address.to_canonical(), port: None }));
        }
        match text.parse::<SocketAddr>() {
            Ok(at) => Ok(Some(Self { address: at.ip().to_canonical(), port: Some(at.port()) })),
            Err(_) => Err(KernelError::Address { name, text: text.to_owned(), wanted: ADDRESS }),
        }
    }

    fn fits(self, at: Option<SocketAddr>) -> bool {
        at.is_some_and(|at| at.ip() == self.address && self.port.is_none_or(|port| port == at.port()))
    }
}

pub(super) fn socket(name: &'static str, text: &str) -> Result<SocketAddr, KernelError> {
    match text.parse::<SocketAddr>() {
        Ok(at) => Ok(SocketAddr::new(at.ip().to_canonical(), at.port())),
        Err(_) => Err(KernelError::Address { name, text: text.to_owned(), wanted: SOCKET }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_with_and_without_ports() {
        let fits = |wanted: &str, at: &str| {
            Wanted::read("--client", wanted).unwrap().unwrap().fits(Some(at.parse().unwrap()))
        };
        assert!(fits("192.0.2.1", "192.0.2.1:7") && fits("192.0.2.1:7", "192.0.2.1:7"));
        assert!(!fits("192.0.2.1", "192.0.2.2:7") && !fits("192.0.2.1:8", "192.0.2.1:7"));
        assert!(fits("::ffff:192.0.2.1", "192.0.2.1:7") && fits("[2001:db8::1]:7", "[2001:db8::1]:7"));
        assert!(!Wanted::read("--endpoint", "10.0.0.1").unwrap().unwrap().fits(None), "no leg");
        assert_eq!(Wanted::read("--client", "").unwrap(), None);
    }

    #[test]
    fn what_is_no_address_is_named_with_an_example() {
        let error = Wanted::read("--client", "me").unwrap_err().to_string();
        assert!(error.starts_with("--client `me` is no address, with or without a port"), "{error}");
        let error = socket("VIP", "192.0.2.1").unwrap_err().to_string();
        assert!(error.starts_with("VIP `192.0.2.1` is no address and port, such as"), "{error}");
    }

    #[test]
    fn without_programs_each_question_says_why() {
        let kernel = Kernel::without("off by settings", crate::settings::OnExit::Detach);
        let off = |error: KernelError| {
            let text = error.to_string();
            assert!(text.contains("off by settings") && text.contains("rauta doctor"), "{text}");
        };
        off(kernel.flows(&ListFlowsRequest::default()).unwrap_err());
        off(kernel.reasons().unwrap_err());
        off(kernel.trace(1).map(|_| ()).unwrap_err());
        let (client, vip) = ("192.0.2.1:1".to_owned(), "192.0.2.2:80".to_owned());
        off(kernel.explain_flow(&ExplainFlowRequest { client, vip, request: None }).unwrap_err());
    }
}
