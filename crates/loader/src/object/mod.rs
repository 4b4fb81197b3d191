//! The object that build.rs embeds, made ready for the kernel it meets.

mod patch;

use std::collections::BTreeMap;

use aya_obj::{
    Object,
    btf::{Btf, BtfKind},
};
use patch::Call;
use zerocopy::IntoBytes;

use crate::{RoutingError, StartError, realtime};

static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/rauta.o"));

/// The program that routes, and counts what it does not route.
pub(crate) const TC_PROGRAM: &str = "rauta_tc_ingress";

/// The program that only counts, for kernels that cannot route.
pub(crate) const COUNT_PROGRAM: &str = "rauta_tc_count";

/// The program that sends a frame of ours: see `crate::sender`.
pub(crate) const SEND_PROGRAM: &str = "rauta_tc_send";

/// The kernel function that gives a connection answered in the kernel to a listening socket (Linux 6.9, commit
/// e472f88891ab "bpf: tcp: Support arbitrary SYN Cookie").
const HAND_OFF: &str = "bpf_sk_assign_tcp_reqsk";

/// What the programs call in place of each kernel function; the same numbers stand in crates/ebpf.
const PLACEHOLDERS: [(u32, &str); 1] = [(0x7ffe_0001, HAND_OFF)];

/// Whether this binary carries the kernel programs.
pub const fn is_built() -> bool {
    !OBJECT.is_empty()
}

/// The ELF object, for tools that disassemble it and tests that run it; `None` when built without. Calls of kernel
/// functions are still placeholders in it: [`patched`] resolves them.
pub fn object() -> Option<&'static [u8]> {
    is_built().then_some(OBJECT)
}

/// The ELF object with every placeholder call resolved against this kernel's type information, as aya may load it; `None`
/// when built without.
pub fn patched() -> Option<Vec<u8>> {
    patched_of(object()?)
}

/// The same of another object of our programs; `None` if it is none.
pub fn patched_of(object: &[u8]) -> Option<Vec<u8>> {
    let prepared = Prepared::of(object, &KernelFunctions::of_this_kernel().calls()).ok()?;
    Some(prepared.bytes().to_vec())
}

/// The kernel functions that programs call, by name, with their BTF ids.
pub(crate) struct KernelFunctions {
    ids: BTreeMap<&'static str, Option<u32>>,
    /// Whether the kernel has type information at all.
    has_btf: bool,
}

impl KernelFunctions {
    /// Asks the running kernel.
    pub(crate) fn of_this_kernel() -> Self {
        let btf = Btf::from_sys_fs().ok();
        let id = |name: &str| btf.as_ref().and_then(|btf| btf.id_by_type_name_kind(name, BtfKind::Func).ok());
        let ids = PLACEHOLDERS.iter().map(|(_, name)| (*name, id(name))).collect();
        Self { ids, has_btf: btf.is_some() }
    }

    /// As if the kernel had none of them.
    pub(crate) fn unknown(mut self) -> Self {
        self.ids.values_mut().for_each(|id| *id = None);
        self
    }

    /// What placeholder calls become.
    fn calls(&self) -> [(u32, Call); PLACEHOLDERS.len()] {
        PLACEHOLDERS.map(|(number, name)| {
            (number, self.ids.get(name).copied().flatten().map_or(Call::ABSENT, Call::Function))
        })
    }

    /// Whether routing can work: everything that it calls is there.
    pub(crate) fn routing(&self) -> Result<(), RoutingError> {
        if !self.has_btf {
            return Err(RoutingError::NoTypeInformation);
        }
        if realtime::is_realtime() {
            return Err(RoutingError::Realtime);
        }
        match self.ids.iter().find(|(_, id)| id.is_none()) {
            Some((name, _)) => Err(RoutingError::NoKernelFunction { name }),
            None => Ok(()),
        }
    }
}

/// A map of the object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) name: String,
    /// `enum bpf_map_type`.
    pub(crate) kind: u32,
    pub(crate) key: u32,
    pub(crate) value: u32,
    pub(crate) entries: u32,
}

/// The object as it is given to aya.
pub(crate) struct Prepared {
    /// In words, since the ELF reader wants its headers aligned.
    words: Vec<u64>,
    length: usize,
    /// Its maps, by name, without those the compiler made.
    pub(crate) shapes: Vec<Shape>,
    programs: Vec<String>,
}

impl Prepared {
    /// Copies the embedded object and resolves its placeholder calls.
    ///
    /// # Errors
    ///
    /// [`StartError::NotBuilt`]; [`StartError::Object`] for an object that cannot be read, which is a broken build.
    pub(crate) fn new(functions: &KernelFunctions) -> Result<Self, StartError> {
        Self::of(object().ok_or(StartError::NotBuilt)?, &functions.calls())
    }

    /// The same for a dry run: in a test run the kernel gives no connection to a socket (`bpf_sk_assign_tcp_reqsk` answers
    /// that it is not at ingress), so the call is left out and answers that it did.
    ///
    /// # Errors
    ///
    /// As [`Prepared::new`].
    pub(crate) fn for_dry_run() -> Result<Self, StartError> {
        let calls = PLACEHOLDERS.map(|(number, _)| (number, Call::Answer(0)));
        Self::of(object().ok_or(StartError::NotBuilt)?, &calls)
    }

    fn of(object: &[u8], calls: &[(u32, Call)]) -> Result<Self, StartError> {
        let mut words = vec![0u64; object.len().div_ceil(size_of::<u64>())];
        if let Some(to) = words.as_mut_bytes().get_mut(..object.len()) {
            to.copy_from_slice(object);
        }
        let bytes = words.as_mut_bytes().get_mut(..object.len()).unwrap_or_default();
        patch::calls(bytes, calls).map_err(StartError::Object)?;

        let parsed = Object::parse(bytes).map_err(|error| StartError::Parse(Box::new(error)))?;
        let mut shapes: Vec<Shape> = parsed
            .maps
            .iter()
            .filter(|(name, _)| !name.starts_with('.'))
            .map(|(name, map)| Shape {
                name: name.clone(),
                kind: map.map_type(),
                key: map.key_size(),
                value: map.value_size(),
                entries: map.max_entries(),
            })
            .collect();
        shapes.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        let programs = parsed.programs.into_keys().collect();
        Ok(Self { words, length: object.len(), shapes, programs })
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        self.words.as_bytes().get(..self.length).unwrap_or_default()
    }

    pub(crate) fn has_program(&self, name: &str) -> bool {
        self.programs.iter().any(|program| program == name)
    }
}
