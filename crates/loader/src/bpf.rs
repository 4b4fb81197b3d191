//! What aya does not offer for links: which interface a pinned one hangs on, detaching it at once, and listing those of an
//! interface without CAP_SYS_ADMIN (aya opens each program by its number, which takes it).

use std::{
    ffi::CString,
    fs, io,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
};

/// `BPF_OBJ_PIN` and `BPF_OBJ_GET` (include/uapi/linux/bpf.h, enum bpf_cmd).
const BPF_OBJ_PIN: libc::c_int = 6;
const BPF_OBJ_GET: libc::c_int = 7;

/// `BPF_PROG_QUERY`.
const BPF_PROG_QUERY: libc::c_int = 16;

/// `BPF_TCX_INGRESS` (enum bpf_attach_type, Linux 6.6).
const BPF_TCX_INGRESS: u32 = 46;

/// The kernel holds at most this many programs per hook (`BPF_MPROG_MAX`, include/linux/bpf_mprog.h).
const PROGRAMS_MAX: usize = 64;

/// `BPF_LINK_DETACH` (Linux 5.9).
const BPF_LINK_DETACH: libc::c_int = 34;

/// The part of `union bpf_attr` that both read.
#[repr(C)]
struct PinnedObject {
    pathname: u64,
    fd: u32,
    file_flags: u32,
}

/// The part of `union bpf_attr` that `BPF_PROG_QUERY` uses.
#[repr(C)]
struct ProgramQuery {
    interface: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    program_ids: u64,
    count: u32,
    pad: u32,
    program_attach_flags: u64,
    link_ids: u64,
    link_attach_flags: u64,
    revision: u64,
}
const _: () = assert!(size_of::<ProgramQuery>() == 64);

/// The ids of the links on an interface's tcx ingress hook, in this network namespace; 0 for a program without link.
///
/// # Errors
///
/// What bpf(2) answers: EPERM without CAP_NET_ADMIN, EINVAL from a kernel without tcx.
pub(crate) fn tcx_ingress_links(interface: u32) -> io::Result<Vec<u32>> {
    Ok(tcx_ingress(interface)?.into_iter().map(|(_, link)| link).collect())
}

/// The ids of the programs there, in the order in which they run.
///
/// # Errors
///
/// As [`tcx_ingress_links`].
pub(crate) fn tcx_ingress_programs(interface: u32) -> io::Result<Vec<u32>> {
    Ok(tcx_ingress(interface)?.into_iter().map(|(program, _)| program).collect())
}

/// Programs with their links.
fn tcx_ingress(interface: u32) -> io::Result<Vec<(u32, u32)>> {
    let mut programs = [0u32; PROGRAMS_MAX];
    let mut links = [0u32; PROGRAMS_MAX];
    let mut query = ProgramQuery {
        interface,
        attach_type: BPF_TCX_INGRESS,
        query_flags: 0,
        attach_flags: 0,
        program_ids: programs.as_mut_ptr() as u64,
        count: 64,
        pad: 0,
        program_attach_flags: 0,
        link_ids: links.as_mut_ptr() as u64,
        link_attach_flags: 0,
        revision: 0,
    };
    // SAFETY: the arrays hold `count` numbers each and outlive the call, as does the query.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, BPF_PROG_QUERY, &raw mut query, size_of::<ProgramQuery>()) };
    match (result, usize::try_from(query.count)) {
        (0, Ok(count)) => Ok(programs.into_iter().zip(links).take(count).collect()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The interface index of the pinned tcx link at `path`: 0 when its interface is gone, `None` when it is no such link.
///
/// Read from fdinfo (`tcx_link_fdinfo`, kernel/bpf/tcx.c, Linux 6.6), whose text needs no structure of the right size.
///
/// # Errors
///
/// What bpf(2) or /proc answer.
pub(crate) fn pinned_link_interface(path: &Path) -> io::Result<Option<u32>> {
    let fd = open_pin(path)?;
    let info = fdinfo(fd.as_fd())?;
    Ok(field(&info, "link_type")
        .filter(|kind| *kind == "tcx")
        .and_then(|_| field(&info, "ifindex")?.parse().ok()))
}

/// Of the pinned XDP link at `path` the interface's index, 0 when that is gone, and the program's number; `None` when it is no such
/// link (`bpf_xdp_link_show_fdinfo`, net/core/dev.c, Linux 5.9).
///
/// # Errors
///
/// As [`pinned_link_interface`].
pub(crate) fn pinned_xdp_link(path: &Path) -> io::Result<Option<(u32, u32)>> {
    let info = fdinfo(open_pin(path)?.as_fd())?;
    let number = |name| field(&info, name)?.parse().ok();
    let is_xdp = field(&info, "link_type") == Some("xdp");
    Ok(is_xdp.then(|| Some((number("ifindex")?, number("prog_id")?))).flatten())
}

/// Detaches the link pinned at `path` before this returns. Removing the pin alone leaves that to the kernel's worker, a
/// moment later.
///
/// # Errors
///
/// What bpf(2) answers, such as a link whose interface is gone already.
pub(crate) fn detach_pinned_link(path: &Path) -> io::Result<()> {
    let link = open_pin(path)?;
    let attributes = link.as_raw_fd();
    // SAFETY: the call reads one descriptor, which outlives it.
    match unsafe {
        libc::syscall(libc::SYS_bpf, BPF_LINK_DETACH, &raw const attributes, size_of_val(&attributes))
    } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

pub(crate) fn open_pin(path: &Path) -> io::Result<OwnedFd> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let attributes = PinnedObject { pathname: path.as_ptr() as u64, fd: 0, file_flags: 0 };
    // SAFETY: `attributes` and the string it points to outlive the call; the size is that of the structure.
    let fd = unsafe {
        libc::syscall(libc::SYS_bpf, BPF_OBJ_GET, &raw const attributes, size_of::<PinnedObject>())
    };
    match i32::try_from(fd) {
        // SAFETY: the kernel just made this descriptor for us alone.
        Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Pins an open map at `path`, where nothing is yet.
pub(crate) fn pin(fd: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let fd = u32::try_from(fd.as_raw_fd()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let attributes = PinnedObject { pathname: path.as_ptr() as u64, fd, file_flags: 0 };
    // SAFETY: `attributes` and the string it points to outlive the call; the size is that of the structure.
    match unsafe {
        libc::syscall(libc::SYS_bpf, BPF_OBJ_PIN, &raw const attributes, size_of::<PinnedObject>())
    } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// What the kernel tells of an open map, program or link, a line for each field.
pub(crate) fn fdinfo(fd: BorrowedFd<'_>) -> io::Result<String> {
    fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_raw_fd()))
}

pub(crate) fn field<'t>(info: &'t str, name: &str) -> Option<&'t str> {
    info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_fields_by_their_whole_name() {
        let info = "link_type:\ttcx\nlink_id:\t3\nprog_id:\t12\nifindex:\t7\nattach_type:\t46\n";
        assert_eq!(field(info, "ifindex"), Some("7"));
        assert_eq!(field(info, "link"), None);
    }
}
