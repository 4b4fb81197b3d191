//! A container: one program, started again when it ends.

use std::fs;
use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant, SystemTime};

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use serde_json::{Value, json};

use super::logs::Log;
use crate::Netns;
use crate::cluster::time::whole_seconds;

/// Pauses before a program is started again: the kubelet's own are 10 s to 5 min; here somebody waits.
const BACK_OFF: Duration = Duration::from_millis(500);
const BACK_OFF_MAX: Duration = Duration::from_secs(30);

/// A container of a Pod, with its program if it runs.
#[derive(Debug)]
pub(super) struct Container {
    /// Of the Pod's specification.
    pub(super) spec: Value,
    folder: PathBuf,
    child: Option<Child>,
    state: Value,
    last_state: Value,
    /// How often it was started again.
    pub(super) restarts: u32,
    /// How often its state has changed.
    pub(super) changes: u64,
    started_at: Option<(Instant, String)>,
    not_before: Option<Instant>,
}

impl Container {
    /// A container that has not run yet; its files are below `folder`.
    pub(super) fn new(spec: &Value, folder: &Path) -> Self {
        let folder = folder.join(spec["name"].as_str().unwrap_or("container"));
        let state = waiting("ContainerCreating", "");
        let (child, started_at, not_before) = (None, None, None);
        Self {
            spec: spec.clone(),
            folder,
            child,
            state,
            last_state: json!({}),
            restarts: 0,
            changes: 0,
            started_at,
            not_before,
        }
    }

    /// Its name in the Pod.
    pub(super) fn name(&self) -> &str {
        self.spec["name"].as_str().unwrap_or_default()
    }

    /// The file of its log.
    pub(super) fn log(&self) -> PathBuf {
        self.folder.join("log")
    }

    /// Where its layer is mounted.
    pub(super) fn layer(&self) -> io::Result<PathBuf> {
        let layer = self.folder.join("layer");
        fs::create_dir_all(&layer)?;
        Ok(layer)
    }

    /// Its program's process, while it runs.
    pub(super) fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// How long its program has run.
    pub(super) fn age(&self) -> Option<Duration> {
        self.child.as_ref().and(self.started_at.as_ref()).map(|(start, _)| start.elapsed())
    }

    /// The code that its program ended with, if it does not run and has.
    pub(super) fn exit_code(&self) -> Option<i64> {
        self.state["terminated"]["exitCode"].as_i64()
    }

    /// May be started (again) now.
    pub(super) fn is_due(&self) -> bool {
        self.child.is_none() && self.not_before.is_none_or(|moment| Instant::now() >= moment)
    }

    /// Starts `command` in `netns`.
    pub(super) fn start(&mut self, netns: &Netns, mut command: Command) -> io::Result<()> {
        let log = Log::open(&self.log())?;
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        netns.place(&mut command);
        let mut child = command.spawn()?;
        if let Some(output) = child.stdout.take() {
            log.copy(output)?;
        }
        if let Some(output) = child.stderr.take() {
            log.copy(output)?;
        }
        let now = whole_seconds(SystemTime::now());
        if self.started_at.is_some() {
            self.restarts += 1;
        }
        self.change(json!({"running": {"startedAt": now}}));
        self.started_at = Some((Instant::now(), now));
        self.child = Some(child);
        Ok(())
    }

    /// It cannot be started, for `reason`; tried again after a second.
    pub(super) fn refuse(&mut self, reason: &str, message: &str) {
        self.change(waiting(reason, message));
        self.not_before = Some(Instant::now() + Duration::from_secs(1));
    }

    /// Looks whether its program has ended, and notes how.
    pub(super) fn poll(&mut self) {
        let Some(child) = &mut self.child else { return };
        let Ok(Some(status)) = child.try_wait() else { return };
        self.end_group();
        self.ended(status);
    }

    /// Waits to be started again, as long as its restarts ask for.
    pub(super) fn back_off(&mut self) {
        let pause = BACK_OFF.saturating_mul(1 << self.restarts.min(10)).min(BACK_OFF_MAX);
        self.not_before = Some(Instant::now() + pause);
        self.last_state = std::mem::take(&mut self.state);
        let message = format!("started again after {} ms", pause.as_millis());
        self.change(waiting("CrashLoopBackOff", &message));
    }

    /// Sends `signal` to its program.
    pub(super) fn signal(&self, signal: Signal) {
        if let Some(pid) = self.pid() {
            // Ended in between is as good.
            let _ = kill(Pid::from_raw(pid.cast_signed()), signal);
        }
    }

    /// Ends its program at once, with all that it has started.
    pub(super) fn kill(&mut self) {
        self.end_group();
        if let Some(mut child) = self.child.take()
            && let Ok(status) = child.wait()
        {
            self.ended(status);
        }
    }

    /// Its entry in the Pod's `containerStatuses`.
    pub(super) fn status(&self, ready: bool) -> Value {
        let image = self.spec["image"].as_str().unwrap_or_default();
        let id = self.pid().map(|pid| format!("processes://{pid}")).unwrap_or_default();
        json!({
            "name": self.name(), "image": image, "imageID": image, "containerID": id,
            "ready": ready, "started": self.child.is_some(), "restartCount": self.restarts,
            "state": self.state, "lastState": self.last_state,
        })
    }

    fn ended(&mut self, status: ExitStatus) {
        self.child = None;
        let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default());
        let started = self.started_at.as_ref().map(|(_, text)| text.clone());
        self.change(json!({"terminated": {
            "exitCode": code, "reason": if code == 0 { "Completed" } else { "Error" },
            "startedAt": started, "finishedAt": whole_seconds(SystemTime::now()),
        }}));
    }

    fn change(&mut self, state: Value) {
        self.state = state;
        self.changes += 1;
    }

    fn end_group(&self) {
        if let Some(pid) = self.pid() {
            // None left is fine.
            let _ = killpg(Pid::from_raw(pid.cast_signed()), Signal::SIGKILL);
        }
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        self.kill();
    }
}

fn waiting(reason: &str, message: &str) -> Value {
    json!({"waiting": {"reason": reason, "message": message}})
}
