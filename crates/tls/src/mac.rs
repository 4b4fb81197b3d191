use std::fmt;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;

/// A secret by which this gateway, and others with the same one, know again what they have written.
///
/// HMAC-SHA256 (RFC 2104), cut to 128 bits.
#[derive(Clone)]
pub struct MacKey(hmac::Key);

/// The system has no random numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the system gives no random numbers")]
pub struct NoRandomError;

impl MacKey {
    /// Bytes of a tag.
    pub const TAG_BYTES: usize = 16;

    /// A key of these bytes; they should be at least 32, hard to guess.
    pub fn new(secret: &[u8]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, secret))
    }

    /// A key that nobody else has.
    ///
    /// # Errors
    /// [`NoRandomError`] if the system cannot make one up.
    pub fn random() -> Result<Self, NoRandomError> {
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new());
        key.map(Self).map_err(|_| NoRandomError)
    }

    /// The tag of `parts`, one after the other: where one ends is for the caller to make plain.
    pub fn tag(&self, parts: &[&[u8]]) -> [u8; Self::TAG_BYTES] {
        let mut context = hmac::Context::with_key(&self.0);
        for part in parts {
            context.update(part);
        }
        let whole = context.sign();
        let mut tag = [0; Self::TAG_BYTES];
        for (byte, from) in tag.iter_mut().zip(whole.as_ref()) {
            *byte = *from;
        }
        tag
    }

    /// Whether `tag` is that of `parts`; the time it takes does not tell how much of it is right.
    pub fn verifies(&self, parts: &[&[u8]], tag: &[u8]) -> bool {
        verify_slices_are_equal(&self.tag(parts), tag).is_ok()
    }
}

/// Says nothing of the secret.
impl fmt::Debug for MacKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MacKey")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 4231 section 4.3 (test case 2), cut to 128 bits.
    #[test]
    fn tags_are_those_of_hmac_sha256() {
        let key = MacKey::new(b"Jefe");
        let expected =
            [0x5b, 0xdc, 0xc1, 0x46, 0xbf, 0x60, 0x75, 0x4e, 0x6a, 0x04, 0x24, 0x26, 0x08, 0x95, 0x75, 0xc7];
        assert_eq!(key.tag(&[b"what do ya want for nothing?"]), expected);
        assert_eq!(key.tag(&[b"what do ya want ", b"for nothing?"]), expected);
        assert!(key.verifies(&[b"what do ya want for nothing?"], &expected));
        assert!(!key.verifies(&[b"what do ya want for something?"], &expected));
        assert!(!key.verifies(&[b"what do ya want for nothing?"], &expected[..15]));
    }

    #[test]
    fn random_keys_differ_and_are_not_shown() {
        let (one, other) = (MacKey::random().unwrap(), MacKey::random().unwrap());
        assert_ne!(one.tag(&[b"a"]), other.tag(&[b"a"]));
        assert_eq!(format!("{one:?}"), "MacKey");
    }
}
