//! Annotations of ingress-nginx: which there are, what they amount to here, what an Ingress says with them.
//!
//! Source of names and defaults: docs/user-guide/nginx-configuration/annotations.md of ingress-nginx v1.15.1.

mod auth_request;
mod canary;
mod closing;
mod cors;
mod examine;
mod headers;
mod redirects;
mod session;
mod settings;
mod table;
mod values;

pub use examine::{Examined, Finding, examine};
pub use table::{Annotation, PREFIX, Support, TABLE, annotation};

pub(crate) use auth_request::AuthRequest;
pub(crate) use canary::{Canary, is_canary, of as canary};
pub(crate) use closing::CLOSES;
pub(crate) use redirects::other_name;
pub(crate) use settings::{Instead, Nginx, Users, custom_header, read, rewrites_by_pattern};
pub(crate) use values::field;
