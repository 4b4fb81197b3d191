//! What the routes of one object count together: made once for each object, and taken over from state to state.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use model::{ConcurrencyLimit, ObjectRef, RateLimit};
use policy::{Counted, UnderWay};

use crate::guard::Guards;
use crate::rate::{Limiter, is_exempt, network};

/// Counts by object.
#[derive(Default)]
pub(crate) struct ObjectLimits {
    rates: HashMap<ObjectRef, Vec<Arc<Limiter>>>,
    under_way: HashMap<ObjectRef, Arc<UnderWay>>,
}

/// How many requests of a client may be under way.
pub(crate) struct AtOnce {
    said: ConcurrencyLimit,
    under_way: Arc<UnderWay>,
}

impl ObjectLimits {
    /// Those that the routes of a state count with.
    pub(crate) fn of<'g>(before: impl Iterator<Item = (&'g ObjectRef, &'g Guards)>) -> Self {
        let mut this = Self::default();
        for (object, guards) in before {
            for (limiter, at_once) in guards.limits() {
                if let Some(limiter) = limiter.filter(|limiter| limiter.said().is_of_object) {
                    let known = this.rates.entry(object.clone()).or_default();
                    if !known.iter().any(|known| Arc::ptr_eq(known, limiter)) {
                        known.push(Arc::clone(limiter));
                    }
                }
                if let Some(at_once) = at_once {
                    this.under_way.entry(object.clone()).or_insert_with(|| Arc::clone(&at_once.under_way));
                }
            }
        }
        this
    }

    /// The limit of an object's routes; another one begins anew.
    pub(crate) fn rate(&mut self, object: &ObjectRef, said: &RateLimit) -> Arc<Limiter> {
        let known = self.rates.entry(object.clone()).or_default();
        if let Some(known) = known.iter().find(|known| known.said() == said) {
            return Arc::clone(known);
        }
        let new = Arc::new(Limiter::new(said));
        known.push(Arc::clone(&new));
        new
    }

    /// The same of what is under way: that stays so whatever the limit becomes.
    pub(crate) fn at_once(&mut self, object: &ObjectRef, said: &ConcurrencyLimit) -> AtOnce {
        let under_way = Arc::clone(self.under_way.entry(object.clone()).or_default());
        AtOnce { said: said.clone(), under_way }
    }
}

impl AtOnce {
    /// Counts a request in until what it gets is dropped; clients without a limit get nothing.
    ///
    /// # Errors
    /// There are as many as there may be: the status of the answer. Clients of whom nobody knows the address count as one.
    pub(crate) fn admit(&self, address: Option<IpAddr>) -> Result<Option<Counted>, u16> {
        if address.is_some_and(|address| is_exempt(&self.said.exempt, address)) {
            return Ok(None);
        }
        let key = address.map_or(0, network);
        self.under_way.count_in(key, self.said.requests).map(Some).ok_or(self.said.status)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_without_a_limit_is_not_counted() {
        let object = ObjectRef::new(model::ObjectKind::Ingress, "test", "shop");
        let exempt = vec!["192.0.2.0/24".parse().unwrap()];
        let said = ConcurrencyLimit { requests: 1, exempt, status: 503 };
        let mut limits = ObjectLimits::default();
        let (one, other) = (limits.at_once(&object, &said), limits.at_once(&object, &said));
        let address = |text: &str| Some(text.parse().unwrap());
        let held = one.admit(address("203.0.113.1")).unwrap();
        assert!(held.is_some() && other.admit(address("203.0.113.1")).is_err_and(|status| status == 503));
        assert!(other.admit(address("203.0.113.2")).is_ok() && other.admit(None).is_ok());
        assert!((0..9).all(|_| one.admit(address("192.0.2.7")).is_ok_and(|counted| counted.is_none())));
        drop(held);
        assert!(other.admit(address("203.0.113.1")).is_ok());
    }
}
