//! Endpoints that fail too many requests of a backend in a row are left out for a while.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use model::{Backend, BackendId, EndpointCondition, OutlierDetection};

use crate::health::Board;

/// What a backend's endpoints answer: counted by backend, so that many routes to it have one opinion, and one address in two
/// backends may be good for one of them.
pub(crate) struct Outliers {
    backend: BackendId,
    said: OutlierDetection,
    board: Arc<Board>,
    endpoints: HashMap<SocketAddr, Counts>,
}

/// Answers in a row, of all threads. While all goes well nothing is written: that is when there is much to count.
#[derive(Default)]
struct Counts {
    errors: AtomicU32,
    gateway_errors: AtomicU32,
}

impl Outliers {
    pub(crate) fn new(backend: &Backend, said: OutlierDetection, board: Arc<Board>) -> Self {
        let endpoints = addresses(backend).map(|address| (address, Counts::default())).collect();
        Self { backend: backend.id.clone(), said, board, endpoints }
    }

    /// Whether it has what is counted for these endpoints, in this way.
    pub(crate) fn is_for(&self, backend: &Backend, said: &OutlierDetection) -> bool {
        self.said == *said
            && addresses(backend).count() == self.endpoints.len()
            && addresses(backend).all(|address| self.endpoints.contains_key(&address))
    }

    /// Takes in how an endpoint dealt with a request: the status of its answer, or none if it gave none.
    pub(crate) fn note(&self, endpoint: SocketAddr, status: Option<u16>) {
        let Some(counts) = self.endpoints.get(&endpoint) else { return };
        let is_error = status.is_none_or(|status| status >= 500);
        let is_gateway_error = status.is_none_or(|status| (502..=504).contains(&status));
        let errors = reaches(&counts.errors, is_error, self.said.consecutive_5xx);
        let gateway_errors =
            reaches(&counts.gateway_errors, is_gateway_error, self.said.consecutive_gateway_errors);
        if errors || gateway_errors {
            self.board.eject(&self.backend, endpoint, &self.said, self.endpoints.len());
        }
    }
}

fn addresses(backend: &Backend) -> impl Iterator<Item = SocketAddr> {
    let stays = |endpoint: &&model::Endpoint| endpoint.condition != EndpointCondition::Draining;
    backend.endpoints.iter().filter(stays).map(|endpoint| endpoint.address)
}

/// Counts failures in a row; whether there are `most` of them now, after which it begins again.
fn reaches(count: &AtomicU32, failed: bool, most: Option<u32>) -> bool {
    let Some(most) = most else { return false };
    if !failed {
        if count.load(Relaxed) != 0 {
            count.store(0, Relaxed);
        }
        return false;
    }
    let is_enough = count.fetch_add(1, Relaxed).saturating_add(1) >= most;
    if is_enough {
        count.store(0, Relaxed);
    }
    is_enough
}
