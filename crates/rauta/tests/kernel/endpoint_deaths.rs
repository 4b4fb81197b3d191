//! Endpoints that die with requests in them.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use testkit::{ClientError, Connection, Load, until};

use crate::world::{Network, World};

on_two_networks!(a_client_that_repeats_itself_sees_no_failure, userspace_repeats_idempotent_requests_itself);

const CLIENTS: u64 = 8;
const DEATHS: u64 = 5;
/// Linux closes what a killed process had open last first, and so its listening socket behind its connections: who is reset
/// and asks again at once may still be accepted, and is reset with that socket. Behind it, the endpoint refuses.
const RESETS_PER_DEATH: u64 = 2;
/// A request of whose connection nothing is left has to be answered within this.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Debug, Default)]
struct Tally {
    answered: AtomicU64,
    repeated: AtomicU64,
}

/// The kernel has let go of a request's bytes when its endpoint dies: the connection is reset before any byte of an answer,
/// and who asked may ask again (RFC 9110 section 9.2.2). It happens to requests that were in the endpoint, and to no others.
fn a_client_that_repeats_itself_sees_no_failure(network: Network) {
    let mut world = World::new(network);
    let (tally, stop) = (Tally::default(), AtomicBool::new(false));
    let (address, client) = (world.address(), world.lab.client().clone());
    std::thread::scope(|scope| {
        let asking: Vec<_> = (0..CLIENTS)
            .map(|_| scope.spawn(|| client.run(|| ask(address, &tally, &stop)).unwrap()))
            .collect();
        let wait_for = |count: u64| {
            let goal = tally.answered.load(Ordering::Relaxed) + count;
            until(Duration::from_secs(10), "requests to go on", || {
                // A client that gave up says why when it is joined.
                let is_over = asking.iter().any(std::thread::ScopedJoinHandle::is_finished);
                (is_over || tally.answered.load(Ordering::Relaxed) >= goal).then_some(())
            })
        };
        let result = (0..DEATHS).try_for_each(|death| -> anyhow::Result<()> {
            let index = usize::from(death % 2 == 0);
            wait_for(500)?;
            world.nginx[index].kill()?;
            wait_for(500)?;
            world.nginx[index].restart()
        });
        stop.store(true, Ordering::Relaxed);
        asking.into_iter().for_each(|asking| asking.join().unwrap());
        result.unwrap();
    });
    assert!(tally.repeated.into_inner() <= CLIENTS * DEATHS * RESETS_PER_DEATH);
}

/// Asks without pause on a connection that is kept; repeats a request on a new connection, as often as one death explains.
fn ask(address: std::net::SocketAddr, tally: &Tally, stop: &AtomicBool) {
    let open = || {
        let connection = Connection::open_here(address).unwrap();
        connection.set_read_limit(PATIENCE).unwrap();
        connection
    };
    let mut connection = open();
    while !stop.load(Ordering::Relaxed) {
        let mut answer = connection.get("a.test", "/both");
        for _ in 0..RESETS_PER_DEATH {
            if !matches!(answer, Err(ClientError::Reset | ClientError::Closed)) {
                break;
            }
            tally.repeated.fetch_add(1, Ordering::Relaxed);
            connection = open();
            answer = connection.get("a.test", "/both");
        }
        let answer = answer.unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
        if answer.closes() {
            connection = open();
        }
        tally.answered.fetch_add(1, Ordering::Relaxed);
    }
}

/// Userspace has them still: its clients see nothing at all.
fn userspace_repeats_idempotent_requests_itself(network: Network) {
    let mut world = World::userspace(network);
    let request = "GET /both HTTP/1.1\r\nHost: a.test\r\n\r\n";
    let load = Load::start(world.lab.client(), world.address(), 8, request, |answer| answer.status == 200);
    for death in 0..DEATHS {
        let index = usize::from(death % 2 == 0);
        load.wait_for_more(300, Duration::from_secs(10)).unwrap();
        world.nginx[index].kill().unwrap();
        load.wait_for_more(300, Duration::from_secs(10)).unwrap();
        world.nginx[index].restart().unwrap();
    }
    let report = load.stop();
    assert_eq!(report.failed(), 0, "{report:?}");
}
