//! Clients of many kinds at once.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use testkit::{Connection, Lab, Load, LoadReport, Netns, Response};

/// Clients of a kind: how many, how long each rests after an answer, and what it asks for.
const KINDS: &[(usize, u64, &str)] = &[
    // The kernel's: kept connections, with bodies both ways, and new ones.
    (40, 40, "GET /a HTTP/1.1\r\nHost: a.test\r\n\r\n"),
    (4, 40, "POST /a HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\n\r\nhello"),
    (2, 200, "GET /1m HTTP/1.1\r\nHost: a.test\r\n\r\n"),
    (2, 100, "GET /chunked HTTP/1.1\r\nHost: a.test\r\n\r\n"),
    (4, 10, "GET /a HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n"),
    // Userspace's, by an encoded path: handed off as the first request, on kept connections and new ones.
    (4, 40, "GET /%61 HTTP/1.1\r\nHost: a.test\r\n\r\n"),
    (2, 40, "GET /%61 HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n"),
];

/// How long a client that breaks off rests.
const RUDE_REST: Duration = Duration::from_millis(25);

/// All clients.
pub(super) struct Traffic {
    loads: Vec<Load>,
    stop: Arc<AtomicBool>,
    rude: JoinHandle<()>,
}

impl Traffic {
    pub(super) fn start(lab: &Lab, address: SocketAddr) -> Self {
        let is_well = |answer: &Response| answer.status == 200;
        let loads = KINDS
            .iter()
            .enumerate()
            .map(|(index, &(count, rest_ms, request))| {
                let netns = if index % 2 == 0 { lab.client() } else { lab.client_two() };
                Load::paced(netns, address, count, Duration::from_millis(rest_ms), request, is_well)
            })
            .collect();
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, netns) = (Arc::clone(&stop), lab.client().clone());
        let rude = std::thread::spawn(move || break_off(&netns, address, &stopped));
        Self { loads, stop, rude }
    }

    /// Ends all clients and adds up what they saw.
    pub(super) fn stop(self) -> LoadReport {
        self.stop.store(true, Ordering::Relaxed);
        // It asserts nothing, so there is nothing to learn from its end.
        let _ = self.rude.join();
        let mut total = LoadReport::default();
        for load in self.loads {
            total.add(load.stop());
        }
        total
    }
}

/// Opens connections and leaves them: before a request, in the middle of one, before its answer, and after a change of tier.
fn break_off(netns: &Netns, address: SocketAddr, stop: &AtomicBool) {
    let beginnings = [
        "",
        "GET /a HTT",
        "GET /1m HTTP/1.1\r\nHost: a.test\r\n\r\n",
        "GET /a HTTP/1.1\r\nHost: a.test\r\n\r\nGET /%61 HTTP/1.1\r\nHost: a.test\r\n\r\n",
    ];
    for beginning in beginnings.iter().cycle() {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        if let Ok(mut connection) = Connection::open(netns, address) {
            // Whatever becomes of it: this client is not waiting for an answer.
            let _ = connection.send(beginning);
            std::thread::sleep(RUDE_REST);
            let _ = connection.reset();
        }
    }
}
