//! Certificates for Ingresses, and clients that verify them.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use testkit::{Netns, exec};

use super::{LIMIT, named};

/// A Secret with a new certificate for `host`, which clients find as `HOST.pem` in `folder`.
pub(super) fn secret(name: &str, host: &str, folder: &Path) -> Value {
    let made = rcgen::generate_simple_self_signed(vec![host.to_owned()]).unwrap();
    std::fs::write(folder.join(format!("{host}.pem")), made.cert.pem()).unwrap();
    let data = json!({"tls.crt": made.cert.pem(), "tls.key": made.signing_key.serialize_pem()});
    let mut secret = named(name, json!({"type": "kubernetes.io/tls", "stringData": data}));
    (secret["apiVersion"], secret["kind"]) = (json!("v1"), json!("Secret"));
    secret
}

/// What is answered to `GET /` of a host over HTTPS at this address, or else what curl says. The certificate in the file `trusted`
/// is verified.
pub(super) fn ask(client: &Netns, address: SocketAddr, host: &str, trusted: &Path) -> Result<String, String> {
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--include", "--http1.1", "--max-time", "10", "--cacert"]);
    curl.arg(trusted).args(["--connect-to", &format!("::{address}")]);
    curl.arg(format!("https://{host}/"));
    let output = exec(Some(client), curl, LIMIT).unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}
