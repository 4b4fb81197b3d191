//! Readiness, liveness and start-up probes.

use std::ffi::OsStr;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::unix::ffi::OsStrExt;
use std::process::Command;
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::{Netns, exec};

/// What a probe has found so far.
#[derive(Debug)]
pub(super) struct Probe {
    spec: Value,
    next: Option<Instant>,
    running: Option<Receiver<bool>>,
    in_a_row: (bool, u64),
    verdict: Option<bool>,
}

/// Whom a probe asks.
#[derive(Clone, Debug)]
pub(super) struct Subject {
    /// Where it is asked from.
    pub(super) node: Netns,
    /// The Pod's address.
    pub(super) address: IpAddr,
    /// The program's process, for probes that run in it.
    pub(super) pid: u32,
    /// The container, whose ports have names.
    pub(super) container: Value,
}

impl Probe {
    /// The probe `field` (`readinessProbe`) of `container`, if it has one.
    pub(super) fn of(container: &Value, field: &str) -> Option<Self> {
        let spec = container.get(field).filter(|spec| spec.is_object())?.clone();
        Some(Self { spec, next: None, running: None, in_a_row: (false, 0), verdict: None })
    }

    /// Begins anew: the program was started.
    pub(super) fn reset(&mut self) {
        *self = Self {
            spec: std::mem::take(&mut self.spec),
            next: None,
            running: None,
            in_a_row: (false, 0),
            verdict: None,
        };
    }

    /// Asks when it is time; what is known after it: nothing, good or bad.
    pub(super) fn poll(&mut self, age: Duration, subject: impl Fn() -> Subject) -> Option<bool> {
        if let Some(answer) = &self.running {
            match answer.try_recv() {
                Ok(good) => self.count(good),
                Err(TryRecvError::Disconnected) => self.count(false),
                Err(TryRecvError::Empty) => return self.verdict,
            }
            self.running = None;
        }
        let seconds =
            |field: &str, default| Duration::from_secs(self.spec[field].as_u64().unwrap_or(default));
        if age >= seconds("initialDelaySeconds", 0) && self.next.is_none_or(|next| Instant::now() >= next) {
            self.next = Some(Instant::now() + seconds("periodSeconds", 10).max(Duration::from_secs(1)));
            let (send, receive) = channel();
            let (spec, subject, limit) = (self.spec.clone(), subject(), seconds("timeoutSeconds", 1));
            std::thread::spawn(move || {
                // Nobody waits for the answer of a container that is gone.
                let _ = send.send(ask(&spec, &subject, limit).is_ok());
            });
            self.running = Some(receive);
        }
        self.verdict
    }

    fn count(&mut self, good: bool) {
        self.in_a_row = if self.in_a_row.0 == good { (good, self.in_a_row.1 + 1) } else { (good, 1) };
        let field = if good { "successThreshold" } else { "failureThreshold" };
        let threshold = self.spec[field].as_u64().unwrap_or(if good { 1 } else { 3 });
        if self.in_a_row.1 >= threshold {
            self.verdict = Some(good);
        }
    }
}

fn ask(spec: &Value, subject: &Subject, limit: Duration) -> Result<()> {
    if let Some(http) = spec.get("httpGet") {
        ensure!(http["scheme"].as_str().unwrap_or("HTTP") == "HTTP", "the lab's nodes probe HTTP only");
        // As the kubelet: the address that is asked, not only its name.
        let named = http["host"].as_str().and_then(|host| host.parse().ok());
        let asked = Subject { address: named.unwrap_or(subject.address), ..subject.clone() };
        let mut stream = connect(&asked, &http["port"], limit)?;
        let path = http["path"].as_str().unwrap_or("/");
        let host = http["host"].as_str().map_or_else(|| subject.address.to_string(), str::to_owned);
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: kube-probe/1.36\r\nConnection: close\r\n\r\n"
        )?;
        let mut head = [0; 12];
        stream.read_exact(&mut head)?;
        let status = std::str::from_utf8(&head[9..])?.parse::<u16>()?;
        ensure!((200..400).contains(&status), "answered {status}");
        Ok(())
    } else if let Some(tcp) = spec.get("tcpSocket") {
        connect(subject, &tcp["port"], limit).map(drop)
    } else if let Some(words) = spec["exec"]["command"].as_array() {
        let mut command = inside(subject.pid);
        command.args(words.iter().filter_map(Value::as_str));
        ensure!(exec(None, command, limit)?.status.success(), "failed");
        Ok(())
    } else {
        bail!("a probe of a kind that the lab's nodes do not have")
    }
}

/// A command in the namespaces of process `pid`, to be given its words.
pub(super) fn inside(pid: u32) -> Command {
    let mut command = Command::new("nsenter");
    // What runs in a container has the container's environment.
    let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    let variables = environment.split(|byte| *byte == 0).filter_map(|entry| {
        let at = entry.iter().position(|byte| *byte == b'=')?;
        Some((OsStr::from_bytes(&entry[..at]), OsStr::from_bytes(&entry[at + 1..])))
    });
    command.env_clear().envs(variables);
    command.args(["--target", &pid.to_string(), "--mount", "--net", "--root", "--wd", "--"]);
    command
}

fn connect(subject: &Subject, port: &Value, limit: Duration) -> Result<TcpStream> {
    let named = |name: &str| {
        let ports = subject.container["ports"].as_array()?;
        ports.iter().find(|port| port["name"] == name)?["containerPort"].as_u64()
    };
    let number = port.as_u64().or_else(|| named(port.as_str()?)).context("no such port")?;
    let address = SocketAddr::new(subject.address, u16::try_from(number)?);
    let stream = subject.node.run(|| TcpStream::connect_timeout(&address, limit))??;
    stream.set_read_timeout(Some(limit))?;
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_verdict_takes_as_many_answers_as_the_probe_says() {
        let container = json!({"livenessProbe": {"failureThreshold": 2, "successThreshold": 1}});
        let mut probe = Probe::of(&container, "livenessProbe").unwrap();
        let mut verdicts = Vec::new();
        for good in [true, false, true, false, false, true] {
            probe.count(good);
            verdicts.push(probe.verdict.unwrap());
        }
        assert_eq!(verdicts, [true, true, true, true, false, true]);
        probe.reset();
        assert_eq!(probe.verdict, None);
        assert!(Probe::of(&container, "readinessProbe").is_none());
    }
}
