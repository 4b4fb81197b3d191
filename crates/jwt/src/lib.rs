//! Signed tokens (JWT, RFC 7519; JWS in compact form, RFC 7515) and the keys that they are checked with (JWK sets, RFC 7517).
//!
//! ```text
//!  text ──Token::parse──> Token ──verify(KeySet)──> Claims ──Demands::judge(now)──> Lifetime
//! ```
//!
//! Signatures are checked by aws-lc-rs. What a key may check is decided by the key: a token's `alg` only chooses among that
//! (RFC 8725 section 3.1). There are no symmetric keys here, and no `none`.
//!
//! Invariants: no I/O, no clock: the time is an argument.

mod claims;
mod demands;
mod key;
mod key_set;
mod token;

pub use claims::Claims;
pub use demands::{Demands, Lifetime};
pub use key_set::{Ignored, KeySet, KeySetError};
pub use token::{Token, TokenError};
