//! W3C trace contexts: whose trace a request belongs to.
//!
//! Source: W3C Recommendation "Trace Context", 23 November 2021; the flag `random` from its Level 2.

use std::fmt;

/// The header of a context.
pub const TRACEPARENT: &str = "traceparent";
/// The header of what single vendors add to it.
pub const TRACESTATE: &str = "tracestate";

/// Version, trace, parent, flags, with hyphens between them (section 3.2.2).
const LEN: usize = 55;
const SAMPLED: u8 = 1;
/// Level 2 section 3.2.2.5.2: the trace's id has random bits.
const RANDOM: u8 = 2;

/// Which trace, which span of it called, and whether it is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceContext {
    /// Not zero.
    pub trace: u128,
    /// The caller's span; not zero.
    pub span: u64,
    flags: u8,
}

impl TraceContext {
    /// The first context of a trace. `random` of which the upper half is the span's: zeros become ones.
    pub fn first(trace: u128, span: u64, is_sampled: bool) -> Self {
        Self { trace: trace.max(1), span: span.max(1), flags: RANDOM | u8::from(is_sampled) }
    }

    /// Reads the value of a `traceparent` line; none: it is not valid, and the trace begins anew.
    ///
    /// A later version is read as far as this one knows it (section 3.2.4): "If a higher version is detected, the
    /// implementation SHOULD try to parse it".
    pub fn parse(text: &[u8]) -> Option<Self> {
        let (known, rest) = text.split_at_checked(LEN)?;
        let part = |from: usize, to: usize| hex(known.get(from..to)?);
        let has_hyphens = [2, 35, 52].iter().all(|at| known.get(*at) == Some(&b'-'));
        let version = part(0, 2)?;
        let ends_well = match version {
            0 => rest.is_empty(),
            0xff => false,
            _ => rest.is_empty() || rest.starts_with(b"-"),
        };
        let trace = part(3, 35).filter(|trace| *trace != 0)?;
        let span = u64::try_from(part(36, 52)?).ok().filter(|span| *span != 0)?;
        let flags = u8::try_from(part(53, 55)?).ok()?;
        // Section 3.2.2.5.2: "Vendors MUST set those to zero."
        (has_hyphens && ends_well).then_some(Self { trace, span, flags: flags & (SAMPLED | RANDOM) })
    }

    /// The context that `span` hands on.
    #[must_use]
    pub fn of_span(self, span: u64) -> Self {
        Self { span: span.max(1), ..self }
    }

    /// Whether the caller records the trace.
    pub fn is_sampled(self) -> bool {
        self.flags & SAMPLED != 0
    }
}

/// As the value of a `traceparent` line.
impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace, self.span, self.flags)
    }
}

/// Digits and lower-case letters only (section 3.2.2: `HEXDIGLC`).
fn hex(text: &[u8]) -> Option<u128> {
    text.iter().try_fold(0, |number: u128, byte| {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            _ => return None,
        };
        Some(number << 4 | u128::from(digit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALID: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_context_is_read_and_handed_on_with_another_parent() {
        let context = TraceContext::parse(VALID.as_bytes()).unwrap();
        assert_eq!(
            (context.trace, context.span),
            (0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736, 0x00f0_67aa_0ba9_02b7)
        );
        assert!(context.is_sampled());
        assert_eq!(context.to_string(), VALID);
        assert_eq!(context.of_span(0xb7).to_string(), VALID.replace("00f067aa0ba902b7", "00000000000000b7"));
        let unsampled = TraceContext::parse(VALID.replace("-01", "-fe").as_bytes()).unwrap();
        assert!(!unsampled.is_sampled() && unsampled.to_string().ends_with("-02"), "unknown flags go");
    }

    /// The cases of the W3C's test suite (trace-context/test/test.py), as far as they are about one line.
    #[test]
    fn what_is_not_valid_begins_a_trace_anew() {
        for bad in [
            "",
            "00",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-what",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473.-00f067aa0ba902b7-01",
            "00_4bf92f3577b34da6a3ce929d0e0e4736_00f067aa0ba902b7_01",
            "0g-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01.what",
        ] {
            assert_eq!(TraceContext::parse(bad.as_bytes()), None, "{bad}");
        }
        for later in [
            "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-what",
        ] {
            assert_eq!(TraceContext::parse(later.as_bytes()).unwrap().to_string(), VALID, "{later}");
        }
    }

    #[test]
    fn no_first_context_has_zeros() {
        assert_eq!(
            TraceContext::first(0, 0, false).to_string(),
            "00-00000000000000000000000000000001-0000000000000001-02"
        );
        assert!(TraceContext::first(5, 6, true).is_sampled());
    }
}
