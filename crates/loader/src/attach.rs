//! One program on one interface: tcx with a pinned link, clsact where the kernel has no tcx.

use std::{io, mem, path::Path};

use aya::{
    programs::{
        LinkOrder, ProgramError, SchedClassifier, TcAttachType,
        links::{FdLink, PinnedLink},
        tc::{self, NlOptions, SchedClassifierLink, TcAttachOptions, TcError, TcHandle},
    },
    sys::SyscallError,
};

use crate::{
    AttachError, Attachment, Mechanism, PinError,
    bpf::{pinned_link_interface, tcx_ingress_links},
    interfaces::Interface,
    object::TC_PROGRAM,
    pins::{PinFolder, not_pinned, remove_link, remove_pin},
};

/// Place among the filters of clsact: before everybody who did not ask for it too.
const CLSACT_PRIORITY: u16 = 1;

/// Our filter at that priority, so that a restart replaces it in place.
const CLSACT_HANDLE: TcHandle = TcHandle::new(0, 0x52);

/// A new attachment or one that was adopted; only the former is taken back when a start fails half-way.
pub(crate) struct Attached {
    pub(crate) attachment: Attachment,
    pub(crate) is_new: bool,
}

/// Attaches `program` to `interface`, or updates the link that an earlier run left there.
///
/// # Errors
///
/// The kernel's refusal, or a pin that is not ours to use.
pub(crate) fn attach(
    program: &mut SchedClassifier,
    interface: &Interface,
    pins: &PinFolder,
    tcx: bool,
) -> Result<Attached, AttachError> {
    let pin = pins.link(&interface.name);
    if tcx && adopt(program, interface, &pin)? {
        return Ok(attached(interface, Mechanism::Tcx, pin, false));
    }
    if tcx && attach_tcx(program, interface, &pin)? {
        // A run that had to use clsact may have left its filter, which would count everything twice.
        let _ = detach_clsact(&interface.name);
        return Ok(attached(interface, Mechanism::Tcx, pin, true));
    }
    let is_new = attach_clsact(program, interface)?;
    remove_link(&pin)?;
    Ok(attached(interface, Mechanism::Clsact, pin, is_new))
}

/// Whether the interface of `attachment` is no longer the one that it was attached to.
pub(crate) fn is_gone(attachment: &Attachment, interfaces: &[Interface]) -> bool {
    if !interfaces.iter().any(|interface| interface.index == attachment.index) {
        return true;
    }
    // An index is free to be used again; the link knows.
    attachment.pin.as_deref().is_some_and(|pin| matches!(pinned_link_interface(pin), Ok(Some(0))))
}

/// Takes one attachment away.
pub(crate) fn detach(attachment: &Attachment) -> Result<(), DetachOne> {
    match &attachment.pin {
        Some(pin) => remove_link(pin).map_err(DetachOne::Pin),
        None => detach_clsact(&attachment.interface).map(|_| ()).map_err(DetachOne::Filter),
    }
}

/// Why [`detach`] failed.
pub(crate) enum DetachOne {
    Pin(PinError),
    Filter(TcError),
}

/// Removes our filter from `interface`. Whether there was one. The clsact qdisc stays: others may use it, and empty it
/// costs nothing.
pub(crate) fn detach_clsact(interface: &str) -> Result<bool, TcError> {
    match tc::qdisc_detach_program(interface, TcAttachType::Ingress, TC_PROGRAM) {
        Ok(()) => Ok(true),
        Err(TcError::IoError(error)) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

fn attached(interface: &Interface, mechanism: Mechanism, pin: std::path::PathBuf, is_new: bool) -> Attached {
    let pin = (mechanism == Mechanism::Tcx).then_some(pin);
    let attachment =
        Attachment { interface: interface.name.clone(), index: interface.index, mechanism, pin, xdp: None };
    Attached { attachment, is_new }
}

/// Puts `program` behind the link pinned at `pin`, in one step. Whether there was such a link on this interface.
fn adopt(program: &mut SchedClassifier, interface: &Interface, pin: &Path) -> Result<bool, AttachError> {
    if !pin.exists() {
        return Ok(false);
    }
    let foreign = |what| AttachError::Pin(PinError::Foreign { path: pin.to_owned(), what });
    match pinned_link_interface(pin) {
        Ok(Some(0)) => {
            // Its interface is gone; one of the same name came in its place.
            remove_pin(pin)?;
            return Ok(false);
        }
        Ok(Some(index)) if index == interface.index => {}
        Ok(Some(_)) => return Err(AttachError::Elsewhere { pin: pin.to_owned() }),
        Ok(None) => return Err(foreign("not a tcx link")),
        Err(_) => return Err(foreign("not a link")),
    }
    let link = FdLink::from(PinnedLink::from_pin(pin).map_err(|_| foreign("not a link"))?);
    let id = link.info().map_err(|_| foreign("not a link"))?.id();
    // The same index exists in every network namespace: the link must be among those of this one.
    if !tcx_ingress_links(interface.index).is_ok_and(|here| here.contains(&id)) {
        return Err(AttachError::Elsewhere { pin: pin.to_owned() });
    }
    let link = SchedClassifierLink::try_from(link).map_err(|_| foreign("not a tcx link"))?;
    program.attach_to_link(link).map_err(failed(interface))?;
    Ok(true)
}

/// Attaches by tcx and pins the link. Whether the kernel has tcx.
fn attach_tcx(program: &mut SchedClassifier, interface: &Interface, pin: &Path) -> Result<bool, AttachError> {
    let first = TcAttachOptions::TcxOrder(LinkOrder::first());
    let id = match program.attach_with_options(&interface.name, TcAttachType::Ingress, first) {
        Ok(id) => id,
        Err(error) if is_unknown_to_kernel(&error) => return Ok(false),
        Err(error) => return Err(failed(interface)(error)),
    };
    let link = program.take_link(id).map_err(failed(interface))?;
    let link = FdLink::try_from(link)
        .map_err(|_| PinError::Folder { path: pin.to_owned(), source: io::ErrorKind::Unsupported.into() })?;
    // The pin keeps it attached from here on; the descriptor is closed.
    link.pin(pin).map_err(|error| not_pinned(pin.to_owned(), error))?;
    Ok(true)
}

/// Attaches by clsact, replacing our own filter in place. Whether it is new.
fn attach_clsact(program: &mut SchedClassifier, interface: &Interface) -> Result<bool, AttachError> {
    match tc::qdisc_add_clsact(&interface.name) {
        Err(TcError::NetlinkError(error)) if error.raw_os_error() == Some(libc::EEXIST) => {}
        Err(error) => return Err(failed(interface)(error.into())),
        Ok(()) => {}
    }
    let ours = SchedClassifierLink::attached(
        &interface.name,
        TcAttachType::Ingress,
        CLSACT_PRIORITY,
        CLSACT_HANDLE,
        None,
    )
    .map_err(|error| failed(interface)(TcError::IoError(error).into()))?;
    let (id, is_new) = match program.attach_to_link(ours) {
        Ok(id) => (id, false),
        Err(ProgramError::TcError(TcError::NetlinkError(error)))
            if error.raw_os_error() == Some(libc::ENOENT) =>
        {
            let options = NlOptions { priority: CLSACT_PRIORITY, handle: CLSACT_HANDLE, classid: None };
            let options = TcAttachOptions::Netlink(options);
            let id = program
                .attach_with_options(&interface.name, TcAttachType::Ingress, options)
                .map_err(failed(interface))?;
            (id, true)
        }
        Err(error) => return Err(failed(interface)(error)),
    };
    // Dropping the handle would remove the filter; it is removed by name when the time comes.
    mem::forget(program.take_link(id).map_err(failed(interface))?);
    Ok(is_new)
}

/// The answers of kernels before 6.6 to a link of this type.
fn is_unknown_to_kernel(error: &ProgramError) -> bool {
    let ProgramError::SyscallError(SyscallError { io_error, .. }) = error else { return false };
    matches!(io_error.raw_os_error(), Some(libc::EINVAL | libc::E2BIG | libc::EOPNOTSUPP))
}

fn failed(interface: &Interface) -> impl Fn(ProgramError) -> AttachError {
    let interface = interface.name.clone();
    move |source| AttachError::Program { interface: interface.clone(), source: Box::new(source) }
}
