//! Writes statuses, the latest plan only.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::mem::discriminant;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use kube::Client;
use kube::core::Request;
use kube::core::params::{ListParams, Patch, PatchParams};
use model::{ObjectKind, ObjectRef};
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use crate::event::{Event, News};
use crate::queue::{End, Queue};
use crate::scope::{Scope, plural};
use crate::source::at;
use crate::trouble::{code, is_terminating, words};

/// As what the gateway writes: `managedFields` name it.
pub(crate) const MANAGER: &str = "rauta";
/// An answer that takes longer is none.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// How long to wait before a kind is written again of which one failed.
const RETRY: Duration = Duration::from_secs(2);
/// The same where it may not be written, or cannot: somebody has to change that.
const REFUSED_RETRY: Duration = Duration::from_secs(30);

/// One status to write.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Change {
    pub(crate) object: ObjectRef,
    /// The version of the object that this follows from: any other is not touched.
    pub(crate) version: String,
    pub(crate) status: Value,
}

/// One thing to write.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Write {
    Status(Change),
    /// A whole object of ours, by server-side apply.
    Object(ObjectRef, Value),
}

impl Write {
    pub(crate) fn object(&self) -> &ObjectRef {
        match self {
            Self::Status(change) => &change.object,
            Self::Object(object, _) => object,
        }
    }

    /// What tells this from what was written before.
    pub(crate) fn mark(&self) -> Mark {
        let mut hasher = DefaultHasher::new();
        match self {
            Self::Status(Change { version, status, .. }) => {
                hash_untimed(status, &mut hasher);
                Mark { over: version.clone(), hash: hasher.finish() }
            }
            Self::Object(_, value) => {
                value.hash(&mut hasher);
                Mark { over: String::new(), hash: hasher.finish() }
            }
        }
    }

    /// What must be allowed for it.
    fn right(&self) -> String {
        match self {
            Self::Status(change) => format!("patch of {}/status", plural(change.object.kind)),
            Self::Object(object, _) => format!("create and patch of {}", plural(object.kind)),
        }
    }

    fn request(&self) -> Result<http::Request<Vec<u8>>, kube::core::request::Error> {
        let manager = Some(MANAGER.to_owned());
        let request = Request::new(Scope::One(self.object().clone()).path());
        let name = &self.object().name;
        match self {
            Self::Status(Change { version, status, .. }) => {
                let patch = json!({"metadata": {"resourceVersion": version}, "status": status});
                let parameters = PatchParams { field_manager: manager, ..PatchParams::default() };
                request.patch_subresource("status", name, &parameters, &Patch::Merge(patch))
            }
            Self::Object(_, value) => {
                let parameters =
                    PatchParams { field_manager: manager, force: true, ..PatchParams::default() };
                request.patch(name, &parameters, &Patch::Apply(value))
            }
        }
    }
}

/// What was written, and over which version. The version alone does not tell: an API server that keeps nothing of what it is given, as a field
/// that its definitions lack, keeps the version, too, and one that refuses a status does.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Mark {
    over: String,
    hash: u64,
}

/// Hashes a status but for the times of its conditions: each plan has others until one is written.
fn hash_untimed(value: &Value, hasher: &mut DefaultHasher) {
    discriminant(value).hash(hasher);
    match value {
        Value::Array(items) => {
            items.len().hash(hasher);
            items.iter().for_each(|item| hash_untimed(item, hasher));
        }
        Value::Object(fields) => {
            fields.len().hash(hasher);
            for (name, value) in fields.iter().filter(|(name, _)| *name != "lastTransitionTime") {
                name.hash(hasher);
                hash_untimed(value, hasher);
            }
        }
        plain => plain.hash(hasher),
    }
}

impl std::fmt::Display for Write {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Status(change) => write!(f, "the status of {}", change.object),
            Self::Object(object, _) => object.fmt(f),
        }
    }
}

/// Writes what the latest plan says and is not written yet, for ever, several at once. What the API server answers goes to `events`,
/// since it may be there before the watch.
pub(crate) async fn write(
    client: Client,
    mut plans: watch::Receiver<Vec<Arc<Write>>>,
    events: mpsc::Sender<Event>,
) {
    let mut writer = Writer { events, queue: Queue::default(), said: BTreeSet::new() };
    let mut under_way = FuturesUnordered::new();
    loop {
        // One moment for both: a pause that ended between them would wake nobody.
        let now = Instant::now();
        while let Some(write) = writer.queue.next(now) {
            under_way.push(put(&client, write));
        }
        tokio::select! {
            changed = plans.changed() => match changed {
                Ok(()) => writer.queue.plan(&plans.borrow_and_update()),
                Err(_) => return,
            },
            Some((write, answer)) = under_way.next() => writer.take(&write, answer).await,
            () = at(writer.queue.due(now)) => {}
        }
    }
}

/// What was heard of a write.
enum Answer {
    /// This is the object now.
    Written(Value),
    /// It has changed meanwhile, or goes with its namespace; its watch says so, and another plan follows.
    Stale,
    /// It cannot be written like this, however often.
    Unfit(String),
    /// The cluster's definition of the kind has no status subresource.
    NoStatus,
    /// It was not found, and cannot be looked for.
    Missed(kube::Error),
    Failed(kube::Error),
}

/// Writes one thing.
async fn put(client: &Client, write: Arc<Write>) -> (Arc<Write>, Answer) {
    let answer = match answer(client, write.request()).await {
        Ok(value) => Answer::Written(value),
        Err(kube::Error::Api(status)) if status.code == 409 || is_terminating(&status) => Answer::Stale,
        Err(kube::Error::Api(status)) if status.code == 404 => miss(client, &write).await,
        Err(kube::Error::Api(status)) if status.code == 422 => Answer::Unfit(status.message.clone()),
        Err(error) => Answer::Failed(error),
    };
    (write, answer)
}

/// Nothing is there to be written: why.
async fn miss(client: &Client, write: &Write) -> Answer {
    let Write::Status(Change { object, version, .. }) = write else { return Answer::Stale };
    // By a list, as everything is read: to get it takes another right.
    let by_name = ListParams::default().fields(&format!("metadata.name={}", object.name));
    let there = Request::new(Scope::One(object.clone()).path()).list(&by_name);
    match answer(client, there).await {
        // The object is as it was, so it is its status that cannot be written.
        Ok(found) if found["items"][0]["metadata"]["resourceVersion"] == **version => Answer::NoStatus,
        Ok(_) => Answer::Stale,
        Err(kube::Error::Api(status)) if status.code == 404 => Answer::Stale,
        Err(error) => Answer::Missed(error),
    }
}

async fn answer(
    client: &Client,
    request: Result<http::Request<Vec<u8>>, kube::core::request::Error>,
) -> kube::Result<Value> {
    let request = request.map_err(kube::Error::BuildRequest)?;
    let late = || kube::Error::Service("no answer in time".into());
    timeout(ANSWER_MAX, client.request(request)).await.unwrap_or_else(|_| Err(late()))
}

struct Writer {
    events: mpsc::Sender<Event>,
    queue: Queue,
    /// What was complained of: a kind, and the code of the answer (0: there was none).
    said: BTreeSet<(ObjectKind, u16)>,
}

impl Writer {
    /// Takes in what became of a write.
    async fn take(&mut self, write: &Arc<Write>, answer: Answer) {
        let end = match answer {
            Answer::Written(object) => {
                tracing::debug!("written: {write}");
                if let Write::Status(Change { object: key, version, .. }) = &**write {
                    let (scope, heard) = (Scope::All(key.kind), Instant::now());
                    let news = News::Written { over: version.clone(), object };
                    // Fails only when everything ends.
                    let _ = self.events.send(Event { scope, heard, news }).await;
                }
                End::Written
            }
            Answer::Stale => End::Stale,
            Answer::Unfit(why) => {
                tracing::warn!("cannot write {write}: {why}");
                End::Unfit
            }
            Answer::NoStatus => {
                let kind = write.object().kind;
                self.say(kind, 404, || {
                    format!(
                        "cannot write {write}: the cluster's definition of {kind} has no status subresource; it is tried again; install \
                         the definitions of this version of the gateway"
                    )
                });
                End::Failed(Instant::now() + REFUSED_RETRY)
            }
            Answer::Missed(error) => {
                let why = words(&error);
                self.say(write.object().kind, code(&error), || {
                    format!(
                        "cannot write {write}: it is not found, and cannot be looked for: {why}; it is tried again"
                    )
                });
                End::Failed(Instant::now() + RETRY)
            }
            Answer::Failed(error) => {
                let (why, right) = (words(&error), write.right());
                self.say(write.object().kind, code(&error), || {
                    format!("cannot write {write}: {why}; it is tried again; {right} must be allowed")
                });
                End::Failed(Instant::now() + if code(&error) == 403 { REFUSED_RETRY } else { RETRY })
            }
        };
        self.queue.end(write, end);
    }

    /// Complains, once.
    fn say(&mut self, kind: ObjectKind, code: u16, text: impl FnOnce() -> String) {
        if self.said.insert((kind, code)) {
            tracing::warn!("{}", text());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(version: &str, status: Value) -> Mark {
        let object = ObjectRef::new(ObjectKind::Gateway, "shop", "web");
        Write::Status(Change { object, version: version.to_owned(), status }).mark()
    }

    fn conditions(status: &str, time: &str) -> Value {
        json!({"conditions": [{"type": "Accepted", "status": status, "lastTransitionTime": time}]})
    }

    #[test]
    fn a_status_is_another_over_another_version_or_with_other_content_but_not_at_another_time() {
        let first = mark("1", conditions("True", "2026-01-01T00:00:00Z"));
        assert_eq!(first, mark("1", conditions("True", "2026-01-02T00:00:00Z")));
        assert_ne!(first, mark("2", conditions("True", "2026-01-01T00:00:00Z")));
        assert_ne!(first, mark("1", conditions("False", "2026-01-01T00:00:00Z")));
        assert_ne!(mark("1", json!({"a": []})), mark("1", json!({"a": {}})));
        assert_ne!(mark("1", json!({"a": [["b"], "c"]})), mark("1", json!({"a": [["b", "c"]]})));
    }
}
