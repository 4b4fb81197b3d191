//! A route's backends are drawn again after so many requests of a connection (route `/w`: backends x and y alike).

use crate::apps::Step;
use crate::basics::{from, sim};
use crate::http::Ask;
use crate::sim::{profile, vip};

#[test]
fn a_connection_draws_its_backend_again_every_so_many_requests() {
    let mut sim = sim(300);
    let after = sim.world.settings.redraw_after as usize;
    let (mut changes, mut draws) = (0, 0);
    for port in 20_000..20_040 {
        let request = [Step::Send(vec![Ask::get('w')], vec![]), Step::Wait];
        let steps = std::iter::repeat_n(request, 3 * after).flatten().collect();
        let client = sim.dial(from(port), vip(), profile(u32::from(port) << 12), steps);
        sim.run(600_000);
        sim.check();
        // Endpoint 3 is the only one of y.
        let by_y: Vec<bool> = sim.client(client).answers.iter().map(|(_, by)| by == "e3").collect();
        assert_eq!(by_y.len(), 3 * after);
        for turn in by_y.chunks(after) {
            assert!(turn.iter().all(|by| *by == turn[0]), "{by_y:?}");
        }
        draws += 2;
        changes += by_y.chunks(after).zip(by_y.chunks(after).skip(1)).filter(|(a, b)| a[0] != b[0]).count();
    }
    // Half of them, give or take four deviations.
    assert!((draws / 2 - 18..=draws / 2 + 18).contains(&changes), "{changes} of {draws}");
}
