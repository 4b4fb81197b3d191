//! What routes have answered, by route.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers, too")]

mod support;

use proxy::Config;
use support::{Lab, Scripted, eventually, rule};

#[test]
fn so_many_routes_are_counted_by_themselves_and_the_others_together() {
    let endpoint = Scripted::echo("one");
    let to = [endpoint.address];
    let config = Config { threads: 1, route_metrics: 2, ..Default::default() };
    let mut lab = Lab::with(config, &[rule("/a", &to), rule("/b", &to), rule("/c", &to), rule("/d", &[])]);
    let mut client = lab.client();
    for path in ["/a", "/a", "/b", "/c", "/d", "/none"] {
        client.get(path);
    }
    let has = |lab: &Lab, line: &str| lab.metrics.encode().lines().any(|own| own == line);
    let counted = |of: &str, class: &str, count: u64| {
        format!("rauta_route_responses_total{{route=\"{of}\",class=\"{class}\"}} {count}")
    };
    eventually("the last request to be counted", || has(&lab, &counted("other", "5xx", 1)));
    for (of, count) in [("HTTPRoute test/r rule 0", 2), ("HTTPRoute test/r rule 1", 1), ("other", 1)] {
        assert!(has(&lab, &counted(of, "2xx", count)), "{of}: {}", lab.metrics.encode());
    }
    let sum = "rauta_route_request_duration_seconds_count{route=\"other\"} 2";
    assert!(has(&lab, sum), "{}", lab.metrics.encode());
    // What goes has no series any more.
    assert!(lab.apply(&[rule("/a", &to)]).is_empty());
    assert!(has(&lab, &counted("HTTPRoute test/r rule 0", "2xx", 2)));
    assert!(!lab.metrics.encode().contains("rule 1"));
}

#[test]
fn none_is_counted_unless_it_is_asked_for() {
    let endpoint = Scripted::echo("one");
    let lab = Lab::new(&[rule("/", &[endpoint.address])]);
    assert_eq!(lab.client().get("/").status, 200);
    assert!(!lab.metrics.encode().contains("rauta_route_"));
}
