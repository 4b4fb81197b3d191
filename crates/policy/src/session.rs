use std::time::Duration;

/// What the value of a session says, beside the proof that a gateway wrote it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionToken {
    /// The endpoint's name, as only gateways can make it.
    pub endpoint: u64,
    /// When the session began, in seconds since 1970 (up to 2106).
    pub issued_s: u32,
    /// A moment at which its client was there, as above; not each one, see [`SessionToken::is_due`].
    pub seen_s: u32,
}

impl SessionToken {
    /// Bytes of a token.
    pub const BYTES: usize = 17;
    /// The first of them; another form would have another.
    const VERSION: u8 = 1;

    /// The token as bytes: version, endpoint, both times, in network order.
    pub fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[0] = Self::VERSION;
        bytes[1..9].copy_from_slice(&self.endpoint.to_be_bytes());
        bytes[9..13].copy_from_slice(&self.issued_s.to_be_bytes());
        bytes[13..].copy_from_slice(&self.seen_s.to_be_bytes());
        bytes
    }

    /// The token that `bytes` are; none: they are in a form that is not known.
    pub fn from_bytes(bytes: &[u8; Self::BYTES]) -> Option<Self> {
        let [version, e0, e1, e2, e3, e4, e5, e6, e7, i0, i1, i2, i3, s0, s1, s2, s3] = *bytes;
        (version == Self::VERSION).then_some(Self {
            endpoint: u64::from_be_bytes([e0, e1, e2, e3, e4, e5, e6, e7]),
            issued_s: u32::from_be_bytes([i0, i1, i2, i3]),
            seen_s: u32::from_be_bytes([s0, s1, s2, s3]),
        })
    }

    /// Whether the session is over at `now_s`. A time in the future, by another gateway's clock, is as good as now.
    pub fn is_over(self, absolute: Option<Duration>, idle: Option<Duration>, now_s: u32) -> bool {
        let has_passed = |since_s: u32, limit: Option<Duration>| {
            limit.is_some_and(|limit| u64::from(now_s.saturating_sub(since_s)) >= limit.as_secs())
        };
        has_passed(self.issued_s, absolute) || has_passed(self.seen_s, idle)
    }

    /// Whether the client should get a value that says it was seen now: half of the idle time is over. So the value is not
    /// written with each answer.
    pub fn is_due(self, idle: Option<Duration>, now_s: u32) -> bool {
        idle.is_some_and(|idle| u64::from(now_s.saturating_sub(self.seen_s)) * 2 >= idle.as_secs())
    }

    /// Seconds until it ends whatever the client does.
    pub fn seconds_left(self, absolute: Duration, now_s: u32) -> u64 {
        absolute.as_secs().saturating_sub(u64::from(now_s.saturating_sub(self.issued_s)))
    }
}

/// The values of cookies called `name` in the value of one `Cookie` line (RFC 6265 section 4.2). Blanks around names and values do not count,
/// as they do not for endpoints (RFC 6265 section 5.2).
pub fn cookie_values<'a>(line: &'a [u8], name: &'a str) -> impl Iterator<Item = &'a [u8]> {
    line.split(|byte| *byte == b';').filter_map(move |pair| {
        let equals = pair.iter().position(|byte| *byte == b'=')?;
        let (called, value) = (pair.get(..equals)?.trim_ascii(), pair.get(equals + 1..)?.trim_ascii());
        if called != name.as_bytes() {
            return None;
        }
        Some(value.strip_prefix(b"\"").and_then(|inner| inner.strip_suffix(b"\"")).unwrap_or(value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: SessionToken =
        SessionToken { endpoint: 0x0102_0304_0506_0708, issued_s: 1000, seen_s: 0x0001_0000 };

    #[test]
    fn a_token_survives_its_bytes_and_other_versions_are_not_read() {
        let mut bytes = TOKEN.to_bytes();
        assert_eq!(bytes, [1, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 3, 0xe8, 0, 1, 0, 0]);
        assert_eq!(SessionToken::from_bytes(&bytes), Some(TOKEN));
        bytes[0] = 2;
        assert_eq!(SessionToken::from_bytes(&bytes), None);
    }

    #[test]
    fn sessions_end_by_either_time() {
        let token = SessionToken { issued_s: 1000, seen_s: 1600, ..TOKEN };
        let s = |seconds| Some(Duration::from_secs(seconds));
        for (absolute, idle, now_s, is_over) in [
            (None, None, u32::MAX, false),
            (s(1000), None, 1999, false),
            (s(1000), None, 2000, true),
            (None, s(60), 1659, false),
            (None, s(60), 1660, true),
            (s(1000), s(60), 1700, true),
            (s(1), s(1), 900, false),
        ] {
            assert_eq!(token.is_over(absolute, idle, now_s), is_over, "{absolute:?} {idle:?} {now_s}");
        }
        assert_eq!(token.seconds_left(Duration::from_secs(1000), 1900), 100);
        assert_eq!(token.seconds_left(Duration::from_secs(1000), 3000), 0);
    }

    #[test]
    fn a_value_is_renewed_when_half_of_the_idle_time_is_over() {
        let token = SessionToken { seen_s: 1000, ..TOKEN };
        let idle = Some(Duration::from_secs(61));
        assert!(!token.is_due(idle, 1030) && token.is_due(idle, 1031));
        assert!(!token.is_due(None, u32::MAX) && !token.is_due(idle, 10));
    }

    #[test]
    fn cookies_are_found_by_their_whole_name() {
        let of = |line: &'static str| cookie_values(line.as_bytes(), "s").collect::<Vec<_>>();
        assert_eq!(of("a=1; s=2;s=\"3\" ;xs=4; S=5; s; =7; s=a=b"), [&b"2"[..], b"3", b"a=b"]);
        assert_eq!(of("s =1; s\t= 2 ; s s=3; s = \"4\" "), [&b"1"[..], b"2", b"4"], "blanks do not count");
        assert!(of("").is_empty());
    }
}
