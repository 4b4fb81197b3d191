//! A connection that never was: what the programs would do with it.

use std::io;
use std::net::{IpAddr, SocketAddr};

use api::KernelError;
use api::v1::{ExplainFlowRequest, FlowExplanation, NewRequest};
use loader::DryRunError;
use loader::dry_run::{DryRun, Question};
use loader::machine::{Route, Routes};

use super::Kernel;
use super::questions::{ADDRESS, Wanted, socket};
use crate::view::question::{self, Scheme};
use crate::view::{dry_run, flow};

/// The port of a client that names none.
const PORT: u16 = 50_000;

impl Kernel {
    /// Loads the programs a second time, and lets them have the connection. Takes seconds; one at a time.
    pub(super) fn dry_run(
        &self,
        asked: &ExplainFlowRequest,
        request: &NewRequest,
    ) -> Result<FlowExplanation, KernelError> {
        let Some(Wanted { address, port }) = Wanted::read("CLIENT", &asked.client)? else {
            return Err(KernelError::Address { name: "CLIENT", text: String::new(), wanted: ADDRESS });
        };
        let client = SocketAddr::new(address, port.unwrap_or(PORT));
        let vip = socket("VIP", &asked.vip)?;
        if client.is_ipv4() != vip.is_ipv4() {
            return Err(KernelError::Families { client: client.ip(), vip: vip.ip() });
        }
        let request = sent(request, vip)?;

        // The pins stay while this is held: see `Kernel::stop`.
        let _alone = self.alone();
        let (plan, devices) = {
            let inner = self.lock();
            let (datapath, _) = inner.tier()?;
            let devices: Vec<_> =
                datapath.attachments().iter().map(|at| (at.index, at.interface.clone())).collect();
            (datapath.dry_run(), devices)
        };
        let way = Routes::open().and_then(|routes| routes.to(client.ip()));
        let way = way.map_err(|error| KernelError::Failed(Box::new(error)))?;
        let Some((device, name)) = by(way, &devices) else {
            let outcome = unseen(way, client.ip(), &devices);
            return Ok(FlowExplanation { outcome, ..FlowExplanation::default() });
        };
        let length = request.len();
        let question = Question { client, vip, device, request };
        let ask = move || DryRun::load(&plan).and_then(|run| run.ask(&plan, &question));
        let asked = self.privileged.as_ref().and_then(|privileged| privileged.run(ask));
        let gone = || io::Error::other("the thread that loads programs is gone: restart the agent");
        let answer = asked.ok_or_else(|| KernelError::Failed(Box::new(gone())))?.map_err(failed)?;

        let inner = self.lock();
        let (_, routing) = inner.tier()?;
        let (mut route, mut endpoint, mut shown) = (String::new(), String::new(), None);
        if let Some(found) = &answer.flow {
            route = routing.route_name(found.route);
            endpoint = flow::endpoint(found).map(|at| at.to_string()).unwrap_or_default();
            shown = Some(inner.row(found, loader::now()));
        }
        Ok(FlowExplanation {
            outcome: dry_run::outcome(&answer, vip, &route, &endpoint),
            flow: shown,
            facts: dry_run::facts(&answer, name, length),
            steps: answer.steps.iter().map(dry_run::step).collect(),
        })
    }
}

/// The request as a client sends it.
fn sent(request: &NewRequest, vip: SocketAddr) -> Result<Vec<u8>, KernelError> {
    let read = question::Question::of_new(request)?;
    if read.scheme == Scheme::Https {
        return Err(KernelError::Tls { url: request.url.clone() });
    }
    Ok(read.text(Some(&vip.to_string())).into_bytes())
}

/// The device of the client's route, if our program is there.
fn by(way: Route, devices: &[(u32, String)]) -> Option<(u32, &str)> {
    let Route::Out(way) = way else { return None };
    let found = devices.iter().find(|(index, _)| *index == way.device);
    found.map(|(index, name)| (*index, name.as_str()))
}

/// Why no program sees the client's packets.
fn unseen(way: Route, client: IpAddr, devices: &[(u32, String)]) -> String {
    let ours: Vec<&str> = devices.iter().map(|(_, name)| name.as_str()).collect();
    let ours = ours.join(", ");
    match way {
        Route::Local => format!(
            "the host's stack gets it: {client} is an address of this machine, whose own connections the kernel tier does not see"
        ),
        Route::None => format!(
            "no answer would reach {client}: this machine has no route to it, and its packets are taken to come the same way"
        ),
        Route::Out(way) => format!(
            "the host's stack gets it: the route to {client} leaves by device {}, at which no program is attached (they are at: {ours})",
            way.device
        ),
    }
}

fn failed(error: DryRunError) -> KernelError {
    KernelError::Failed(Box::new(error))
}

#[cfg(test)]
mod tests {
    use loader::machine::Way;

    use super::*;

    #[test]
    fn a_request_is_sent_as_a_client_sends_it() {
        let vip: SocketAddr = "192.0.2.1:80".parse().unwrap();
        let text = |method: &str, url: &str| {
            let request = NewRequest { method: method.into(), url: url.into(), headers: vec![] };
            sent(&request, vip).map(|bytes| String::from_utf8(bytes).unwrap())
        };
        assert_eq!(text("", "/a?b").unwrap(), "GET /a?b HTTP/1.1\r\nHost: 192.0.2.1:80\r\n\r\n");
        assert_eq!(text("DELETE", "http://a.test/").unwrap(), "DELETE / HTTP/1.1\r\nHost: a.test\r\n\r\n");
        assert!(matches!(text("", "https://a.test/"), Err(KernelError::Tls { .. })));
        assert!(matches!(text("A B", "/"), Err(KernelError::Request(_))));
    }

    #[test]
    fn packets_are_seen_only_where_a_program_is() {
        let devices = [(3, "eth0".to_owned()), (4, "eth1".to_owned())];
        let client: IpAddr = "192.0.2.9".parse().unwrap();
        let out = |device| Route::Out(Way { device, source: client, mtu: 1500 });
        assert_eq!(by(out(4), &devices), Some((4, "eth1")));
        assert_eq!(by(Route::Local, &devices), None);
        assert_eq!(by(out(9), &devices), None);
        let said = unseen(out(9), client, &devices);
        assert!(said.contains("device 9") && said.contains("eth0, eth1"), "{said}");
        assert!(unseen(Route::None, client, &devices).contains("no route"));
        assert!(unseen(Route::Local, client, &devices).contains("an address of this machine"));
    }
}
