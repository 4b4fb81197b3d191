use core::fmt;

macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $name:ident = $number:literal $label:literal,)+) => {
        /// Why a request is Tier 3's.
        ///
        /// The order of checks is not promised: a request with several faults has one of their reasons.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Undecidable {
            $($(#[doc = $doc])+ $name = $number,)+
        }

        impl Undecidable {
            /// All, in the order of their numbers, which start at 0.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// The one of that number; any other number is that of [`Undecidable::Head`].
            #[inline(always)]
            pub(super) const fn of(number: u8) -> Self {
                match number {
                    $($number => Self::$name,)+
                    _ => Self::Head,
                }
            }

            /// A label: a few words in snake_case.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $label,)+
                }
            }
        }
    };
}

reasons! {
    /// The head does not end within the segment.
    Incomplete = 0 "incomplete",
    /// Bytes behind the request.
    MoreThanOne = 1 "more_than_one",
    /// Not HTTP/1.1.
    Version = 2 "version",
    /// A method that the kernel does not route.
    Method = 3 "method",
    /// A length where none is usual, none where one is, two, one that is no number, or one above 2^30.
    Body = 4 "body",
    /// `Transfer-Encoding`.
    TransferEncoding = 5 "transfer_encoding",
    /// `TE`, `Trailer`, `Upgrade`, `Expect`, `Keep-Alive`, `HTTP2-Settings`, `Proxy`, `Proxy-…`: for the gateway itself.
    HopByHop = 6 "hop_by_hop",
    /// `Connection` twice, or neither `keep-alive` nor `close`.
    Connection = 7 "connection",
    /// No Host, two, or one that is no plain name or IPv4 address with or without port.
    Host = 8 "host",
    /// A target that is not in origin form, or a path that is long, or has `%`, `//` or `/.`.
    Path = 9 "path",
    /// A line that is no plain field line: other ends than CRLF, folds, control bytes and tabs, names with other bytes than
    /// letters, digits and hyphens; or too many lines.
    Head = 10 "head",
    /// A field that a route matches on stands there twice.
    HeaderTwice = 11 "header_twice",
}

impl fmt::Display for Undecidable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_labels_are_in_order() {
        for (index, reason) in Undecidable::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, index);
            let label = reason.as_str();
            assert!(label.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{label}");
            assert_eq!(Undecidable::ALL.iter().filter(|other| other.as_str() == label).count(), 1);
        }
    }
}
