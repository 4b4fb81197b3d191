//! The XDP program: on which interfaces, in which mode, and where it may send to.

mod card;
mod link;
mod rule;
mod watch;

use std::{
    collections::{BTreeMap, BTreeSet},
    error::Error,
};

use aya::{
    Ebpf,
    maps::{MapData, ProgramArray},
    programs::Xdp,
};
use dataplane::engine::Part;
use tracing::{debug, info, warn};
use wire::Device;
use zerocopy::IntoBytes;

use crate::{
    Attachment, Hook, MapError, Mechanism, Options, StartError, XdpMode,
    bpf::tcx_ingress_programs,
    datapath::load_error,
    error::chain,
    ethtool,
    interfaces::{Interface, list},
    links,
    maps::{Maps, Write, XDP_DEVICES},
    object::TC_PROGRAM,
    pins::{PinFolder, pin_program, remove_link, remove_pin},
};

pub(crate) use card::Card;
pub(crate) use rule::{Choice, choose};
use watch::Watch;

/// The entry point.
pub(crate) const XDP_PROGRAM: &str = "rauta_ingress";

/// The programs of the engine's parts, by number.
pub(crate) const XDP_PARTS: &str = "XDP_PARTS";

/// Its frames reach a peer by `XDP_TX` only where that runs a program, too.
const VETH: &str = "veth";

/// Why XDP needs tcx.
pub(crate) const WITHOUT_TCX: &str = "without tcx there is no telling who is first behind XDP";

/// What the XDP programs are told, and whether they are loaded at all.
#[derive(Default)]
pub(crate) struct Early {
    /// Verifying them takes half a second: not before they are wanted.
    parts: Option<ProgramArray<MapData>>,
    /// Why they are not there: the same for every interface, and not tried again.
    refused: Option<String>,
    /// What the map has.
    devices: BTreeMap<u32, Device>,
    /// By interface.
    watches: BTreeMap<u32, Watch>,
}

impl Early {
    /// Attaches to the interface where that is the choice, else takes away what an earlier run left. What does not work is said,
    /// and left to TC, which has the interface already.
    pub(crate) fn attach(
        &mut self,
        ebpf: &mut Ebpf,
        attachment: &mut Attachment,
        pins: &PinFolder,
        options: &Options,
    ) {
        let (name, index) = (attachment.interface.as_str(), attachment.index);
        let pin = pins.early_link(name);
        if attachment.mechanism != Mechanism::Tcx {
            if options.hook == Hook::Xdp {
                warn!(interface = name, "TC instead of XDP: {WITHOUT_TCX}");
            }
            remove(&pin);
            return;
        }
        let card = Card::of(name, index, &pin, options.hook, links::below_vlans);
        let mode = match choose(options.hook, options.xdp_mode, &card) {
            Choice::Native => XdpMode::Native,
            Choice::Generic => XdpMode::Skb,
            Choice::Tc(why) => {
                match options.hook {
                    Hook::Xdp => warn!(interface = name, "TC instead of XDP: {why}"),
                    _ => debug!(interface = name, "TC: {why}"),
                }
                remove(&pin);
                return;
            }
        };
        let attached = self.load(ebpf, pins).and_then(|program| {
            link::attach(program, (name, index), &pin, card.is_ours(), mode).map_err(Box::<dyn Error>::from)
        });
        match attached {
            Ok(()) => {
                info!(interface = name, %mode, "{XDP_PROGRAM} attached");
                attachment.xdp = Some(mode);
            }
            Err(error) => {
                warn!(interface = name, error = &*error, "TC instead of XDP");
                remove(&pin);
            }
        }
    }

    /// Tells the programs of the interfaces as they are now. Nothing to do without any.
    pub(crate) fn follow(&mut self, maps: &mut Maps, attachments: &[Attachment]) -> Result<(), MapError> {
        let at = attachments.iter().filter(|at| at.xdp.is_some()).map(|at| at.index);
        // Notes at more than that are carried out, but not counted.
        let at: BTreeSet<u32> = at.take(wire::DEVICES_MAX).collect();
        let wanted = if at.is_empty() { BTreeMap::new() } else { devices(attachments) };
        maps.count_notes_at(&at)?;
        let gone = self.devices.keys().filter(|index| !wanted.contains_key(index)).map(|index| (index, None));
        let new = wanted.iter().filter(|(index, device)| self.devices.get(index) != Some(device));
        let writes = gone.chain(new.map(|(index, device)| (index, Some(device)))).map(|(index, device)| {
            Write { map: XDP_DEVICES, key: index.as_bytes(), value: device.map(IntoBytes::as_bytes) }
        });
        maps.apply(writes)?;
        self.devices = wanted;
        Ok(())
    }

    /// What XDP leaves to TC must come to our program there. Where another has come before it, which may keep packets for itself,
    /// TC does all the work.
    pub(crate) fn leave_behind_others(
        &self,
        attachments: &mut [Attachment],
        pins: &PinFolder,
        program: Option<u32>,
    ) {
        let Some(program) = program else { return };
        for at in attachments.iter_mut().filter(|at| at.xdp.is_some()) {
            let Ok(all) = tcx_ingress_programs(at.index) else { continue };
            match all.first() {
                Some(first) if *first == program => {}
                Some(_) => leave(at, pins, &format!("another program is before {TC_PROGRAM}")),
                None => leave(at, pins, &format!("{TC_PROGRAM} is not there any more")),
            }
        }
    }

    /// What has come in the way since the program was attached: VLANs, a master, somebody who wants to see every frame. What the kernel
    /// does not say now is looked at the next time.
    pub(crate) fn leave_obstacles(&self, attachments: &mut [Attachment], pins: &PinFolder) {
        if attachments.iter().all(|at| at.xdp.is_none()) {
            return;
        }
        let below = links::below_vlans();
        for at in attachments {
            let Some(mode) = at.xdp else { continue };
            let pin = pins.early_link(&at.interface);
            let card = Card::of(&at.interface, at.index, &pin, Hook::Xdp, || below.clone());
            if card.is_known()
                && let Choice::Tc(why) = choose(Hook::Xdp, mode, &card)
            {
                leave(at, pins, &why.to_string());
            }
        }
    }

    /// Where notes do not arrive, what has one is lost: TC does all the work.
    pub(crate) fn leave_where_notes_are_lost(
        &mut self,
        maps: &Maps,
        attachments: &mut [Attachment],
        pins: &PinFolder,
    ) -> Result<(), MapError> {
        self.watches.retain(|index, _| attachments.iter().any(|at| at.index == *index && at.xdp.is_some()));
        for at in attachments.iter_mut().filter(|at| at.xdp.is_some()) {
            let now = maps.notes(at.index)?;
            let watch = self.watches.entry(at.index).or_insert_with(|| Watch::begin(now));
            if let Some(fault) = watch.look(now) {
                leave(at, pins, &fault.to_string());
            }
        }
        Ok(())
    }

    /// Takes up what an earlier run left in the map, so that it is corrected.
    pub(crate) fn resume(&mut self, maps: &Maps) -> Result<(), MapError> {
        let index = |key: &[u8]| Some(u32::from_ne_bytes(key.try_into().ok()?));
        let entries = maps.dump(XDP_DEVICES)?;
        self.devices = entries
            .iter()
            .filter_map(|(key, _)| Some((index(key)?, Device { flags: u16::MAX, ..Device::default() })))
            .collect();
        Ok(())
    }

    /// Goes on with the programs of another load, which has these parts; none: they are not loaded there.
    pub(crate) fn go_on_with(
        &mut self,
        ebpf: &mut Ebpf,
        parts: Option<ProgramArray<MapData>>,
        pins: &PinFolder,
    ) -> Result<(), StartError> {
        self.parts = parts;
        if self.parts.is_none() {
            // What is pinned is of a load before, and keeps its maps.
            return Ok(remove_pin(&pins.object(XDP_PROGRAM))?);
        }
        let program = find(ebpf, XDP_PROGRAM)?;
        pin_program(pins, XDP_PROGRAM, |path| program.pin(path))
    }

    /// Loads the programs once.
    fn load<'e>(&mut self, ebpf: &'e mut Ebpf, pins: &PinFolder) -> Result<&'e mut Xdp, Box<dyn Error>> {
        if let Some(refused) = &self.refused {
            return Err(refused.clone().into());
        }
        if self.parts.is_none() {
            match load_all(ebpf, pins) {
                Ok(parts) => self.parts = Some(parts),
                Err(error) => {
                    self.refused = Some(chain(&error));
                    return Err(error.into());
                }
            }
        }
        Ok(find(ebpf, XDP_PROGRAM)?)
    }
}

fn load_all(ebpf: &mut Ebpf, pins: &PinFolder) -> Result<ProgramArray<MapData>, StartError> {
    let parts = load_beside(ebpf, || Ok(()))?;
    let program = find(ebpf, XDP_PROGRAM)?;
    pin_program(pins, XDP_PROGRAM, |path| program.pin(path))?;
    Ok(parts)
}

/// Loads the programs for [`exchange`]. `go_on` is asked before each.
pub(crate) fn load_beside(
    ebpf: &mut Ebpf,
    go_on: impl Fn() -> Result<(), StartError>,
) -> Result<ProgramArray<MapData>, StartError> {
    let parts = load_parts(ebpf, go_on)?;
    find(ebpf, XDP_PROGRAM)?.load().map_err(|error| load_error(error.into()))?;
    Ok(parts)
}

/// Gives an interface that has the programs those of another load, in one step.
pub(crate) fn exchange(ebpf: &mut Ebpf, at: &Attachment, pins: &PinFolder) -> Result<(), StartError> {
    let Some(mode) = at.xdp else { return Ok(()) };
    let program = find(ebpf, XDP_PROGRAM)?;
    Ok(link::attach(program, (&at.interface, at.index), &pins.early_link(&at.interface), true, mode)?)
}

fn load_parts(
    ebpf: &mut Ebpf,
    go_on: impl Fn() -> Result<(), StartError>,
) -> Result<ProgramArray<MapData>, StartError> {
    let access = |source| MapError::Access { map: XDP_PARTS, source };
    let map = ebpf.take_map(XDP_PARTS).ok_or(StartError::Incomplete { name: XDP_PARTS })?;
    let mut parts: ProgramArray<MapData> = map.try_into().map_err(access)?;
    for part in Part::ALL {
        let Some(name) = part.early_program() else { continue };
        go_on()?;
        let program = find(ebpf, name)?;
        program.load().map_err(|error| load_error(error.into()))?;
        let fd = program.fd().map_err(|error| load_error(error.into()))?;
        parts.set(part as u32, fd, 0).map_err(access)?;
    }
    Ok(parts)
}

fn find<'e>(ebpf: &'e mut Ebpf, name: &'static str) -> Result<&'e mut Xdp, StartError> {
    ebpf.program_mut(name).and_then(|program| program.try_into().ok()).ok_or(StartError::Incomplete { name })
}

/// Takes the program from an interface that has it: TC does all the work there.
fn leave(at: &mut Attachment, pins: &PinFolder, why: &str) {
    warn!(interface = at.interface, "TC instead of XDP, until the next start: {why}");
    remove(&pins.early_link(&at.interface));
    at.xdp = None;
}

fn remove(pin: &std::path::Path) {
    if let Err(error) = remove_link(pin) {
        warn!(error = &error as &dyn Error, "an XDP program stays attached");
    }
}

/// Every interface that frames may leave by, and each that has the program. Not the cards of a bond: it sends by them.
fn devices(attachments: &[Attachment]) -> BTreeMap<u32, Device> {
    let features = links::xdp_features();
    let of = |interface: &Interface| {
        let takes = features.get(&interface.index).is_some_and(|has| has & links::TAKES_FRAMES != 0);
        let at = attachments.iter().find(|at| at.index == interface.index);
        let mode = at.and_then(|at| at.xdp);
        let reflects = mode == Some(XdpMode::Skb)
            || mode.is_some() && ethtool::driver(&interface.name).is_some_and(|driver| driver != VETH);
        let flag = |is_so, flag| if is_so { flag } else { 0 };
        let flags = flag(takes, Device::TRANSMITS) | flag(reflects, Device::REFLECTS);
        (flags != 0 || mode.is_some()).then_some(flags)
    };
    let all = list().unwrap_or_default();
    let all = all.iter().filter(|interface| interface.up && !interface.loopback && !interface.bonded);
    let known = all.filter_map(|interface| {
        Some((interface.index, Device { address: interface.address?, flags: of(interface)? }))
    });
    known.take(wire::DEVICES_MAX).collect()
}
