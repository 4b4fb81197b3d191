use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use serde::Serialize;

use crate::{ClientValidation, HostPattern};

/// Names a listener: the Gateway it belongs to and its name there.
///
/// Ingresses and RoutingRules without parentRefs attach to the built-in default listeners, [`ListenerId::default_http`] and
/// [`ListenerId::default_https`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct ListenerId {
    /// The Gateway's namespace.
    pub namespace: Arc<str>,
    /// The Gateway's name.
    pub gateway: Arc<str>,
    /// The listener's name (`sectionName` of a parentRef).
    pub section: Arc<str>,
}

impl ListenerId {
    /// Names listener `section` of Gateway `namespace/gateway`.
    pub fn new(namespace: &str, gateway: &str, section: &str) -> Self {
        Self { namespace: namespace.into(), gateway: gateway.into(), section: section.into() }
    }

    /// The built-in listener for objects that name no Gateway; no Gateway can take this id (its namespace is empty).
    pub fn default_http() -> Self {
        Self::new("", "default", "http")
    }

    /// The built-in listener of Ingresses for HTTPS.
    pub fn default_https() -> Self {
        Self::new("", "default", "https")
    }

    /// Whether it is a built-in one.
    pub fn is_default(&self) -> bool {
        self.namespace.is_empty()
    }
}

impl fmt::Display for ListenerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() {
            write!(f, "{}/{}", self.gateway, self.section)
        } else {
            write!(f, "{}/{}/{}", self.namespace, self.gateway, self.section)
        }
    }
}

/// What a listener speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Protocol {
    /// Cleartext HTTP.
    Http,
    /// HTTP over TLS that ends here.
    Https,
    /// TLS that passes through by the name that the client asks for, or ends here: then what it carries goes on.
    Tls,
    /// Bytes.
    Tcp,
    /// Datagrams.
    Udp,
}

/// What a listener's socket is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Transport {
    /// A TCP socket.
    Tcp,
    /// A UDP socket: never in the way of a TCP socket of the same port.
    Udp,
}

impl Protocol {
    /// What its socket is.
    pub fn transport(self) -> Transport {
        if self == Self::Udp { Transport::Udp } else { Transport::Tcp }
    }

    /// Whether its connections begin with TLS, so that listeners of one port are told apart by the name in it.
    pub fn begins_with_tls(self) -> bool {
        matches!(self, Self::Https | Self::Tls)
    }

    /// Whether requests are served: otherwise connections or datagrams are.
    pub fn is_http(self) -> bool {
        matches!(self, Self::Http | Self::Https)
    }
}

/// A place where clients connect. Several listeners may share a port when their host names differ.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Listener {
    /// Which one.
    pub id: ListenerId,
    /// Local addresses to listen on; empty: all.
    pub addresses: Vec<IpAddr>,
    /// TCP or UDP port, host order, 1..=65535.
    pub port: u16,
    /// The port by which clients reach it, where that is another one: that of redirects.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reached_by: Option<u16>,
    /// What it speaks.
    pub protocol: Protocol,
    /// Host names served; none: every name.
    pub hostname: Option<HostPattern>,
    /// Certificates, for [`Protocol::Https`], and for [`Protocol::Tls`] where TLS ends here; none: it passes through.
    pub tls: Option<Tls>,
    /// Whether `X-Forwarded-For` and `X-Forwarded-Proto` are added for endpoints.
    pub forwarded_headers: bool,
    /// What its Gateway shows to endpoints that ask for a certificate in TLS.
    pub backend_certificate: Option<CertificateId>,
    /// Whether connections of trusted proxies begin with a header of the PROXY protocol, which names the client.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub proxy_protocol: bool,
}

impl Listener {
    /// The port that clients know it by.
    pub fn known_port(&self) -> u16 {
        self.reached_by.unwrap_or(self.port)
    }
}

/// How a listener ends TLS.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Tls {
    /// Names that have a certificate of their own, which counts before the others; each once, by precedence.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<NamedCertificate>,
    /// The certificates to choose from by SNI for other names; the first is the default. Empty: clients that ask for other names, or for none,
    /// are refused.
    pub certificates: Vec<CertificateId>,
    /// The oldest version that is spoken.
    pub min_version: TlsVersion,
    /// Whether clients show certificates too.
    pub clients: ClientValidation,
}

/// A name that clients ask for, and the certificate that they are shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NamedCertificate {
    /// The name; a wildcard stands for one label, as in certificates.
    pub name: HostPattern,
    /// The certificate, whatever names it has.
    pub certificate: CertificateId,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum TlsVersion {
    /// TLS 1.2.
    #[default]
    #[serde(rename = "1.2")]
    Tls12,
    /// TLS 1.3.
    #[serde(rename = "1.3")]
    Tls13,
}

/// Names a certificate: the Secret that holds it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct CertificateId {
    /// The Secret's namespace.
    pub namespace: Arc<str>,
    /// The Secret's name.
    pub name: Arc<str>,
}

/// A certificate with its key, as PEM (`kubernetes.io/tls`: `tls.crt`, `tls.key`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Certificate {
    /// Which one.
    pub id: CertificateId,
    /// The chain, leaf first, PEM.
    #[serde(skip)]
    pub chain_pem: Arc<[u8]>,
    /// The private key, PEM.
    #[serde(skip)]
    pub key_pem: SecretBytes,
}

/// Bytes that never appear in logs, dumps or errors.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretBytes(Arc<[u8]>);

impl SecretBytes {
    /// Takes the bytes in.
    pub fn new(bytes: &[u8]) -> Self {
        Self(bytes.into())
    }

    /// The bytes, for the one place that needs them.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{} secret bytes]", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_show_in_neither_debug_nor_json() {
        let certificate = Certificate {
            id: CertificateId { namespace: "a".into(), name: "b".into() },
            chain_pem: Arc::from(&b"chain"[..]),
            key_pem: SecretBytes::new(b"hunter2"),
        };
        assert!(format!("{:?}", certificate.key_pem).contains("7 secret bytes"));
        assert!(!format!("{certificate:?}").contains("hunter2"));
        assert!(!serde_json::to_string(&certificate).unwrap().contains("hunter2"));
        assert_eq!(certificate.key_pem.expose(), b"hunter2");
    }
}
