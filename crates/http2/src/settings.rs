use std::time::Duration;

/// Bounds of a connection. What none names has `h2`'s own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Streams that a client may have open at once (SETTINGS_MAX_CONCURRENT_STREAMS); towards an endpoint, those that we open on
    /// one connection, though it may take more.
    pub streams_max: u32,
    /// Bytes of a stream that may come unread (SETTINGS_INITIAL_WINDOW_SIZE), 1..=2^31-1.
    pub stream_window: u32,
    /// Bytes of all streams that may come unread, 65,535..=2^31-1.
    pub connection_window: u32,
    /// Bytes of a stream that may wait to be sent.
    pub send_buffer_max: usize,
    /// Bytes of a decoded header list, by the count of RFC 9113 section 6.5.2 (SETTINGS_MAX_HEADER_LIST_SIZE).
    pub header_list_max: u32,
    /// Streams that were reset by the client before anyone took them: one more ends the connection (CVE-2023-44487).
    pub pending_reset_max: usize,
    /// Streams that were reset because of the client's own errors: one more ends the connection (CVE-2025-8671).
    pub error_reset_max: usize,
    /// How long frames for a stream that was reset are ignored without ado.
    pub reset_memory: Duration,
}

impl Settings {
    /// Towards endpoints. A stream whose client is slow fills its own window: all of them together must not fill the
    /// connection's, on which others wait.
    pub fn for_endpoints() -> Self {
        let (streams_max, stream_window) = (128, 128 * 1024);
        Self { streams_max, stream_window, connection_window: streams_max * stream_window, ..Self::default() }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            streams_max: 128,
            stream_window: 256 * 1024,
            connection_window: 1024 * 1024,
            send_buffer_max: 128 * 1024,
            header_list_max: 64 * 1024,
            pending_reset_max: 20,
            error_reset_max: 1024,
            reset_memory: Duration::from_secs(1),
        }
    }
}
