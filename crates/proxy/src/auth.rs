//! Who asks: users and passwords of routes that want them.

use std::sync::Arc;

use http1::RequestHead;
use model::BasicAuth;
use policy::{CheckCost, Credentials, Htpasswd, is_header_value};
use tokio::sync::Semaphore;

use crate::changes::Changes;
use crate::downstream::{Downstream, Gone};
use crate::remembered::{self, TagKey};
use crate::transport::Transport;
use crate::worker::Worker;

/// Requests that wait for their password to be checked, for each thread that checks: at 50 ms a check (bcrypt of cost 10) the last
/// of them waits for less than a second.
const WAITING_MAX: usize = 16;

/// Who may ask on a route.
pub(crate) struct Auth {
    said: BasicAuth,
    users: Arc<Htpasswd>,
    /// Tells what was right here from what was right elsewhere, and before a change.
    name: u64,
}

/// What all threads share to check passwords.
pub(crate) struct Checks {
    /// bcrypt takes all of a core for a while: no more at once than there are threads, on threads of their own.
    dear: Arc<Semaphore>,
    /// Places for those that wait for it.
    places: Semaphore,
    /// Of what is remembered, tokens too.
    pub(crate) tags: TagKey,
}

/// Why a request is not let in.
pub(crate) enum Denied {
    /// User or password is missing or wrong.
    Wrong,
    /// Too many others wait for their passwords to be checked.
    Busy,
    /// Its client wants no answer any more.
    Gone,
}

impl Checks {
    pub(crate) fn new(threads: usize) -> Self {
        let threads = threads.max(1);
        let places = Semaphore::new(threads * WAITING_MAX);
        Self { dear: Arc::new(Semaphore::new(threads)), places, tags: TagKey::default() }
    }
}

impl Auth {
    /// None: the users cannot be read.
    pub(crate) fn new(said: &BasicAuth) -> Option<Self> {
        let users = Htpasswd::parse(std::str::from_utf8(said.users.expose()).ok()?).ok()?;
        Some(Self { said: said.clone(), users: Arc::new(users), name: remembered::name() })
    }

    /// What it was made from.
    pub(crate) fn said(&self) -> &BasicAuth {
        &self.said
    }

    /// What a client is told who may not ask (RFC 7617 section 2).
    pub(crate) fn challenge(&self) -> String {
        format!("Basic realm=\"{}\", charset=\"UTF-8\"", self.said.realm)
    }

    /// Whether the request comes from a user with the right password. Waits where checking is dear and not remembered, for as long
    /// as the client does. Who it is goes into `changes`, where endpoints are to be told.
    pub(crate) async fn check<S: Transport>(
        &self,
        worker: &Worker,
        down: &mut Downstream<S>,
        head: &RequestHead,
        changes: &mut Changes,
    ) -> Result<(), Denied> {
        let Some(name) = &self.said.username_header else {
            return self.user(worker, down, head).await.map(drop);
        };
        changes.lines_mut().remove_alike(name);
        let user = self.user(worker, down, head).await?;
        if !is_header_value(&user) {
            return Err(Denied::Wrong);
        }
        changes.lines_mut().add(name, user.as_bytes());
        Ok(())
    }

    /// The user, if the password is right.
    async fn user<S: Transport>(
        &self,
        worker: &Worker,
        down: &mut Downstream<S>,
        head: &RequestHead,
    ) -> Result<String, Denied> {
        let mut values = head.values("authorization");
        // Several lines are no list (RFC 9110 section 11.6.2): who knows which one the endpoint would take.
        let (Some(value), None) = (values.next(), values.next()) else { return Err(Denied::Wrong) };
        let credentials = Credentials::read(value).ok_or(Denied::Wrong)?;
        let user = credentials.user.clone();
        if self.users.cost() == CheckCost::Low {
            return if self.users.lets_in(&credentials) { Ok(user) } else { Err(Denied::Wrong) };
        }
        let checks = &worker.shared.checks;
        let (named, name) = (credentials.user.as_bytes(), self.name.to_be_bytes());
        let length = (named.len() as u64).to_be_bytes();
        let tag = checks.tags.tag(&[&name, &length, named, &credentials.password]);
        let is_remembered = || tag.is_some_and(|tag| worker.right_passwords.get(&tag).is_some());
        if is_remembered() {
            return Ok(user);
        }
        let place = checks.places.try_acquire().map_err(|_| Denied::Busy)?;
        let turn = down.unless_gone(checks.dear.clone().acquire_owned()).await?;
        let permit = turn.map_err(|_| Denied::Busy)?;
        drop(place);
        // Others with the same password may have waited before this one.
        if is_remembered() {
            return Ok(user);
        }
        let users = self.users.clone();
        // A check that has begun goes on without its client, and keeps its permit until it ends.
        let check = tokio::task::spawn_blocking(move || {
            let is_right = users.lets_in(&credentials);
            drop(permit);
            is_right
        });
        if !down.unless_gone(check).await?.unwrap_or(false) {
            return Err(Denied::Wrong);
        }
        if let Some(tag) = tag {
            worker.right_passwords.add(tag, ());
        }
        Ok(user)
    }
}

impl From<Gone> for Denied {
    fn from(_: Gone) -> Self {
        Self::Gone
    }
}
