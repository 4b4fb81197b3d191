//! A model of a cluster: nodes that die, come back, and lose the API server; and what holds all the time.
#![allow(clippy::unwrap_used, reason = "a panic is how a test reports")]

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use addresses::{Election, Peer};
use corpus::Dice;

const STEP: Duration = Duration::from_millis(100);
/// In steps: how often a node renews and looks; how long it is believed to live.
const ROUND: u32 = 4;
const PATIENCE: u32 = 12;
/// In steps: how long an address may be without an announcer while the API server answers and a node lives.
const OUTAGE_MAX: u32 = PATIENCE + 3 * ROUND;

/// The Leases as the API server has them.
type Leases = BTreeMap<String, Peer>;

struct Node {
    name: String,
    lives: bool,
    /// Whether it reaches the API server.
    reaches: bool,
    election: Election,
    held: BTreeSet<IpAddr>,
    /// Rounds are at different times in different nodes.
    offset: u32,
}

impl Node {
    fn new(name: &str, offset: u32) -> Self {
        Self {
            name: name.to_owned(),
            lives: true,
            reaches: true,
            election: Election::new(name, STEP * PATIENCE),
            held: BTreeSet::new(),
            offset,
        }
    }

    fn step(&mut self, leases: &mut Leases, wanted: &BTreeSet<IpAddr>, (step, now): (u32, Instant)) {
        if !self.lives {
            return;
        }
        if self.reaches && (step + self.offset).is_multiple_of(ROUND) {
            let (node, version) = (self.name.clone(), step.to_string());
            leases
                .insert(node.clone(), Peer { node, version, has_left: false, announces: self.held.clone() });
            self.election.observe(leases.values().cloned().collect(), now);
        }
        self.held = self.election.own(wanted, &self.held);
    }
}

struct Cluster {
    nodes: Vec<Node>,
    leases: Leases,
    wanted: BTreeSet<IpAddr>,
    step: u32,
    start: Instant,
}

impl Cluster {
    fn new(nodes: u32, addresses: u8) -> Self {
        let wanted = (1..=addresses).map(|last| IpAddr::from([10, 0, 0, last])).collect();
        let nodes = (0..nodes).map(|i| Node::new(&format!("node-{i}"), i)).collect();
        Self { nodes, leases: Leases::new(), wanted, step: 0, start: Instant::now() }
    }

    fn step(&mut self) {
        self.step += 1;
        let at = (self.step, self.start + STEP * self.step);
        for node in &mut self.nodes {
            node.step(&mut self.leases, &self.wanted, at);
        }
    }

    fn run(&mut self, steps: u32) {
        (0..steps).for_each(|_| self.step());
    }

    /// The living nodes that announce an address.
    fn announcers(&self, address: IpAddr) -> Vec<&str> {
        let announces = |node: &&Node| node.lives && node.held.contains(&address);
        self.nodes.iter().filter(announces).map(|node| node.name.as_str()).collect()
    }

    fn table(&self) -> Vec<(IpAddr, Vec<&str>)> {
        self.wanted.iter().map(|address| (*address, self.announcers(*address))).collect()
    }
}

#[test]
fn after_any_faults_each_address_has_one_announcer() {
    for seed in 0..200 {
        let mut dice = Dice(seed);
        let mut cluster = Cluster::new(2 + u32::try_from(dice.below(4)).unwrap(), 6);
        for _ in 0..20 {
            let (count, i) = (cluster.nodes.len(), dice.below(6));
            let node = &mut cluster.nodes[i % count];
            match dice.below(4) {
                0 => node.lives = false,
                1 if !node.lives => *node = Node::new(&node.name.clone(), node.offset),
                2 => node.reaches = false,
                _ => node.reaches = true,
            }
            cluster.run(u32::try_from(dice.below(20)).unwrap());
        }
        for node in &mut cluster.nodes {
            node.reaches = true;
        }
        if !cluster.nodes.iter().any(|node| node.lives) {
            continue;
        }
        cluster.run(OUTAGE_MAX + 2 * ROUND);
        for (address, announcers) in cluster.table() {
            assert_eq!(announcers.len(), 1, "seed {seed}: {address}: {announcers:?}");
        }
        // And stays so.
        let before: Vec<_> = cluster.table().iter().map(|(_, of)| of.join(" ")).collect();
        cluster.run(10 * ROUND);
        assert_eq!(
            cluster.table().iter().map(|(_, of)| of.join(" ")).collect::<Vec<_>>(),
            before,
            "seed {seed}"
        );
    }
}

#[test]
fn a_dead_nodes_addresses_are_announced_again_in_bounded_time_and_no_others_move() {
    for seed in 0..100 {
        let mut dice = Dice(seed);
        let mut cluster = Cluster::new(4, 12);
        cluster.run(OUTAGE_MAX + u32::try_from(dice.below(8)).unwrap());
        let before: Vec<(IpAddr, String)> =
            cluster.table().into_iter().map(|(address, of)| (address, of.join(" "))).collect();
        let dead = dice.below(4);
        cluster.nodes[dead].lives = false;
        let name = cluster.nodes[dead].name.clone();
        for step in 0..OUTAGE_MAX {
            cluster.step();
            for (address, holder) in &before {
                let now = cluster.announcers(*address);
                if *holder != name {
                    assert_eq!(now, [holder.as_str()], "seed {seed}, step {step}: {address} moved");
                }
                // Two see the same death at different times, and never draw different successors.
                assert!(now.len() <= 1, "seed {seed}, step {step}: {address}: {now:?}");
            }
        }
        assert!(cluster.table().iter().all(|(_, of)| of.len() == 1), "seed {seed}: {:?}", cluster.table());
        // It comes back: what moved stays where it is.
        let moved: Vec<_> = cluster.table().iter().map(|(_, of)| of.join(" ")).collect();
        cluster.nodes[dead] = Node::new(&name, 0);
        cluster.run(OUTAGE_MAX);
        assert_eq!(
            cluster.table().iter().map(|(_, of)| of.join(" ")).collect::<Vec<_>>(),
            moved,
            "seed {seed}"
        );
    }
}

#[test]
fn nothing_moves_while_the_api_server_is_away() {
    let mut cluster = Cluster::new(3, 9);
    cluster.run(OUTAGE_MAX);
    let before: Vec<_> = cluster.table().iter().map(|(_, of)| of.join(" ")).collect();
    for node in &mut cluster.nodes {
        node.reaches = false;
    }
    cluster.run(600);
    let after = |cluster: &Cluster| cluster.table().iter().map(|(_, of)| of.join(" ")).collect::<Vec<_>>();
    assert_eq!(after(&cluster), before);
    // It is back, for one node after the other.
    for i in 0..3 {
        cluster.nodes[i].reaches = true;
        cluster.run(ROUND / 2);
    }
    cluster.run(OUTAGE_MAX);
    assert_eq!(after(&cluster), before);
}
