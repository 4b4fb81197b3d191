//! Annotations of ingress-nginx: which there are, what they amount to here, what an Ingress says with them.
//!
//! Source of names and defaults: docs/user-guide/nginx-configuration/annotations.md of ingress-nginx v1.15.1.

mod answers;
mod asked;
mod auth_request;
mod backend;
mod canary;
mod closing;
mod cors;
mod examine;
mod fallback;
mod headers;
mod mirror;
mod redirects;
mod session;
mod settings;
mod table;
mod timeouts;
mod values;

pub use examine::{Examined, Finding, examine};
pub use table::{Annotation, PREFIX, Support, TABLE, annotation};

pub(crate) use auth_request::{AuthRequest, check_headers, own_header};
pub(crate) use backend::Spoken;
pub(crate) use canary::{Canary, is_canary, of as canary};
pub(crate) use closing::CLOSES;
pub(crate) use mirror::{Copied, NO_COPIES};
pub(crate) use redirects::{other_name, report_wildcards, to_https, with_or_without_www};
pub(crate) use settings::{Instead, Nginx, Users, custom_header, read, rewrites_by_pattern};
pub(crate) use values::{boolean, field};

/// The annotation of ingress-nginx that `rauta.io/use-regex` is modelled on; read with that.
pub(crate) const USE_REGEX: &str = "nginx.ingress.kubernetes.io/use-regex";
