//! Which endpoint gets a request.

mod support;

use support::{Lab, Scripted, rule};

#[test]
fn routes_that_take_turns_with_requests_share_their_endpoints_evenly() {
    let (a, b) = (Scripted::echo("a"), Scripted::echo("b"));
    let both = [a.address, b.address];
    let lab = Lab::new(&[rule("/x", &both), rule("/y", &both)]);
    let mut client = lab.client();
    let mut of_a = [0, 0];
    for turn in 0..40 {
        let path = ["/x", "/y"][turn % 2];
        of_a[turn % 2] += usize::from(client.get(path).text().starts_with("a\n"));
    }
    assert_eq!(of_a, [10, 10]);
}
