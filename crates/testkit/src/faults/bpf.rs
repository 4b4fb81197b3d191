//! The few calls of bpf(2) that the injector and other programs of the lab need (include/uapi/linux/bpf.h).

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use anyhow::{Result, bail};

use super::program::Instruction;

const MAP_CREATE: libc::c_int = 0;
const MAP_LOOKUP_ELEM: libc::c_int = 1;
const PROG_LOAD: libc::c_int = 5;
const OBJ_PIN: libc::c_int = 6;
const LINK_CREATE: libc::c_int = 28;

const MAP_TYPE_ARRAY: u32 = 2;
const PROG_TYPE_SCHED_CLS: u32 = 3;
const TCX_INGRESS: u32 = 46;
const TCX_EGRESS: u32 = 47;
/// `BPF_F_BEFORE`: before all others where no other is named.
const BEFORE: u32 = 1 << 3;

/// One array element of three counters, read and written by programs directly.
#[derive(Debug)]
pub(crate) struct Counters(OwnedFd);

/// A loaded program.
#[derive(Debug)]
pub(crate) struct Program(OwnedFd);

/// A program on a hook; taken off when this is dropped.
#[derive(Debug)]
pub(crate) struct Link(#[expect(dead_code, reason = "held open: closing it detaches the program")] OwnedFd);

impl Counters {
    pub(crate) fn new() -> Result<Self> {
        #[repr(C)]
        struct Create {
            map_type: u32,
            key_size: u32,
            value_size: u32,
            max_entries: u32,
        }
        let size = u32::try_from(size_of::<[u64; 3]>())?;
        let attributes = Create { map_type: MAP_TYPE_ARRAY, key_size: 4, value_size: size, max_entries: 1 };
        // SAFETY: no field is a pointer.
        Ok(Self(unsafe { call_for_fd(MAP_CREATE, &attributes) }?))
    }

    /// The map's descriptor, for the program that counts.
    pub(crate) fn map(&self) -> RawFd {
        self.0.as_raw_fd()
    }

    pub(crate) fn read(&self) -> Result<[u64; 3]> {
        #[repr(C)]
        struct Lookup {
            map: u32,
            pad: u32,
            key: u64,
            value: u64,
            flags: u64,
        }
        let (key, mut values) = (0_u32, [0_u64; 3]);
        let attributes = Lookup {
            map: self.0.as_raw_fd().cast_unsigned(),
            pad: 0,
            key: (&raw const key) as u64,
            value: (&raw mut values) as u64,
            flags: 0,
        };
        // SAFETY: key and value have the map's sizes and outlive the call.
        unsafe { call(MAP_LOOKUP_ELEM, &attributes) }?;
        Ok(values)
    }
}

impl Program {
    pub(crate) fn load(name: &str, instructions: &[Instruction]) -> Result<Self> {
        #[repr(C)]
        struct Load {
            program_type: u32,
            instruction_count: u32,
            instructions: u64,
            license: u64,
            log_level: u32,
            log_size: u32,
            log: u64,
            kernel_version: u32,
            flags: u32,
            name: [u8; 16],
        }
        let mut kernel_name = [0; 16];
        for (to, from) in kernel_name.iter_mut().take(15).zip(name.bytes()) {
            *to = from;
        }
        let mut log = vec![0_u8; 64 * 1024];
        let attributes = Load {
            program_type: PROG_TYPE_SCHED_CLS,
            instruction_count: u32::try_from(instructions.len())?,
            instructions: instructions.as_ptr() as u64,
            license: c"GPL".as_ptr() as u64,
            log_level: 1,
            log_size: u32::try_from(log.len())?,
            log: log.as_mut_ptr() as u64,
            kernel_version: 0,
            flags: 0,
            name: kernel_name,
        };
        // SAFETY: the pointers are to as many bytes as the sizes beside them say, and outlive the call.
        match unsafe { call_for_fd(PROG_LOAD, &attributes) } {
            Ok(fd) => Ok(Self(fd)),
            Err(error) => bail!(
                "the kernel refuses program {name}: {error}; it says:\n{}",
                String::from_utf8_lossy(&log).trim_end_matches('\0')
            ),
        }
    }
}

impl Program {
    /// Gives it a path in a BPF file system, by which other programs find it.
    pub(crate) fn pin(&self, path: &Path) -> Result<()> {
        #[repr(C)]
        struct Pin {
            path: u64,
            program: u32,
            flags: u32,
        }
        let path = CString::new(path.as_os_str().as_bytes())?;
        let attributes =
            Pin { path: path.as_ptr() as u64, program: self.0.as_raw_fd().cast_unsigned(), flags: 0 };
        // SAFETY: the path ends with a zero and outlives the call.
        unsafe { call(OBJ_PIN, &attributes) }?;
        Ok(())
    }
}

impl Link {
    /// Behind the programs that are there.
    pub(crate) fn ingress(program: &Program, interface: u32) -> io::Result<Self> {
        Self::make(program, interface, TCX_INGRESS, 0)
    }

    /// Before the programs that are there.
    pub(crate) fn ingress_first(program: &Program, interface: u32) -> io::Result<Self> {
        Self::make(program, interface, TCX_INGRESS, BEFORE)
    }

    pub(crate) fn egress(program: &Program, interface: u32) -> io::Result<Self> {
        Self::make(program, interface, TCX_EGRESS, 0)
    }

    fn make(program: &Program, interface: u32, hook: u32, flags: u32) -> io::Result<Self> {
        #[repr(C)]
        struct Create {
            program: u32,
            interface: u32,
            hook: u32,
            flags: u32,
        }
        let program = program.0.as_raw_fd().cast_unsigned();
        // SAFETY: no field is a pointer.
        unsafe { call_for_fd(LINK_CREATE, &Create { program, interface, hook, flags }) }.map(Self)
    }
}

/// # Safety
/// `attributes` is what `command` reads, its pointers are valid and its result is a new descriptor.
unsafe fn call_for_fd<T>(command: libc::c_int, attributes: &T) -> io::Result<OwnedFd> {
    // SAFETY: as promised by the caller.
    let fd = unsafe { call(command, attributes) }?;
    // SAFETY: the kernel just made this descriptor for us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// # Safety
/// `attributes` is what `command` reads, and its pointers are valid.
unsafe fn call<T>(command: libc::c_int, attributes: &T) -> io::Result<RawFd> {
    // SAFETY: as promised by the caller; the size is that of the structure.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, attributes, size_of::<T>()) };
    match RawFd::try_from(result) {
        Ok(result) if result >= 0 => Ok(result),
        _ => Err(io::Error::last_os_error()),
    }
}
