//! Codings that responses are compressed with.

use std::sync::Arc;

use model::{Compression, ContentCoding};
use resources::CompressionType;

use crate::pattern;
use crate::report::Report;

/// What follows a problem: compression protects nothing.
const LEFT_OUT: &str = "so nothing is compressed";
/// What is shorter fits a segment either way, and loses some of what it gains to the header lines.
const LENGTH_MIN: u64 = 256;
/// What compresses well and comes as it is from most servers.
const CONTENT_TYPES: [&str; 21] = [
    "application/atom+xml",
    "application/geo+json",
    "application/javascript",
    "application/json",
    "application/ld+json",
    "application/manifest+json",
    "application/problem+json",
    "application/rss+xml",
    "application/vnd.ms-fontobject",
    "application/wasm",
    "application/xhtml+xml",
    "application/xml",
    "font/otf",
    "font/ttf",
    "image/svg+xml",
    "text/css",
    "text/csv",
    "text/html",
    "text/javascript",
    "text/plain",
    "text/xml",
];

/// The codings; none: one of them cannot be.
pub(super) fn read(list: &[resources::Compression], report: &mut Report<'_>) -> Option<Vec<Compression>> {
    // All of them are looked at, so that all are reported.
    let read: Vec<_> = list.iter().enumerate().map(|(i, said)| one(said, i, report)).collect();
    let read: Vec<_> = read.into_iter().collect::<Option<_>>()?;
    let twice = (1..list.len()).find(|&i| list.iter().take(i).any(|earlier| earlier.kind == list[i].kind));
    if let Some(i) = twice {
        let message = format!("{:?} stands there twice, {LEFT_OUT}: name each once", list[i].kind);
        report.invalid(format!("spec.compression[{i}].type"), message);
        return None;
    }
    Some(read)
}

fn one(said: &resources::Compression, i: usize, report: &mut Report<'_>) -> Option<Compression> {
    let mut is_good = true;
    let mut bad = |field: &str, message: String| {
        report.invalid(format!("spec.compression[{i}].{field}"), message);
        is_good = false;
    };
    let length = said.min_content_length.as_ref().map_or(Some(LENGTH_MIN), |said| said.bytes());
    if length.is_none() {
        let text = said.min_content_length.as_ref().map_or("", |said| &said.0);
        bad("minContentLength", format!("{text:?} is no number of bytes, {LEFT_OUT}: write 1024 or 1Ki"));
    }
    if said.content_types.as_ref().is_some_and(Vec::is_empty) {
        bad("contentTypes", format!("is empty, {LEFT_OUT}: name media types or leave it out"));
    }
    for (j, text) in said.content_types.iter().flatten().enumerate() {
        if !is_media_range(text) {
            let message = format!(
                "{text:?} is no media type, {LEFT_OUT}: write text/html, or text/* for all of a kind"
            );
            bad(&format!("contentTypes[{j}]"), message);
        }
    }
    let content_types: Arc<[Arc<str>]> = match &said.content_types {
        Some(list) => list.iter().map(|text| text.to_ascii_lowercase().into()).collect(),
        None => CONTENT_TYPES.iter().map(|&text| text.into()).collect(),
    };
    let coding = match said.kind {
        CompressionType::Gzip => ContentCoding::Gzip,
        CompressionType::Brotli => ContentCoding::Brotli,
        CompressionType::Zstd => ContentCoding::Zstd,
    };
    is_good.then(|| Compression { coding, min_content_length: length.unwrap_or(LENGTH_MIN), content_types })
}

/// A media type without parameters, or all of a kind.
fn is_media_range(text: &str) -> bool {
    text.split_once('/').is_some_and(|(kind, name)| {
        pattern::is_token(kind)
            && pattern::is_token(name)
            && kind != "*"
            && (name == "*" || !name.contains('*'))
    })
}
