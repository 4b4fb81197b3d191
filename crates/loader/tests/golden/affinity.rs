//! Clients that keep their endpoint.

use std::net::SocketAddr;

use dataplane::lookup::Balancing;
use wire::{CachedClient, Reason};

use crate::lockstep::Both;
use crate::support::segment::ACK;
use crate::support::tables::{SOURCE, SOURCE6, VIP, VIP6};
use crate::support::tuple;
use crate::talk::{Leg, Talk, layouts, respond};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc";

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: a.example\r\nUser-Agent: golden\r\n\r\n")
}

/// A first request; the endpoint that gets it.
fn bind(both: &mut Both, client: &str, vip: &str, source: &str) -> (Talk, Leg, SocketAddr) {
    let [linux, ..] = layouts();
    let mut talk = Talk::open(both, client, vip, linux);
    let request = talk.request(&get("/kept"));
    let syn = both.sends("request", &request, &[Reason::Bound]);
    let endpoint = syn.dst;
    let mut leg = Leg::of("request", &syn, &talk, &endpoint.to_string(), source);
    let sent = both.sends("SYN-ACK", &leg.accept(), &[]);
    leg.peer = leg.peer.wrapping_add(1);
    talk.sent(&request);
    leg.seq = leg.seq.wrapping_add(sent.data.len() as u32);
    respond(both, &mut talk, &mut leg, OK);
    (talk, leg, endpoint)
}

#[test]
fn connections_of_one_client_go_to_the_endpoint_that_both_remember() {
    let both = &mut *Both::shared();
    for (client, vip, source) in [("198.51.100.9", VIP, SOURCE), ("[2001:db8:9::9]", VIP6, SOURCE6)] {
        let mut talks = vec![];
        for port in 44_000..44_004 {
            talks.push(bind(both, &format!("{client}:{port}"), vip, source));
        }
        let endpoint = talks[0].2;
        assert!(talks.iter().all(|(.., other)| *other == endpoint), "{client}");

        // What is remembered: the endpoint of the client, of this backend, in both.
        let (talk, leg, _) = &mut talks[0];
        let flow = both.flow(talk.client, talk.vip).unwrap();
        let subject = both.native.tables.backend(flow.backend).unwrap().subject;
        let key = CachedClient { client: tuple(talk.client, talk.vip).source, subject };
        let (kernel, native) = (both.program.cached(&key).unwrap(), both.native.cached(&key).unwrap());
        let wanted = (tuple(endpoint, talk.vip).source, endpoint.port().to_be_bytes());
        assert_eq!(((kernel.address, kernel.port), (native.address, native.port)), (wanted, wanted));
        assert!(kernel.used_s.abs_diff(native.used_s) <= 1 && kernel.used_s > 0);

        // The next request stays, and says that the client was here.
        let request = talk.request(&get("/kept/more"));
        let sent = both.sends("next request", &request, &[Reason::Reused]);
        talk.sent(&request);
        leg.seq = leg.seq.wrapping_add(sent.data.len() as u32);
        respond(both, talk, leg, OK);

        // It has another endpoint now, as if another connection had met it shut: this one follows.
        let mut members = both.native.tables.members.keys().filter(|member| member.backend == flow.backend);
        let other = members.find(|member| member.address != wanted.0).unwrap().address;
        let moved = wire::CachedEndpoint { address: other, ..kernel };
        both.program.cache(&key, &moved);
        both.native.set_cached(&key, moved);
        let request = talk.request(&get("/kept"));
        let syn = both.sends("request of a client that moved", &request, &[Reason::Rebound]);
        assert_eq!(tuple(syn.dst, talk.vip).source, other);
        let reset = both.sends("the old leg", &leg.seg(ACK, b"late"), &[Reason::DropOrphan]);
        assert_eq!(reset, leg.reset());
    }
}
