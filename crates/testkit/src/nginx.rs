use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

use crate::{Addresses, BACKEND_PORT, Lab, Netns, Process};

/// SHA-256 of [`one_megabyte`].
pub const ONE_MEGABYTE_SHA256: &str = "ad3f9fc3c88a2becf62c4068d0b1a8b6b90174c52f9f6d48c15c788577b1cadd";

/// A real nginx (Debian's) as endpoint `bN` on ports 8080 and 80 of its namespace, IPv4 and, on the first, IPv6. It answers with the fields
/// `X-Endpoint: bN` and `X-Connection: SERIAL/REQUEST` (which of its connections, which request on it), and serves
///
/// | path | answer |
/// |---|---|
/// | `/128`, `/16k`, `/1m`, `/10m` | a file of that size |
/// | `/chunked` | 16 KiB, chunked |
/// | `/slow` | 16 KiB at 8 KiB a second |
/// | `/upload/NAME` | stores the body of a PUT ([`Nginx::uploaded`]) |
/// | `/status/NNN` | that status (404, 500, 503) |
/// | anything else | a text: the request as nginx understood it, `name=value` a line |
#[derive(Debug)]
pub struct Nginx {
    netns: Netns,
    index: usize,
    families: Families,
    folder: PathBuf,
    process: Process,
}

/// Where every [`Nginx`] waits for a header of the PROXY protocol on each connection. It answers what that said: `told=CLIENT PORT SERVER PORT`.
pub const PROXY_PORT: u16 = 8081;

/// What an [`Nginx`] may do otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NginxOptions {
    /// How long a connection may be idle before nginx closes it, in whole seconds.
    pub keepalive: Duration,
    /// Where it listens on port 8080.
    pub families: Families,
    /// How many processes serve, 1 or more.
    pub workers: u32,
}

/// IP families that something listens on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Families {
    /// Both.
    Both,
    /// IPv4 alone.
    V4,
    /// IPv6 alone.
    V6,
}

impl Default for NginxOptions {
    fn default() -> Self {
        Self { keepalive: Duration::from_secs(600), families: Families::Both, workers: 1 }
    }
}

impl Nginx {
    /// Starts endpoint `index` of `lab` and waits until it answers.
    ///
    /// # Errors
    /// nginx is not installed or does not start; the error shows its log.
    pub fn start(lab: &Lab, index: usize) -> Result<Self> {
        Self::with(lab, index, NginxOptions::default())
    }

    /// The same with options.
    ///
    /// # Errors
    /// As [`Nginx::start`].
    pub fn with(lab: &Lab, index: usize, options: NginxOptions) -> Result<Self> {
        let name = format!("b{index}");
        let folder = lab.folder().join(&name);
        let files = folder.join("www");
        fs::create_dir_all(files.join("upload"))?;
        fs::write(files.join("128"), vec![b'x'; 128])?;
        fs::write(files.join("16k"), vec![b'x'; 16 * 1024])?;
        fs::write(files.join("slow"), vec![b'x'; 16 * 1024])?;
        fs::write(files.join("chunked"), "0123456789abcdef".repeat(1024))?;
        let megabyte = one_megabyte();
        fs::write(files.join("10m"), megabyte.repeat(10))?;
        fs::write(files.join("1m"), megabyte)?;
        fs::write(folder.join("nginx.conf"), config(&name, &folder, options))?;
        let families = options.families;
        let process = spawn(lab.backend(index), &name, &folder, families)?;
        Ok(Self { netns: lab.backend(index).clone(), index, families, folder, process })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        Addresses::backend_socket(u8::try_from(self.index).unwrap_or(u8::MAX))
    }

    /// Its name, as in `X-Endpoint`.
    pub fn name(&self) -> String {
        format!("b{}", self.index)
    }

    /// Its process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// What was PUT at `/upload/NAME`.
    ///
    /// # Errors
    /// Nothing was.
    pub fn uploaded(&self, name: &str) -> Result<Vec<u8>> {
        let path = self.folder.join("www/upload").join(name);
        fs::read(&path).with_context(|| format!("nothing was uploaded as {}", path.display()))
    }

    /// Ends it at once: its connections are closed by the kernel, new ones refused.
    ///
    /// # Errors
    /// It cannot be waited for.
    pub fn kill(&mut self) -> Result<()> {
        self.process.kill().map(drop)
    }

    /// Starts it again after [`Nginx::kill`].
    ///
    /// # Errors
    /// As [`Nginx::start`].
    pub fn restart(&mut self) -> Result<()> {
        self.process = spawn(&self.netns, &self.name(), &self.folder, self.families)?;
        Ok(())
    }
}

/// One megabyte (10^6 bytes) that no compression or repetition survives unnoticed.
pub fn one_megabyte() -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    (0..125_000)
        .flat_map(|_| {
            // xorshift64 (Marsaglia 2003).
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()
        })
        .collect()
}

/// SHA-256 as lower-case hexadecimal digits.
pub fn sha256_hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn spawn(netns: &Netns, name: &str, folder: &Path, families: Families) -> Result<Process> {
    let mut command = Command::new("nginx");
    command.arg("-c").arg(folder.join("nginx.conf")).arg("-p").arg(folder);
    let mut process = Process::spawn(Some(netns), name, command, folder)
        .context("nginx is the endpoint of the lab: install the Debian package nginx-light")?;
    let address = match families {
        Families::Both | Families::V4 => SocketAddr::from((Ipv4Addr::LOCALHOST, BACKEND_PORT)),
        Families::V6 => SocketAddr::from((Ipv6Addr::LOCALHOST, BACKEND_PORT)),
    };
    process.wait_for(Duration::from_secs(10), "nginx to listen", || {
        netns.run(|| TcpStream::connect(address).ok()).ok().flatten()
    })?;
    Ok(process)
}

fn config(name: &str, folder: &Path, options: NginxOptions) -> String {
    let folder = folder.display();
    let idle = options.keepalive.as_secs();
    let processes = match options.workers {
        0 | 1 => "master_process off; worker_processes 1;".to_owned(),
        workers => format!("worker_processes {workers};"),
    };
    let (v4, v6) = (
        format!("listen {BACKEND_PORT} backlog=4096;"),
        format!("listen [::]:{BACKEND_PORT} ipv6only=on backlog=4096;"),
    );
    let listen = match options.families {
        Families::Both => format!("{v4} {v6}"),
        Families::V4 => v4,
        Families::V6 => v6,
    };
    format!(
        r#"daemon off; {processes} user root; pid {folder}/pid; error_log stderr warn;
events {{ worker_connections 4096; }}
http {{
  access_log off; default_type text/plain; sendfile on; tcp_nodelay on;
  keepalive_timeout {idle}s; keepalive_requests 100000000; client_max_body_size 0; lingering_timeout 2s;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  server {{
    {listen}
    listen 80; root {folder}/www; server_tokens off;
    add_header X-Endpoint {name} always; add_header X-Connection $connection/$connection_requests always; add_header X-Echo $http_x_test always;
    location = /128 {{ }} location = /16k {{ }} location = /1m {{ }} location = /10m {{ }}
    location = /chunked {{ ssi on; ssi_types text/plain; }}
    location = /slow {{ limit_rate 8k; }}
    location /upload/ {{ dav_methods PUT; }}
    location = /status/404 {{ return 404 "not here\n"; }}
    location = /status/500 {{ return 500 "broken\n"; }}
    location = /status/503 {{ return 503 "busy\n"; }}
    location / {{ return 200 "endpoint={name}\nmethod=$request_method\nuri=$request_uri\nprotocol=$server_protocol\nhost=$http_host\nconnection=$http_connection\nx-forwarded-for=$http_x_forwarded_for\nx-forwarded-proto=$http_x_forwarded_proto\nx-forwarded-host=$http_x_forwarded_host\nforwarded=$http_forwarded\nuser-agent=$http_user_agent\ncontent-length=$http_content_length\ntransfer-encoding=$http_transfer_encoding\nx-test=$http_x_test\nclient=$remote_addr\n"; }}
  }}
  server {{
    listen {PROXY_PORT} proxy_protocol backlog=4096; listen [::]:{PROXY_PORT} proxy_protocol ipv6only=on backlog=4096;
    add_header X-Endpoint {name} always; add_header X-Connection $connection/$connection_requests always; add_header X-Echo $http_x_test always;
    location / {{ return 200 "told=$proxy_protocol_addr $proxy_protocol_port $proxy_protocol_server_addr $proxy_protocol_server_port\nx-forwarded-for=$http_x_forwarded_for\n"; }}
  }}
}}
"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_megabyte_is_what_it_always_was() {
        let megabyte = one_megabyte();
        assert_eq!(megabyte.len(), 1_000_000);
        assert_eq!(sha256_hex(&megabyte), ONE_MEGABYTE_SHA256);
    }
}
