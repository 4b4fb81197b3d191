//! One scope: listed, then watched, for ever (Kubernetes API concepts, "Efficient detection of changes").

use std::hash::{BuildHasher, RandomState};
use std::mem::{Discriminant, discriminant};
use std::pin::pin;
use std::time::{Duration, Instant};

use futures_util::TryStreamExt;
use kube::Client;
use kube::core::params::{ListParams, WatchParams};
use kube::core::{Request, WatchEvent};
use serde_json::Value;
use tokio::sync::mpsc::Sender;
use tokio::time::{sleep, timeout};

use crate::event::{Event, News};
use crate::scope::Scope;
use crate::trouble::{Cause, Trouble, group};

/// Objects of one answer; more come in further ones.
const PAGE: u32 = 500;
/// An answer that takes longer is none.
const ANSWER_MAX: Duration = Duration::from_secs(30);
/// The server ends a watch after this time, and the next goes on where it ended.
const WATCH_S: u32 = 240;
/// A watch without a word for so long may hang: bookmarks come every minute.
const SILENCE_MAX: Duration = Duration::from_secs(100);
/// How long to wait before the first new try; doubled each time…
const BACKOFF: Duration = Duration::from_millis(250);
/// …up to this, after answers of a server…
const BACKOFF_MAX: Duration = Duration::from_secs(15);
/// …and where there is none: to ask costs nobody anything, and what changed waits for it to be found again.
const UNREACHABLE_MAX: Duration = Duration::from_secs(2);
/// Who was silent for longer may have worked on what it was asked.
const QUICK_MAX: Duration = Duration::from_secs(4);

/// Follows a scope until nobody listens any more.
pub(crate) async fn follow(client: Client, scope: Scope, events: Sender<Event>) {
    let mut follower = Follower { client, scope, events, tries: Tries::default() };
    // Ends when the receiver is gone.
    let _ = follower.run().await;
}

struct Follower {
    client: Client,
    scope: Scope,
    events: Sender<Event>,
    /// Up to a watch that began: a list alone does not keep what was read true.
    tries: Tries,
}

/// Tries in a row that failed in the same way: what a server says that has just come back is not believed for the tries that found none.
#[derive(Debug, Default)]
struct Tries {
    count: u32,
    way: Option<Discriminant<Cause>>,
}

impl Tries {
    /// Another one has failed: how many are that.
    fn fail(&mut self, cause: &Cause) -> u32 {
        let way = Some(discriminant(cause));
        self.count = if std::mem::replace(&mut self.way, way) == way { self.count + 1 } else { 1 };
        self.count
    }

    /// One has not; whether one had before it.
    fn end(&mut self) -> bool {
        std::mem::take(self).count > 0
    }
}

/// Nobody listens.
struct Deaf;

/// How a watch ended.
enum End {
    /// It can go on from the version that was seen last.
    Resumable,
    /// That version is too old for the server: 410.
    Expired,
    Deaf,
    Failed(Cause),
}

impl Follower {
    async fn run(&mut self) -> Result<(), Deaf> {
        loop {
            let asked = Instant::now();
            match self.list().await {
                Ok((objects, version)) => {
                    self.send(News::Listed(objects)).await?;
                    self.watch_from(version).await?;
                }
                Err(cause) => self.fail(cause, asked.elapsed()).await?,
            }
        }
    }

    /// Watches from `version` on until everything has to be listed again.
    async fn watch_from(&mut self, mut version: String) -> Result<(), Deaf> {
        loop {
            let started = Instant::now();
            match self.watch(&mut version).await {
                // A server that ends every watch at once is not asked without a pause.
                End::Resumable if started.elapsed() < BACKOFF => sleep(BACKOFF).await,
                End::Resumable => {}
                End::Expired => return Ok(()),
                End::Deaf => return Err(Deaf),
                // Rights or the kind itself may be gone: what a list would say is what there is to say.
                End::Failed(cause @ (Cause::NotServed(_) | Cause::Forbidden(_) | Cause::Unauthorized(_))) => {
                    return self.fail(cause, started.elapsed()).await;
                }
                End::Failed(cause) => self.fail(cause, started.elapsed()).await?,
            }
        }
    }

    /// All objects of the scope, and the version of the collection.
    async fn list(&self) -> Result<(Vec<Value>, String), Cause> {
        let mut parameters =
            ListParams { field_selector: self.scope.selector(), limit: Some(PAGE), ..ListParams::default() };
        let mut objects = Vec::new();
        loop {
            let request = Request::new(self.scope.path()).list(&parameters).map_err(|error| bad(&error))?;
            let mut page: Value = match self.answer(self.client.request(request)).await {
                Ok(page) => page,
                // The list has changed too much since its first page: from the beginning.
                Err(Failure::Api(410, _)) if parameters.continue_token.is_some() => {
                    parameters.continue_token = None;
                    objects.clear();
                    continue;
                }
                Err(failure) => return Err(self.cause(failure).await),
            };
            match page.get_mut("items").map(Value::take) {
                Some(Value::Array(items)) => objects.extend(items),
                // The API has `null` for a list without entries.
                Some(Value::Null) => {}
                _ => return Err(Cause::Refused("the answer is no list of objects".to_owned())),
            }
            let text = |name: &str| page["metadata"][name].as_str().unwrap_or_default().to_owned();
            match text("continue") {
                token if token.is_empty() => return Ok((objects, text("resourceVersion"))),
                token => parameters.continue_token = Some(token),
            }
        }
    }

    async fn watch(&mut self, version: &mut String) -> End {
        let parameters = WatchParams {
            field_selector: self.scope.selector(),
            timeout: Some(WATCH_S),
            bookmarks: true,
            ..WatchParams::default()
        };
        let request = match Request::new(self.scope.path()).watch(&parameters, version) {
            Ok(request) => request,
            Err(error) => return End::Failed(bad(&error)),
        };
        let client = self.client.clone();
        let stream = match self.answer(client.request_events::<Value>(request)).await {
            Ok(stream) => stream,
            Err(Failure::Api(410, _)) => return End::Expired,
            Err(failure) => return End::Failed(self.cause(failure).await),
        };
        if self.tries.end() && self.send(News::Resumed).await.is_err() {
            return End::Deaf;
        }
        let mut stream = pin!(stream);
        loop {
            let event = match timeout(SILENCE_MAX, stream.try_next()).await {
                Err(_) | Ok(Ok(None)) => return End::Resumable,
                Ok(Err(error)) => match Failure::from(error) {
                    Failure::Api(410, _) => return End::Expired,
                    failure => return End::Failed(self.cause(failure).await),
                },
                Ok(Ok(Some(event))) => event,
            };
            let (object, news): (_, fn(Value) -> News) = match event {
                WatchEvent::Added(object) | WatchEvent::Modified(object) => (object, News::Applied),
                WatchEvent::Deleted(object) => (object, News::Deleted),
                WatchEvent::Bookmark(bookmark) => {
                    *version = bookmark.metadata.resource_version;
                    continue;
                }
                WatchEvent::Error(status) if status.code == 410 => return End::Expired,
                WatchEvent::Error(status) => {
                    return End::Failed(Cause::from(&kube::Error::Api(status)));
                }
            };
            if let Some(new) = object["metadata"]["resourceVersion"].as_str() {
                new.clone_into(version);
            }
            if self.send(news(object)).await.is_err() {
                return End::Deaf;
            }
        }
    }

    async fn answer<T>(&self, asked: impl Future<Output = kube::Result<T>>) -> Result<T, Failure> {
        match timeout(ANSWER_MAX, asked).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(error.into()),
            Err(_) => {
                let why = format!("no answer within {} s", ANSWER_MAX.as_secs());
                Err(Failure::Other(Cause::Unreachable(why)))
            }
        }
    }

    /// What a failure means; of a kind that is not known, which versions of its group are.
    async fn cause(&self, failure: Failure) -> Cause {
        match failure {
            Failure::Api(_, Cause::NotServed(_)) => Cause::NotServed(self.versions().await),
            Failure::Api(_, cause) | Failure::Other(cause) => cause,
        }
    }

    /// The versions of the scope's API group that the server has; none if that cannot be told.
    async fn versions(&self) -> Vec<String> {
        let request = Request::new("/apis").get(group(&self.scope), &Default::default());
        let Ok(request) = request else { return Vec::new() };
        let found: Result<Value, Failure> = self.answer(self.client.request(request)).await;
        let Ok(found) = found else { return Vec::new() };
        let versions = found["versions"].as_array().into_iter().flatten();
        let names: Vec<_> =
            versions.filter_map(|one| one["groupVersion"].as_str()).map(str::to_owned).collect();
        // A kind may be missing from a version that is there.
        if names.iter().any(|name| name == self.scope.api_version()) { Vec::new() } else { names }
    }

    /// Waits for the next try, after one that took so long.
    async fn fail(&mut self, cause: Cause, took: Duration) -> Result<(), Deaf> {
        let attempts = self.tries.fail(&cause);
        let pause = pause(&cause, attempts, took);
        self.send(News::Failed(Trouble { cause, attempts })).await?;
        // Watches of all agents end at once with their server, and should not begin at once with it.
        let share = RandomState::new().hash_one(()) % 256;
        sleep(pause - pause / 1024 * u32::try_from(share).unwrap_or(0)).await;
        Ok(())
    }

    async fn send(&self, news: News) -> Result<(), Deaf> {
        let event = Event { scope: self.scope.clone(), heard: Instant::now(), news };
        self.events.send(event).await.map_err(|_| Deaf)
    }
}

/// How long to wait at most after so many tries in a row that failed like this, the last of which took so long.
fn pause(cause: &Cause, attempts: u32, took: Duration) -> Duration {
    let is_away = matches!(cause, Cause::Unreachable(_)) && took <= QUICK_MAX;
    let longest = if is_away { UNREACHABLE_MAX } else { BACKOFF_MAX };
    BACKOFF.saturating_mul(1 << (attempts - 1).min(10)).min(longest)
}

/// Why a request failed.
enum Failure {
    /// The server's answer: its code, and what it means.
    Api(u16, Cause),
    Other(Cause),
}

impl From<kube::Error> for Failure {
    fn from(error: kube::Error) -> Self {
        let cause = Cause::from(&error);
        match error {
            kube::Error::Api(status) => Self::Api(status.code, cause),
            _ => Self::Other(cause),
        }
    }
}

fn bad(error: &kube::core::request::Error) -> Cause {
    Cause::Refused(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_is_away_is_asked_for_more_often_than_one_that_refuses() {
        let (away, refuses) = (Cause::Unreachable(String::new()), Cause::Refused(String::new()));
        let pauses = |cause: &Cause, took| {
            [1, 2, 3, 4, 5, 7, 100].map(|tries| pause(cause, tries, Duration::from_secs(took)).as_millis())
        };
        assert_eq!(pauses(&away, 0), [250, 500, 1000, 2000, 2000, 2000, 2000]);
        // It was silent for long: it may be at work on what it was asked.
        assert_eq!(pauses(&away, 5), [250, 500, 1000, 2000, 4000, 15_000, 15_000]);
        assert_eq!(pauses(&refuses, 0), pauses(&away, 5));
    }

    #[test]
    fn what_a_server_says_that_is_back_is_not_believed_for_its_silence_before() {
        let (away, unknown) = (Cause::Unreachable("x".to_owned()), Cause::NotServed(Vec::new()));
        let mut tries = Tries::default();
        assert_eq!((0..20).map(|_| tries.fail(&away)).last(), Some(20));
        assert_eq!([tries.fail(&unknown), tries.fail(&unknown)], [1, 2]);
        assert_eq!([tries.fail(&Cause::Unreachable("y".to_owned())), tries.fail(&away)], [1, 2]);
        assert!(tries.end() && !tries.end());
        assert_eq!(tries.fail(&away), 1);
    }
}
