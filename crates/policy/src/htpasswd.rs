//! Users and their passwords (RFC 7617), in the format of Apache's htpasswd.

use std::collections::HashMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest, Sha1};
use subtle::ConstantTimeEq;

/// The dearest bcrypt: 2^14 rounds take about a second.
const COST_MAX: u32 = 14;

/// Users, each with a hash of a password: `{SHA}` (SHA-1, as weak as it is) or bcrypt.
pub struct Htpasswd {
    users: HashMap<Box<str>, Hash>,
}

#[derive(Clone)]
enum Hash {
    Sha1([u8; 20]),
    Bcrypt(Box<str>),
}

/// Why a line of an htpasswd file is of no use. It does not repeat the line, which is a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HtpasswdError {
    /// No line names a user.
    #[error("names no user: write some with `htpasswd -B`")]
    Empty,
    /// No colon, or nothing before it.
    #[error("line {line} is no `user:hash`")]
    Line {
        /// From 1.
        line: usize,
    },
    /// The same user again.
    #[error("line {line} has a user that stands before it already")]
    Twice {
        /// From 1.
        line: usize,
    },
    /// A hash of another kind.
    #[error("line {line} has no hash of bcrypt or {{SHA}}: make one with `htpasswd -B`")]
    Hash {
        /// From 1.
        line: usize,
    },
    /// A bcrypt that would hold up others.
    #[error(
        "line {line} has a bcrypt hash of a cost over 14, which takes seconds: make one with `htpasswd -B -C 10`"
    )]
    Cost {
        /// From 1.
        line: usize,
    },
}

/// How much it takes to check a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckCost {
    /// Microseconds.
    Low,
    /// Up to a second: not where others wait.
    High,
}

impl Htpasswd {
    /// Reads a file. Empty lines and those that begin with `#` say nothing.
    ///
    /// # Errors
    /// The first line that is of no use: who is left out would not be let in, and nobody would know why.
    pub fn parse(text: &str) -> Result<Self, HtpasswdError> {
        let mut users = HashMap::new();
        for (line, text) in (1..).zip(text.lines()) {
            let text = text.trim_end();
            if text.is_empty() || text.starts_with('#') {
                continue;
            }
            let (user, hash) = text
                .split_once(':')
                .filter(|(user, _)| !user.is_empty())
                .ok_or(HtpasswdError::Line { line })?;
            let hash = read_hash(hash, line)?;
            if users.insert(user.into(), hash).is_some() {
                return Err(HtpasswdError::Twice { line });
            }
        }
        if users.is_empty() { Err(HtpasswdError::Empty) } else { Ok(Self { users }) }
    }

    /// What [`Htpasswd::lets_in`] may take: high where any user's hash is dear.
    pub fn cost(&self) -> CheckCost {
        let is_dear = self.users.values().any(|hash| matches!(hash, Hash::Bcrypt(_)));
        if is_dear { CheckCost::High } else { CheckCost::Low }
    }

    /// Whether that is the user's password. A user who is not there takes as long as one with bcrypt, if any has it: where all have
    /// hashes of the same kind and cost, time tells nobody who is there.
    pub fn lets_in(&self, credentials: &Credentials) -> bool {
        let known = self.users.get(credentials.user.as_str());
        let dearest = || {
            let bcrypt = self.users.values().find(|hash| matches!(hash, Hash::Bcrypt(_)));
            bcrypt.or_else(|| self.users.values().next())
        };
        let Some(hash) = known.or_else(dearest) else { return false };
        hash.fits(&credentials.password) && known.is_some()
    }
}

impl Hash {
    fn fits(&self, password: &[u8]) -> bool {
        match self {
            Self::Sha1(hash) => Sha1::digest(password).as_slice().ct_eq(hash).into(),
            Self::Bcrypt(hash) => bcrypt::verify(password, hash).unwrap_or(false),
        }
    }
}

/// Says nothing of the users.
impl std::fmt::Debug for Htpasswd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "[{} users]", self.users.len())
    }
}

fn read_hash(text: &str, line: usize) -> Result<Hash, HtpasswdError> {
    if let Some(encoded) = text.strip_prefix("{SHA}") {
        let hash = STANDARD.decode(encoded).ok().and_then(|hash| hash.try_into().ok());
        return hash.map(Hash::Sha1).ok_or(HtpasswdError::Hash { line });
    }
    let parts: Vec<_> = text.split('$').collect();
    let is_base64 = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'/');
    match parts[..] {
        ["", "2a" | "2b" | "2y", cost, rest]
            if cost.len() == 2 && rest.len() == 53 && rest.bytes().all(is_base64) =>
        {
            let cost: u32 = cost.parse().map_err(|_| HtpasswdError::Hash { line })?;
            match cost {
                4..=COST_MAX => Ok(Hash::Bcrypt(text.into())),
                0..4 => Err(HtpasswdError::Hash { line }),
                _ => Err(HtpasswdError::Cost { line }),
            }
        }
        _ => Err(HtpasswdError::Hash { line }),
    }
}

/// What a client says of itself.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The user-id.
    pub user: String,
    /// As it came.
    pub password: Vec<u8>,
}

impl Credentials {
    /// Reads the value of `Authorization`; none: it is no use of the scheme Basic.
    ///
    /// RFC 7617 section 2: base64 of user-id and password with a colon between; "a user-id containing a colon character is
    /// invalid". RFC 9110 section 11.1: the scheme's case does not count.
    pub fn read(value: &[u8]) -> Option<Self> {
        let (scheme, encoded) = value.split_at_checked(5)?;
        if !scheme.eq_ignore_ascii_case(b"basic") || encoded.first() != Some(&b' ') {
            return None;
        }
        let decoded = STANDARD.decode(encoded.trim_ascii()).ok()?;
        let colon = decoded.iter().position(|byte| *byte == b':')?;
        let user = String::from_utf8(decoded[..colon].to_vec()).ok()?;
        Some(Self { user, password: decoded[colon + 1..].to_vec() })
    }
}

/// Says who, not by what.
impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} with a password", self.user)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of `htpasswd -nbs a secret`, `htpasswd -nbB -C 4 b secret`.
    const SHA: &str = "a:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=";

    fn bcrypt_line() -> String {
        let parts = bcrypt::hash_with_salt("secret", 4, *b"0123456789abcdef").unwrap();
        format!("b:{}", parts.format_for_version(bcrypt::Version::TwoY))
    }

    fn lets_in(file: &Htpasswd, user: &str, password: &str) -> bool {
        let encoded = STANDARD.encode(format!("{user}:{password}"));
        file.lets_in(&Credentials::read(format!("Basic {encoded}").as_bytes()).unwrap())
    }

    #[test]
    fn users_are_let_in_by_their_own_password_alone() {
        let file = Htpasswd::parse(&format!("# users\n{SHA}\n\n{}\r\n", bcrypt_line())).unwrap();
        assert_eq!(file.cost(), CheckCost::High);
        for (user, password, expected) in [
            ("a", "secret", true),
            ("b", "secret", true),
            ("a", "Secret", false),
            ("b", "", false),
            ("b", "secret2", false),
            ("c", "secret", false),
            ("", "secret", false),
            ("A", "secret", false),
        ] {
            assert_eq!(lets_in(&file, user, password), expected, "{user} {password}");
        }
        assert_eq!(Htpasswd::parse(SHA).unwrap().cost(), CheckCost::Low);
        assert_eq!(format!("{file:?}"), "[2 users]");
    }

    #[test]
    fn a_line_that_is_of_no_use_is_named() {
        let of = |text: &str| Htpasswd::parse(text).unwrap_err();
        assert_eq!(of("# nobody\n"), HtpasswdError::Empty);
        assert_eq!(of("\nno colon"), HtpasswdError::Line { line: 2 });
        assert_eq!(of(":{SHA}x"), HtpasswdError::Line { line: 1 });
        assert_eq!(of(&format!("{SHA}\n{SHA}")), HtpasswdError::Twice { line: 2 });
        for hash in ["plain", "$apr1$x$y", "{SHA}", "{SHA}c2hvcnQ=", "{SSHA}x", "", "$2y$10$short", "$2y$03$"]
        {
            assert_eq!(of(&format!("a:{hash}")), HtpasswdError::Hash { line: 1 }, "{hash}");
        }
        let dear = bcrypt_line().replace("$04$", "$15$");
        assert_eq!(of(&dear), HtpasswdError::Cost { line: 1 });
    }

    #[test]
    fn credentials_are_base64_with_a_colon() {
        let read = |value: &str| Credentials::read(value.as_bytes()).map(|said| (said.user, said.password));
        let of = |user: &str, password: &str| Some((user.to_owned(), password.as_bytes().to_vec()));
        // The examples of RFC 7617 sections 2 and 2.1.
        assert_eq!(read("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="), of("Aladdin", "open sesame"));
        assert_eq!(read("bAsIc  dGVzdDoxMjPCow=="), of("test", "123\u{a3}"));
        assert_eq!(read("Basic YTpiOmM="), of("a", "b:c"));
        for value in [
            "",
            "Basic",
            "Basic ",
            "Bearer YTpi",
            "BasicYTpi",
            "Basic YWI=",
            "Basic YTpi!",
            "Basic YTpi YTpi",
        ] {
            assert_eq!(read(value), None, "{value:?}");
        }
    }
}
