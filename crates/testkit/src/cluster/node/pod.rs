//! The life of one Pod on a node.

use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::confinement::Confinement;
use super::container::Container;
use super::place::{Node, Place};
use super::probe::{Probe, Subject};
use super::sandbox::{self, ENTRY_FOLDER, ENTRY_POINT, Mount};
use super::sources::{Missing, namespace};
use super::status::{Known, status};
use super::{environment, images, volumes};
use crate::cluster::time::whole_seconds;

/// How often programs are looked at.
const TICK: Duration = Duration::from_millis(100);

/// The same, where nothing has happened for a while and no probe asks.
const TICK_AT_REST: Duration = Duration::from_millis(500);
const REST: Duration = Duration::from_secs(3);

/// What others see of a Pod.
#[derive(Debug)]
pub(super) struct Shared {
    object: Mutex<Value>,
    /// How often it has changed.
    changes: AtomicU64,
    wake: Condvar,
    views: Mutex<Vec<View>>,
}

/// What `kubectl logs` and `exec` need of a container.
#[derive(Clone, Debug)]
pub(super) struct View {
    /// Its name.
    pub(super) name: String,
    /// The file of its log.
    pub(super) log: PathBuf,
    /// Its program, while it runs.
    pub(super) pid: Option<u32>,
}

impl Shared {
    /// Of the Pod `object`.
    pub(super) fn new(object: Value) -> Self {
        Self {
            object: Mutex::new(object),
            changes: AtomicU64::new(0),
            wake: Condvar::new(),
            views: Mutex::new(Vec::new()),
        }
    }

    /// The Pod has changed.
    pub(super) fn update(&self, object: Value) {
        *lock(&self.object) = object;
        self.changes.fetch_add(1, Ordering::Release);
        self.wake.notify_all();
    }

    /// The Pod as it was last seen.
    pub(super) fn object(&self) -> Value {
        lock(&self.object).clone()
    }

    /// The container `name`.
    pub(super) fn view(&self, name: &str) -> Option<View> {
        lock(&self.views).iter().find(|view| view.name == name).cloned()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A container and what asks it.
#[derive(Debug)]
struct Part {
    container: Container,
    readiness: Option<Probe>,
    liveness: Option<Probe>,
    startup: Option<Probe>,
    ready: bool,
}

/// A Pod with its programs; runs on a thread of its own until the Pod is deleted.
#[derive(Debug)]
pub(super) struct Pod {
    node: Arc<Node>,
    shared: Arc<Shared>,
    place: Option<Place>,
    folder: PathBuf,
    has_volumes: bool,
    init: Vec<Container>,
    parts: Vec<Part>,
    started: String,
    written: Value,
    /// What `written` was made of; a Pod at rest has to cost nothing.
    written_of: Vec<u64>,
    written_at: Instant,
}

impl Pod {
    /// For the Pod in `shared`, which was bound to `node`.
    pub(super) fn new(node: Arc<Node>, shared: Arc<Shared>) -> Self {
        let pod = shared.object();
        let folder = node.folder.join("pods").join(pod["metadata"]["uid"].as_str().unwrap_or("none"));
        let list = |field: &str| pod["spec"][field].as_array().cloned().unwrap_or_default();
        let init = list("initContainers").iter().map(|spec| Container::new(spec, &folder)).collect();
        let part = |spec: &Value| Part {
            container: Container::new(spec, &folder),
            readiness: Probe::of(spec, "readinessProbe"),
            liveness: Probe::of(spec, "livenessProbe"),
            startup: Probe::of(spec, "startupProbe"),
            ready: false,
        };
        let parts = list("containers").iter().map(part).collect();
        let started = whole_seconds(SystemTime::now());
        Self {
            node,
            shared,
            place: None,
            folder,
            has_volumes: false,
            init,
            parts,
            started,
            written: Value::Null,
            written_of: Vec::new(),
            written_at: Instant::now(),
        }
    }

    /// Runs the Pod until it is deleted, and takes everything away.
    pub(super) fn run(mut self) {
        let mut seen = self.shared.changes.load(Ordering::Acquire);
        let mut pod = self.shared.object();
        loop {
            let changes = self.shared.changes.load(Ordering::Acquire);
            if changes != seen {
                (seen, pod) = (changes, self.shared.object());
            }
            if !pod["metadata"]["deletionTimestamp"].is_null() || self.node.is_stopping() {
                break;
            }
            if let Err(Missing(why)) = self.step(&pod) {
                self.refuse(&why);
            }
            self.publish(&pod);
            let guard = lock(&self.shared.object);
            // Whether time or a change woke us is the same.
            drop(self.shared.wake.wait_timeout(guard, self.tick()));
        }
        self.end();
    }

    fn tick(&self) -> Duration {
        let is_asked = |part: &Part| part.readiness.is_some() || part.liveness.is_some() || !part.ready;
        let at_rest = self.written_at.elapsed() > REST && !self.parts.iter().any(is_asked);
        if at_rest { TICK_AT_REST } else { TICK }
    }

    /// One look at everything.
    fn step(&mut self, pod: &Value) -> Result<(), Missing> {
        if self.place.is_none() {
            let place = Place::new(&self.node, pod).map_err(|error| Missing(format!("{error:#}")))?;
            self.place = Some(place);
            // So that the downward API has it.
            self.publish(pod);
        }
        if !self.has_volumes {
            volumes::make(pod, &self.folder.join("volumes"), &self.node.host(), &self.node.client)?;
            self.has_volumes = true;
        }
        let (after_failure, after_success) = restart_policy(pod);
        for index in 0..self.init.len() {
            self.init[index].poll();
            match self.init[index].exit_code() {
                Some(0) => continue,
                Some(_) if after_failure => self.init[index].back_off(),
                Some(_) => return Ok(()),
                None => {}
            }
            if self.init[index].is_due() {
                let command = self.command(pod, &self.init[index])?;
                self.start(command, |this| &mut this.init[index]);
            }
            return Ok(());
        }
        for index in 0..self.parts.len() {
            self.parts[index].container.poll();
            let again = match self.parts[index].container.exit_code() {
                Some(0) => after_success,
                Some(_) => after_failure,
                None => false,
            };
            if again {
                self.parts[index].container.back_off();
            }
            let container = &self.parts[index].container;
            if container.is_due() && container.exit_code().is_none() {
                let command = self.command(pod, container)?;
                self.start(command, |this| &mut this.parts[index].container);
                self.parts[index].reset();
            }
            if let Some(place) = &self.place {
                self.parts[index].probe(place);
            }
        }
        Ok(())
    }

    fn start(&mut self, command: Command, which: impl Fn(&mut Self) -> &mut Container) {
        let Some(netns) = self.place.as_ref().map(|place| place.netns.clone()) else { return };
        let container = which(self);
        if let Err(error) = container.start(&netns, command) {
            container.refuse("RunContainerError", &error.to_string());
        }
    }

    /// The command of `container`, in its own view of the file system.
    fn command(&self, pod: &Value, container: &Container) -> Result<Command, Missing> {
        let spec = &container.spec;
        let image = spec["image"].as_str().unwrap_or_default();
        let program = self.node.images.program(image);
        let program = program.ok_or_else(|| {
            Missing(format!("no program stands for image {image}: ./x cluster up --image NAME=PROGRAM"))
        })?;
        let mut with_status = pod.clone();
        with_status["status"] = self.written.clone();
        let own = environment::environment(&with_status, spec, &self.node.client)?;
        let words = environment::command(spec, ENTRY_POINT, &own);
        let by_name = Mount {
            from: program.to_owned(),
            to: format!("{ENTRY_FOLDER}/{}", images::name(image)).into(),
            read_only: false,
        };
        let of_spec = spec["volumeMounts"].as_array().into_iter().flatten().map(|mount| {
            let text = |field: &str| mount[field].as_str().unwrap_or_default();
            let from = volumes::place(pod, text("name"), &self.folder.join("volumes"), &self.node.host());
            let from = if text("subPath").is_empty() { from } else { from.join(text("subPath")) };
            Mount { from, to: text("mountPath").into(), read_only: mount["readOnly"] == true }
        });
        let mut mounts: Vec<Mount> = std::iter::once(by_name).chain(of_spec).collect();
        // One within another comes after it, as runtimes do it.
        mounts.sort_by_key(|mount| mount.to.components().count());
        let layer = container.layer().map_err(|error| Missing(error.to_string()))?;
        let workdir = spec["workingDir"].as_str().unwrap_or("/");
        let confinement = Confinement::of(spec);
        let mut command = sandbox::command(&layer, program, &mounts, workdir, &words, &confinement);
        command.env_clear().env(
            "PATH",
            format!("/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:{ENTRY_FOLDER}"),
        );
        command.env("HOSTNAME", pod["metadata"]["name"].as_str().unwrap_or_default());
        command.envs(self.node.environment.iter().cloned()).envs(own);
        Ok(command)
    }

    /// Those that do not run yet wait for `why`.
    fn refuse(&mut self, why: &str) {
        let containers = self.init.iter_mut().chain(self.parts.iter_mut().map(|part| &mut part.container));
        for container in containers.filter(|container| container.is_due() && container.exit_code().is_none())
        {
            container.refuse("CreateContainerConfigError", why);
        }
        // What is missing may come: no need to ask twenty times a second.
        std::thread::sleep(Duration::from_millis(500));
    }

    /// Writes the status if it has changed, and shows the containers to others.
    fn publish(&mut self, pod: &Value) {
        let containers = self.init.iter().chain(self.parts.iter().map(|part| &part.container));
        let changes = containers.map(|container| container.changes);
        let made_of: Vec<u64> = changes
            .chain(self.parts.iter().map(|part| u64::from(part.ready)))
            .chain([u64::from(self.place.is_some())])
            .collect();
        if made_of == self.written_of {
            return;
        }
        let view = |container: &Container| View {
            name: container.name().to_owned(),
            log: container.log(),
            pid: container.pid(),
        };
        *lock(&self.shared.views) =
            self.init.iter().map(view).chain(self.parts.iter().map(|part| view(&part.container))).collect();
        let known = Known {
            addresses: self.place.as_ref().map(|place| place.addresses.clone()).unwrap_or_default(),
            host: self.node.addresses(),
            started: self.started.clone(),
            initialized: self.init.iter().all(|container| container.exit_code() == Some(0)),
            init: self
                .init
                .iter()
                .map(|container| container.status(container.exit_code() == Some(0)))
                .collect(),
            containers: self.parts.iter().map(|part| part.container.status(part.ready)).collect(),
            restart: restart_policy(pod),
        };
        let status = status(&known, &self.written);
        // What is not written now, since the API server is away, is at the next look.
        let path = format!("{}/status", path(pod));
        if status == self.written
            || self.node.client.merge_strategic(&path, &json!({"status": status})).is_ok()
        {
            self.written = status;
            self.written_of = made_of;
            self.written_at = Instant::now();
        }
    }

    /// Ends the programs, in the time that the Pod gives them, and says that the Pod is gone.
    fn end(&mut self) {
        let pod = self.shared.object();
        let grace = pod["metadata"]["deletionGracePeriodSeconds"].as_u64().unwrap_or(30);
        let limit = if self.node.is_stopping() { Duration::ZERO } else { Duration::from_secs(grace) };
        let start = Instant::now();
        if !limit.is_zero() {
            self.parts.iter().for_each(|part| part.container.signal(Signal::SIGTERM));
        }
        while start.elapsed() < limit && !self.node.is_stopping() {
            self.parts.iter_mut().for_each(|part| part.container.poll());
            if self.parts.iter().all(|part| part.container.pid().is_none()) {
                break;
            }
            std::thread::sleep(TICK);
        }
        self.init.iter_mut().for_each(Container::kill);
        self.parts.iter_mut().for_each(|part| part.container.kill());
        self.place = None;
        if !self.node.is_stopping() {
            self.parts.iter_mut().for_each(|part| part.ready = false);
            // Gone already when its deletion was forced.
            let _ = self.node.client.delete_one(&path(&pod), &pod["metadata"]["uid"]);
        }
        // What a program still holds goes with the folder of the cluster.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

impl Part {
    fn reset(&mut self) {
        self.ready = false;
        let probes = [&mut self.readiness, &mut self.liveness, &mut self.startup];
        probes.into_iter().flatten().for_each(Probe::reset);
    }

    fn probe(&mut self, place: &Place) {
        let (Some(age), Some(pid)) = (self.container.age(), self.container.pid()) else {
            self.ready = false;
            return;
        };
        let Some(address) = place.addresses.first().and_then(|address| address.parse().ok()) else { return };
        let spec = &self.container.spec;
        let node = &place.node_netns;
        let subject = || Subject { node: node.clone(), address, pid, container: spec.clone() };
        if let Some(startup) = &mut self.startup {
            match startup.poll(age, subject) {
                Some(true) => {}
                Some(false) => {
                    self.container.kill();
                    return;
                }
                None => return,
            }
        }
        if let Some(liveness) = &mut self.liveness
            && liveness.poll(age, subject) == Some(false)
        {
            return self.container.kill();
        }
        self.ready = self.readiness.as_mut().is_none_or(|probe| probe.poll(age, subject) == Some(true));
    }
}

/// The path of `pod` in the API.
pub(super) fn path(pod: &Value) -> String {
    format!(
        "/api/v1/namespaces/{}/pods/{}",
        namespace(pod),
        pod["metadata"]["name"].as_str().unwrap_or_default()
    )
}

/// Containers are started again after a failure, and after a success.
fn restart_policy(pod: &Value) -> (bool, bool) {
    match pod["spec"]["restartPolicy"].as_str() {
        Some("Never") => (false, false),
        Some("OnFailure") => (true, false),
        _ => (true, true),
    }
}
