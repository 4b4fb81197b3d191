//! TLS: certificates, server names, protocols; and keyed hashes of the same cryptography. The only crate that names rustls.
//!
//! ```text
//!  socket ──hello──> Hello ──accept(ServerConfig)──> ServerStream
//!                      └────into_parts (passthrough)──> socket, bytes read so far
//!
//!  socket ──ClientConfig::connect──> ClientStream, for an endpoint that has proved who it is, where that is asked
//! ```
//!
//! The name that a client asks for is read before anything is decided, so that one port serves many listeners, each
//! with its own certificates and rules.
//!
//! Invariants: no knowledge of HTTP but the names of ALPN; no file is read but the system's authorities; keys appear in no log.

mod any_client;
mod any_endpoint;
mod authorities;
mod certificate;
mod client;
mod error;
mod hello;
mod mac;
mod peer;
mod provider;
mod server;

pub use authorities::Authorities;
pub use certificate::Certificate;
pub use client::{ClientConfig, ClientOptions, ClientStream};
pub use error::{AuthorityError, CertificateError, ConfigError};
pub use hello::{Hello, hello};
pub use mac::{MacKey, NoRandomError};
pub use peer::PeerName;
pub use server::{ClientCertificates, ServerConfig, ServerOptions, ServerStream, Version, version_name};

/// ALPN (RFC 7301) names of protocols.
pub mod alpn {
    /// HTTP/2 (RFC 9113 section 3.2).
    pub const H2: &[u8] = b"h2";
    /// HTTP/1.1.
    pub const HTTP11: &[u8] = b"http/1.1";
}
