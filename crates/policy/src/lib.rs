//! What routes ask to be done with their requests and responses, as pure state and decisions.
//!
//! The userspace tier plans with these functions when it takes a snapshot up, and asks them per request; `translate`
//! checks objects with the same ones, so that what is accepted is what can be done.
//!
//! Invariants: no I/O, no clock, no randomness: time and chance are arguments.

mod answers;
mod client_address;
mod compression;
mod cors;
mod ejection;
mod headers;
mod health;
mod htpasswd;
mod ip_rules;
mod origin;
mod path;
mod path_rules;
mod rate_limit;
mod redirect;
mod request_id;
mod retry;
mod same_site;
mod session;
mod trace;
mod under_way;
mod warming;

pub use answers::{replaced_cookie, replaced_location};
pub use client_address::client_address;
pub use compression::{is_compressed_by, preferred_coding};
pub use cors::{CORS_HEADERS, Cors, CorsLines, CorsRequest, CorsVerdict};
pub use ejection::{Ejection, may_eject};
pub use headers::{HeadKind, header_refusal, header_value_problem, is_header_value};
pub use health::{HealthTrack, with_health};
pub use htpasswd::{CheckCost, Credentials, Htpasswd, HtpasswdError};
pub use ip_rules::{is_let_in, plain_network};
pub use origin::Origin;
pub use path::{path_problem, write_path};
pub use path_rules::{EscapedSlashes, PathRules, RuledPath};
pub use rate_limit::{RateLimit, RateTable, RateVerdict};
pub use redirect::{Asked, location};
pub use request_id::{RequestIdText, is_request_id, request_id};
pub use retry::{RetryBudget, retry_backoff};
pub use same_site::knows_same_site_none;
pub use session::{SessionToken, cookie_values};
pub use trace::{TRACEPARENT, TRACESTATE, TraceContext};
pub use under_way::{Counted, UnderWay};
pub use warming::warming_since;
