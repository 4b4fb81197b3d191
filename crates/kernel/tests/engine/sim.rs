//! Clients, the gateway, endpoints, and the wires between them, in virtual time.

mod collector;
mod findings;
mod wires;

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};

use dataplane::engine::Owner;
use kernel::Tables;

use crate::apps::{Client, Manners, Server, Step};
use crate::http::Log;
use crate::packet::{ACK, Packet, RST, SYN, Seg};
use crate::random::Random;
use crate::tcp::{End, MS, Profile};
use crate::world::{World, tuple};

/// What the wires do, in percent.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Faults {
    pub(crate) drop: u64,
    pub(crate) duplicate: u64,
    pub(crate) reorder: u64,
    pub(crate) corrupt: u64,
}

/// What a host says to a SYN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Door {
    Open,
    /// Nothing.
    Dead,
    /// RST.
    Shut,
}

/// A host of endpoints.
pub(crate) struct Node {
    pub(crate) name: &'static str,
    pub(crate) door: Door,
    pub(crate) profile: Profile,
    pub(crate) manners: Manners,
    /// It waits to be told who the client is.
    pub(crate) is_told: bool,
    /// SYNs that it got.
    pub(crate) syns: u32,
}

pub(crate) enum App {
    Client(Client),
    Server(Server),
}

pub(crate) struct Conn {
    pub(crate) end: End,
    pub(crate) app: App,
}

enum Event {
    ToGateway(Packet),
    ToHost(Packet),
}

/// A look at a packet on the wire, by place: true if it is lost.
pub(crate) type Filter = Box<dyn FnMut(&Seg, Place, u64) -> bool>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    FromClient,
    ToClient,
    FromEndpoint,
    ToEndpoint,
}

pub(crate) struct Sim {
    pub(crate) world: World,
    pub(crate) log: Log,
    pub(crate) random: Random,
    pub(crate) faults: Faults,
    pub(crate) filter: Option<Filter>,
    pub(crate) nodes: BTreeMap<IpAddr, Node>,
    pub(crate) host: Profile,
    /// The host's queue of new connections is full.
    pub(crate) is_full: bool,
    pub(crate) conns: Vec<Conn>,
    index: HashMap<(SocketAddr, SocketAddr), usize>,
    queue: BTreeMap<(u64, u64), Event>,
    count: u64,
    pub(crate) now: u64,
    /// Idempotent requests may be done twice.
    pub(crate) may_repeat: bool,
    /// When the agent looked for legs that nobody wants.
    collected: u64,
    /// Packets and their checksums may be left to the device, and options stand oddly.
    pub(crate) varies: bool,
    traces: bool,
}

const START: u64 = 1_000_000 * MS;
const DELAY: u64 = MS;

impl Sim {
    pub(crate) fn new(tables: &'static Tables, seed: u64) -> Self {
        let world = World::new(tables, seed);
        world.now.set(START);
        Self {
            world,
            log: Log::default(),
            random: Random::new(seed),
            faults: Faults::default(),
            filter: None,
            nodes: BTreeMap::new(),
            host: profile(77),
            is_full: false,
            conns: vec![],
            index: HashMap::new(),
            queue: BTreeMap::new(),
            count: 0,
            now: START,
            may_repeat: false,
            collected: START,
            varies: false,
            traces: std::env::var("MODEL_TRACE").is_ok(),
        }
    }

    /// Dials; returns the number of the connection.
    pub(crate) fn dial(
        &mut self,
        from: SocketAddr,
        to: SocketAddr,
        profile: Profile,
        steps: Vec<Step>,
    ) -> usize {
        let end = End::connect(from, to, profile, self.now);
        let mut client = Client::default();
        client.steps = steps.into();
        self.add(end, App::Client(client))
    }

    fn add(&mut self, end: End, app: App) -> usize {
        self.index.insert((end.local, end.remote), self.conns.len());
        self.conns.push(Conn { end, app });
        self.conns.len() - 1
    }

    pub(crate) fn client(&mut self, number: usize) -> &mut Client {
        match &mut self.conns[number].app {
            App::Client(client) => client,
            App::Server(_) => panic!("no client"),
        }
    }

    /// Runs until all clients are through, and then until nothing moves.
    ///
    /// `limit` is in ms of virtual time.
    pub(crate) fn run(&mut self, limit: u64) {
        let until = self.now + limit * MS;
        let mut steps = 0;
        while !self.is_done() {
            steps += 1;
            assert!(steps < 100_000, "no end of it:\n{}", self.describe());
            assert!(
                self.advance(until) || self.is_done(),
                "not through after {limit} ms:\n{}",
                self.describe()
            );
        }
        let rest = self.now + 30_000 * MS;
        while self.advance(rest) {
            steps += 1;
            assert!(steps < 200_000, "no peace:\n{}", self.describe());
        }
    }

    /// Runs for some ms.
    pub(crate) fn run_for(&mut self, ms: u64) {
        let until = self.now + ms * MS;
        while self.advance(until) {}
        self.now = until;
        self.world.now.set(until);
        self.collect();
    }

    pub(crate) fn is_done(&self) -> bool {
        self.conns.iter().all(|conn| match &conn.app {
            App::Client(client) => client.is_done,
            App::Server(_) => true,
        })
    }

    /// To the next event; false if there is none.
    pub(crate) fn run_next(&mut self) -> bool {
        self.advance(u64::MAX)
    }

    /// Endpoints at `address` end what they have as soon as nothing has come in, as `manners` says; new connections do not.
    pub(crate) fn farewell(&mut self, address: IpAddr, manners: Manners) {
        for conn in self.conns.iter_mut().filter(|conn| conn.end.local.ip() == address) {
            if let App::Server(server) = &mut conn.app {
                server.leave_as(manners);
            }
        }
    }

    /// To the next event; false if there is none until then.
    fn advance(&mut self, until: u64) -> bool {
        self.poll();
        let timers = self.conns.iter().filter_map(|conn| {
            let wake = match &conn.app {
                App::Client(client) => client.wake,
                App::Server(server) => server.wake,
            };
            conn.end
                .deadline()
                .into_iter()
                .chain(wake.filter(|at| *at > self.now && conn.end.death.is_none()))
                .min()
        });
        let next = timers.chain(self.queue.first_key_value().map(|((at, _), _)| *at)).min();
        let Some(next) = next.filter(|next| *next <= until) else { return false };
        self.now = self.now.max(next);
        self.world.now.set(self.now);
        self.collect();
        for conn in &mut self.conns {
            conn.end.now = self.now;
            conn.end.timers(&self.random);
        }
        if let Some(first) = self.queue.first_entry()
            && first.key().0 <= self.now
        {
            match first.remove() {
                Event::ToGateway(packet) => self.gateway(packet),
                Event::ToHost(packet) => self.host(&packet),
            }
        }
        true
    }

    fn poll(&mut self) {
        for n in 0..self.conns.len() {
            let Conn { end, app } = &mut self.conns[n];
            end.now = self.now;
            match app {
                App::Client(client) => client.poll(end, &mut self.log),
                App::Server(server) => server.poll(end, &mut self.log, &self.random),
            }
            for (seg, large) in std::mem::take(&mut end.out) {
                self.emit(&seg, large);
            }
            self.note_owner(n);
        }
    }

    fn note_owner(&self, n: usize) {
        let end = &self.conns[n].end;
        if end.name != "host" {
            return;
        }
        let key = tuple(end.remote, end.local);
        let mut owners = self.world.owners.borrow_mut();
        if self.index.get(&(end.local, end.remote)) != Some(&n) || !owners.contains_key(&key) {
            return;
        }
        if end.death.is_some() || end.is_over() && !end.first_closed {
            owners.remove(&key);
        } else if end.is_over() {
            owners.insert(key, Owner::TimeWait);
        }
    }

    /// What somebody sends in the name of a client.
    pub(crate) fn forge(&mut self, seg: &Seg) {
        self.emit(seg, false);
    }

    fn deliver(&mut self, seg: &Seg) {
        let key = (seg.dst, seg.src);
        let is_fresh = seg.has(SYN) && !seg.has(ACK);
        if let Some(&n) = self.index.get(&key) {
            let conn = &mut self.conns[n];
            let is_gone =
                conn.end.death.is_some() || conn.end.is_over() && (is_fresh || !conn.end.first_closed);
            if !is_gone {
                conn.end.now = self.now;
                conn.end.input(seg, &self.random);
                return;
            }
        }
        if is_fresh && let Some(node) = self.nodes.get_mut(&seg.dst.ip()) {
            node.syns += 1;
            match node.door {
                Door::Dead => return,
                Door::Open => {
                    let isn = self.random.next() as u32;
                    let isn = if isn.is_multiple_of(4) { 0u32.wrapping_sub(isn & 0xfff) } else { isn };
                    let end = End::accept(node.name, seg, Profile { isn, ..node.profile }, self.now);
                    let server = Server::new(node.name, node.manners, node.is_told, self.now);
                    self.add(end, App::Server(server));
                    return;
                }
                Door::Shut => {}
            }
        }
        if !seg.has(RST) {
            let reset = if seg.has(ACK) {
                Seg::bare(seg.dst, seg.src, RST, seg.ack, 0)
            } else {
                Seg::bare(seg.dst, seg.src, RST | ACK, 0, seg.seq.wrapping_add(seg.len()))
            };
            self.emit(&reset, false);
        }
    }
}

/// The socket that clients dial.
pub(crate) fn vip() -> SocketAddr {
    ([10, 0, 0, 1], 80).into()
}

/// The same over IPv6.
pub(crate) fn vip6() -> SocketAddr {
    SocketAddr::new("fd00::a00:1".parse().unwrap(), 80)
}

/// As Linux.
pub(crate) fn profile(isn: u32) -> Profile {
    Profile { mss: 1460, scale: Some(7), sack: true, timestamps: true, window: 64_000, large: false, isn }
}
