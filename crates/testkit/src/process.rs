use std::fs::{self, File};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::{Netns, until};

/// A program that runs until it is stopped or dropped, in a process group of its own. When dropped by a failing test,
/// it prints the end of its output.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
    status: Option<ExitStatus>,
}

impl Process {
    /// Starts `command` in `netns` (or here); standard output and error go to `FOLDER/NAME.log`.
    ///
    /// # Errors
    /// The program or its log cannot be opened.
    pub fn spawn(netns: Option<&Netns>, name: &str, mut command: Command, folder: &Path) -> Result<Self> {
        let log = folder.join(format!("{name}.log"));
        let output = File::options()
            .create(true)
            .append(true)
            .open(&log)
            .with_context(|| format!("cannot write {}", log.display()))?;
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output).process_group(0);
        if let Some(netns) = netns {
            netns.place(&mut command);
        }
        let child =
            command.spawn().with_context(|| format!("cannot start {name} ({:?})", command.get_program()))?;
        Ok(Self { name: name.to_owned(), child, log, status: None })
    }

    /// The process id, which is also its group.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Everything it has printed so far.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Where its output goes.
    pub fn log_path(&self) -> &Path {
        &self.log
    }

    /// The exit status, if it has ended.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        if self.status.is_none() {
            self.status = self.child.try_wait().ok().flatten();
        }
        self.status
    }

    /// Polls `ready` until it gives a value.
    ///
    /// # Errors
    /// The process ended first or `limit` passed; the error carries the end of its output.
    pub fn wait_for<T>(
        &mut self,
        limit: Duration,
        what: &str,
        mut ready: impl FnMut() -> Option<T>,
    ) -> Result<T> {
        let answer = until(limit, what, || match ready() {
            Some(value) => Some(Ok(value)),
            None => self.ended().map(Err),
        });
        match answer {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(status)) => {
                bail!("{} ended ({status}) before {what}; its output:\n{}", self.name, self.tail())
            }
            Err(error) => bail!("{}: {error:#}; its output:\n{}", self.name, self.tail()),
        }
    }

    /// Sends `signal` to the process alone.
    ///
    /// # Errors
    /// It has ended.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        nix::sys::signal::kill(self.group(), signal).with_context(|| format!("cannot signal {}", self.name))
    }

    /// Waits for the process to end by itself.
    ///
    /// # Errors
    /// It still runs after `limit`.
    pub fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        let what = format!("{} to end", self.name);
        until(limit, &what, || self.ended()).with_context(|| format!("its output:\n{}", self.tail()))
    }

    /// Asks the process to end, and makes it after `grace`.
    ///
    /// # Errors
    /// It cannot be waited for.
    pub fn stop(&mut self, grace: Duration) -> Result<ExitStatus> {
        if self.ended().is_none() {
            // A process that ended in between is what we want.
            let _ = self.signal(Signal::SIGTERM);
            if self.wait(grace).is_err() {
                return self.kill();
            }
        }
        self.end_group();
        self.status.context("ended without a status")
    }

    /// Ends the process and its group at once.
    ///
    /// # Errors
    /// It cannot be waited for.
    pub fn kill(&mut self) -> Result<ExitStatus> {
        self.end_group();
        let status = match self.ended() {
            Some(status) => status,
            None => self.child.wait()?,
        };
        self.status = Some(status);
        Ok(status)
    }

    fn end_group(&self) {
        // The group outlives its leader while workers run; none left is fine.
        let _ = killpg(self.group(), Signal::SIGKILL);
    }

    fn group(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
    }

    fn tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("---- {} ----\n{}\n----", self.name, self.tail());
        }
        if self.kill().is_err() {
            eprintln!("{} did not end", self.name);
        }
    }
}

/// Runs `command` in `netns` (or here) to its end and gives what it printed.
///
/// # Errors
/// It cannot be started, or still runs after `limit` (and is killed).
pub fn exec(netns: Option<&Netns>, mut command: Command, limit: Duration) -> Result<Output> {
    let folder = tempfile::tempdir()?;
    let (out, err) = (folder.path().join("out"), folder.path().join("err"));
    command.stdin(Stdio::null()).stdout(File::create(&out)?).stderr(File::create(&err)?).process_group(0);
    if let Some(netns) = netns {
        netns.place(&mut command);
    }
    let program = command.get_program().to_string_lossy().into_owned();
    let mut child = command.spawn().with_context(|| format!("cannot start {program}"))?;
    let ended = until(limit, &program, || child.try_wait().ok().flatten());
    let status = match ended {
        Ok(status) => status,
        Err(error) => {
            let _ = killpg(Pid::from_raw(child.id().cast_signed()), Signal::SIGKILL);
            child.wait()?;
            bail!("{error:#}; killed; it printed:\n{}", fs::read_to_string(&err).unwrap_or_default());
        }
    };
    Ok(Output {
        status: ExitStatus::from_raw(status.into_raw()),
        stdout: fs::read(out)?,
        stderr: fs::read(err)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_process_takes_its_children_along() {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 1000 & echo child $!; wait"]);
        let mut process = Process::spawn(None, "parent", command, folder.path()).unwrap();
        let log = process.log_path().to_owned();
        let child: i32 = process
            .wait_for(Duration::from_secs(5), "the child's id", || {
                let log = fs::read_to_string(&log).ok()?;
                log.strip_prefix("child ")?.trim().parse().ok()
            })
            .unwrap();
        drop(process);
        until(Duration::from_secs(5), "the child to go", || {
            // A zombie of init's counts as gone.
            let stat = fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
            (stat.is_empty() || stat.contains(") Z ")).then_some(())
        })
        .unwrap();
    }

    #[test]
    fn a_process_that_ends_early_is_reported_with_its_output() {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "echo no such thing; exit 3"]);
        let mut process = Process::spawn(None, "failing", command, folder.path()).unwrap();
        let error =
            process.wait_for(Duration::from_secs(5), "readiness", || None::<()>).unwrap_err().to_string();
        assert!(error.contains("no such thing") && error.contains("exit status: 3"), "{error}");
    }

    #[test]
    fn exec_gives_output_and_stops_what_hangs() {
        let mut echo = Command::new("sh");
        echo.args(["-c", "echo out; echo err >&2; exit 2"]);
        let output = exec(None, echo, Duration::from_secs(5)).unwrap();
        assert_eq!(
            (output.status.code(), output.stdout, output.stderr),
            (Some(2), b"out\n".to_vec(), b"err\n".to_vec())
        );
        let mut sleep = Command::new("sleep");
        sleep.arg("1000");
        assert!(exec(None, sleep, Duration::from_millis(20)).is_err());
    }
}
