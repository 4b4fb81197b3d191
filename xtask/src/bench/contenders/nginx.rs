use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::Result;
use testkit::{Addresses, Lab};

use super::super::machine::said;
use super::certificate::Certificate;
use super::{Contender, Ports, launch};

/// Starts nginx: TLS and HTTP/2 as Mozilla's intermediate profile has them, sessions shared by both workers.
///
/// # Errors
/// It does not start.
pub(super) fn start<'l>(lab: &'l Lab, program: &Path, certificate: &Certificate) -> Result<Contender<'l>> {
    let folder = lab.folder().join("bench-nginx");
    fs::create_dir_all(&folder)?;
    let path = folder.display();
    let config = format!(
        r#"daemon off; user root; pid {path}/pid; error_log stderr warn; worker_processes 2; worker_rlimit_nofile 8192;
events {{ worker_connections 4096; }}
http {{
  access_log off; tcp_nodelay on; keepalive_timeout 300s; keepalive_requests 100000000;
  client_body_temp_path {path}/body; proxy_temp_path {path}/proxy; fastcgi_temp_path {path}/fastcgi;
  uwsgi_temp_path {path}/uwsgi; scgi_temp_path {path}/scgi;
  upstream endpoints {{ server {endpoint}; keepalive 1024; keepalive_requests 100000000; keepalive_timeout 300s; }}
  upstream calls {{ server {calls}; keepalive 1024; keepalive_requests 100000000; keepalive_timeout 300s; }}
  ssl_certificate {chain}; ssl_certificate_key {key}; ssl_protocols TLSv1.2 TLSv1.3; ssl_session_cache shared:bench:10m;
  server {{
    listen 8081 reuseport backlog=4096;
    listen 8444 ssl http2 reuseport backlog=4096;
    http2_max_concurrent_streams 128;
    location /grpc. {{ grpc_pass grpc://calls; }}
    location / {{
      proxy_pass http://endpoints; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_set_header Host $http_host; proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_set_header X-Forwarded-Proto $scheme;
      proxy_buffer_size 16k; proxy_buffers 16 32k; proxy_busy_buffers_size 64k; proxy_max_temp_file_size 0;
    }}
  }}
}}
"#,
        endpoint = Addresses::backend_socket(0),
        calls = Addresses::backend_socket(1),
        chain = certificate.chain.display(),
        key = certificate.key.display(),
    );
    let file = folder.join("nginx.conf");
    fs::write(&file, config)?;
    let mut command = Command::new(program);
    command.arg("-c").arg(&file).arg("-p").arg(&folder);
    let version = said("nginx", &["-v"]).replace("nginx version: ", "");
    launch(lab, "nginx", version, Ports { plain: 8081, secured: Some(8444) }, command)
}
