//! The bytes of a request or response head, copied out of the packet, and what a scan found in them.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Bytes that a scan may look at.
pub const PAYLOAD_MAX: usize = 2048;

/// Size of the buffer: bytes may be put back from any offset below 1,024.
pub const PAYLOAD_ROOM: usize = PAYLOAD_MAX + 1088;

/// Request header fields that routes of one agent may match on.
pub const CAPTURES_MAX: usize = 16;

/// The longest field name that a route may match on, in bytes.
pub const HEADER_NAME_MAX: usize = 32;

/// Copied bytes; what lies behind the length that goes with them is not looked at, but may be read in words of 8.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(8))]
pub struct Payload {
    /// The bytes, and room for a word behind the last.
    pub bytes: [u8; PAYLOAD_ROOM],
}

/// A part of a [`Payload`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct PayloadSpan {
    /// Offset of the first byte.
    pub start: u16,
    /// How many bytes.
    pub len: u16,
}

/// What the scan of a request found. Valid only if the scan accepted it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct RequestFacts {
    /// FNV-1a of the path, over 64 bits.
    pub path_hash: u64,
    /// Length of the body; at most 2^30.
    pub content_length: u32,
    /// Bit set over captured names: seen.
    pub captured: u32,
    /// The path: from its first slash up to `?` or the end of the target.
    pub path: PayloadSpan,
    /// The host of the Host field, without port; case as it came.
    pub host: PayloadSpan,
    /// Length of the request line with its CRLF: where text may be inserted.
    pub line_len: u16,
    /// Length of the head with its closing empty line.
    pub head_len: u16,
    /// A [`crate::Method`].
    pub method: u8,
    /// Flags: [`RequestFacts::CLOSE`], [`RequestFacts::FORWARDING`].
    pub flags: u8,
    /// The scan's own: which fields that may stand there once it has seen.
    pub seen: u8,
    /// The scan's own: what is wrong with the field lines; 0: nothing.
    pub fault: u8,
    /// Values of the captured names, by number.
    pub captures: [PayloadSpan; CAPTURES_MAX],
    /// With [`RequestFacts::CLOSE`], where the word `close` is: the only one in the value of the only `Connection`; 0: nobody asks.
    pub close_at: u32,
    /// Zero.
    pub pad: u32,
}
const _: () = assert!(size_of::<RequestFacts>() == 40 + 4 * CAPTURES_MAX && align_of::<RequestFacts>() == 8);

impl RequestFacts {
    /// `Connection: close`.
    pub const CLOSE: u8 = 1;
    /// It brings `Forwarded`, `X-Forwarded-*` or `X-Real-IP`.
    pub const FORWARDING: u8 = 2;
}

/// The methods that the kernel routes. The numbers are those of bits in match masks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Method {
    /// GET
    Get = 0,
    /// HEAD
    Head = 1,
    /// POST
    Post = 2,
    /// PUT
    Put = 3,
    /// DELETE
    Delete = 4,
    /// PATCH
    Patch = 5,
    /// OPTIONS
    Options = 6,
}

/// What the scan of a response head found. Valid only if the scan accepted it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ResponseFacts {
    /// Content-Length, if its flag is set.
    pub content_length: u64,
    /// 100 to 999.
    pub status: u16,
    /// Length of the head with its closing empty line.
    pub head_len: u16,
    /// Flags: [`ResponseFacts::LENGTH`], [`ResponseFacts::CHUNKED`], [`ResponseFacts::CLOSE`], [`ResponseFacts::UPGRADE`].
    pub flags: u16,
    /// The scan's own: 1 if it has seen a `Connection`.
    pub seen: u8,
    /// The scan's own: what is wrong with the field lines; 0: nothing.
    pub fault: u8,
    /// Where the words `keep-alive` are, if they are all that the only `Connection` says; 0: they are not.
    pub keep_alive_at: u32,
    /// Zero.
    pub pad: u32,
}
const _: () = assert!(size_of::<ResponseFacts>() == 24 && align_of::<ResponseFacts>() == 8);

impl ResponseFacts {
    /// One Content-Length, and no Transfer-Encoding.
    pub const LENGTH: u16 = 1;
    /// `Transfer-Encoding: chunked` and nothing else, and no Content-Length.
    pub const CHUNKED: u16 = 2;
    /// `Connection: close`, or HTTP/1.0.
    pub const CLOSE: u16 = 4;
    /// `Upgrade` or status 101.
    pub const UPGRADE: u16 = 8;
}
