//! The kernel programs from load to detach.

use std::{
    error::Error,
    io,
    path::{Path, PathBuf},
};

use aya::{
    Ebpf, EbpfLoader,
    maps::{MapData, ProgramArray},
    programs::SchedClassifier,
};
use dataplane::engine::Part;
use tracing::{info, warn};

use crate::{
    AttachError, Attachment, DetachError, Hook, MapError, Mechanism, Options, RoutingError, SendError,
    StartError, XdpMode,
    attach::{self, Attached, DetachOne},
    capabilities::Effective,
    collector,
    early::Early,
    interfaces::{self, Interface},
    maps::{self, Maps},
    object::{self, COUNT_PROGRAM, KernelFunctions, Prepared, SEND_PROGRAM, TC_PROGRAM},
    pins::{self, PinFolder},
    sender,
};

/// The programs of the engine's parts, by number.
pub(crate) const PARTS: &str = "PARTS";

/// The running kernel programs.
///
/// Dropped, it leaves everything attached and counting, as a crash would; the next [`Datapath::start`] takes over.
/// [`Datapath::detach`] removes everything.
pub struct Datapath {
    pub(crate) maps: Maps,
    pub(crate) settings: wire::Settings,
    pub(crate) collector: collector::Memory,
    /// Holds the programs, for interfaces that come later.
    pub(crate) ebpf: Ebpf,
    program: &'static str,
    routing: Result<(), RoutingError>,
    pub(crate) attachments: Vec<Attachment>,
    pub(crate) early: Early,
    pub(crate) pins: PinFolder,
    pub(crate) options: Options,
}

impl Datapath {
    /// Loads the programs, creates or adopts the pinned maps, attaches to the interfaces.
    ///
    /// A start that fails leaves nothing behind that it made itself. On a kernel that cannot route it starts all the same,
    /// counting packets: [`Datapath::kernel_routing`] says why.
    ///
    /// # Errors
    ///
    /// [`StartError`] says what is missing and what to do about it.
    pub fn start(options: &Options) -> Result<Self, StartError> {
        match options.hook {
            Hook::Auto | Hook::Xdp if options.xdp_mode == XdpMode::Hw => return Err(StartError::HardwareXdp),
            Hook::Auto | Hook::Tc | Hook::Xdp => {}
            Hook::Off => return Err(StartError::SwitchedOff),
        }
        if !object::is_built() {
            return Err(StartError::NotBuilt);
        }
        if let Some(missing) = Effective::current().missing_to_attach() {
            return Err(StartError::Privilege { missing });
        }
        let interfaces = interfaces::choose(&options.interfaces)?;
        let functions = KernelFunctions::of_this_kernel();
        let functions = if options.kernel_functions { functions } else { functions.unknown() };
        let mut prepared = Prepared::new(&functions)?;
        maps::size(&mut prepared.shapes, options);
        let pins = PinFolder::open(&options.pin_root)?;
        maps::check_pins(&pins, &mut prepared.shapes)?;

        raise_memory_limit();
        let mut ebpf = load(&prepared, &pins)?;
        let maps = Maps::take(&mut ebpf, &pins, &prepared.shapes)?;
        let routing = functions.routing().and_then(|()| maps.routing());
        let (program, routing) = load_program(&mut ebpf, &prepared, routing)?;
        find(&mut ebpf, SEND_PROGRAM)?.load().map_err(|error| load_error(error.into()))?;
        let settings = match routing {
            Ok(()) => maps.settings()?,
            Err(_) => wire::Settings::default(),
        };

        // Where the operator named interfaces each must work; of all that are up, those that can.
        let strict = !options.interfaces.is_empty();
        let loaded = find(&mut ebpf, program)?;
        let attached = attach_all(loaded, &interfaces, &pins, options.tcx, strict)?;
        let is_new: Vec<bool> = attached.iter().map(|attached| attached.is_new).collect();
        let attachments = attached.into_iter().map(|attached| attached.attachment).collect();
        let mut this = Self {
            maps,
            settings,
            collector: collector::Memory::default(),
            ebpf,
            program,
            routing,
            attachments,
            early: Early::default(),
            pins,
            options: options.clone(),
        };
        match this.finish_start() {
            Ok(()) => Ok(this),
            Err(error) => {
                this.take_back(&is_new);
                Err(error)
            }
        }
    }

    /// What is done with the programs of TC at work.
    fn finish_start(&mut self) -> Result<(), StartError> {
        let loaded = find(&mut self.ebpf, self.program)?;
        pins::pin_program(&self.pins, TC_PROGRAM, |path| loaded.pin(path))?;
        self.start_early()?;
        // Nobody runs what that may be of any more.
        Ok(self.pins.remove_unfinished()?)
    }

    /// Detaches what a start that fails has attached; what it took over stays, but for XDP, which TC can do without.
    fn take_back(&self, is_new: &[bool]) {
        for (attachment, is_new) in self.attachments.iter().zip(is_new) {
            let mut result =
                pins::remove_link(&self.pins.early_link(&attachment.interface)).map_err(DetachError::Pin);
            if *is_new {
                result = result.and(detach_one(attachment));
            }
            if let Err(error) = result {
                warn!(interface = attachment.interface, error = &error as &dyn Error, "stays attached");
            }
        }
    }

    /// Puts the XDP program where it is wanted, once the programs of TC are there. Where the kernel cannot route, nowhere.
    fn start_early(&mut self) -> Result<(), StartError> {
        let options = match self.routing {
            Ok(()) => self.options.clone(),
            Err(_) => Options { hook: Hook::Tc, ..self.options.clone() },
        };
        if self.routing.is_ok() {
            self.early.resume(&self.maps)?;
        }
        for attachment in &mut self.attachments {
            self.early.attach(&mut self.ebpf, attachment, &self.pins, &options);
        }
        self.follow_devices()?;
        Ok(())
    }

    /// Tells the XDP programs, if there are any, which devices take frames from them by now. Takes them away from interfaces where ours
    /// is no longer the first program at TC, where something has come in the way, and where what they leave to TC does not arrive.
    ///
    /// # Errors
    ///
    /// The kernel's answer to writing the map.
    pub fn follow_devices(&mut self) -> Result<(), MapError> {
        if self.routing.is_err() {
            return Ok(());
        }
        let program = self.entry_program().and_then(|program| program.info().ok()).map(|info| info.id());
        self.early.leave_behind_others(&mut self.attachments, &self.pins, program);
        self.early.leave_obstacles(&mut self.attachments, &self.pins);
        self.early.leave_where_notes_are_lost(&self.maps, &mut self.attachments, &self.pins)?;
        self.early.follow(&mut self.maps, &self.attachments)
    }

    /// Whether the kernel can route requests here, or why it can only count packets.
    ///
    /// # Errors
    ///
    /// What is missing.
    pub fn kernel_routing(&self) -> Result<(), &RoutingError> {
        self.routing.as_ref().copied()
    }

    /// Sends `frame`, which begins with its Ethernet header, from the device of that index, as it is.
    ///
    /// # Errors
    ///
    /// [`SendError::Device`] when the device did not take it.
    pub fn send(&self, device: u32, frame: &[u8]) -> Result<(), SendError> {
        let program = self
            .ebpf
            .program(SEND_PROGRAM)
            .and_then(|program| program.try_into().ok())
            .ok_or(SendError::NotLoaded)?;
        sender::send(program, device, frame)
    }

    /// Follows the interfaces of the machine: attaches to those that came, forgets those that went. Whether anything changed.
    ///
    /// Only what [`Options::interfaces`] names is attached, if it names any.
    ///
    /// # Errors
    ///
    /// The interfaces could not be listed. One that cannot be attached to is logged, and tried again the next time.
    pub fn follow_interfaces(&mut self) -> Result<bool, StartError> {
        let all = interfaces::list().map_err(StartError::Interfaces)?;
        let before = self.attachments.len();
        let gone = |at: &Attachment| attach::is_gone(at, &all);
        for attachment in self.attachments.iter().filter(|at| gone(at)) {
            info!(interface = attachment.interface, "{TC_PROGRAM} is gone with its interface");
            if let Some(pin) = &attachment.pin {
                pins::remove_link(pin)?;
            }
            pins::remove_link(&self.pins.early_link(&attachment.interface))?;
        }
        self.attachments.retain(|at| !gone(at));
        let mut changed = self.attachments.len() != before;

        for interface in interfaces::wanted(all, &self.options.interfaces) {
            if self.attachments.iter().any(|at| at.index == interface.index) {
                continue;
            }
            let program = find(&mut self.ebpf, self.program)?;
            match attach::attach(program, &interface, &self.pins, self.options.tcx) {
                Ok(mut attached) => {
                    info!(interface = interface.name, mechanism = %attached.attachment.mechanism, "{TC_PROGRAM} attached");
                    if self.routing.is_ok() {
                        let at = &mut attached.attachment;
                        self.early.attach(&mut self.ebpf, at, &self.pins, &self.options);
                    }
                    self.attachments.push(attached.attachment);
                    changed = true;
                }
                Err(error) => {
                    warn!(interface = interface.name, error = &error as &dyn Error, "not attached");
                }
            }
        }
        self.follow_devices()?;
        Ok(changed)
    }

    /// The program that sees every packet: with the parts that it goes on in.
    pub(crate) fn entry_program(&self) -> Option<&SchedClassifier> {
        self.ebpf.program(self.program).and_then(|program| program.try_into().ok())
    }

    /// Where a map is pinned.
    pub(crate) fn pin(&self, map: &str) -> PathBuf {
        self.pins.object(map)
    }

    /// Where the programs are attached, and how.
    pub fn attachments(&self) -> &[Attachment] {
        &self.attachments
    }

    /// Detaches from every interface and removes the pins.
    ///
    /// # Errors
    ///
    /// The first thing that could not be removed; the rest was tried all the same.
    pub fn detach(self) -> Result<(), DetachError> {
        let mut result = Ok(());
        for attachment in &self.attachments {
            // Before that of TC, to which it leaves packets.
            let early = pins::remove_link(&self.pins.early_link(&attachment.interface));
            result = result.and(early.map_err(DetachError::Pin));
            result = result.and(detach_one(attachment));
        }
        result.and(self.pins.remove().map_err(DetachError::Pin))
    }

    /// Leaves everything attached for the next start to take over.
    pub fn keep(self) {
        drop(self);
    }
}

/// Removes every attachment and pin under `pin_root`, of any layout version, left by an agent that no longer runs.
///
/// # Errors
///
/// [`PinError::Busy`] while an agent runs: stop that one instead.
pub fn detach_all(pin_root: &Path) -> Result<Vec<Attachment>, DetachError> {
    let mut removed: Vec<Attachment> = pins::remove_all(pin_root)?
        .into_iter()
        .map(|(interface, pin)| Attachment {
            interface,
            index: 0,
            mechanism: Mechanism::Tcx,
            pin: Some(pin),
            xdp: None,
        })
        .collect();
    for Interface { name: interface, index, .. } in interfaces::list().map_err(DetachError::Interfaces)? {
        match attach::detach_clsact(&interface) {
            Ok(true) => removed.push(Attachment {
                interface,
                index,
                mechanism: Mechanism::Clsact,
                pin: None,
                xdp: None,
            }),
            Ok(false) => {}
            Err(source) => return Err(DetachError::Filter { interface, source: Box::new(source) }),
        }
    }
    Ok(removed)
}

fn load(prepared: &Prepared, pins: &PinFolder) -> Result<Ebpf, StartError> {
    let mut loader = EbpfLoader::new();
    for shape in &prepared.shapes {
        loader.map_pin_path(&shape.name, pins.object(&shape.name));
    }
    for shape in maps::sized(&prepared.shapes) {
        loader.map_max_entries(&shape.name, shape.entries);
    }
    loader.load(prepared.bytes()).map_err(load_error)
}

/// Loads the program that routes, or else the one that counts. Returns its name, and what came of routing.
fn load_program(
    ebpf: &mut Ebpf,
    prepared: &Prepared,
    routing: Result<(), RoutingError>,
) -> Result<(&'static str, Result<(), RoutingError>), StartError> {
    let routing = match routing {
        Ok(()) => match find(ebpf, TC_PROGRAM)?.load() {
            Ok(()) => match load_parts(ebpf, || Ok(())) {
                // Pinned: it keeps its programs without this handle.
                Ok(_) => return Ok((TC_PROGRAM, Ok(()))),
                Err(StartError::Load(source)) if prepared.has_program(COUNT_PROGRAM) => {
                    RoutingError::Load(source)
                }
                Err(other) => return Err(other),
            },
            Err(error) => match load_error(error.into()) {
                // Its helpers may be missing; counting needs few.
                StartError::Load(source) if prepared.has_program(COUNT_PROGRAM) => RoutingError::Load(source),
                other => return Err(other),
            },
        },
        Err(error) => error,
    };
    let counting = if prepared.has_program(COUNT_PROGRAM) { COUNT_PROGRAM } else { TC_PROGRAM };
    find(ebpf, counting)?.load().map_err(|error| load_error(error.into()))?;
    Ok((counting, Err(routing)))
}

/// Loads the parts of the routing program and puts them where its tail calls look: into the map that is returned, which the
/// kernel empties with the last of its handles and pins. `go_on` is asked before each.
pub(crate) fn load_parts(
    ebpf: &mut Ebpf,
    go_on: impl Fn() -> Result<(), StartError>,
) -> Result<ProgramArray<MapData>, StartError> {
    for part in Part::ALL {
        go_on()?;
        find(ebpf, part.program())?.load().map_err(|error| load_error(error.into()))?;
    }
    let map = ebpf.take_map(PARTS).ok_or(StartError::Incomplete { name: PARTS })?;
    let access = |source| MapError::Access { map: PARTS, source };
    let mut parts: ProgramArray<MapData> = map.try_into().map_err(access)?;
    for part in Part::ALL {
        let program = find(ebpf, part.program())?;
        let fd = program.fd().map_err(|error| load_error(error.into()))?;
        parts.set(part as u32, fd, 0).map_err(access)?;
    }
    Ok(parts)
}

pub(crate) fn find<'e>(
    ebpf: &'e mut Ebpf,
    name: &'static str,
) -> Result<&'e mut SchedClassifier, StartError> {
    ebpf.program_mut(name).and_then(|program| program.try_into().ok()).ok_or(StartError::Incomplete { name })
}

fn attach_all(
    program: &mut SchedClassifier,
    interfaces: &[Interface],
    pins: &PinFolder,
    tcx: bool,
    strict: bool,
) -> Result<Vec<Attached>, StartError> {
    let mut done: Vec<Attached> = Vec::with_capacity(interfaces.len());
    let mut failure: Option<AttachError> = None;
    for interface in interfaces {
        match attach::attach(program, interface, pins, tcx) {
            Ok(attached) => {
                let Attachment { interface, mechanism, .. } = &attached.attachment;
                info!(%interface, %mechanism, adopted = !attached.is_new, "{TC_PROGRAM} attached");
                done.push(attached);
            }
            Err(error) if strict => {
                failure = Some(error);
                break;
            }
            Err(error) => {
                warn!(interface = interface.name, error = &error as &dyn Error, "not attached");
                failure.get_or_insert(error);
            }
        }
    }
    match failure {
        Some(error) if strict || done.is_empty() => {
            for attached in done.iter().filter(|attached| attached.is_new) {
                let _ = attach::detach(&attached.attachment);
            }
            Err(error.into())
        }
        _ => Ok(done),
    }
}

fn detach_one(attachment: &Attachment) -> Result<(), DetachError> {
    attach::detach(attachment).map_err(|error| match error {
        DetachOne::Pin(error) => DetachError::Pin(error),
        DetachOne::Filter(source) => {
            DetachError::Filter { interface: attachment.interface.clone(), source: Box::new(source) }
        }
    })
}

/// EPERM is a refusal to try; EACCES, which std calls by the same name, is the verifier's verdict.
pub(crate) fn load_error(error: aya::EbpfError) -> StartError {
    let mut cause: Option<&(dyn Error + 'static)> = Some(&error);
    let refused = loop {
        let Some(this) = cause else { break false };
        if this.downcast_ref::<io::Error>().is_some_and(|error| error.raw_os_error() == Some(libc::EPERM)) {
            break true;
        }
        cause = this.source();
    };
    if refused {
        return StartError::Refused(Box::new(error));
    }
    StartError::Load(Box::new(error))
}

/// Before Linux 5.11 maps count against RLIMIT_MEMLOCK (commit "bpf: Eliminate rlimit-based memory accounting"); later
/// kernels ignore it. Without CAP_SYS_RESOURCE the limit stays, and small maps may still fit.
fn raise_memory_limit() {
    let unlimited = libc::rlimit { rlim_cur: libc::RLIM_INFINITY, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: a plain system call reading a structure that outlives it.
    let _ = unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &raw const unlimited) };
}
