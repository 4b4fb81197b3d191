//! A connection that never was, through the programs as they are: what they would do with it (`rauta explain flow`).
//!
//! The programs are loaded a second time. They read the tables that the running ones read, and have connections, ports,
//! remembered clients, counters and settings of their own, which go with them. Packets come by BPF_PROG_TEST_RUN, which carries
//! no redirect out: nothing leaves the machine, and nothing that the running programs use is changed.

mod exchange;
mod packet;

use std::{
    os::fd::{AsFd, OwnedFd},
    path::PathBuf,
};

use aya::{
    Ebpf, EbpfLoader, TestRun, TestRunOptions,
    maps::{Map, MapData, PerCpuArray, ProgramArray},
    programs::SchedClassifier,
    util::nr_cpus,
};
use wire::{CachedClient, EndpointHealth, Flow, IpAddress, REQUESTS_PER_CPU, Reason, Settings, Tuple};
use zerocopy::{FromBytes, IntoBytes};

use crate::interfaces::link_address;
use crate::{
    Datapath, DryRunError, MapError, StartError,
    datapath::{find, load_error, load_parts},
    maps::{BACKEND_FAILURES, ENDPOINTS, FLOW_CACHE, FLOWS, REASONS, RawMap, SETTINGS},
    object::{Prepared, Shape, TC_PROGRAM},
};

pub use exchange::{Answer, Question, Remembered, Stage, Step, Verdict};
pub use packet::{Options as PacketOptions, Packet};

/// What the programs only read and the agent writes: shared with the running ones.
const SHARED: [&str; 14] = [
    "VIPS",
    "HOSTS",
    "ROUTES",
    "PREFIX_ROUTES",
    "CANDIDATES",
    "HEADER_CONDITIONS",
    "HEADER_NAMES",
    "ROUTE_ACTIONS",
    "COPIES",
    BACKENDS,
    "MAGLEV_TABLES",
    ENDPOINTS,
    "BACKEND_MEMBERS",
    "TRUSTED_PROXIES",
];
const BACKENDS: &str = "BACKENDS";

/// The part of `struct __sk_buff` up to its `ifindex` (include/uapi/linux/bpf.h), in words; the rest counts as zero.
const CONTEXT_WORDS: usize = 11;

/// Where a dry run finds what it shares with the running programs. Made in no time; [`DryRun::load`] takes seconds.
#[derive(Debug, Clone)]
pub struct DryRunPlan {
    pins: PathBuf,
    settings: Settings,
}

impl Datapath {
    /// What a dry run needs.
    pub fn dry_run(&self) -> DryRunPlan {
        DryRunPlan { pins: self.pin(""), settings: self.settings }
    }
}

/// The programs, loaded a second time.
pub struct DryRun {
    ebpf: Ebpf,
    reasons: PerCpuArray<MapData, u64>,
    flows: RawMap,
    clients: RawMap,
    backends: RawMap,
    endpoints: RawMap,
    /// Emptied by the kernel when the last of its handles is closed.
    _parts: ProgramArray<MapData>,
    out: Vec<u8>,
}

impl DryRun {
    /// Loads the programs. The pins must stay while it does.
    ///
    /// # Errors
    ///
    /// [`DryRunError::Start`] for what the kernel does not accept, [`DryRunError::Map`] for a map that cannot be read.
    pub fn load(plan: &DryRunPlan) -> Result<Self, DryRunError> {
        let prepared = Prepared::for_dry_run()?;
        let mut loader = EbpfLoader::new();
        for name in SHARED {
            // The loader would make and pin what it does not find.
            let pin = plan.pins.join(name);
            if !pin.exists() {
                return Err(MapError::Unknown { map: name.to_owned() }.into());
            }
            loader.map_pin_path(name, pin);
        }
        // It is indexed as the table of endpoints is, which may be larger than the object has it.
        let known = running(plan, &prepared.shapes, BACKEND_FAILURES)?.capacity();
        loader.map_max_entries(BACKEND_FAILURES, known);
        for shape in &prepared.shapes {
            if let Some(entries) = entries(&shape.name) {
                loader.map_max_entries(&shape.name, entries);
            }
        }
        let mut ebpf = loader.load(prepared.bytes()).map_err(load_error)?;
        find(&mut ebpf, TC_PROGRAM)?.load().map_err(|error| load_error(error.into()))?;
        let parts = load_parts(&mut ebpf, || Ok(()))?;
        let own = |name| open(&ebpf, &prepared.shapes, name);
        let this = Self {
            flows: own(FLOWS)?,
            clients: own(FLOW_CACHE)?,
            backends: own(BACKENDS)?,
            endpoints: own(ENDPOINTS)?,
            reasons: reasons(&mut ebpf)?,
            _parts: parts,
            out: vec![0; 1 << 16],
            ebpf,
        };
        this.know(plan, &prepared.shapes)?;
        Ok(this)
    }

    /// Gives it the settings, and what the running programs have learned of endpoints.
    fn know(&self, plan: &DryRunPlan, shapes: &[Shape]) -> Result<(), DryRunError> {
        // Nobody is told of it; the agent lives, or nobody would ask.
        let flags = plan.settings.flags & !Settings::TRACE;
        let settings = Settings { flags, heartbeat: crate::now(), ..plan.settings };
        open(&self.ebpf, shapes, SETTINGS)?.put(0u32.as_bytes(), settings.as_bytes(), 0)?;

        let health = open(&self.ebpf, shapes, BACKEND_FAILURES)?;
        let mut learned = Vec::new();
        running(plan, shapes, BACKEND_FAILURES)?.each(0, |index, value| {
            if EndpointHealth::read_from_bytes(value).is_ok_and(|health| health != EndpointHealth::default())
            {
                learned.push((index.to_vec(), value.to_vec()));
            }
        })?;
        Ok(learned.iter().try_for_each(|(index, value)| health.put(index, value, 0))?)
    }

    /// Gives it what the running programs remember of a client.
    fn remember(&self, plan: &DryRunPlan, client: &IpAddress) -> Result<(), DryRunError> {
        let mut known = Vec::new();
        running(plan, &[self.clients.shape().clone()], FLOW_CACHE)?.each(0, |key, value| {
            if CachedClient::read_from_bytes(key).is_ok_and(|key| key.client == *client) {
                known.push((key.to_vec(), value.to_vec()));
            }
        })?;
        Ok(known.iter().try_for_each(|(key, value)| self.clients.put(key, value, 0))?)
    }

    /// Lets the programs have a frame that came in by `device`: the verdict, the frame as they left it, and why.
    fn run(
        &mut self,
        device: u32,
        mut frame: Vec<u8>,
    ) -> Result<(Verdict, Vec<u8>, Vec<Reason>), DryRunError> {
        // They look at nothing that is not for the device.
        if let (Some(address), Some(to)) = (link_address(device), frame.first_chunk_mut()) {
            *to = address;
        }
        let before = self.counted()?;
        let mut context = [0u32; CONTEXT_WORDS];
        if let Some(interface) = context.last_mut() {
            *interface = device;
        }
        let options = TestRunOptions {
            data_in: Some(&frame),
            data_out: Some(&mut self.out),
            ctx_in: Some(context.as_bytes()),
            ..TestRunOptions::new()
        };
        let program: &SchedClassifier = self
            .ebpf
            .program(TC_PROGRAM)
            .and_then(|program| program.try_into().ok())
            .ok_or(StartError::Incomplete { name: TC_PROGRAM })?;
        let failed = |source| DryRunError::Run { length: frame.len(), source: Box::new(source) };
        let done = program.test_run(options).map_err(failed)?;
        let verdict =
            Verdict::of(done.return_value).ok_or(DryRunError::Verdict { code: done.return_value })?;
        let length = usize::try_from(done.data_size_out).unwrap_or(0);
        let left = self.out.get(..length).unwrap_or_default().to_vec();
        let after = self.counted()?;
        let given = Reason::ALL.into_iter().zip(before.iter().zip(&after));
        let reasons = given.filter(|(_, (before, after))| after > before).map(|(reason, _)| reason);
        Ok((verdict, left, reasons.collect()))
    }

    fn counted(&self) -> Result<Vec<u64>, MapError> {
        let access = |source| MapError::Access { map: REASONS, source };
        Reason::ALL
            .iter()
            .map(|&reason| Ok(self.reasons.get(&(reason as u32), 0).map_err(access)?.iter().sum()))
            .collect()
    }

    fn flow(&self, client: &Tuple) -> Result<Option<Flow>, MapError> {
        self.flows.get(client, 0)
    }
}

/// How much room a map of its own needs for one connection, where that is less than the running programs have; LRU maps give each
/// CPU a share.
fn entries(name: &str) -> Option<u32> {
    match name {
        FLOWS => Some(16),
        "LEGS" => Some(32),
        "CLOSED" | "LOTS" | FLOW_CACHE => Some(1024),
        "LISTENER_COUNTERS" | "LISTENER_RESPONSES" => Some(1),
        "EVENTS" => Some(1 << 16),
        "REQUESTS" => {
            let cpus = nr_cpus().ok().and_then(|cpus| u32::try_from(cpus).ok()).unwrap_or(1);
            Some(REQUESTS_PER_CPU.saturating_mul(cpus))
        }
        _ => None,
    }
}

fn reasons(ebpf: &mut Ebpf) -> Result<PerCpuArray<MapData, u64>, DryRunError> {
    let map = ebpf.take_map(REASONS).ok_or(StartError::Incomplete { name: REASONS })?;
    Ok(map.try_into().map_err(|source| MapError::Access { map: REASONS, source })?)
}

/// A map of the programs' own.
fn open(ebpf: &Ebpf, shapes: &[Shape], name: &'static str) -> Result<RawMap, DryRunError> {
    let missing = StartError::Incomplete { name };
    let Some(Map::Array(data) | Map::HashMap(data) | Map::LruHashMap(data)) = ebpf.map(name) else {
        return Err(missing.into());
    };
    let fd: OwnedFd = data
        .fd()
        .as_fd()
        .try_clone_to_owned()
        .map_err(|source| MapError::Kernel { map: name.to_owned(), source })?;
    Ok(RawMap::of(shape(shapes, name)?, fd))
}

/// The map of that name that the running programs use.
fn running(plan: &DryRunPlan, shapes: &[Shape], name: &'static str) -> Result<RawMap, DryRunError> {
    Ok(RawMap::open(&shape(shapes, name)?, &plan.pins.join(name))?)
}

fn shape(shapes: &[Shape], name: &'static str) -> Result<Shape, StartError> {
    let found = shapes.iter().find(|shape| shape.name == name);
    found.cloned().ok_or(StartError::Incomplete { name })
}
