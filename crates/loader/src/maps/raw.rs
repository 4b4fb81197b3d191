//! Maps by their bytes: bpf(2) on a pinned map, for tables whose records the agent knows only as keys and values, and for
//! values with a lock inside.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    path::Path,
};

use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::{
    MapError,
    bpf::{fdinfo, field, open_pin},
    object::Shape,
};

/// `enum bpf_cmd`, include/uapi/linux/bpf.h.
const BPF_MAP_LOOKUP_ELEM: libc::c_int = 1;
const BPF_MAP_UPDATE_ELEM: libc::c_int = 2;
const BPF_MAP_DELETE_ELEM: libc::c_int = 3;
const BPF_MAP_LOOKUP_AND_DELETE_ELEM: libc::c_int = 21;
const BPF_MAP_LOOKUP_BATCH: libc::c_int = 24;

/// Take the value's lock while copying it.
pub(super) const BPF_F_LOCK: u64 = 4;

/// Only where there is no such key.
pub(super) const BPF_NOEXIST: u64 = 1;

/// `enum bpf_map_type`.
const BPF_MAP_TYPE_ARRAY: u32 = 2;

/// Entries per batch: as many as make few system calls, and more than a bucket of a hash has.
const BATCH: usize = 1024;

/// The part of `union bpf_attr` for one element.
#[repr(C)]
struct Element {
    map: u32,
    pad: u32,
    key: u64,
    value: u64,
    flags: u64,
}

/// The part of `union bpf_attr` for many (Linux 5.6).
#[repr(C)]
struct Batch {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map: u32,
    element_flags: u64,
    flags: u64,
}

/// A map.
pub(crate) struct RawMap {
    shape: Shape,
    fd: OwnedFd,
}

impl RawMap {
    /// Opens the map of that shape pinned at `path`.
    pub(crate) fn open(shape: &Shape, path: &Path) -> Result<Self, MapError> {
        let fd = open_pin(path).map_err(|source| MapError::Kernel { map: shape.name.clone(), source })?;
        Ok(Self { shape: shape.clone(), fd })
    }

    /// The map of that shape behind a descriptor.
    pub(crate) const fn of(shape: Shape, fd: OwnedFd) -> Self {
        Self { shape, fd }
    }

    /// What it looks like.
    pub(crate) const fn shape(&self) -> &Shape {
        &self.shape
    }

    /// How many entries it has room for: one that an earlier run pinned may differ from what was asked for.
    pub(crate) fn capacity(&self) -> u32 {
        let entries = fdinfo(self.fd.as_fd()).ok();
        entries.and_then(|info| field(&info, "max_entries")?.parse().ok()).unwrap_or(self.shape.entries)
    }

    /// The kernel's own figure of the memory that it takes, in bytes; `None` if the kernel does not say.
    ///
    /// From fdinfo (`bpf_map_show_fdinfo`, kernel/bpf/syscall.c), which asks the map itself (`map_mem_usage`) from Linux 6.4 on, and before
    /// that reckons from keys and values.
    pub(crate) fn bytes(&self) -> Option<u64> {
        field(&fdinfo(self.fd.as_fd()).ok()?, "memlock")?.parse().ok()
    }

    /// Its descriptor.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Writes all that is in it into another map of its kind, which is empty and not smaller.
    pub(crate) fn copy_to(&self, other: &Self) -> Result<(), MapError> {
        let mut entries = Vec::new();
        let is_array = self.shape.kind == BPF_MAP_TYPE_ARRAY;
        self.each(0, |key, value| {
            // An array has every key from the beginning, with zero as its value.
            if !is_array || value.iter().any(|byte| *byte != 0) {
                entries.push((key.to_vec(), value.to_vec()));
            }
        })?;
        entries.iter().try_for_each(|(key, value)| other.put(key, value, 0))
    }

    /// Whether `K` and `V` are its key and value.
    pub(crate) fn check<K, V>(&self) -> Result<(), MapError> {
        self.check_lengths(size_of::<K>(), size_of::<V>())
    }

    /// The value of `key`, if there is one.
    pub(crate) fn get<K: IntoBytes + Immutable, V: FromBytes + IntoBytes>(
        &self,
        key: &K,
        flags: u64,
    ) -> Result<Option<V>, MapError> {
        self.copy_out(BPF_MAP_LOOKUP_ELEM, key, flags)
    }

    /// The value of `key`, if there is one, which is removed in the same step (Linux 5.14 for hashes).
    pub(crate) fn take<K: IntoBytes + Immutable, V: FromBytes + IntoBytes>(
        &self,
        key: &K,
        flags: u64,
    ) -> Result<Option<V>, MapError> {
        self.copy_out(BPF_MAP_LOOKUP_AND_DELETE_ELEM, key, flags)
    }

    fn copy_out<K: IntoBytes + Immutable, V: FromBytes + IntoBytes>(
        &self,
        command: libc::c_int,
        key: &K,
        flags: u64,
    ) -> Result<Option<V>, MapError> {
        self.check::<K, V>()?;
        let mut value = V::new_zeroed();
        let bytes = value.as_mut_bytes();
        match self.element(command, key.as_bytes(), bytes.as_mut_ptr() as u64, flags) {
            Ok(()) => Ok(Some(value)),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
            Err(source) => Err(self.failed(source)),
        }
    }

    /// Writes the value of `key`.
    pub(crate) fn put(&self, key: &[u8], value: &[u8], flags: u64) -> Result<(), MapError> {
        self.check_lengths(key.len(), value.len())?;
        self.element(BPF_MAP_UPDATE_ELEM, key, value.as_ptr() as u64, flags)
            .map_err(|source| self.failed(source))
    }

    /// Removes `key`, or zeroes its value in an array, which always has all its keys. Whether it was there.
    pub(crate) fn remove(&self, key: &[u8]) -> Result<bool, MapError> {
        if self.shape.kind == BPF_MAP_TYPE_ARRAY {
            let zeroes = vec![0; usize::try_from(self.shape.value).unwrap_or(0)];
            return self.put(key, &zeroes, 0).map(|()| true);
        }
        self.check_lengths(key.len(), usize::try_from(self.shape.value).unwrap_or(0))?;
        match self.element(BPF_MAP_DELETE_ELEM, key, 0, 0) {
            Ok(()) => Ok(true),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
            Err(source) => Err(self.failed(source)),
        }
    }

    /// Shows every entry to `see`, in batches. Entries that come or go meanwhile may or may not be seen.
    pub(crate) fn each(&self, flags: u64, mut see: impl FnMut(&[u8], &[u8])) -> Result<(), MapError> {
        let size = |bytes: u32| usize::try_from(bytes).unwrap_or(0).max(1);
        let (key, value) = (size(self.shape.key), size(self.shape.value));
        let mut room = BATCH;
        // The position is a bucket's number in hashes, a key in arrays and tries.
        let (mut from, mut to) = (vec![0u8; key.max(4)], vec![0u8; key.max(4)]);
        let mut is_first = true;
        loop {
            let (mut keys, mut values) = (vec![0u8; key * room], vec![0u8; value * room]);
            let mut batch = Batch {
                in_batch: if is_first { 0 } else { from.as_ptr() as u64 },
                out_batch: to.as_mut_ptr() as u64,
                keys: keys.as_mut_ptr() as u64,
                values: values.as_mut_ptr() as u64,
                count: u32::try_from(room).unwrap_or(u32::MAX),
                map: self.descriptor(),
                element_flags: flags,
                flags: 0,
            };
            let result = bpf(BPF_MAP_LOOKUP_BATCH, &mut batch);
            let is_last = match &result {
                Ok(()) => false,
                Err(error) if error.raw_os_error() == Some(libc::ENOENT) => true,
                // A bucket with more entries than there is room for.
                Err(error) if error.raw_os_error() == Some(libc::ENOSPC) && room < 1 << 20 => {
                    room *= 2;
                    continue;
                }
                Err(_) => return result.map_err(|source| self.failed(source)),
            };
            let count = usize::try_from(batch.count).unwrap_or(0).min(room);
            for (key, value) in keys.chunks_exact(key).zip(values.chunks_exact(value)).take(count) {
                see(key, value);
            }
            if is_last {
                return Ok(());
            }
            std::mem::swap(&mut from, &mut to);
            is_first = false;
        }
    }

    fn element(&self, command: libc::c_int, key: &[u8], value: u64, flags: u64) -> io::Result<()> {
        bpf(command, &mut Element { map: self.descriptor(), pad: 0, key: key.as_ptr() as u64, value, flags })
    }

    /// The kernel copies as many bytes as the map says: never fewer than we have.
    fn check_lengths(&self, key: usize, value: usize) -> Result<(), MapError> {
        let same = |found: u32, ours: usize| usize::try_from(found) == Ok(ours);
        if same(self.shape.key, key) && same(self.shape.value, value) {
            return Ok(());
        }
        Err(MapError::Shape { map: self.shape.name.clone() })
    }

    fn descriptor(&self) -> u32 {
        u32::try_from(self.fd.as_raw_fd()).unwrap_or(u32::MAX)
    }

    fn failed(&self, source: io::Error) -> MapError {
        match source.raw_os_error() {
            Some(libc::E2BIG) => {
                MapError::NoRoom { map: self.shape.name.clone(), entries: self.shape.entries }
            }
            _ => MapError::Kernel { map: self.shape.name.clone(), source },
        }
    }
}

fn bpf<T>(command: libc::c_int, attributes: &mut T) -> io::Result<()> {
    // SAFETY: callers pass the structure of the command, whose pointers lead to as many bytes as the map's shape says,
    // compared before; all outlive the call.
    match unsafe { libc::syscall(libc::SYS_bpf, command, &raw mut *attributes, size_of::<T>()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
