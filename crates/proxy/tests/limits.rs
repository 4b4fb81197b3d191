//! Limits of what is under way to a backend, and endpoints that are left out for what they answer.
#![allow(clippy::unwrap_used, reason = "helpers of tests: a panic is how they report")]

mod support;

use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use model::{BackendPolicy, CircuitLimits, EndpointCondition, OutlierDetection, Retry, Timeouts};
use support::{Lab, Rule, Scripted, eventually, rule};

fn limited(limits: CircuitLimits) -> Option<Arc<BackendPolicy>> {
    Some(Arc::new(BackendPolicy { limits: Some(limits), ..Default::default() }))
}

/// Answers a request each time it is told to.
fn on_command() -> (Scripted, mpsc::Sender<()>) {
    let (tell, told) = mpsc::channel();
    let told = Mutex::new(told);
    let endpoint = Scripted::new(move |conn| {
        while conn.head().is_some() {
            if told.lock().unwrap().recv().is_err() {
                return;
            }
            conn.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        }
    });
    (endpoint, tell)
}

const GET: &str = "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n";

#[test]
fn one_request_too_many_is_503_and_says_why() {
    let (endpoint, tell) = on_command();
    let all = [endpoint.address];
    let policy = limited(CircuitLimits { requests: Some(1), ..Default::default() });
    // Over all threads.
    let config = proxy::Config { threads: 2, ..Default::default() };
    let lab = Lab::with(config, &[Rule { policy, ..rule("/", &all) }]);
    let mut first = lab.client();
    first.send(GET);
    eventually("the first is there", || endpoint.received().contains("GET / "));
    for _ in 0..8 {
        let refused = lab.client().get("/");
        assert_eq!((refused.status, refused.text().contains("too many requests under way")), (503, true));
    }
    tell.send(()).unwrap();
    assert_eq!(first.response().status, 200);
    tell.send(()).unwrap();
    assert_eq!(first.get("/").status, 200, "the limit is of what is under way");
    let reasons = lab.metrics.responses_generated.values();
    let count = reasons.iter().find(|(reason, _)| *reason == "backend has too many requests under way");
    assert_eq!(count.map(|(_, count)| *count), Some(8));
}

#[test]
fn requests_wait_for_a_connection_and_not_too_many_of_them() {
    let (endpoint, tell) = on_command();
    let all = [endpoint.address];
    let policy = limited(CircuitLimits { connections: Some(1), pending: Some(1), ..Default::default() });
    let lab = Lab::new(&[Rule { policy, ..rule("/", &all) }]);
    let (mut first, mut second) = (lab.client(), lab.client());
    first.send(GET);
    eventually("the first is there", || endpoint.received().contains("GET / "));
    second.send(GET);
    // The second waits; when it does, a third may not.
    eventually("a third is refused", || {
        let mut third = lab.client();
        third.stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        third.send(GET);
        third.try_response().is_some_and(|refused| {
            assert_eq!((refused.status, refused.text().contains("too many requests waiting")), (503, true));
            true
        })
    });
    for _ in 0..8 {
        // Those that gave up have gone by then; whoever waits is answered.
        let _ = tell.send(());
    }
    assert_eq!(first.response().status, 200);
    assert_eq!(second.response().status, 200);
    assert_eq!(endpoint.connections(), 1);
}

#[test]
fn idle_connections_do_not_keep_other_endpoints_waiting() {
    let all = ["a", "b", "c"].map(Scripted::echo);
    let addresses = all.each_ref().map(|endpoint| endpoint.address);
    let policy = limited(CircuitLimits { connections: Some(2), ..Default::default() });
    let lab = Lab::new(&[Rule { policy, ..rule("/", &addresses) }]);
    let mut client = lab.client();
    for _ in 0..9 {
        assert_eq!(client.get("/").status, 200);
    }
    assert!(all.iter().all(|endpoint| endpoint.received().matches("GET / ").count() == 3));
    assert_eq!(all.each_ref().map(Scripted::connections), [3; 3], "whose turn is next had been idle longest");
}

#[test]
fn an_endpoint_may_have_a_connection_where_all_others_are_busy() {
    let all: Vec<_> = (0..3).map(|_| on_command()).collect();
    let addresses: Vec<_> = all.iter().map(|(endpoint, _)| endpoint.address).collect();
    let policy = limited(CircuitLimits { connections: Some(2), ..Default::default() });
    let lab = Lab::new(&[Rule { policy, ..rule("/", &addresses) }]);
    let mut clients: Vec<_> = (0..3).map(|_| lab.client()).collect();
    for client in &mut clients {
        client.send(GET);
    }
    eventually("each has one", || all.iter().all(|(endpoint, _)| endpoint.received().contains("GET / ")));
    for (_, tell) in &all {
        tell.send(()).unwrap();
    }
    assert!(clients.iter_mut().all(|client| client.response().status == 200));
}

/// All of them have room for a retry when they are sent, and one of them when they are answered.
#[test]
fn answers_that_may_not_be_had_again_pass_as_they_are() {
    let seen = Arc::new(AtomicUsize::new(0));
    let ends = Arc::new(AtomicBool::new(false));
    let (count, told) = (seen.clone(), ends.clone());
    let endpoint = Scripted::new(move |conn| {
        while conn.head().is_some() {
            let number = count.fetch_add(1, SeqCst);
            // The first four are answered together, a retry when the others have been.
            eventually("its turn", || if number < 4 { count.load(SeqCst) >= 4 } else { told.load(SeqCst) });
            conn.send("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\n\r\nmine");
        }
    });
    let policy = limited(CircuitLimits { retries: Some(1), ..Default::default() });
    let retry = Some(Retry { codes: vec![503], attempts: 1, backoff: Duration::from_millis(1) });
    let all = [endpoint.address];
    let lab = Lab::new(&[Rule { policy, retry, ..rule("/", &all) }]);
    let (tell, answers) = mpsc::channel();
    for _ in 0..4 {
        let (tell, mut client) = (tell.clone(), lab.client());
        std::thread::spawn(move || {
            let answer = client.get("/");
            tell.send((answer.status, answer.text())).unwrap();
        });
    }
    let mine = (503, "mine".to_owned());
    for _ in 0..3 {
        assert_eq!(answers.recv_timeout(support::PATIENCE).unwrap(), mine);
    }
    eventually("the retry is there", || seen.load(SeqCst) == 5);
    ends.store(true, SeqCst);
    assert_eq!(answers.recv_timeout(support::PATIENCE).unwrap(), mine);
    assert_eq!(seen.load(SeqCst), 5);
}

#[test]
fn an_answer_is_passed_on_where_there_may_be_no_retry() {
    let endpoint = Scripted::new(|conn| {
        while conn.head().is_some() {
            conn.send("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\n\r\nmine");
        }
    });
    let all = [endpoint.address];
    let retry = Retry { codes: vec![503], attempts: 2, backoff: Duration::from_millis(1) };
    for (retries, sent) in [(Some(0), 1), (None, 3)] {
        let policy = limited(CircuitLimits { retries, ..Default::default() });
        let before = endpoint.received().matches("GET / ").count();
        let lab = Lab::new(&[Rule { policy, retry: Some(retry.clone()), ..rule("/", &all) }]);
        let answer = lab.client().get("/");
        assert_eq!((answer.status, &*answer.text()), (503, "mine"));
        assert_eq!(endpoint.received().matches("GET / ").count() - before, sent, "{retries:?}");
    }
}

fn judged(base_ejection: Duration) -> Option<Arc<BackendPolicy>> {
    let outliers = OutlierDetection {
        consecutive_5xx: Some(3),
        consecutive_gateway_errors: None,
        base_ejection,
        max_ejection: 10 * base_ejection,
        max_percent: 50,
    };
    Some(Arc::new(BackendPolicy { outliers: Some(outliers), ..Default::default() }))
}

/// Answers with its name: 500 while it is bad.
fn endpoint(name: &'static str, is_bad: bool) -> (Scripted, Arc<AtomicBool>) {
    let is_bad = Arc::new(AtomicBool::new(is_bad));
    let told = is_bad.clone();
    let endpoint = Scripted::new(move |conn| {
        while conn.head().is_some() {
            let status = if told.load(SeqCst) { "500 Internal Server Error" } else { "200 OK" };
            conn.send(&format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{name}", name.len()));
        }
    });
    (endpoint, is_bad)
}

#[test]
fn an_endpoint_that_fails_in_a_row_is_left_out_by_its_backend_alone() {
    let ((good, _), (bad, _)) = (endpoint("good", false), endpoint("bad", true));
    let both = [good.address, bad.address];
    let hour = Duration::from_secs(3600);
    let rules = [Rule { policy: judged(hour), ..rule("/judged", &both) }, rule("/other", &both)];
    let mut lab = Lab::new(&rules);
    let mut client = lab.client();
    let failed = (0..20).filter(|_| client.get("/judged").status == 500).count();
    assert!(failed >= 3);
    lab.apply(&rules);
    assert!((0..20).all(|_| client.get("/judged").text() == "good"));
    assert!((0..4).any(|_| client.get("/other").text() == "bad"), "another backend has its own opinion");
    let conditions: Vec<_> = {
        let state = lab.gateway.state();
        let views = state.backends().flat_map(|(_, views)| views);
        views.filter(|view| view.address == bad.address).map(|view| view.condition).collect()
    };
    assert_eq!(conditions, [EndpointCondition::Ejected, EndpointCondition::Ready]);
    let text = lab.metrics.encode();
    assert!(text.contains("rauta_endpoint_ejections_total{result=\"ejected\"} 1\n"), "{text}");
}

#[test]
fn who_is_left_out_comes_back_when_its_time_is_over() {
    let ((good, _), (bad, is_bad)) = (endpoint("good", false), endpoint("bad", true));
    let both = [good.address, bad.address];
    let rules = [Rule { policy: judged(Duration::from_millis(500)), ..rule("/", &both) }];
    let mut lab = Lab::new(&rules);
    let mut client = lab.client();
    while !lab.metrics.encode().contains("result=\"ejected\"} 1\n") {
        client.get("/");
    }
    lab.apply(&rules);
    is_bad.store(false, SeqCst);
    // Whoever follows is told of the ejection, and then of its end.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    eventually("it is back", || {
        let changed = async { tokio::time::timeout(support::PATIENCE, lab.gateway.health_changed()).await };
        assert!(runtime.block_on(changed).is_ok());
        lab.apply(&rules);
        (0..4).any(|_| client.get("/").text() == "bad")
    });
}

#[test]
fn who_is_no_longer_judged_is_not_waited_for() {
    let ((good, _), (bad, _)) = (endpoint("good", false), endpoint("bad", true));
    let both = [good.address, bad.address];
    let mut lab = Lab::new(&[Rule { policy: judged(Duration::from_secs(2)), ..rule("/", &both) }]);
    let mut client = lab.client();
    while !lab.metrics.encode().contains("result=\"ejected\"} 1\n") {
        client.get("/");
    }
    lab.apply(&[rule("/", &both)]);
    assert!((0..4).any(|_| client.get("/").text() == "bad"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let changes_within = |limit| {
        runtime.block_on(async { tokio::time::timeout(limit, lab.gateway.health_changed()).await }).is_ok()
    };
    // The ejection itself, of which nobody was told yet.
    assert!(changes_within(support::PATIENCE));
    // Nothing is to come: a loop that asks must not turn without end when the ejection would have been over.
    assert!(!changes_within(Duration::from_millis(2500)));
}

/// Failures and ejections of endpoints, as everybody sees them.
fn blame(lab: &Lab) -> (u64, bool) {
    let state = lab.gateway.state();
    let failures = state.backends().flat_map(|(_, views)| views).map(|view| view.stats.failures).sum();
    (failures, lab.metrics.encode().contains("result=\"ejected\"} 1\n"))
}

#[test]
fn a_client_that_is_late_has_no_endpoint_left_out() {
    let (silent, _told) = Scripted::silent();
    let timeouts = Timeouts { request: Some(Duration::from_millis(500)), ..Timeouts::default() };
    let all = [silent.address];
    let rules = [Rule { policy: judged(Duration::from_secs(3600)), timeouts, ..rule("/", &all) }];
    let lab = Lab::new(&rules);
    let three_times = |request: &str, reason| {
        let mut clients: Vec<_> = (0..3).map(|_| lab.client()).collect();
        clients.iter_mut().for_each(|client| client.send(request));
        for client in &mut clients {
            let answer = client.response();
            assert_eq!((answer.status, answer.text().contains(reason)), (504, true), "{}", answer.text());
        }
    };
    let half = "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 9\r\n\r\nhalf";
    three_times(half, "request did not come in time");
    assert_eq!(blame(&lab), (0, false));
    three_times(GET, "endpoint did not answer in time");
    assert_eq!(blame(&lab), (3, true), "what it has whole and does not answer is its own failure");
}

#[test]
fn a_client_that_takes_its_answer_late_has_no_endpoint_left_out() {
    const LENGTH: usize = 64 << 20;
    let endpoint = Scripted::new(|conn| {
        let is_asked = conn.head().is_some();
        conn.send(&format!("HTTP/1.1 200 OK\r\nContent-Length: {LENGTH}\r\n\r\n"));
        // Until the gateway goes.
        while is_asked && conn.stream.write_all(&[b'x'; 1 << 14]).is_ok() {}
    });
    let timeouts = Timeouts { request: Some(Duration::from_millis(300)), ..Timeouts::default() };
    let all = [endpoint.address];
    let rules = [Rule { policy: judged(Duration::from_secs(3600)), timeouts, ..rule("/", &all) }];
    let lab = Lab::new(&rules);
    let mut clients: Vec<_> = (0..3).map(|_| lab.client()).collect();
    for client in &mut clients {
        client.send(GET);
    }
    eventually("their time is up", || {
        lab.gateway
            .state()
            .backends()
            .flat_map(|(_, views)| views)
            .all(|view| view.stats.requests == 3 && view.stats.active == 0)
    });
    assert_eq!(blame(&lab), (0, false));
}
