//! Tables of routes in larger maps, while programs run on the smaller ones.
//!
//! The programs are loaded a second time, with larger maps in place of some and with the rest of the running ones' maps, connections among
//! them. What the smaller maps hold is copied while nobody writes to them; then one device after the other gets the new programs, each in
//! one step. Between any two steps both maps hold the same, so that it does not matter which a packet's program reads, nor which of
//! them an agent finds that starts after one that died in between.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io,
    os::fd::AsFd,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use aya::{
    Ebpf, EbpfLoader,
    maps::{Map, MapData, ProgramArray},
};
use tracing::warn;

use crate::{
    Attachment, Datapath, MapError, PinError, StartError, attach,
    bpf::{pin, pinned_link_interface, pinned_xdp_link},
    datapath::{PARTS, find, load_error, load_parts},
    early::{self, XDP_PARTS},
    interfaces::{self, Interface},
    maps::{self, RawMap},
    object::{KernelFunctions, Prepared, SEND_PROGRAM, Shape, TC_PROGRAM},
    pins::{PinFolder, pin_program, remove_link, remove_pin},
    waiting::wait_for_programs,
};

/// What is to be larger, and where the rest is. Made in no time; [`Grown::load`] takes seconds.
#[derive(Debug, Clone)]
pub struct GrowthPlan {
    /// The maps that are to be new, as they shall be: larger ones, and the programs' parts, which are those of one load.
    fresh: Vec<Shape>,
    /// The names and pins of the others.
    shared: Vec<(String, PathBuf)>,
    /// Whether XDP programs are in use.
    has_early: bool,
    is_abandoned: Arc<AtomicBool>,
}

impl GrowthPlan {
    /// Ends [`Grown::load`] before the next program, when it is set.
    pub fn abandoned(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.is_abandoned)
    }
}

/// Descriptors that are kept free for the way back: what fails may have failed for want of them.
const SPARE: usize = 8;
const NOTHING: &str = "/dev/null";

/// The programs with larger maps, which nobody runs yet and which hold nothing.
pub struct Grown {
    ebpf: Ebpf,
    early_parts: Option<ProgramArray<MapData>>,
    maps: Vec<RawMap>,
}

impl Grown {
    /// Makes the maps and loads the programs. The pins must stay while it does.
    ///
    /// # Errors
    ///
    /// What the kernel does not accept, or has no memory for; [`StartError::Abandoned`].
    pub fn load(plan: &GrowthPlan) -> Result<Self, StartError> {
        let go_on = || match plan.is_abandoned.load(Relaxed) {
            true => Err(StartError::Abandoned),
            false => Ok(()),
        };
        let prepared = Prepared::new(&KernelFunctions::of_this_kernel())?;
        let mut loader = EbpfLoader::new();
        for (name, pin) in &plan.shared {
            // The loader would make and pin what it does not find.
            if !pin.exists() {
                return Err(MapError::Unknown { map: name.clone() }.into());
            }
            loader.map_pin_path(name, pin);
        }
        for shape in &plan.fresh {
            loader.map_max_entries(&shape.name, shape.entries);
        }
        let mut ebpf = loader.load(prepared.bytes()).map_err(load_error)?;
        // Their handles keep the parts, too.
        let maps: Result<Vec<_>, MapError> = plan.fresh.iter().map(|shape| open(&ebpf, shape)).collect();
        let maps = maps?;
        go_on()?;
        find(&mut ebpf, TC_PROGRAM)?.load().map_err(|error| load_error(error.into()))?;
        load_parts(&mut ebpf, go_on)?;
        find(&mut ebpf, SEND_PROGRAM)?.load().map_err(|error| load_error(error.into()))?;
        go_on()?;
        let early_parts = plan.has_early.then(|| early::load_beside(&mut ebpf, go_on)).transpose()?;
        Ok(Self { ebpf, early_parts, maps })
    }
}

impl Datapath {
    /// What it takes that tables of routes have room for so many entries, by name; those that have stay as they are, as those that are
    /// not named.
    pub fn plan_growth(&self, tables: &BTreeMap<&'static str, u32>) -> GrowthPlan {
        let has_early = self.has_early();
        let (mut fresh, mut shared) = (Vec::new(), Vec::new());
        for map in self.maps.all() {
            let shape = map.shape();
            match maps::entries(&shape.name, tables).filter(|entries| *entries > shape.entries) {
                Some(entries) => fresh.push(Shape { entries, ..shape.clone() }),
                // Parts are of one load. Those of XDP that is not in use would keep the maps of the load that they are of.
                None if [PARTS, XDP_PARTS].contains(&shape.name.as_str()) => fresh.push(shape.clone()),
                None => shared.push((shape.name.clone(), self.pin(&shape.name))),
            }
        }
        GrowthPlan { fresh, shared, has_early, is_abandoned: Arc::default() }
    }

    fn has_early(&self) -> bool {
        self.attachments.iter().any(|at| at.xdp.is_some())
    }

    /// Goes on with larger maps and the programs that were loaded with them, by the latest plan of this very data plane.
    ///
    /// # Errors
    ///
    /// What failed. Everything is as it was then, but for interfaces that could not be given back their programs, which have none:
    /// [`Datapath::follow_interfaces`] attaches anew.
    pub fn grow(&mut self, grown: Grown) -> Result<(), StartError> {
        let Grown { mut ebpf, early_parts, maps } = grown;
        if early_parts.is_none() && self.has_early() {
            // They came meanwhile.
            return Err(StartError::Incomplete { name: early::XDP_PROGRAM });
        }
        for larger in maps.iter().filter(|map| ![PARTS, XDP_PARTS].contains(&map.shape().name.as_str())) {
            self.maps.raw(&larger.shape().name)?.copy_to(larger)?;
            self.heartbeat()?;
        }
        // Beside the others, for whoever starts after an end in between: they keep the parts of programs that run.
        let pinned = maps.iter().try_for_each(|map| pin_beside(map, &self.pins));
        let result = pinned.and_then(|()| self.exchange_programs(&mut ebpf));
        // The parts of programs that run no more go with their pin.
        if let Err(error) = wait_for_programs() {
            warn!(%error, "packets under way in other programs may be dropped, and come again");
        }
        if let Err(error) = result {
            if let Err(error) = self.pins.remove_unfinished() {
                warn!(error = &error as &dyn std::error::Error, "larger maps stay until the next start");
            }
            return Err(error);
        }
        maps.iter().for_each(|map| take_place(map, &self.pins));
        self.ebpf = ebpf;
        self.maps.exchange(maps);
        // The larger maps and their programs are at work: nothing of this makes that undone.
        if let Err(error) = self.pin_programs(early_parts) {
            warn!(error = &error as &dyn std::error::Error, "programs in use are not pinned");
        }
        Ok(())
    }

    fn pin_programs(&mut self, early_parts: Option<ProgramArray<MapData>>) -> Result<(), StartError> {
        let early = self.early.go_on_with(&mut self.ebpf, early_parts, &self.pins);
        let program = find(&mut self.ebpf, TC_PROGRAM)?;
        pin_program(&self.pins, TC_PROGRAM, |path| program.pin(path))?;
        early
    }

    /// Gives every interface the new programs, or back those that they had.
    fn exchange_programs(&mut self, ebpf: &mut Ebpf) -> Result<(), StartError> {
        let all = interfaces::list().map_err(StartError::Interfaces)?;
        let present = self.attachments.iter().filter(|at| !attach::is_gone(at, &all));
        // A link is pinned under the name that its interface had.
        let with_interface = |at: &Attachment| {
            let found = all.iter().find(|interface| interface.index == at.index)?;
            Some((at.clone(), Interface { name: at.interface.clone(), ..found.clone() }))
        };
        let present: Vec<_> = present.filter_map(with_interface).collect();
        let tcx = self.options.tcx;
        // What can be seen to fail does so before the first has other programs.
        present.iter().try_for_each(|(at, _)| self.check_exchange(at, &all))?;
        let spare: io::Result<Vec<_>> = (0..SPARE).map(|_| File::open(NOTHING)).collect();
        let spare = spare.map_err(|source| PinError::Folder { path: NOTHING.into(), source })?;
        for (place, (at, interface)) in present.iter().enumerate() {
            // A link has its program exchanged as a whole or not at all, and so has a filter.
            let has_new_tc = attach::attach(find(ebpf, TC_PROGRAM)?, interface, &self.pins, tcx);
            let (has_new_tc, result) = match has_new_tc {
                Ok(_) => (true, early::exchange(ebpf, at, &self.pins)),
                Err(error) => (false, Err(error.into())),
            };
            let Err(error) = result else { continue };
            drop(spare);
            for (at, interface) in present.iter().take(place) {
                self.give_back(at, interface, true);
            }
            if has_new_tc {
                self.give_back(at, interface, false);
            }
            return Err(error);
        }
        Ok(())
    }

    /// Whether an interface is where its attachment says, and its links can be opened.
    fn check_exchange(&self, at: &Attachment, all: &[Interface]) -> Result<(), StartError> {
        let is_there = match &at.pin {
            Some(pin) => pinned_link_interface(pin).is_ok_and(|found| found == Some(at.index)),
            // A filter is found by the name.
            None => all.iter().any(|one| one.index == at.index && one.name == at.interface),
        };
        let early = self.pins.early_link(&at.interface);
        let has_early = at.xdp.is_none() || pinned_xdp_link(&early).is_ok_and(|found| found.is_some());
        if is_there && has_early {
            return Ok(());
        }
        let path =
            if is_there { early } else { at.pin.clone().unwrap_or_else(|| at.interface.clone().into()) };
        Err(PinError::Foreign { path, what: "not the link or interface of the programs in use" }.into())
    }

    /// Gives an interface the programs that run on the maps in use.
    fn give_back(&mut self, at: &Attachment, interface: &Interface, with_early: bool) {
        let tcx = self.options.tcx;
        let tc = find(&mut self.ebpf, TC_PROGRAM)
            .and_then(|program| Ok(attach::attach(program, interface, &self.pins, tcx)?));
        let early = match with_early {
            true => early::exchange(&mut self.ebpf, at, &self.pins),
            false => Ok(()),
        };
        if tc.is_err() || early.is_err() {
            self.give_up(at);
        }
    }

    /// Takes an interface out whose programs are the new ones: tables that nobody writes to any more would lead astray in time.
    fn give_up(&mut self, at: &Attachment) {
        let early = remove_link(&self.pins.early_link(&at.interface));
        let is_detached = attach::detach(at).is_ok() && early.is_ok();
        warn!(interface = at.interface, is_detached, "programs taken away: they could not be exchanged");
        self.attachments.retain(|other| other.index != at.index);
    }
}

fn pin_beside(map: &RawMap, pins: &PinFolder) -> Result<(), StartError> {
    let path = pins.unfinished(&map.shape().name);
    remove_pin(&path)?;
    pin(map.fd(), &path).map_err(|source| PinError::Folder { path, source }.into())
}

/// Puts what is pinned beside a name in its place, in one step, or else in two.
fn take_place(map: &RawMap, pins: &PinFolder) {
    let name = &map.shape().name;
    let (from, to) = (pins.unfinished(name), pins.object(name));
    let Err(error) = fs::rename(&from, &to) else { return };
    // What nobody writes to any more must not be found.
    let removed = remove_pin(&to).map_err(|error| error.to_string());
    let pinned = removed.and_then(|()| pin(map.fd(), &to).map_err(|error| error.to_string()));
    let _ = remove_pin(&from);
    if let Err(again) = pinned {
        warn!(map = name, %error, again, "not pinned: the agent that starts next begins with an empty one");
    }
}

/// A map of the programs.
fn open(ebpf: &Ebpf, shape: &Shape) -> Result<RawMap, MapError> {
    let unknown = || MapError::Unknown { map: shape.name.clone() };
    let Some(Map::Array(data) | Map::HashMap(data) | Map::LpmTrie(data) | Map::ProgramArray(data)) =
        ebpf.map(&shape.name)
    else {
        return Err(unknown());
    };
    let fd = data.fd().as_fd().try_clone_to_owned();
    Ok(RawMap::of(shape.clone(), fd.map_err(|source| MapError::Kernel { map: shape.name.clone(), source })?))
}
