//! What events have of a request's text.

use wire::{Event, Method};

/// What a request asks for; empty where that was not told.
pub(in crate::agent::datapath) fn path(event: &Event) -> String {
    text(&event.path, event.path_len)
}

/// The host that it names.
pub(in crate::agent::datapath) fn host(event: &Event) -> String {
    text(&event.host, event.host_len)
}

/// Bytes as they came. Whoever shows them escapes them.
fn text(bytes: &[u8], len: u16) -> String {
    let whole = usize::from(len);
    let told = String::from_utf8_lossy(&bytes[..whole.min(bytes.len())]).into_owned();
    if whole > bytes.len() { told + "..." } else { told }
}

pub(in crate::agent::datapath) fn method(number: u8) -> Option<&'static str> {
    const NAMES: [(Method, &str); 7] = [
        (Method::Get, "GET"),
        (Method::Head, "HEAD"),
        (Method::Post, "POST"),
        (Method::Put, "PUT"),
        (Method::Delete, "DELETE"),
        (Method::Patch, "PATCH"),
        (Method::Options, "OPTIONS"),
    ];
    NAMES.iter().find(|(method, _)| *method as u8 == number).map(|(_, name)| *name)
}
