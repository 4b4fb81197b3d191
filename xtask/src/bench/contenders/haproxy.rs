use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::Result;
use testkit::{Addresses, Lab};

use super::super::machine::said;
use super::certificate::Certificate;
use super::{Contender, Ports, launch};

/// Starts haproxy.
///
/// # Errors
/// It does not start.
pub(super) fn start<'l>(lab: &'l Lab, program: &Path, certificate: &Certificate) -> Result<Contender<'l>> {
    let config = format!(
        "global\n  nbthread 2\n  maxconn 8192\n  tune.bufsize 32768\n\
         defaults\n  mode http\n  timeout connect 5s\n  timeout client 300s\n  timeout server 300s\n  \
         timeout http-keep-alive 300s\n  http-reuse always\n  option forwardfor\n  option http-no-delay\n\
         frontend bench\n  bind :8082 shards by-thread backlog 4096\n  \
         bind :8445 shards by-thread backlog 4096 ssl crt {} alpn h2,http/1.1\n  \
         http-request set-header X-Forwarded-Proto http unless {{ ssl_fc }}\n  \
         http-request set-header X-Forwarded-Proto https if {{ ssl_fc }}\n  \
         use_backend calls if {{ path_beg /grpc. }}\n  default_backend endpoints\n\
         backend endpoints\n  server b0 {} pool-max-conn 1024\n\
         backend calls\n  server b1 {} proto h2 pool-max-conn 1024\n",
        certificate.both.display(),
        Addresses::backend_socket(0),
        Addresses::backend_socket(1)
    );
    let file = lab.folder().join("haproxy.cfg");
    fs::write(&file, config)?;
    let mut command = Command::new(program);
    command.arg("-db").arg("-f").arg(&file);
    let version = said("haproxy", &["-v"]).split(" - ").next().unwrap_or_default().to_owned();
    launch(lab, "haproxy", version, Ports { plain: 8082, secured: Some(8445) }, command)
}
