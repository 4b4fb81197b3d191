//! The endpoint of calls: the server of gRPC's own interoperability cases, which `./x setup` builds.

use std::process::Command;
use std::time::Duration;

use anyhow::Result;
use testkit::{BACKEND_PORT, Lab, Process, set_up};

/// Where `./x setup` puts it.
const SERVER: &str = "grpc-1.62.2/server";

/// Starts it as endpoint `index`.
///
/// # Errors
/// It is not built or does not start.
pub(super) fn server(lab: &Lab, index: usize) -> Result<Process> {
    let mut command = Command::new(set_up(SERVER)?);
    command.arg(format!("--port={BACKEND_PORT}")).env("GRPC_GO_LOG_SEVERITY_LEVEL", "info");
    let mut server = lab.spawn(lab.backend(index), "bench-grpc", command)?;
    let log = server.log_path().to_owned();
    server.wait_for(Duration::from_secs(10), "gRPC's server listens", || {
        std::fs::read_to_string(&log).is_ok_and(|said| said.contains("listening on")).then_some(())
    })?;
    Ok(server)
}
