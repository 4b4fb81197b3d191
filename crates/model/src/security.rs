use std::fmt;
use std::sync::Arc;

use serde::{Serialize, Serializer};

use crate::Certificate;

/// How connections to a backend's endpoints are secured.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum BackendSecurity {
    /// They are not.
    #[default]
    Cleartext,
    /// TLS, with endpoints that prove who they are.
    Tls(Arc<BackendTls>),
    /// TLS is wanted and cannot be had, so nothing is sent: requests get 500.
    Broken,
}

/// Who the endpoints of a backend must be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BackendTls {
    /// The name that they are asked for: a DNS name.
    pub server_name: Arc<str>,
    /// Whether they are told it (SNI).
    #[serde(skip_serializing_if = "Clone::clone")]
    pub tells_name: bool,
    /// The names of which their certificates must have one; never empty.
    pub names: Vec<PeerName>,
    /// Who vouches for them.
    pub authorities: Authorities,
    /// What is shown to those that ask for a certificate, whatever the Gateway shows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<Arc<Certificate>>,
}

/// A name in a certificate (RFC 5280 section 4.2.1.6).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PeerName {
    /// A DNS name, or `*.` and one.
    Dns(Arc<str>),
    /// A URI, such as a SPIFFE ID.
    Uri(Arc<str>),
}

/// Whom to believe about certificates.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Authorities {
    /// The authorities of the system that the gateway runs on.
    System,
    /// These alone.
    Bundle(PemBundle),
    /// Anybody: certificates are not looked at, and names count for nothing. Who is in the way can read and change everything.
    Anybody,
}

/// Whether the clients of a listener show certificates.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ClientValidation {
    /// They are not asked.
    #[default]
    NotAsked,
    /// Only those are served for whom one of these vouches.
    Required(PemBundle),
    /// They are asked, and served whatever they show.
    Unverified,
}

/// Certificates of authorities as PEM. Public, and too long to print.
#[derive(Clone, PartialEq, Eq)]
pub struct PemBundle(Arc<[u8]>);

impl PemBundle {
    /// Takes the text in.
    pub fn new(pem: &[u8]) -> Self {
        Self(pem.into())
    }

    /// The text.
    pub fn pem(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for PemBundle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{} bytes of PEM]", self.0.len())
    }
}

impl Serialize for PemBundle {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{self:?}"))
    }
}
