use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::Result;
use testkit::{Addresses, BACKEND_PORT, Lab};

use super::super::machine::said;
use super::certificate::Certificate;
use super::{Contender, Ports, launch};

/// Starts Envoy.
///
/// # Errors
/// It does not start.
pub(super) fn start<'l>(lab: &'l Lab, program: &Path, certificate: &Certificate) -> Result<Contender<'l>> {
    let tls = format!(
        r#"
      transport_socket:
        name: envoy.transport_sockets.tls
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
          common_tls_context:
            alpn_protocols: [h2, http/1.1]
            tls_certificates: [{{certificate_chain: {{filename: {chain}}}, private_key: {{filename: {key}}}}}]"#,
        chain = certificate.chain.display(),
        key = certificate.key.display()
    );
    let http2 = r#"
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {http2_protocol_options: {}}"#;
    let config = format!(
        "static_resources:\n  listeners:{}{}\n  clusters:{}{}\n",
        listener(8083, ""),
        listener(8446, &tls),
        cluster("endpoints", 0, ""),
        cluster("calls", 1, http2)
    );
    let file = lab.folder().join("envoy.yaml");
    fs::write(&file, config)?;
    let mut command = Command::new(program);
    command.arg("-c").arg(&file).args(["--concurrency", "2", "--disable-hot-restart", "-l", "error"]);
    let said = said(&program.display().to_string(), &["--version"]);
    let version = said.split("version: ").nth(1).and_then(|rest| rest.split('/').nth(1)).unwrap_or("unknown");
    launch(lab, "envoy", format!("envoy/{version}"), Ports { plain: 8083, secured: Some(8446) }, command)
}

fn listener(port: u16, tls: &str) -> String {
    format!(
        r#"
  - address: {{socket_address: {{address: 0.0.0.0, port_value: {port}}}}}
    enable_reuse_port: true
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: bench
          use_remote_address: true
          generate_request_id: false
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
              - {{match: {{prefix: "/grpc."}}, route: {{cluster: calls, timeout: 0s}}}}
              - {{match: {{prefix: "/"}}, route: {{cluster: endpoints, timeout: 0s}}}}
          http_filters:
          - name: envoy.filters.http.router
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
              suppress_envoy_headers: true{tls}"#
    )
}

fn cluster(name: &str, index: u8, protocol: &str) -> String {
    let endpoint = Addresses::backend(index);
    let limits = "{max_connections: 4096, max_pending_requests: 4096, max_requests: 4096}";
    format!(
        r#"
  - name: {name}
    type: STATIC
    connect_timeout: 5s
    circuit_breakers: {{thresholds: [{limits}]}}{protocol}
    load_assignment:
      cluster_name: {name}
      endpoints: [{{lb_endpoints: [{{endpoint: {{address: {{socket_address: {{address: {endpoint}, port_value: {BACKEND_PORT}}}}}}}}}]}}]"#
    )
}
