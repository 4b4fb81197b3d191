//! TLS: certificates, server names, protocols. The only crate that names rustls.
//!
//! ```text
//!  socket ──hello──> Hello ──accept(ServerConfig)──> ServerStream
//!                      └────into_parts (passthrough)──> socket, bytes read so far
//! ```
//!
//! The name that a client asks for is read before anything is decided, so that one port serves many listeners, each
//! with its own certificates and rules.
//!
//! Invariants: no knowledge of HTTP but the names of ALPN; no file is read; keys appear in no log.

mod certificate;
mod error;
mod hello;
mod provider;
mod server;

pub use certificate::Certificate;
pub use error::{CertificateError, ConfigError};
pub use hello::{Hello, hello};
pub use server::{ServerConfig, ServerOptions, ServerStream, Version};

/// ALPN (RFC 7301) names of protocols.
pub mod alpn {
    /// HTTP/2 (RFC 9113 section 3.2).
    pub const H2: &[u8] = b"h2";
    /// HTTP/1.1.
    pub const HTTP11: &[u8] = b"http/1.1";
}
