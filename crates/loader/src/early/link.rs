//! The XDP program on one interface: a pinned link.

use std::path::Path;

use aya::programs::{
    Xdp, XdpMode as Mode,
    links::{FdLink, PinnedLink},
    xdp::XdpLink,
};

use crate::{
    AttachError, PinError, XdpMode,
    links::{self, XdpAttached},
    pins::{not_pinned, remove_link},
};

/// Attaches `program` in that mode, or puts it behind the link that an earlier run left there, where what is attached is ours.
///
/// # Errors
///
/// The kernel's refusal, or a pin that is not ours to use.
pub(super) fn attach(
    program: &mut Xdp,
    (name, index): (&str, u32),
    pin: &Path,
    is_ours: bool,
    mode: XdpMode,
) -> Result<(), AttachError> {
    let failed = |source| AttachError::Early { interface: name.to_owned(), source: Box::new(source) };
    let foreign = |what| AttachError::Pin(PinError::Foreign { path: pin.to_owned(), what });
    if is_ours && is_in_mode(index, mode) {
        let link = PinnedLink::from_pin(pin).map_err(|_| foreign("not a link"))?;
        let link = XdpLink::try_from(FdLink::from(link)).map_err(|_| foreign("not an XDP link"))?;
        program.attach_to_link(link).map_err(failed)?;
        return Ok(());
    }
    // Of an interface that is gone, or in the other mode.
    remove_link(pin)?;
    let id = program.attach_to_if_index(index, as_aya(mode)).map_err(failed)?;
    let link = program.take_link(id).map_err(failed)?;
    // Kernels before 5.9 have no such links, and no hand-off either.
    let link = FdLink::try_from(link).map_err(|_| foreign("not a link"))?;
    link.pin(pin).map(|_| ()).map_err(|error| not_pinned(pin.to_owned(), error).into())
}

fn is_in_mode(index: u32, mode: XdpMode) -> bool {
    let attached = links::link(index).map(|link| link.xdp);
    attached == Some(if mode == XdpMode::Skb { XdpAttached::Generic } else { XdpAttached::Native })
}

const fn as_aya(mode: XdpMode) -> Mode {
    match mode {
        XdpMode::Skb => Mode::Skb,
        XdpMode::Auto | XdpMode::Native | XdpMode::Hw => Mode::Driver,
    }
}
