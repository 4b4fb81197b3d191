use dataplane::head::HEAD_BYTES_MAX;

/// How large the parts of a message may be. All in bytes but `headers_max`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// A head with its closing empty line; at most 65,535. Above: 431.
    pub head_bytes_max: usize,
    /// The request target. Above: 414.
    pub target_bytes_max: usize,
    /// Header lines of a head, and field lines of a trailer section. Above: 431.
    pub headers_max: usize,
    /// A chunk's size line with its extensions and CRLF. A buffer that a [`crate::Body`] is fed from must be able to
    /// hold this much and `trailer_line_bytes_max`. Above: 400.
    pub chunk_line_bytes_max: usize,
    /// All chunk extensions of one message, so that they cannot outweigh the payload without end. Above: 400.
    pub chunk_extension_bytes_max: usize,
    /// One trailer line with CRLF. Above: 431.
    pub trailer_line_bytes_max: usize,
    /// A trailer section with its closing empty line. Above: 431.
    pub trailer_bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            head_bytes_max: HEAD_BYTES_MAX,
            target_bytes_max: 16 * 1024,
            headers_max: 128,
            chunk_line_bytes_max: 1024,
            chunk_extension_bytes_max: 16 * 1024,
            trailer_line_bytes_max: 4 * 1024,
            trailer_bytes_max: 16 * 1024,
        }
    }
}
