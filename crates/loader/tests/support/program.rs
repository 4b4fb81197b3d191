//! The programs in the kernel: loaded as the agent loads them, run on one frame at a time (BPF_PROG_TEST_RUN).

use std::{
    io, iter,
    os::fd::{AsFd, AsRawFd},
    time::Duration,
};

use aya::{
    Ebpf, EbpfLoader, TestRun, TestRunOptions,
    maps::{Map, MapData, PerCpuArray, ProgramArray},
    programs::{SchedClassifier, Xdp},
    util::nr_cpus,
};
use dataplane::engine::{Note, Part};
use kernel::Write;
use wire::{
    CachedClient, CachedEndpoint, Closed, Device, EndpointHealth, Flow, Leg, Lot, REQUESTS_PER_CPU, Reason,
    Settings, Tuple,
};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes};

pub(crate) use super::native::Said;

/// The entry point at TC.
const PROGRAM: &str = "rauta_tc_ingress";

/// The entry point in XDP.
const XDP_PROGRAM: &str = "rauta_ingress";

/// `enum xdp_action`, include/uapi/linux/bpf.h.
const XDP_DROP: u32 = 1;
const XDP_PASS: u32 = 2;
const XDP_TX: u32 = 3;

/// Where test runs come in: the loopback device.
const DEVICE: u32 = 1;

/// Which programs see a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hook {
    /// Those of TC.
    Tc,
    /// Those of XDP, and those of TC for what they pass.
    Xdp,
}

/// `enum bpf_cmd`, include/uapi/linux/bpf.h.
const BPF_MAP_LOOKUP_ELEM: libc::c_int = 1;
const BPF_MAP_UPDATE_ELEM: libc::c_int = 2;
const BPF_MAP_DELETE_ELEM: libc::c_int = 3;

/// Length of `struct __sk_buff` (include/uapi/linux/bpf.h), and where its `gso_size` is.
const CONTEXT_LEN: usize = 192;
const GSO_SIZE_AT: usize = 176;

/// The loaded programs and their maps.
pub(crate) struct Program {
    ebpf: Ebpf,
    hook: Hook,
    /// Of frames that the programs saw: those that they passed without a verdict.
    pub(crate) deferred: u64,
    reasons: PerCpuArray<MapData, u64>,
    /// Emptied by the kernel when the last of its handles is closed.
    _parts: Vec<ProgramArray<MapData>>,
    out: Vec<u8>,
}

impl Program {
    pub(crate) fn load() -> Self {
        Self::load_at(Hook::Tc)
    }

    pub(crate) fn load_at(hook: Hook) -> Self {
        let object = loader::patched().expect("built without the kernel programs: run ./x setup");
        Self::load_object_at(&object, hook)
    }

    /// Loads another object than the embedded one, made ready by [`loader::patched_of`].
    pub(crate) fn load_object(object: &[u8]) -> Self {
        Self::load_object_at(object, Hook::Tc)
    }

    fn load_object_at(object: &[u8], hook: Hook) -> Self {
        let cpus = u32::try_from(nr_cpus().unwrap()).unwrap();
        let mut ebpf = EbpfLoader::new()
            .map_max_entries("REQUESTS", REQUESTS_PER_CPU * cpus)
            .load(object)
            .expect("loads: needs root");
        for name in programs(Hook::Tc) {
            classifier(&mut ebpf, name).load().unwrap_or_else(|error| panic!("{name}: {error:#?}"));
        }
        let mut parts: ProgramArray<MapData> = ebpf.take_map("PARTS").unwrap().try_into().unwrap();
        for part in Part::ALL {
            let fd = classifier(&mut ebpf, part.program()).fd().unwrap().try_clone().unwrap();
            parts.set(part as u32, &fd, 0).unwrap();
        }
        let mut parts = vec![parts];
        if hook == Hook::Xdp {
            parts.push(load_early(&mut ebpf));
        }
        let reasons = ebpf.take_map("REASONS").unwrap().try_into().unwrap();
        let this = Self { ebpf, hook, deferred: 0, reasons, _parts: parts, out: vec![0; 1 << 16] };
        if hook == Hook::Xdp {
            let device = Device { address: [0; 6], flags: Device::TRANSMITS | Device::REFLECTS };
            this.put("XDP_DEVICES", DEVICE.as_bytes(), device.as_bytes());
        }
        this
    }

    /// How many instructions the verifier walked, by program.
    pub(crate) fn verified(&mut self) -> Vec<(&'static str, u32)> {
        programs(self.hook)
            .map(|name| {
                let info = match self.hook {
                    Hook::Tc => classifier(&mut self.ebpf, name).info(),
                    Hook::Xdp => early(&mut self.ebpf, name).info(),
                };
                (name, info.unwrap().verified_instruction_count().expect("Linux 5.16"))
            })
            .collect()
    }

    /// Runs the program on a frame. The time is that of the program alone.
    pub(crate) fn run(&mut self, frame: &[u8]) -> (Said, &[u8], Duration) {
        match self.hook {
            Hook::Tc => self.run_as(frame, 0),
            Hook::Xdp => self.run_early(frame),
        }
    }

    /// The programs of XDP on a frame that has so much in front of it already that a note has no room; whether they pass it as it came.
    pub(crate) fn passes_for_want_of_room(&mut self, frame: &[u8]) -> bool {
        /// Of 256 bytes in front of a frame the kernel keeps 40 (`struct xdp_frame`).
        const FULL: usize = 208;
        let data = [&[0; FULL][..], frame].concat();
        // `struct xdp_md`: data, its end, what is in front of it, the device.
        let context = [FULL as u32, data.len() as u32, 0, 0, 0, 0];
        let options = TestRunOptions {
            data_in: Some(&data),
            data_out: Some(&mut self.out),
            ctx_in: Some(context.as_bytes()),
            ..Default::default()
        };
        let program: &Xdp = self.ebpf.program(XDP_PROGRAM).unwrap().try_into().unwrap();
        let done = program.test_run(options).unwrap();
        done.return_value == XDP_PASS && self.out[..done.data_size_out as usize] == data
    }

    /// First the programs of XDP. What they pass as it came is for those of TC.
    fn run_early(&mut self, frame: &[u8]) -> (Said, &[u8], Duration) {
        let options =
            TestRunOptions { data_in: Some(frame), data_out: Some(&mut self.out), ..Default::default() };
        let program: &Xdp = self.ebpf.program(XDP_PROGRAM).unwrap().try_into().unwrap();
        let done = program.test_run(options).unwrap_or_else(|error| panic!("{frame:x?}: {error:?}"));
        let len = done.data_size_out as usize;
        let note = Note::read_from_prefix(&self.out[..len]).ok();
        match (done.return_value, note.and_then(|(note, _)| note.verdict(super::NOTE_OWNER, DEVICE))) {
            (XDP_DROP, _) => (Said::Drop, &self.out[..len], done.duration),
            (XDP_TX, None) => (Said::Send, &self.out[..len], done.duration),
            (XDP_PASS, Some(_)) => (Said::Send, &self.out[size_of::<Note>()..len], done.duration),
            (XDP_PASS, None) => {
                assert_eq!(&self.out[..len], frame, "what is passed without a note is untouched");
                self.deferred += 1;
                self.run_as(frame, 0)
            }
            (other, _) => panic!("verdict {other} on {frame:x?}"),
        }
    }

    /// The same, of a frame that stands for segments of `gso_size` bytes; 0: for itself.
    pub(crate) fn run_as(&mut self, frame: &[u8], gso_size: u32) -> (Said, &[u8], Duration) {
        let mut context = [0; CONTEXT_LEN];
        context[GSO_SIZE_AT..GSO_SIZE_AT + 4].copy_from_slice(&gso_size.to_ne_bytes());
        let options = TestRunOptions {
            data_in: Some(frame),
            data_out: Some(&mut self.out),
            ctx_in: Some(&context),
            ..Default::default()
        };
        let program: &SchedClassifier = self.ebpf.program(PROGRAM).unwrap().try_into().unwrap();
        let done = program.test_run(options).unwrap_or_else(|error| panic!("{frame:x?}: {error:?}"));
        let said = match done.return_value {
            u32::MAX => Said::Pass,
            2 => Said::Drop,
            7 => Said::Send,
            other => panic!("verdict {other} on {frame:x?}"),
        };
        (said, &self.out[..done.data_size_out as usize], done.duration)
    }

    /// How often the reason was given, on all CPUs.
    pub(crate) fn counted(&self, reason: Reason) -> u64 {
        self.reasons.get(&(reason as u32), 0).unwrap().iter().sum()
    }

    pub(crate) fn set(&self, settings: &Settings) {
        self.put("SETTINGS", 0u32.as_bytes(), settings.as_bytes());
    }

    /// No leg waits for a client any more.
    pub(crate) fn empty_pools(&self) {
        for index in 0..wire::POOLS_MAX as u32 {
            self.put("POOLS", index.as_bytes(), wire::Pool::new_zeroed().as_bytes());
        }
    }

    pub(crate) fn apply(&self, writes: &[Write]) {
        for write in writes {
            match &write.value {
                Some(value) => self.put(write.map.name(), &write.key, value),
                None => drop(self.element(BPF_MAP_DELETE_ELEM, write.map.name(), &write.key, 0)),
            }
        }
    }

    pub(crate) fn flow(&self, client: &Tuple) -> Option<Flow> {
        self.get("FLOWS", client)
    }

    pub(crate) fn closed(&self, client: &Tuple) -> Option<Closed> {
        self.get("CLOSED", client)
    }

    pub(crate) fn lot(&self, client: &Tuple) -> Option<Lot> {
        self.get("LOTS", client)
    }

    pub(crate) fn cached(&self, key: &CachedClient) -> Option<CachedEndpoint> {
        self.get("FLOW_CACHE", key)
    }

    pub(crate) fn cache(&self, key: &CachedClient, value: &CachedEndpoint) {
        self.put("FLOW_CACHE", key.as_bytes(), value.as_bytes());
    }

    pub(crate) fn leg(&self, key: &Tuple) -> Option<Leg> {
        self.get("LEGS", key)
    }

    pub(crate) fn health(&self, endpoint: u32) -> EndpointHealth {
        self.get("BACKEND_FAILURES", &endpoint).unwrap()
    }

    pub(crate) fn forget_health(&self, endpoint: u32) {
        self.put("BACKEND_FAILURES", endpoint.as_bytes(), EndpointHealth::default().as_bytes());
    }

    pub(crate) fn remove(&self, map: &str, key: &Tuple) {
        match self.element(BPF_MAP_DELETE_ELEM, map, key.as_bytes(), 0) {
            Err(error) if error.raw_os_error() != Some(libc::ENOENT) => panic!("{map}: {error}"),
            _ => {}
        }
    }

    fn get<K: IntoBytes + Immutable, V: FromBytes + IntoBytes>(&self, map: &str, key: &K) -> Option<V> {
        let mut value = V::new_zeroed();
        match self.element(BPF_MAP_LOOKUP_ELEM, map, key.as_bytes(), value.as_mut_bytes().as_mut_ptr() as u64)
        {
            Ok(()) => Some(value),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => None,
            Err(error) => panic!("{map}: {error}"),
        }
    }

    fn put(&self, map: &str, key: &[u8], value: &[u8]) {
        self.element(BPF_MAP_UPDATE_ELEM, map, key, value.as_ptr() as u64)
            .unwrap_or_else(|error| panic!("{map}: {error}"));
    }

    fn element(&self, command: libc::c_int, map: &str, key: &[u8], value: u64) -> io::Result<()> {
        /// The part of `union bpf_attr` for one element.
        #[repr(C)]
        struct Element {
            map: u32,
            pad: u32,
            key: u64,
            value: u64,
            flags: u64,
        }
        let map = match self.ebpf.map(map) {
            Some(Map::Array(data) | Map::HashMap(data) | Map::LruHashMap(data) | Map::LpmTrie(data)) => {
                data.fd().as_fd().as_raw_fd()
            }
            _ => panic!("no table {map}"),
        };
        let element = Element { map: map as u32, pad: 0, key: key.as_ptr() as u64, value, flags: 0 };
        // SAFETY: keys and values are records of `wire`, of which the maps are made; all outlive the call.
        match unsafe { libc::syscall(libc::SYS_bpf, command, &raw const element, size_of::<Element>()) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

fn classifier<'e>(ebpf: &'e mut Ebpf, name: &str) -> &'e mut SchedClassifier {
    ebpf.program_mut(name).unwrap_or_else(|| panic!("no program {name}")).try_into().unwrap()
}

fn early<'e>(ebpf: &'e mut Ebpf, name: &str) -> &'e mut Xdp {
    ebpf.program_mut(name).unwrap_or_else(|| panic!("no program {name}")).try_into().unwrap()
}

/// The programs of a hook, the entry point first.
fn programs(hook: Hook) -> impl Iterator<Item = &'static str> {
    let (entry, of): (_, fn(Part) -> Option<&'static str>) = match hook {
        Hook::Tc => (PROGRAM, |part| Some(part.program())),
        Hook::Xdp => (XDP_PROGRAM, Part::early_program),
    };
    iter::once(entry).chain(Part::ALL.into_iter().filter_map(of))
}

/// Loads the programs of XDP and puts the parts where the entry point looks.
fn load_early(ebpf: &mut Ebpf) -> ProgramArray<MapData> {
    for name in programs(Hook::Xdp) {
        early(ebpf, name).load().unwrap_or_else(|error| panic!("{name}: {error:#?}"));
    }
    let mut parts: ProgramArray<MapData> = ebpf.take_map("XDP_PARTS").unwrap().try_into().unwrap();
    for part in Part::ALL {
        let Some(name) = part.early_program() else { continue };
        let fd = early(ebpf, name).fd().unwrap().try_clone().unwrap();
        parts.set(part as u32, &fd, 0).unwrap();
    }
    parts
}
