//! Strict HTTP/1 codec without I/O: heads, framing, edits.
