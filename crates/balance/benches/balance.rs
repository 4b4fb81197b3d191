//! Building balancers and picking from them.

use balance::{Balancer, EndpointKey, Maglev, Pick, Random, RoundRobin, hash_flow};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use std::hint::black_box;
use std::net::SocketAddr;

fn keys(endpoints: u16, weight: impl Fn(u16) -> u16) -> Vec<EndpointKey> {
    (0..endpoints)
        .map(|i| {
            let [high, low] = i.to_be_bytes();
            EndpointKey::new(SocketAddr::from(([10, 0, high, low], 80)), weight(i))
        })
        .collect()
}

fn build(c: &mut Criterion) {
    let mut group = c.benchmark_group("maglev build");
    for (endpoints, size) in [(3, 4099), (100, 4099), (1000, 4099), (100, 65_537)] {
        let equal = keys(endpoints, |_| 1);
        let id = BenchmarkId::new("equal", format!("{endpoints} in {size}"));
        group.bench_function(id, |b| b.iter(|| Maglev::build(black_box(&equal), size)));
        let skewed = keys(endpoints, |i| if i == 0 { 65_535 } else { 1 });
        let id = BenchmarkId::new("one heavy", format!("{endpoints} in {size}"));
        group.bench_function(id, |b| b.iter(|| Maglev::build(black_box(&skewed), size)));
    }
}

fn pick(c: &mut Criterion) {
    let keys = keys(100, |i| i + 1);
    let weights: Vec<u16> = keys.iter().map(|k| k.weight).collect();
    let balancers: [(&str, Box<dyn Balancer>); 3] = [
        ("maglev", Box::new(Maglev::build(&keys, 4099).unwrap_or_else(|error| panic!("{error}")))),
        ("round robin", Box::new(RoundRobin::new(&weights))),
        ("random", Box::new(Random::new(&weights))),
    ];
    let (client, server) = (SocketAddr::from(([10, 1, 0, 1], 40_000)), SocketAddr::from(([10, 0, 0, 1], 80)));
    let mut group = c.benchmark_group("pick");
    for (name, balancer) in balancers {
        let mut turn = 0u64;
        group.bench_function(name, |b| {
            b.iter(|| {
                turn = turn.wrapping_add(0x9e37_79b9_7f4a_7c15);
                balancer.pick(black_box(&Pick { hash: turn, random: turn, turn }))
            });
        });
    }
    let mut counter = 0;
    group.bench_function("hash of a flow", |b| {
        b.iter(|| {
            counter += 1;
            hash_flow(black_box(client), black_box(server), counter)
        });
    });
}

criterion_group!(benches, build, pick);
criterion_main!(benches);
