//! Events (events.k8s.io/v1) about Ingresses that are not served as they are written: they have no conditions that could say so.
//!
//! One thing is said once. While it holds it is said again every half hour, as a series, because API servers forget events after an
//! hour. An event's name follows from what it says, so that another agent finds it instead of saying it again.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::{Duration, Instant};

use kube::Client;
use kube::core::Request;
use kube::core::params::{Patch, PatchParams, PostParams};
use model::ObjectRef;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::timeout;
use translate::Object;

use crate::clock;
use crate::source::at;
use crate::trouble::{code, is_terminating, words};

/// What does not last so long is not worth an event: a Service may come right behind its Ingress.
const SETTLE: Duration = Duration::from_secs(1);
/// How often what goes on is said.
const REPEAT: Duration = Duration::from_secs(30 * 60);
/// How long to wait before what failed is said again.
const RETRY: Duration = Duration::from_secs(15);
/// An answer that takes longer is none.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// Bytes of a note (events.k8s.io/v1).
const NOTE_MAX: usize = 1024;
/// Characters of an object's name that the name of an event begins with.
const NAME_MAX: usize = 200;

/// What is to be said of an object.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Saying {
    pub(crate) object: ObjectRef,
    pub(crate) uid: String,
    /// Why, as one word.
    pub(crate) reason: &'static str,
    pub(crate) note: String,
}

impl Saying {
    /// The name of its event.
    fn name(&self) -> String {
        let mut hasher = DefaultHasher::new();
        (&self.uid, self.reason, self.note()).hash(&mut hasher);
        let start: String = self.object.name.chars().take(NAME_MAX).collect();
        format!("{}.{:016x}", start.trim_end_matches(['-', '.']), hasher.finish())
    }

    /// What fits of the note.
    fn note(&self) -> &str {
        &self.note[..self.note.floor_char_boundary(NOTE_MAX)]
    }

    fn event(&self, controller: &str, instance: &str) -> Value {
        let ObjectRef { kind, namespace, name } = &self.object;
        let instance = &instance[..instance.floor_char_boundary(128)];
        json!({
            "apiVersion": "events.k8s.io/v1", "kind": "Event",
            "metadata": {"name": self.name(), "namespace": namespace},
            "eventTime": clock::micros(), "type": "Warning",
            "reason": self.reason, "action": "Translate", "note": self.note(),
            "reportingController": controller, "reportingInstance": instance,
            "regarding": {
                "apiVersion": Object::api_version(*kind), "kind": kind.as_str(), "namespace": namespace,
                "name": name, "uid": self.uid,
            },
        })
    }

    fn path(&self) -> String {
        format!("/apis/events.k8s.io/v1/namespaces/{}/events", self.object.namespace)
    }
}

/// How far one saying is.
struct Said {
    /// How often it was said; 0: not yet, by this agent.
    count: u64,
    due: Instant,
}

/// Says what the latest plan has, for ever.
pub(crate) async fn record(
    client: Client,
    (controller, instance): (String, String),
    mut plans: watch::Receiver<Arc<Vec<Saying>>>,
) {
    let mut recorder =
        Recorder { client, controller, instance, said: HashMap::new(), complained: BTreeSet::new() };
    loop {
        let due = recorder.said.values().map(|said| said.due).min();
        let is_alive = tokio::select! {
            changed = plans.changed() => changed.is_ok(),
            () = at(due) => true,
        };
        if !is_alive {
            return;
        }
        let plan = Arc::clone(&plans.borrow_and_update());
        recorder.turn(&plan, || plans.has_changed().unwrap_or(false)).await;
    }
}

struct Recorder {
    client: Client,
    controller: String,
    instance: String,
    /// By the name of the event.
    said: HashMap<String, Said>,
    /// What was complained of: the code of the answer (0: there was none) and the namespace.
    complained: BTreeSet<(u16, String)>,
}

impl Recorder {
    /// Says what is due, until there is another plan.
    async fn turn(&mut self, plan: &[Saying], is_over: impl Fn() -> bool) {
        let named: BTreeMap<_, _> = plan.iter().map(|saying| (saying.name(), saying)).collect();
        self.said.retain(|name, _| named.contains_key(name));
        for (name, saying) in named {
            let new = || Said { count: 0, due: Instant::now() + SETTLE };
            let Said { count, due } = *self.said.entry(name.clone()).or_insert_with(new);
            if due > Instant::now() {
                continue;
            }
            let said = self.say(saying, &name, count).await;
            self.said.insert(name, said);
            if is_over() {
                return;
            }
        }
    }

    /// Says something that was said `count` times; how often it was then, and when it is due again.
    async fn say(&mut self, saying: &Saying, name: &str, count: u64) -> Said {
        let outcome = match count {
            0 => self.create(saying, name).await,
            _ => self.repeat(saying, name, count + 1).await.map(|()| (count + 1, REPEAT)),
        };
        match outcome {
            Ok((count, pause)) => Said { count, due: Instant::now() + pause },
            // Forgotten meanwhile: it begins anew. Or the namespace goes, and with it the object.
            Err(kube::Error::Api(status)) if status.code == 404 || is_terminating(&status) => {
                Said { count: 0, due: Instant::now() + RETRY }
            }
            Err(error) => {
                if self.complained.insert((code(&error), saying.object.namespace.to_string())) {
                    let why = words(&error);
                    tracing::warn!(
                        "cannot write an event about {}: {why}; it is tried again; create and patch of events in API \
                         group \"events.k8s.io\" must be allowed",
                        saying.object
                    );
                }
                Said { count, due: Instant::now() + RETRY }
            }
        }
    }

    async fn create(&self, saying: &Saying, name: &str) -> kube::Result<(u64, Duration)> {
        let body = saying.event(&self.controller, &self.instance).to_string().into_bytes();
        let request = Request::new(saying.path()).create(&PostParams::default(), body);
        let there = match self.answer(request).await {
            Ok(_) => return Ok((1, REPEAT)),
            // It was said before: nothing is changed, and the answer says when.
            Err(kube::Error::Api(status)) if status.code == 409 => {
                self.patch(saying, name, &json!({})).await?
            }
            Err(error) => return Err(error),
        };
        let (count, pause) = standing(&there);
        if pause.is_zero() {
            self.repeat(saying, name, count + 1).await?;
            return Ok((count + 1, REPEAT));
        }
        Ok((count, pause))
    }

    async fn repeat(&self, saying: &Saying, name: &str, count: u64) -> kube::Result<()> {
        let series = json!({"count": count, "lastObservedTime": clock::micros()});
        self.patch(saying, name, &json!({"series": series})).await.map(drop)
    }

    async fn patch(&self, saying: &Saying, name: &str, patch: &Value) -> kube::Result<Value> {
        let patch = Patch::Merge(patch);
        self.answer(Request::new(saying.path()).patch(name, &PatchParams::default(), &patch)).await
    }

    async fn answer(
        &self,
        request: Result<http::Request<Vec<u8>>, kube::core::request::Error>,
    ) -> kube::Result<Value> {
        let request = request.map_err(kube::Error::BuildRequest)?;
        let late = || kube::Error::Service("no answer in time".into());
        timeout(ANSWER_MAX, self.client.request(request)).await.unwrap_or_else(|_| Err(late()))
    }
}

/// How often an event that is there was said, and how long until it is due again.
fn standing(event: &Value) -> (u64, Duration) {
    let series = &event["series"];
    let last = series["lastObservedTime"].as_str().or(event["eventTime"].as_str());
    let now = clock::unix_s(&clock::seconds());
    let age = last.and_then(clock::unix_s).zip(now).map(|(last, now)| now.saturating_sub(last));
    let age = Duration::from_secs(age.and_then(|age| u64::try_from(age).ok()).unwrap_or_default());
    (series["count"].as_u64().unwrap_or(1), REPEAT.saturating_sub(age))
}

#[cfg(test)]
mod tests {
    use kube::client::Body;
    use model::ObjectKind;

    use super::*;

    fn saying(name: &str, note: &str) -> Saying {
        let object = ObjectRef::new(ObjectKind::Ingress, "shop", name);
        Saying { object, uid: "7".to_owned(), reason: "Unsupported", note: note.to_owned() }
    }

    #[test]
    fn events_that_say_the_same_have_one_name() {
        let name = saying("web", "a").name();
        assert_eq!(name, saying("web", "a").name());
        assert_ne!(name, saying("web", "b").name());
        assert!(name.starts_with("web.") && name.len() == "web.".len() + 16, "{name}");
        let long = saying(&format!("{}-{}", "a".repeat(199), "b".repeat(53)), "a").name();
        assert!(long.len() <= 253 && long.starts_with(&format!("{}.", "a".repeat(199))), "{long}");
    }

    #[test]
    fn a_note_is_no_longer_than_the_api_takes() {
        let event = saying("web", &"é".repeat(1000)).event("rauta.io/ingress-controller", &"i".repeat(200));
        assert_eq!(event["note"].as_str().unwrap().len(), NOTE_MAX);
        assert_eq!(event["reportingInstance"].as_str().unwrap().len(), 128);
        assert_eq!(event["regarding"]["uid"], "7");
    }

    /// What is complained of when sayings about two objects of one namespace are answered so.
    async fn complained(cause: &str) -> BTreeSet<(u16, String)> {
        let body = json!({
            "status": "Failure", "code": 403, "reason": "Forbidden", "message": "no",
            "details": {"causes": [{"reason": cause, "message": "no"}]},
        });
        let answer = move |_: http::Request<Body>| {
            let body = Body::from(body.to_string().into_bytes());
            async { http::Response::builder().status(403).body(body) }
        };
        let client = Client::new(tower::service_fn(answer), "default");
        let (controller, instance) = ("a".to_owned(), "b".to_owned());
        let mut recorder =
            Recorder { client, controller, instance, said: HashMap::new(), complained: BTreeSet::new() };
        for name in ["web", "api"] {
            assert_eq!(recorder.say(&saying(name, "a"), name, 0).await.count, 0);
        }
        recorder.complained
    }

    #[tokio::test]
    async fn a_missing_right_is_complained_of_once_and_a_namespace_that_ends_is_none() {
        assert_eq!(complained("Other").await, [(403, "shop".to_owned())].into());
        assert_eq!(complained("NamespaceTerminating").await, BTreeSet::new());
    }

    #[test]
    fn what_others_said_lately_is_not_said_again() {
        let (count, pause) = standing(&json!({"eventTime": clock::micros()}));
        assert_eq!(count, 1);
        assert!(pause > REPEAT - Duration::from_secs(60), "{pause:?}");
        let series = json!({"count": 5, "lastObservedTime": "2020-01-01T00:00:00.000000Z"});
        assert_eq!(standing(&json!({"series": series})), (5, Duration::ZERO));
    }
}
