//! The values of sessions: what they say, in writing that only gateways with the same key can do.
//!
//! A value is 44 characters of base64url (RFC 4648 section 5): [`SessionToken`], and a tag over it and the session's scope.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use model::BackendId;
use policy::SessionToken;
use tls::{MacKey, NoRandomError};

/// What values are written and known again with.
#[derive(Debug)]
pub(crate) struct SessionKey {
    key: MacKey,
    /// Made up by this process: no other knows its values.
    is_own: bool,
    has_warned: AtomicBool,
}

const VALUE_BYTES: usize = SessionToken::BYTES + MacKey::TAG_BYTES;
const VALUE_CHARACTERS: usize = VALUE_BYTES.div_ceil(3) * 4;

/// What a tag is of, so that one is never taken for the other.
const OF_VALUE: &[u8] = b"value\0";
const OF_ENDPOINT: &[u8] = b"endpoint\0";

impl SessionKey {
    /// The key that gateways share; none: one of its own.
    pub(crate) fn new(shared: Option<MacKey>) -> Result<Self, NoRandomError> {
        let is_own = shared.is_none();
        let key = shared.map_or_else(MacKey::random, Ok)?;
        Ok(Self { key, is_own, has_warned: AtomicBool::new(false) })
    }

    /// Says once that sessions end with this process, where routes ask for some.
    pub(crate) fn warn_of_own(&self) {
        if self.is_own && !self.has_warned.swap(true, Relaxed) {
            tracing::warn!(
                "routes ask for session persistence, and there is no sessionKeyFile: sessions end with this process, and other gateways do not know them; set sessionKeyFile to a file of 32 random bytes, the same on all"
            );
        }
    }

    /// What values call an endpoint, however it is spoken to: without the key it tells nothing of it.
    pub(crate) fn endpoint(&self, backend: &BackendId, address: SocketAddr) -> u64 {
        let named = format!("{}\0{address}", backend.unspoken());
        let [a, b, c, d, e, f, g, h, ..] = self.key.tag(&[OF_ENDPOINT, named.as_bytes()]);
        u64::from_be_bytes([a, b, c, d, e, f, g, h])
    }

    /// Writes a value.
    pub(crate) fn seal(&self, scope: &str, token: SessionToken) -> String {
        let body = token.to_bytes();
        let tag = self.key.tag(&[OF_VALUE, &body, scope.as_bytes()]);
        URL_SAFE_NO_PAD.encode([&body[..], &tag].concat())
    }

    /// Reads a value; none: no gateway with this key wrote it for this scope.
    pub(crate) fn open(&self, scope: &str, value: &[u8]) -> Option<SessionToken> {
        // Before anything is computed: a request may bring many values.
        if value.len() != VALUE_CHARACTERS {
            return None;
        }
        let mut bytes = [0; VALUE_BYTES];
        let length = URL_SAFE_NO_PAD.decode_slice(value, &mut bytes).ok()?;
        let (body, tag) = bytes.split_first_chunk()?;
        let is_ours = length == VALUE_BYTES && self.key.verifies(&[OF_VALUE, body, scope.as_bytes()], tag);
        if is_ours { SessionToken::from_bytes(body) } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: SessionToken = SessionToken { endpoint: 7, issued_s: 1_800_000_000, seen_s: 1_800_000_060 };

    fn key(secret: &[u8]) -> SessionKey {
        SessionKey::new(Some(MacKey::new(secret))).unwrap()
    }

    #[test]
    fn a_value_opens_with_its_key_and_in_its_scope_only() {
        let one = key(&[1; 32]);
        let value = one.seal("r", TOKEN);
        assert_eq!(value.len(), VALUE_CHARACTERS);
        assert_eq!(one.open("r", value.as_bytes()), Some(TOKEN));
        assert_eq!(key(&[1; 32]).open("r", value.as_bytes()), Some(TOKEN), "another gateway");
        assert_eq!(one.open("s", value.as_bytes()), None);
        assert_eq!(key(&[2; 32]).open("r", value.as_bytes()), None);
    }

    #[test]
    fn no_character_of_a_value_can_be_another() {
        let key = key(&[1; 32]);
        let value = key.seal("r", TOKEN).into_bytes();
        for at in 0..value.len() {
            for other in [b'A', b'B', b'_', b'=', b'+', 0, 0xff] {
                let mut forged = value.clone();
                forged[at] = other;
                assert_eq!(key.open("r", &forged).is_some(), forged == value, "{at} {other}");
            }
            assert_eq!(key.open("r", &value[..at]), None);
        }
        assert_eq!(key.open("r", &[&value[..], b"="].concat()), None);
    }

    #[test]
    fn endpoints_have_names_by_backend_and_address_that_need_the_key() {
        let (key, other) = (key(&[1; 32]), key(&[2; 32]));
        let address = |text: &str| text.parse().unwrap();
        let (a, b) = (BackendId::service("n", "a", 80), BackendId::service("n", "b", 80));
        let name = key.endpoint(&a, address("10.0.0.1:80"));
        assert_eq!(name, key.endpoint(&a, address("10.0.0.1:80")));
        let grpc = model::Speaks { protocol: model::AppProtocol::Http2, tls: None };
        let spoken = BackendId { speaks: Some(grpc.into()), ..a.clone() };
        assert_eq!(name, key.endpoint(&spoken, address("10.0.0.1:80")), "it is the same endpoint");
        for changed in [
            key.endpoint(&b, address("10.0.0.1:80")),
            key.endpoint(&a, address("10.0.0.1:81")),
            other.endpoint(&a, address("10.0.0.1:80")),
        ] {
            assert_ne!(name, changed);
        }
    }
}
