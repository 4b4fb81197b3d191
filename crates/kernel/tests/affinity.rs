//! Clients that keep their endpoint: the tables say what userspace does, and no write between two of them loses a client.

#![allow(clippy::unwrap_used, reason = "a panic is how a test reports")]
#![allow(clippy::cast_possible_truncation, reason = "numbers of tests are small")]
#![allow(dead_code, reason = "the support is shared with other tests")]

mod support;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use balance::{Balancer, EndpointKey, Maglev, Pick, WeightedChoice, hash_client, subject};
use dataplane::lookup::{Balancing, choose, client_draw, client_hash, endpoint};
use kernel::{Compiled, Compiler, REST, Tables, diff};
use model::{
    Action, Affinity, AppProtocol, Backend, BackendId, BackendRef, BackendTarget, EndpointCondition, Route,
    RouteAffinity, Snapshot, Speaks,
};
use support::{backend, facts, listener, route};
use wire::{Member, RouteAction};

const MINUTE: Affinity = Affinity { timeout: Duration::from_secs(60) };

fn to(names: &[(&str, u32)], affinity: RouteAffinity) -> Route {
    let mut route = route("r", &[&listener("l", None)], vec![], vec![]);
    let target = |name| BackendTarget::Backend(BackendId::service("test", name, 80));
    let refs = names.iter().map(|&(name, weight)| BackendRef::new(weight, target(name)));
    route.action = Action::Forward(refs.collect());
    route.affinity = affinity;
    route
}

fn compile(compiler: &mut Compiler, route: Route, backends: Vec<Backend>, now: Duration) -> Compiled {
    let backends = backends.into_iter().map(Arc::new);
    let snapshot = Snapshot::new(1, [Arc::new(listener("l", None))], [Arc::new(route)], backends, []);
    compiler.compile(&snapshot, &facts(), now)
}

fn action(compiled: &Compiled) -> &RouteAction {
    compiled.tables.action(*compiled.routes.keys().next_back().unwrap()).unwrap()
}

fn index(compiled: &Compiled, name: &str) -> u32 {
    *compiled.backends.iter().find(|(_, id)| &*id.name == name).unwrap().0
}

fn client(n: u32) -> IpAddr {
    if n.is_multiple_of(2) {
        std::net::Ipv4Addr::from(0x0a07_0000 + n).into()
    } else {
        std::net::Ipv6Addr::from(0xfd00_0000_0000_0000_0000_0000_0000_0000 + u128::from(n)).into()
    }
}

fn octets(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
}

/// The members of a backend by the last byte of their address.
fn members(tables: &Tables, backend: u32) -> Vec<u8> {
    tables
        .members
        .keys()
        .filter(|member| member.backend == backend)
        .map(|member| member.address[15])
        .collect()
}

#[test]
fn both_tiers_choose_the_same_backend_and_endpoint_for_a_client() {
    let weights = [3, 0, 1, 6];
    let names = [("a", 3), ("none", 0), ("b", 1), ("c", 6)];
    let all =
        vec![backend("a", &[1, 2]), backend("none", &[9]), backend("b", &[3]), backend("c", &[4, 5, 6])];
    let route = to(&names, RouteAffinity::Client(MINUTE));
    let object = subject(&route.id.object.to_string());
    let compiled = compile(&mut Compiler::new(), route, all.clone(), Duration::ZERO);
    let choice = WeightedChoice::new(&weights);
    for n in 0..4000 {
        let draw = client_draw(action(&compiled), &octets(client(n)));
        let drawn = choose(action(&compiled), draw).unwrap();
        let place = choice.at((hash_client(client(n), object, 0) >> 32) as u32).unwrap();
        assert_eq!((drawn.backend, drawn.affinity_s), (index(&compiled, names[place].0), 60));
        let id = subject(&all[place].id.to_string());
        let record = compiled.tables.backends[&drawn.backend];
        assert_eq!(record.subject, id);
        let keys: Vec<_> = all[place].endpoints.iter().map(|e| EndpointKey::new(e.address, 1)).collect();
        let maglev = Maglev::build(&keys, 4099).unwrap();
        for round in 0..3 {
            let hash = client_hash(&octets(client(n)), record.subject, round);
            assert_eq!(hash, hash_client(client(n), id, round.into()));
            let wanted = maglev.pick(&Pick { hash, ..Pick::default() }).unwrap();
            let found = endpoint(&compiled.tables, drawn.backend, hash).unwrap();
            let found = compiled.tables.endpoints[&found.endpoint].address;
            assert_eq!(found, octets(all[place].endpoints[wanted].address.ip()));
        }
    }
}

#[test]
fn a_service_is_the_same_to_clients_however_it_is_spoken_to() {
    let spoken = |protocol| {
        let mut of = backend("b", &[1, 2]);
        of.id.speaks = Some(Arc::new(Speaks { protocol, tls: None }));
        of
    };
    let all = [backend("b", &[1, 2]), spoken(AppProtocol::Http1), spoken(AppProtocol::Http2)];
    let mut route = to(&[], RouteAffinity::Client(MINUTE));
    let target = |of: &Backend| BackendRef::new(1, BackendTarget::Backend(of.id.clone()));
    route.action = Action::Forward(all.iter().map(target).collect());
    let compiled = compile(&mut Compiler::new(), route, all.to_vec(), Duration::ZERO);
    let subjects = compiled.tables.backends.values().map(|record| record.subject);
    assert_eq!(subjects.collect::<Vec<_>>(), [subject("test/b:80"); 3]);
}

#[test]
fn the_route_says_it_before_the_service_does() {
    let asks = |name: &str| Backend { affinity: Some(MINUTE), ..backend(name, &[1, 2]) };
    let hour = Affinity { timeout: Duration::from_secs(3600) };
    for (said, seconds, flags) in [
        (RouteAffinity::OfBackend, [60, 0], 0),
        (RouteAffinity::Off, [0, 0], 0),
        (RouteAffinity::Client(hour), [3600, 3600], RouteAction::AFFINITY),
    ] {
        let all = vec![asks("a"), backend("b", &[3])];
        let compiled = compile(&mut Compiler::new(), to(&[("a", 1), ("b", 1)], said), all, Duration::ZERO);
        let action = action(&compiled);
        assert_eq!([action.backends[0].affinity_s, action.backends[1].affinity_s], seconds, "{said:?}");
        assert_eq!(action.flags & RouteAction::AFFINITY, flags, "{said:?}");
        let kept = |name: &str| members(&compiled.tables, index(&compiled, name));
        assert_eq!(kept("a").is_empty(), seconds[0] == 0, "{said:?}");
        assert_eq!(kept("b").is_empty(), seconds[1] == 0, "{said:?}");
    }
}

#[test]
fn members_are_those_that_take_requests_of_this_backend() {
    let kept = |b: Backend, other: &[u8]| {
        (to(&[("b", 1), ("c", 1)], RouteAffinity::Client(MINUTE)), vec![b, backend("c", other)])
    };
    let mut compiler = Compiler::new();
    let (route, all) = kept(backend("b", &[1, 2, 3]), &[1]);
    let before = compile(&mut compiler, route, all, Duration::ZERO);
    let (b, c) = (index(&before, "b"), index(&before, "c"));
    assert_eq!((members(&before.tables, b), members(&before.tables, c)), (vec![1, 2, 3], vec![1]));
    for (member, at) in &before.tables.members {
        let record = before.tables.endpoints[at];
        assert_eq!((record.address, record.port), (member.address, member.port));
    }
    // One drains, one leaves for the other backend, where it takes requests all the same.
    let mut draining = backend("b", &[1, 2]);
    draining.endpoints[1].condition = EndpointCondition::Draining;
    let (route, all) = kept(draining, &[1, 3]);
    let after = compile(&mut compiler, route, all, Duration::ZERO);
    assert_eq!((members(&after.tables, b), members(&after.tables, c)), (vec![1], vec![1, 3]));
    // Between any two writes a member leads to a record of its own address, and who stays is always there.
    let mut live = before.tables.clone();
    for write in diff(&before.tables, &after.tables) {
        assert!(live.apply(&write));
        for (member, at) in &live.members {
            assert_eq!(live.endpoints[at].address, member.address);
        }
        let stays = before.tables.members.keys().find(|m| m.backend == b && m.address[15] == 1).unwrap();
        assert!(live.member(stays).is_some());
    }
    assert_eq!(live.members, after.tables.members);
}

#[test]
fn an_agent_that_starts_again_keeps_the_members() {
    let route = || to(&[("b", 1)], RouteAffinity::Client(MINUTE));
    let compiler = &mut Compiler::new();
    let before = compile(compiler, route(), vec![backend("b", &[1, 2])], Duration::ZERO).tables;
    let mut again = Compiler::resume(before.clone());
    let first = compile(&mut again, route(), vec![backend("b", &[1, 2])], Duration::ZERO).tables;
    assert_eq!(first.members, before.members);
    let later = compile(&mut again, route(), vec![backend("b", &[2])], REST).tables;
    assert_eq!(later.members.len(), 1);
    let index = |tables: &Tables, n: u8| {
        let (key, at) = tables.members.iter().find(|(member, _)| member.address[15] == n).unwrap();
        (Member { backend: 0, ..*key }, *at)
    };
    assert_eq!(index(&before, 2), index(&later, 2), "endpoints keep their indices");
}

#[test]
fn more_members_than_there_is_room_for_are_userspaces() {
    let name = |n: u32| format!("b{n}");
    // 16 backends of a route, each with all endpoints.
    let names: Vec<String> = (0..16).map(name).collect();
    let refs: Vec<(&str, u32)> = names.iter().map(|name| (name.as_str(), 1)).collect();
    let all: Vec<Backend> = names
        .iter()
        .map(|name| {
            let mut all = backend(name, &[]);
            all.endpoints = (0..2000u16)
                .map(|port| model::Endpoint {
                    address: ([10, 1, 0, 1], 1024 + port).into(),
                    other: None,
                    weight: 1,
                    condition: EndpointCondition::Ready,
                })
                .collect();
            all
        })
        .collect();
    let route = to(&refs, RouteAffinity::Client(MINUTE));
    let compiled = compile(&mut Compiler::new(), route, all, Duration::ZERO);
    assert!(compiled.tables.members.len() <= wire::BACKEND_MEMBERS_MAX);
    let served = compiled.tables.backends.values().filter(|record| record.slots != 0).count();
    assert_eq!(served * 2000, compiled.tables.members.len());
    assert_eq!(served, 8);
}

#[test]
fn a_client_is_known_by_either_address_of_its_endpoint() {
    let other: std::net::SocketAddr = "[fd00::1]:8080".parse().unwrap();
    let mut backend = Backend { affinity: Some(MINUTE), ..backend("b", &[1]) };
    backend.endpoints[0].other = Some(model::OtherAddress { address: other, is_first: false });
    let route = to(&[("b", 1)], RouteAffinity::OfBackend);
    let compiled = compile(&mut Compiler::new(), route, vec![backend.clone()], Duration::ZERO);
    let index = index(&compiled, "b");
    let member = |at: std::net::SocketAddr| {
        let key =
            Member { address: octets(at.ip()), port: at.port().to_be_bytes(), pad: [0; 2], backend: index };
        compiled.tables.members.get(&key).copied()
    };
    let leg = endpoint(&compiled.tables, index, 7).unwrap().endpoint;
    assert_eq!((member(backend.endpoints[0].address), member(other)), (Some(leg), Some(leg)));
}
