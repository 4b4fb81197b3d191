//! From the route to the endpoint.

#![allow(clippy::unwrap_used, reason = "a panic is how a test reports")]
#![allow(clippy::cast_possible_truncation, reason = "requests of tests are short")]
#![allow(dead_code, reason = "the support is shared with other tests")]

mod support;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use balance::{Balancer, EndpointKey, Maglev, Pick, hash_flow};
use dataplane::lookup::{Balancing, Chosen, choose, endpoint, flow_hash};
use kernel::{Compiled, Compiler, Facts, REST, Reach, Tables, Why, diff};
use model::{Action, Backend, BackendRef, BackendTarget, EndpointCondition, OtherAddress, Route, Snapshot};
use support::{backend, facts, listener, route};
use wire::{EndpointRecord, Tuple};

fn snapshot(route: Route, backends: Vec<Backend>) -> Snapshot {
    let listener = listener("l", None);
    Snapshot::new(1, [Arc::new(listener)], [Arc::new(route)], backends.into_iter().map(Arc::new), [])
}

fn to(names: &[(&str, u32)]) -> Route {
    let mut route = route("r", &[&listener("l", None)], vec![], vec![]);
    let target = |name| BackendTarget::Backend(model::BackendId::service("test", name, 80));
    route.action =
        Action::Forward(names.iter().map(|&(name, weight)| BackendRef::new(weight, target(name))).collect());
    route
}

fn backend_of(compiled: &Compiled, name: &str) -> u32 {
    *compiled.backends.iter().find(|(_, id)| &*id.name == name).unwrap().0
}

fn address(tables: &Tables, chosen: Chosen) -> IpAddr {
    let record = tables.endpoints[&chosen.endpoint];
    assert_eq!((record.generation, record.device), (chosen.generation, 2));
    assert_eq!(
        (record.port, IpAddr::from(record.source).to_canonical()),
        (8080u16.to_be_bytes(), [10, 0, 0, 1].into())
    );
    IpAddr::from(record.address).to_canonical()
}

fn tuple(client: SocketAddr, vip: SocketAddr) -> Tuple {
    let octets = |ip: IpAddr| match ip {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    };
    Tuple {
        source: octets(client.ip()),
        destination: octets(vip.ip()),
        source_port: client.port().to_be_bytes(),
        destination_port: vip.port().to_be_bytes(),
    }
}

#[test]
fn flows_get_the_hash_and_the_endpoint_that_userspace_gives_them() {
    let compiled = Compiler::new().compile(
        &snapshot(to(&[("b", 1)]), vec![backend("b", &[1, 2, 3])]),
        &facts(),
        Duration::ZERO,
    );
    let index = backend_of(&compiled, "b");
    let keys: Vec<_> = (1..=3).map(|n| EndpointKey::new(([10, 1, 0, n], 8080).into(), 1)).collect();
    let maglev = Maglev::build(&keys, 4099).unwrap();
    let vips: [SocketAddr; 2] = ["10.0.0.1:80".parse().unwrap(), "[fd00::2]:443".parse().unwrap()];
    for n in 0..3000u16 {
        let vip = vips[usize::from(n % 2)];
        let client: SocketAddr = if vip.is_ipv4() {
            ([192, 0, 2, 7], n).into()
        } else {
            ([0xfd00, 0, 0, 0, 0, 0, 9, n], n).into()
        };
        let hash = flow_hash(&tuple(client, vip), u32::from(n / 7));
        assert_eq!(hash, hash_flow(client, vip, u64::from(n / 7)));
        let wanted = maglev.pick(&Pick { hash, ..Pick::default() }).unwrap() as u8 + 1;
        let chosen = endpoint(&compiled.tables, index, hash).unwrap();
        assert_eq!(address(&compiled.tables, chosen), IpAddr::from([10, 1, 0, wanted]));
    }
}

#[test]
fn weights_draw_backends_and_shares_of_userspace_stay_there() {
    let mut foreign = backend("h2", &[9]);
    foreign.protocol = model::AppProtocol::Http2;
    let route = to(&[("a", 60), ("none", 0), ("h2", 30), ("b", 10)]);
    let all = vec![backend("a", &[1]), backend("b", &[2]), backend("none", &[3]), foreign];
    let compiled = Compiler::new().compile(&snapshot(route, all), &facts(), Duration::ZERO);
    let action = compiled.tables.action(*compiled.routes.keys().next().unwrap()).unwrap();
    let mut counts = [0; 3];
    for n in 0..10_000u32 {
        let place = match choose(action, n * 429_496).map(|drawn| drawn.backend) {
            None => 2,
            Some(backend) if backend == backend_of(&compiled, "a") => 0,
            Some(backend) => {
                assert_eq!(backend, backend_of(&compiled, "b"));
                1
            }
        };
        counts[place] += 1;
    }
    assert!(
        counts.iter().zip([6000u32, 1000, 3000]).all(|(n, wanted): (&u32, u32)| n.abs_diff(wanted) < 10),
        "{counts:?}"
    );
}

#[test]
fn equal_sets_of_endpoints_share_a_table() {
    let route = to(&[("a", 1), ("b", 1), ("c", 1)]);
    let all = vec![backend("a", &[1, 2]), backend("b", &[1, 2]), backend("c", &[1, 3])];
    let compiled = Compiler::new().compile(&snapshot(route, all), &facts(), Duration::ZERO);
    let table = |name| compiled.tables.backends[&backend_of(&compiled, name)].table;
    assert_eq!(table("a"), table("b"));
    assert_ne!(table("a"), table("c"));
    assert_eq!((compiled.tables.maglev.len(), compiled.tables.endpoints.len()), (2, 3));
}

/// One endpoint out of reach makes the backend userspace's: the others would carry its load.
#[test]
fn a_backend_is_in_the_kernel_with_all_of_its_endpoints_or_not_at_all() {
    let snapshot = snapshot(to(&[("b", 1)]), vec![backend("b", &[1, 2])]);
    for reach in
        [Some(Reach::HostLocal), Some(Reach::NoHook), Some(Reach::Policy), Some(Reach::NoRoute), None]
    {
        let mut facts: Facts = facts();
        let second = IpAddr::from([10, 1, 0, 2]);
        match reach {
            Some(reach) => facts.endpoints.insert(second, reach),
            None => facts.endpoints.remove(&second),
        };
        let mut compiler = Compiler::new();
        let before = compiler.compile(&snapshot, &facts, Duration::ZERO);
        let index = backend_of(&before, "b");
        assert_eq!(endpoint(&before.tables, index, 7), None, "{reach:?}");
        let after = compiler.compile(&snapshot, &support::facts(), Duration::ZERO);
        assert!(endpoint(&after.tables, index, 7).is_some());
        let writes = diff(&before.tables, &after.tables);
        assert!(writes.iter().all(|write| write.map.name() != "HOSTS"), "routes stay as they are");
    }
}

#[test]
fn endpoints_drain_go_and_rest() {
    leave(EndpointCondition::Draining);
    leave(EndpointCondition::Unhealthy);
}

/// One of two endpoints takes nothing new any more, then goes.
fn leave(condition: EndpointCondition) {
    let with = |endpoints: &[u8], draining: &[u8]| {
        let mut all = backend("b", endpoints);
        for one in &mut all.endpoints {
            let IpAddr::V4(v4) = one.address.ip() else { panic!() };
            if draining.contains(&v4.octets()[3]) {
                one.condition = condition;
            }
        }
        snapshot(to(&[("b", 1)]), vec![all])
    };
    let mut compiler = Compiler::new();
    let mut now = Duration::ZERO;
    let both = compiler.compile(&with(&[1, 2], &[]), &facts(), now);
    let index = backend_of(&both, "b");
    let place = |tables: &Tables, n: u8| {
        let wanted = IpAddr::from([10, 1, 0, n]);
        let found = tables.endpoints.iter().find(|(_, r)| IpAddr::from(r.address).to_canonical() == wanted);
        found.map(|(index, record)| (*index, record.flags, record.generation))
    };
    let (second, _, generation) = place(&both.tables, 2).unwrap();
    let drained = compiler.compile(&with(&[1, 2], &[2]), &facts(), now);
    let flags = EndpointRecord::USABLE | EndpointRecord::DRAINING;
    assert_eq!(place(&drained.tables, 2), Some((second, flags, generation)));
    let gone = compiler.compile(&with(&[1], &[]), &facts(), now);
    assert_eq!(place(&gone.tables, 2), Some((second, 0, generation)), "its flows end");
    // From one to the next nobody is sent to an endpoint that is gone.
    for (old, new) in [(&both, &drained), (&drained, &gone), (&both, &gone)] {
        let mut live = old.tables.clone();
        for write in diff(&old.tables, &new.tables) {
            live.apply(&write);
            for hash in 0..50u64 {
                let chosen = endpoint(&live, index, hash << 58);
                let wanted = [&old.tables, &new.tables].map(|tables| endpoint(tables, index, hash << 58));
                assert!(wanted.contains(&chosen), "{chosen:?} of {wanted:?}");
            }
        }
    }
    for hash in 0..50u64 {
        for compiled in [&drained, &gone] {
            let chosen = endpoint(&compiled.tables, index, hash << 58).unwrap();
            assert_eq!(address(&compiled.tables, chosen), IpAddr::from([10, 1, 0, 1]));
        }
    }
    now += REST / 2;
    let other = compiler.compile(&with(&[1, 3], &[]), &facts(), now);
    assert_ne!(place(&other.tables, 3).unwrap().0, second, "it rests");
    now += REST;
    compiler.compile(&with(&[1, 3], &[]), &facts(), now);
    let reused = compiler.compile(&with(&[1, 3, 4], &[]), &facts(), now);
    let (third, _, other) = place(&reused.tables, 4).unwrap();
    assert_eq!(third, second);
    assert_ne!(other, generation, "whoever remembers the index sees that it is another endpoint");
}

/// The same with the endpoints' other addresses: fd00::`n`, preferred or not.
fn dual_stack(mut backend: Backend, is_v6_preferred: bool) -> Backend {
    for endpoint in &mut backend.endpoints {
        let IpAddr::V4(v4) = endpoint.address.ip() else { unreachable!("endpoints of tests are IPv4") };
        let v6: SocketAddr = ([0xfd00, 0, 0, 0, 0, 0, 0, u16::from(v4.octets()[3])], 8080).into();
        let [address, other] = if is_v6_preferred { [v6, endpoint.address] } else { [endpoint.address, v6] };
        (endpoint.address, endpoint.other) =
            (address, Some(OtherAddress { address: other, is_first: false }));
    }
    backend.endpoints.sort();
    backend
}

fn answers_by_other(mut backend: Backend) -> Backend {
    for endpoint in &mut backend.endpoints {
        endpoint.other = endpoint.other.map(|other| OtherAddress { is_first: true, ..other });
    }
    backend
}

#[test]
fn legs_go_to_the_address_that_the_kernel_reaches_and_the_choice_is_that_of_userspace() {
    let v4_only = facts();
    let mut both = facts();
    let source = IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 1, 1]);
    for n in 1..=3u16 {
        let way = Reach::From { source, device: 3 };
        both.endpoints.insert(IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, n]), way);
    }
    let b = || backend("b", &[1, 2, 3]);
    for (backend, facts, legs_are_v6) in [
        (dual_stack(b(), true), &both, true),
        (dual_stack(b(), false), &both, false),
        (dual_stack(b(), true), &v4_only, false),
        (answers_by_other(dual_stack(b(), true)), &both, false),
        (answers_by_other(dual_stack(b(), false)), &both, true),
        (answers_by_other(dual_stack(b(), false)), &v4_only, false),
    ] {
        let mut compiler = Compiler::new();
        let snapshot = snapshot(to(&[("b", 1)]), vec![backend.clone()]);
        let compiled = compiler.compile(&snapshot, facts, Duration::ZERO);
        assert_eq!(compiled.placements[0].reason, None);
        assert_eq!(compiled.tables.endpoints.len(), 3, "no record for what no leg goes to");
        let index = backend_of(&compiled, "b");
        let keys: Vec<_> = backend.endpoints.iter().map(|e| EndpointKey::new(e.address, 1)).collect();
        let maglev = Maglev::build(&keys, 4099).unwrap();
        for hash in (0..500u64).map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15)) {
            let wanted = &backend.endpoints[maglev.pick(&Pick { hash, ..Pick::default() }).unwrap()];
            let chosen = endpoint(&compiled.tables, index, hash).unwrap().endpoint;
            let leg = IpAddr::from(compiled.tables.endpoints[&chosen].address).to_canonical();
            assert_eq!(leg.is_ipv6(), legs_are_v6);
            assert!(wanted.addresses().any(|address| address.ip() == leg), "{wanted:?}: {leg}");
            let name = compiler.endpoint_name(chosen);
            assert_eq!(name, (wanted.address.ip() != leg).then_some(wanted.address));
        }
    }
}

#[test]
fn a_backend_is_userspaces_only_where_neither_address_is_reached() {
    let mut facts = facts();
    let backend = dual_stack(backend("b", &[1]), false);
    let reason = |facts: &Facts| {
        let snapshot = snapshot(to(&[("b", 1)]), vec![backend.clone()]);
        Compiler::new().compile(&snapshot, facts, Duration::ZERO).placements[0].reason
    };
    facts.endpoints.insert([10, 1, 0, 1].into(), Reach::NoHook);
    assert_eq!(reason(&facts), Some(Why::NoHook));
    let way = Reach::From { source: [0xfd00, 0, 0, 0, 0, 0, 1, 1].into(), device: 3 };
    facts.endpoints.insert([0xfd00, 0, 0, 0, 0, 0, 0, 1].into(), way);
    assert_eq!(reason(&facts), None);
}

#[test]
fn legs_by_one_address_go_on_when_the_other_one_is_found_or_answers() {
    let mut both = facts();
    let way = Reach::From { source: [0xfd00, 0, 0, 0, 0, 0, 1, 1].into(), device: 3 };
    both.endpoints.insert([0xfd00, 0, 0, 0, 0, 0, 0, 1].into(), way);
    let mut compiler = Compiler::new();
    let mut compile = |backend: Backend, seconds| {
        compiler.compile(&snapshot(to(&[("b", 1)]), vec![backend]), &both, Duration::from_secs(seconds))
    };
    let leg = |compiled: &Compiled| {
        let chosen = endpoint(&compiled.tables, backend_of(compiled, "b"), 7).unwrap();
        (chosen.endpoint, IpAddr::from(compiled.tables.endpoints[&chosen.endpoint].address).to_canonical())
    };
    let alone = backend("b", &[1]);
    let paired = dual_stack(alone.clone(), true);
    let mut earlier = leg(&compile(alone, 0));
    for (seconds, backend) in [(10, paired.clone()), (20, answers_by_other(paired.clone())), (30, paired)] {
        let compiled = compile(backend, seconds);
        let now = leg(&compiled);
        assert_ne!(now.1.is_ipv4(), earlier.1.is_ipv4());
        let flags = compiled.tables.endpoints[&earlier.0].flags;
        assert_eq!(flags, EndpointRecord::USABLE | EndpointRecord::DRAINING, "legs to {} go on", earlier.1);
        assert_eq!(compiled.tables.endpoints[&now.0].flags, EndpointRecord::USABLE);
        earlier = now;
    }
}
