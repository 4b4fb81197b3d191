use std::fmt;
use std::sync::Arc;

use serde::Serialize;

use crate::{AppProtocol, ObjectRef};

/// How an object that routes wants the endpoints of a Service to be spoken to: it counts in place of what the Service says
/// (`appProtocol`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Speaks {
    /// What the endpoints speak.
    pub protocol: AppProtocol,
    /// None: in cleartext, where no BackendTLSPolicy asks for TLS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<SpokenTls>,
}

/// TLS to endpoints of which no BackendTLSPolicy says who they must be.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SpokenTls {
    /// The name that is verified and told: a DNS name. None: that of the Service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<Arc<str>>,
    /// Whether endpoints are told the name (SNI).
    pub tells_name: bool,
    /// Whether their certificates must be good.
    pub is_verified: bool,
    /// The Secret that holds who vouches for them, and what they are shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<ObjectRef>,
}

impl fmt::Display for Speaks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match (self.protocol, &self.tls) {
            (AppProtocol::Http2, None) => "grpc",
            (AppProtocol::Http2, Some(_)) => "grpcs",
            (_, None) => "http",
            (_, Some(_)) => "https",
        })?;
        let Some(SpokenTls { name, tells_name, is_verified, secret }) = &self.tls else { return Ok(()) };
        if let Some(name) = name {
            write!(f, " {name}")?;
        }
        f.write_str(if *tells_name { ", told" } else { "" })?;
        f.write_str(if *is_verified { ", verified" } else { "" })?;
        if let Some(secret) = secret {
            write!(f, ", {secret}")?;
        }
        Ok(())
    }
}
