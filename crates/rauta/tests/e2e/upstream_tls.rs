//! TLS on both sides with programs of others: nginx that asks for certificates behind the gateway, curl that shows one in front.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use testkit::{Addresses, Gateway, Lab};

use crate::manifests::{GATEWAY, route, service};
use crate::secure::{eventually, pair, secret};
use crate::world::RAUTA;

/// nginx over TLS that takes only clients that `clients` vouches for.
pub(crate) struct Endpoint(Child);

impl Endpoint {
    pub(crate) fn start(lab: &Lab, (chain, key): &(String, String), clients: &str) -> Self {
        let folder = lab.folder().join("tls");
        std::fs::create_dir_all(&folder).unwrap();
        for (name, text) in
            [("chain.pem", chain.as_str()), ("key.pem", key.as_str()), ("clients.pem", clients)]
        {
            std::fs::write(folder.join(name), text).unwrap();
        }
        let folder = folder.display();
        let configuration = format!(
            "daemon off; pid {folder}/pid; error_log {folder}/error.log;
             events {{}}
             http {{
               access_log off;
               client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
               uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
               server {{
                 listen {} ssl;
                 ssl_certificate {folder}/chain.pem; ssl_certificate_key {folder}/key.pem;
                 ssl_client_certificate {folder}/clients.pem; ssl_verify_client on;
                 return 200 \"$ssl_server_name $ssl_client_verify $http_x_forwarded_proto\\n\";
               }}
             }}",
            Addresses::backend_socket(0)
        );
        let path = format!("{folder}/nginx.conf");
        std::fs::write(&path, configuration).unwrap();
        let mut command = Command::new("nginx");
        command.args(["-c", &path]).stdout(Stdio::null()).stderr(Stdio::null());
        lab.backend(0).place(&mut command);
        Self(command.spawn().unwrap())
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        // SIGTERM, so that its workers go with it.
        let _ = Command::new("kill").arg(self.0.id().to_string()).status();
        let _ = self.0.wait();
    }
}

pub(crate) fn bundle(name: &str, pem: &str) -> String {
    let indented: String = pem.lines().map(|line| format!("    {line}\n")).collect();
    format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\ndata:\n  ca.crt: |\n{indented}")
}

pub(crate) fn policy(hostname: &str) -> String {
    format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: BackendTLSPolicy\nmetadata: {{name: web}}\nspec:\n  \
         targetRefs: [{{group: \"\", kind: Service, name: web}}]\n  validation:\n    \
         caCertificateRefs: [{{group: \"\", kind: ConfigMap, name: endpoints}}]\n    hostname: {hostname}\n"
    )
}

/// What curl prints, and its status behind it; nothing if the handshake fails.
fn curl(lab: &Lab, address: &str, trusted: &Path, shown: Option<(&Path, &Path)>) -> String {
    let mut command = Command::new("curl");
    command.args(["--silent", "--max-time", "10", "--write-out", "%{http_code}", "--cacert"]).arg(trusted);
    if let Some((chain, key)) = shown {
        command.arg("--cert").arg(chain).arg("--key").arg(key);
    }
    command.args(["--connect-to", &format!("::{address}:"), "https://a.test:8443/"]);
    lab.client().place(&mut command);
    String::from_utf8_lossy(&command.output().unwrap().stdout).into_owned()
}

#[test]
fn both_sides_show_certificates_and_what_is_wrong_with_one_stops_all() {
    let (front, endpoint, gateway, client) =
        (pair("a.test"), pair("web.internal"), pair("gateway.internal"), pair("client.test"));
    let lab = Lab::builder().build().unwrap();
    let _endpoint = Endpoint::start(&lab, &endpoint, &gateway.0);
    let listener = "{name: secured, protocol: HTTPS, port: 8443, tls: {certificateRefs: [{name: front}]}}]";
    let with_tls = GATEWAY.trim_end().strip_suffix(']').unwrap().to_owned()
        + ", "
        + listener
        + "\n  tls: {backend: {clientCertificateRef: {name: shown}}, frontend: {default: {validation: \
           {caCertificateRefs: [{group: \"\", kind: ConfigMap, name: clients}]}}}}\n";
    let parts = [
        with_tls,
        service("web", &[0]),
        route("all", &[], &[("", "[{name: web, port: 80}]")]),
        secret("front", &front),
        secret("shown", &gateway),
        bundle("endpoints", &endpoint.0),
        bundle("clients", &client.0),
    ];
    let manifest = parts.join("---\n");
    let files = [("all.yaml", manifest.as_str()), ("policy.yaml", &policy("web.internal"))];
    let rauta = Gateway::builder(&lab, RAUTA, &files).unwrap().start(&lab).unwrap();
    let address = rauta.address().ip().to_string();
    let file = |name: &str, text: &str| {
        let path = lab.folder().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let trusted = file("front.pem", &front.0);
    let (good, good_key) = (file("client.pem", &client.0), file("client.key", &client.1));
    let (bad, bad_key) = (file("bad.pem", &gateway.0), file("bad.key", &gateway.1));
    let ask = || curl(&lab, &address, &trusted, Some((&good, &good_key)));
    eventually("all is read", || ask() == "web.internal SUCCESS https\n200");
    assert_eq!(curl(&lab, &address, &trusted, None), "000", "a client without a certificate");
    assert_eq!(curl(&lab, &address, &trusted, Some((&bad, &bad_key))), "000", "a client of others");

    rauta.write("policy.yaml", &policy("other.internal")).unwrap();
    eventually("the endpoint is another than it should be", || ask() == "TLS with the endpoint failed\n502");
    rauta.write("policy.yaml", &policy("not_a_name")).unwrap();
    eventually("a policy that cannot be", || ask().ends_with("\n500"));
    rauta.write("policy.yaml", &policy("web.internal")).unwrap();
    eventually("all is well again", || ask() == "web.internal SUCCESS https\n200");
}
