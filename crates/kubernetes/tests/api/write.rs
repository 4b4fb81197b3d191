//! What is asked of one object, and what is written.

use std::net::TcpStream;

use serde_json::Value;

use super::{Api, State, failure, reply, whole};

/// What becomes of the statuses of a collection.
#[derive(Clone, Copy, Default)]
pub(crate) enum Statuses {
    #[default]
    Kept,
    /// But for this field, which the definition lacks.
    KeptWithout(&'static str),
    Refused(u16),
    /// The definition has no such subresource.
    NotServed,
    /// The object is gone whenever its status is written, and nobody hears of it.
    Gone,
}

/// One object.
pub(super) struct One {
    /// The path of the collection of all namespaces.
    all: String,
    name: String,
    is_status: bool,
}

/// The object that a request is about; none: a collection.
pub(super) fn one(method: &str, target: &str) -> Option<One> {
    let path = target.split('?').next().unwrap_or_default();
    let segments: Vec<_> = path.trim_matches('/').split('/').collect();
    let collection = match (segments.first(), segments.iter().position(|one| *one == "namespaces")) {
        (_, Some(at)) if segments.len() > at + 2 => at + 3,
        (Some(&"apis"), _) => 4,
        _ => 3,
    };
    let name = match segments.get(collection) {
        Some(name) => (*name).to_owned(),
        None if method == "POST" => String::new(),
        None => return None,
    };
    let (all, _) = whole(&format!("/{}", segments[..collection].join("/")));
    Some(One { all, name, is_status: segments.get(collection + 1) == Some(&"status") })
}

impl Api {
    /// What becomes of statuses of the collection at `path` from now on.
    pub(crate) fn set_statuses(&self, path: &str, statuses: Statuses) {
        self.change(|state| state.collections.entry(path.to_owned()).or_default().statuses = statuses);
    }

    /// The statuses that were to be written to paths that end so, in order.
    pub(crate) fn patches(&self, end: &str) -> Vec<Value> {
        let end = format!("{end}/status");
        let state = self.state();
        let meant = state.patches.iter().filter(|(path, _)| path.ends_with(&end));
        meant.map(|(_, body)| body["status"].clone()).collect()
    }

    /// How many writes were being answered at the same time, at most.
    pub(crate) fn most_at_once(&self) -> usize {
        self.state().writes.1
    }

    /// Answers a request about one object; whether the connection can be used again.
    pub(super) fn answer_one(
        &self,
        stream: &TcpStream,
        (method, target, one): (&str, &str, &One),
        body: &[u8],
    ) -> bool {
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        let is_write = method == "PATCH";
        if is_write {
            self.change(|state| state.writes = (state.writes.0 + 1, state.writes.1.max(state.writes.0 + 1)));
            // As long as an API server takes to make a write last.
            std::thread::sleep(std::time::Duration::from_millis(3));
            self.change(|state| state.writes.0 -= 1);
        }
        let (mut code, mut answer, mut is_down) = (200, Value::Null, false);
        self.change(|state| {
            state.asked.push(target.to_owned());
            is_down = state.is_down;
            if !is_down {
                (code, answer) = match (method, one.is_status) {
                    ("GET", _) => get(state, one),
                    ("PATCH", true) => patch(state, target, one, &body),
                    _ => (200, state.put(&one.all, body)),
                };
            }
        });
        !is_down && reply(stream, code, &answer).is_ok()
    }
}

fn get(state: &State, one: &One) -> (u16, Value) {
    let collection = state.collections.get(&one.all);
    match collection.and_then(|collection| collection.objects.get(&one.name)) {
        Some(object) => (200, object.clone()),
        None => (404, failure(404)),
    }
}

/// What does not change an object leaves its version.
fn patch(state: &mut State, target: &str, one: &One, body: &Value) -> (u16, Value) {
    let path = target.split('?').next().unwrap_or_default();
    state.patches.push((path.to_owned(), body.clone()));
    let collection = state.collections.entry(one.all.clone()).or_default();
    let mut status = body["status"].clone();
    match collection.statuses {
        Statuses::Kept => {}
        Statuses::KeptWithout(field) => {
            status.as_object_mut().unwrap().remove(field);
        }
        Statuses::Refused(code) => return (code, failure(code)),
        Statuses::NotServed | Statuses::Gone => return (404, failure(404)),
    }
    let Some(object) = collection.objects.get(&one.name) else { return (404, failure(404)) };
    if body["metadata"]["resourceVersion"] != object["metadata"]["resourceVersion"] {
        return (409, failure(409));
    }
    let mut changed = object.clone();
    changed["status"] = status;
    if changed == *object {
        return (200, changed);
    }
    (200, state.put(&one.all, changed))
}
