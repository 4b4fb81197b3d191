use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::{Addresses, Connection, GATEWAY_PORT, Lab, Netns, Process, Response, exec, until};

/// How to start a [`Gateway`].
#[derive(Debug)]
pub struct GatewayBuilder {
    command: Command,
    manifests: PathBuf,
    arguments: Vec<String>,
    hook: String,
}

/// `rauta run` in the gateway's namespace, on a folder of manifests that can be edited.
#[derive(Debug)]
pub struct Gateway {
    program: PathBuf,
    netns: Netns,
    manifests: PathBuf,
    socket: PathBuf,
    folder: PathBuf,
    process: Process,
}

impl GatewayBuilder {
    /// Prepares `program` (the `rauta` binary) with the manifests in `folder`; a path that does not exist yet is made.
    pub fn new(program: impl AsRef<Path>, manifests: impl Into<PathBuf>) -> Self {
        Self {
            command: Command::new(program.as_ref()),
            manifests: manifests.into(),
            arguments: Vec::new(),
            hook: std::env::var("TEST_HOOK").unwrap_or_else(|_| "off".to_owned()),
        }
    }

    /// More arguments for `rauta run`.
    #[must_use]
    pub fn arguments(mut self, arguments: &[&str]) -> Self {
        self.arguments.extend(arguments.iter().map(|&argument| argument.to_owned()));
        self
    }

    /// Settings for `--config`, as YAML.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn settings(mut self, lab: &Lab, yaml: &str) -> Result<Self> {
        let path = lab.folder().join("rauta.yaml");
        fs::write(&path, yaml)?;
        self.arguments.extend(["--config".to_owned(), path.display().to_string()]);
        Ok(self)
    }

    /// The kernel hook: `off`, `tc`, `auto`. `TEST_HOOK` of the environment unless given, and `off` without it. The
    /// programs' pins are in the lab's own BPF file system unless `RAUTA_DATAPLANE_PIN_ROOT` says otherwise.
    #[must_use]
    pub fn hook(mut self, hook: &str) -> Self {
        self.hook = hook.to_owned();
        self
    }

    /// An environment variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    /// Starts it in the gateway's namespace and waits until `/readyz` says so.
    ///
    /// # Errors
    /// It ends or is not ready within a minute; the error shows its log.
    pub fn start(self, lab: &Lab) -> Result<Gateway> {
        let mut gateway = self.spawn(lab)?;
        gateway.wait_ready()?;
        Ok(gateway)
    }

    /// Starts it without waiting.
    ///
    /// # Errors
    /// The program cannot be started.
    pub fn spawn(mut self, lab: &Lab) -> Result<Gateway> {
        fs::create_dir_all(&self.manifests)
            .with_context(|| format!("cannot make {}", self.manifests.display()))?;
        let folder = lab.folder().to_owned();
        let socket = folder.join("rauta.sock");
        let program = PathBuf::from(self.command.get_program());
        let pins = "RAUTA_DATAPLANE_PIN_ROOT";
        if self.hook != "off" && !self.command.get_envs().any(|(name, _)| name == pins) {
            self.command.env(pins, lab.bpffs()?.join("pins"));
        }
        self.command
            .arg("run")
            .arg("-f")
            .arg(&self.manifests)
            .args(["--admin", "127.0.0.1:9901", "--metrics", "127.0.0.1:9900", "--hook", &self.hook])
            .arg("--socket")
            .arg(&socket)
            .args(&self.arguments);
        let process = lab.spawn(lab.gateway(), "rauta", self.command)?;
        let netns = lab.gateway().clone();
        Ok(Gateway { program, netns, manifests: self.manifests, socket, folder, process })
    }
}

impl Gateway {
    /// Starts `program` on the manifests given as `(file name, YAML)`, with its kernel part off.
    ///
    /// # Errors
    /// As [`GatewayBuilder::start`].
    pub fn start(lab: &Lab, program: impl AsRef<Path>, manifests: &[(&str, &str)]) -> Result<Self> {
        Self::builder(lab, program, manifests)?.start(lab)
    }

    /// The same, to be adjusted before it starts.
    ///
    /// # Errors
    /// The manifests cannot be written.
    pub fn builder(
        lab: &Lab,
        program: impl AsRef<Path>,
        manifests: &[(&str, &str)],
    ) -> Result<GatewayBuilder> {
        let folder = lab.folder().join("manifests");
        fs::create_dir_all(&folder)?;
        for (name, yaml) in manifests {
            fs::write(folder.join(name), yaml)?;
        }
        Ok(GatewayBuilder::new(program, folder))
    }

    /// Where clients reach it.
    pub fn address(&self) -> SocketAddr {
        (Addresses::GATEWAY, GATEWAY_PORT).into()
    }

    /// Its process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// Waits until the log holds `text`.
    ///
    /// # Errors
    /// It does not within 10 s; the error shows the log.
    pub fn wait_for_log(&mut self, text: &str) -> Result<()> {
        let path = self.process.log_path().to_owned();
        self.process.wait_for(Duration::from_secs(10), &format!("{text:?} in the log"), || {
            fs::read_to_string(&path).ok()?.contains(text).then_some(())
        })
    }

    /// Waits until `/readyz` answers 200.
    ///
    /// # Errors
    /// It ends or is not ready within a minute.
    pub fn wait_ready(&mut self) -> Result<()> {
        let netns = self.netns.clone();
        // The kernel verifies the programs meanwhile, which a busy machine needs many seconds for.
        self.process.wait_for(Duration::from_secs(60), "readiness (GET /readyz)", || {
            let response = local_get(&netns, 9901, "/readyz").ok()?;
            (response.status == 200).then_some(())
        })
    }

    /// Writes a manifest in place: cuts the file to nothing, then fills it, as `echo … > FILE` and some editors do.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self, name: &str, yaml: &str) -> Result<()> {
        let path = self.manifests.join(name);
        fs::write(&path, yaml).with_context(|| format!("cannot write {}", path.display()))
    }

    /// Replaces a manifest in one step: a new file takes the old one's name.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn replace(&self, name: &str, yaml: &str) -> Result<()> {
        // A name that is no manifest's, in a folder that is not watched.
        let path = self.folder.join(format!("new-{name}.tmp"));
        fs::write(&path, yaml)?;
        fs::rename(&path, self.manifests.join(name)).with_context(|| format!("cannot replace {name}"))
    }

    /// Removes a manifest.
    ///
    /// # Errors
    /// There is none.
    pub fn remove(&self, name: &str) -> Result<()> {
        Ok(fs::remove_file(self.manifests.join(name))?)
    }

    /// A page of the admin address.
    ///
    /// # Errors
    /// It does not answer.
    pub fn admin(&self, path: &str) -> Result<Response> {
        local_get(&self.netns, 9901, path)
    }

    /// The text of `/metrics`.
    ///
    /// # Errors
    /// It does not answer 200.
    pub fn metrics(&self) -> Result<String> {
        let response = local_get(&self.netns, 9900, "/metrics")?;
        anyhow::ensure!(response.status == 200, "/metrics: {}", response.status);
        Ok(response.text())
    }

    /// The sum of all series of `name` whose labels hold `labels` (a part of the text between the braces).
    ///
    /// # Errors
    /// There is no such series.
    pub fn metric(&self, name: &str, labels: &str) -> Result<f64> {
        let text = self.metrics()?;
        sum(&text, name, labels).with_context(|| format!("no series {name}{{…{labels}…}} in\n{text}"))
    }

    /// Runs `rauta ARGUMENTS` against this agent's control socket.
    ///
    /// # Errors
    /// It cannot be started or hangs.
    pub fn cli(&self, arguments: &[&str]) -> Result<Output> {
        let mut command = Command::new(&self.program);
        command.args(arguments).arg("--socket").arg(&self.socket);
        // `explain flow` loads all programs, which takes a busy machine long.
        exec(Some(&self.netns), command, Duration::from_secs(90))
    }

    /// Polls `GET path` with `host` from `client` on new connections until `ready` accepts the answer.
    ///
    /// # Errors
    /// It never does within 10 s; the error shows the last answer.
    pub fn wait_for_answer(
        &self,
        client: &Netns,
        host: &str,
        path: &str,
        ready: impl Fn(&Response) -> bool,
    ) -> Result<Response> {
        let mut last = String::new();
        let answer = until(Duration::from_secs(10), "the answer", || {
            let response = Connection::open(client, self.address()).and_then(|mut c| c.get(host, path));
            last = format!("{response:?}");
            response.ok().filter(|response| ready(response))
        });
        answer.with_context(|| format!("GET {host}{path}: last answer {last}\nlog:\n{}", self.log()))
    }

    /// The lab's folder, where its files are.
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

fn local_get(netns: &Netns, port: u16, path: &str) -> Result<Response> {
    let mut connection = Connection::open(netns, ([127, 0, 0, 1], port).into())?;
    Ok(connection.request(&format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"))?)
}

/// Adds up the samples of `name` in Prometheus' text format.
fn sum(text: &str, name: &str, labels: &str) -> Option<f64> {
    let values: Vec<f64> = text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| {
            let (series, value) = line.rsplit_once(' ')?;
            let (found, inside) = series.split_once('{').unwrap_or((series, ""));
            (found == name && inside.contains(labels)).then(|| value.parse().ok())?
        })
        .collect();
    (!values.is_empty()).then(|| values.iter().sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_are_added_up_by_name_and_label() {
        let text = "# HELP a b\na{x=\"1\",y=\"2\"} 3\na{x=\"2\"} 4.5\nab 7\nb 1\n";
        assert_eq!(sum(text, "a", ""), Some(7.5));
        assert_eq!(sum(text, "a", "x=\"1\""), Some(3.0));
        assert_eq!(sum(text, "a", "x=\"3\""), None);
        assert_eq!(sum(text, "b", ""), Some(1.0));
    }
}
