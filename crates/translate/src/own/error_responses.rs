//! Bodies of errors that the gateway answers itself.

use std::ops::RangeInclusive;

use model::ErrorResponse;

use super::route_policy::{BODY_BYTES_MAX, CONTENT_TYPE, content_type_problem};
use crate::report::Report;

/// What follows a problem: the answers protect nothing.
const LEFT_OUT: &str = "so errors stay as they are";

/// The bodies; none: one of them cannot be.
pub(super) fn read(list: &[resources::ErrorResponse], report: &mut Report<'_>) -> Option<Vec<ErrorResponse>> {
    // All of them are looked at, so that all are reported.
    let read: Vec<_> = list.iter().enumerate().map(|(i, said)| one(said, i, report)).collect();
    read.into_iter().collect()
}

fn one(said: &resources::ErrorResponse, i: usize, report: &mut Report<'_>) -> Option<ErrorResponse> {
    let mut is_good = true;
    let mut bad = |field: &str, message: String| {
        report.invalid(format!("spec.errorResponses[{i}].{field}"), format!("{message}, {LEFT_OUT}"));
        is_good = false;
    };
    if said.status_codes.is_empty() {
        bad("statusCodes", "is empty".to_owned());
    }
    let mut statuses = Vec::with_capacity(said.status_codes.len());
    for (j, text) in said.status_codes.iter().enumerate() {
        match status(text) {
            Some(range) => statuses.push(range),
            None => bad(
                &format!("statusCodes[{j}]"),
                format!("{text:?} is no status of an error: write 400 to 599, 4xx or 5xx"),
            ),
        }
    }
    if said.body.len() > BODY_BYTES_MAX {
        bad("body", format!("has {} bytes, and {BODY_BYTES_MAX} is the most", said.body.len()));
    }
    let content_type = said.content_type.as_deref().unwrap_or(CONTENT_TYPE);
    if let Some(problem) = content_type_problem(content_type) {
        bad("contentType", format!("{content_type:?} {problem}"));
    }
    is_good.then(|| ErrorResponse {
        statuses,
        content_type: content_type.into(),
        body: said.body.as_str().into(),
    })
}

fn status(text: &str) -> Option<RangeInclusive<u16>> {
    match text {
        "4xx" => Some(400..=499),
        "5xx" => Some(500..=599),
        _ => text.parse().ok().filter(|status| (400..=599).contains(status)).map(|status| status..=status),
    }
}
