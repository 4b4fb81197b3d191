use model::Diagnostic;
use serde_json::{Value, json};

/// One condition (meta/v1 Condition), but for its time.
pub(super) fn condition(
    kind: &str,
    (holds, reason): (bool, &str),
    message: &str,
    generation: &Value,
) -> Value {
    open_condition(kind, (Some(holds), reason), message, generation)
}

/// The same of what may be unknown: none.
pub(super) fn open_condition(
    kind: &str,
    (holds, reason): (Option<bool>, &str),
    message: &str,
    generation: &Value,
) -> Value {
    let status = match holds {
        Some(true) => "True",
        Some(false) => "False",
        None => "Unknown",
    };
    // The API takes no more.
    let message: String = message.chars().take(MESSAGE_MAX).collect();
    json!({
        "type": kind, "status": status, "reason": reason, "message": message, "observedGeneration": generation,
    })
}

/// Characters of a message; the API's limit is 32768 bytes.
const MESSAGE_MAX: usize = 4096;

/// What is wrong with an object, field by field.
pub(super) fn message<'d>(found: impl IntoIterator<Item = &'d Diagnostic>) -> String {
    let say = |one: &Diagnostic| match one.field.as_str() {
        "" => one.message.clone(),
        field => format!("{field}: {}", one.message),
    };
    found.into_iter().map(say).collect::<Vec<_>>().join("; ")
}
