use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

/// `BPF_ENABLE_STATS` (include/uapi/linux/bpf.h, Linux 5.8).
const ENABLE_STATS: libc::c_int = 32;

/// The kernel measures how long BPF programs run while this lives, on the whole machine. It costs each run of a program two
/// looks at a clock. Unlike `kernel.bpf_stats_enabled`, which stays as it is, nothing is left behind by a killed process.
#[derive(Debug)]
pub struct RunTimes(#[expect(dead_code, reason = "held open: closing it ends the measuring")] OwnedFd);

impl RunTimes {
    /// Begins to measure.
    ///
    /// # Errors
    /// Not root, or a kernel before Linux 5.8.
    pub fn measure() -> io::Result<Self> {
        #[repr(C)]
        struct EnableStats {
            /// `BPF_STATS_RUN_TIME`.
            kind: u32,
        }
        let attributes = EnableStats { kind: 0 };
        // SAFETY: no field is a pointer, and the size is that of the structure.
        let result = unsafe {
            libc::syscall(libc::SYS_bpf, ENABLE_STATS, &raw const attributes, size_of::<EnableStats>())
        };
        match RawFd::try_from(result) {
            // SAFETY: the kernel just made this descriptor for us alone.
            Ok(fd) if fd >= 0 => Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) })),
            _ => Err(io::Error::last_os_error()),
        }
    }
}
