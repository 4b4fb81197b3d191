use std::path::PathBuf;

use model::{Action, ObjectKind, ObjectRef, Route};
use telemetry::Metrics;
use telemetry::access::{AccessLog, Target, Writer};
use tempfile::TempDir;

use super::*;

const MS: u64 = 1_000_000;
const START_NS: u64 = 5_000 * MS;

/// A log of the kernel, and the file behind it.
struct Case {
    logged: Option<Logged>,
    writer: Option<Writer>,
    path: PathBuf,
    _folder: TempDir,
    now_ns: u64,
    snapshot: Option<Arc<Snapshot>>,
    /// By how much what indices name has moved on.
    moved: u32,
    metrics: Arc<Metrics>,
}

impl Case {
    fn new(one_in: u32, format: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("access.log");
        let target = Target::File(path.clone());
        let metrics = Metrics::new(1);
        let (log, writer) =
            AccessLog::start(&target, format.parse().unwrap(), Arc::clone(&metrics), || {}).unwrap();
        let logged = Logged::new(Lines::new(log, 0), one_in);
        Self {
            logged: Some(logged),
            writer: Some(writer),
            path,
            _folder: folder,
            now_ns: START_NS,
            snapshot: None,
            moved: 0,
            metrics,
        }
    }

    fn short(one_in: u32) -> Self {
        Self::new(one_in, "$client $method $path $status $reason $bytes_in $bytes_out $duration_ms")
    }

    fn now(&self) -> Moment {
        Moment { boot_ns: self.now_ns, wall: SystemTime::UNIX_EPOCH + Duration::from_secs(100) }
    }

    fn take(&mut self, events: &[Event]) {
        let names = Names {
            route: &|index| (index < 10).then(|| route_id(index + self.moved)),
            endpoint: &|index| format!("10.0.{}.{index}:80", self.moved).parse().ok(),
            listener: &|_| "shop/web/http".to_owned(),
            now: self.now(),
        };
        self.logged.as_mut().unwrap().take(events, self.snapshot.as_ref(), &names);
    }

    fn waiting(&self) -> usize {
        self.logged.as_ref().unwrap().waiting.len()
    }

    /// What was logged, once all of it is written; `finish`: with the requests that wait.
    fn lines(mut self, finish: bool) -> Vec<String> {
        let (logged, now) = (self.logged.take().unwrap(), self.now());
        if finish {
            logged.finish(now);
        } else {
            drop(logged);
        }
        self.writer.take().unwrap().stop(Duration::from_secs(10));
        std::fs::read_to_string(&self.path).unwrap().lines().map(str::to_owned).collect()
    }
}

fn route_id(rule: u32) -> RouteId {
    RouteId { object: ObjectRef::new(ObjectKind::HttpRoute, "shop", "web"), rule }
}

fn event(reason: Reason, port: u16, number: u32, at_ms: u64) -> Event {
    let mapped = |last| {
        let mut address = [0; 16];
        address[10..].copy_from_slice(&[0xff, 0xff, 192, 0, 2, last]);
        address
    };
    let client = Tuple {
        source: mapped(1),
        destination: mapped(2),
        source_port: port.to_be_bytes(),
        destination_port: [0, 80],
    };
    Event {
        time: START_NS + at_ms * MS,
        reason: reason as u8,
        tier: 2,
        client,
        number,
        lot: Event::lot_of(u32::from(port), number),
        endpoint: 3,
        route: 1,
        ..Event::default()
    }
}

fn asks(path: &str, port: u16, number: u32, at_ms: u64) -> Event {
    let mut asked = event(Reason::Bound, port, number, at_ms);
    let shown = path.len().min(asked.path.len());
    asked.path[..shown].copy_from_slice(&path.as_bytes()[..shown]);
    asked.host[..6].copy_from_slice(b"A.test");
    asked.path_len = path.len().try_into().unwrap();
    asked.host_len = 6;
    asked.len = 70;
    asked
}

fn answers(status: u16, flags: u8, port: u16, number: u32, at_ms: u64) -> Event {
    let answer = event(Reason::Answered, port, number, at_ms);
    Event { status, flags, begins_at: u32::MAX - 9, ends_at: 290, first_byte_ns: 2 * MS, ..answer }
}

fn ends(port: u16, number: u32, at_ms: u64) -> Event {
    Event { ends_at: 9_990, ..event(Reason::Ended, port, number, at_ms) }
}

/// A port whose first request one in `every` draws, or does not.
fn port(every: u32, is_drawn: bool) -> u16 {
    let is_wanted = |port: &u16| Event::is_drawn(Event::lot_of(u32::from(*port), 1), every) == is_drawn;
    (1024..60_000).find(is_wanted).unwrap()
}

#[test]
fn a_request_and_its_answer_are_one_line_with_all_that_the_kernel_knows() {
    let mut case = Case::new(1, "json");
    case.now_ns += 1500 * MS;
    case.take(&[asks("/a", 4000, 1, 0), answers(200, Event::WHOLE, 4000, 1, 3)]);
    assert_eq!(
        case.lines(false),
        [concat!(
            r#"{"time":"1970-01-01T00:01:38.500Z","client":"192.0.2.1:4000","listener":"shop/web/http","#,
            r#""route":"HTTPRoute shop/web rule 1","endpoint":"10.0.0.3:80","method":"GET","host":"a.test","#,
            r#""path":"/a","status":200,"tier":2,"bytes_in":70,"bytes_out":300,"duration_ms":2.000,"#,
            r#""first_byte_ms":2.000,"protocol":"HTTP/1.1"}"#
        )]
    );
}

#[test]
fn a_long_response_is_logged_when_it_ends() {
    let mut case = Case::short(1);
    case.take(&[asks("/a", 4000, 1, 0), answers(200, 0, 4000, 1, 3)]);
    assert_eq!(case.waiting(), 1);
    case.take(&[ends(4000, 2, 10), ends(4001, 1, 10), ends(4000, 1, 20), ends(4000, 1, 30)]);
    assert_eq!(case.waiting(), 0);
    assert_eq!(case.lines(true), ["192.0.2.1:4000 GET /a 200 - 70 10000 19.000"]);
}

#[test]
fn behind_early_hints_the_duration_is_that_since_the_request_was_told_of() {
    let mut case = Case::short(1);
    let behind_hints = Event { first_byte_ns: 0, ..answers(200, Event::WHOLE, 4000, 1, 30) };
    case.take(&[asks("/a", 4000, 1, 0), behind_hints]);
    case.take(&[Event { lot: 1, number: 2, ..behind_hints }]);
    assert_eq!(
        case.lines(true),
        ["192.0.2.1:4000 GET /a 200 - 70 300 30.000", "192.0.2.1:4000 - - 200 - - 300 -"]
    );
}

#[test]
fn a_response_whose_end_cannot_be_seen_does_not_wait_for_it() {
    let mut case = Case::short(1);
    case.take(&[asks("/a", 4000, 1, 0), answers(200, Event::ENDLESS, 4000, 1, 3)]);
    assert_eq!(case.waiting(), 0);
    assert_eq!(case.lines(false), ["192.0.2.1:4000 GET /a 200 - 70 - -"]);
}

#[test]
fn an_answer_without_its_request_is_a_line_without_what_was_asked() {
    let mut case = Case::short(1);
    case.take(&[answers(304, Event::WHOLE, 4000, 1, 3)]);
    assert_eq!(case.lines(false), ["192.0.2.1:4000 - - 304 - - 300 2.000"]);
}

#[test]
fn a_request_without_its_answer_is_a_line_after_a_minute() {
    let mut case = Case::short(1);
    case.take(&[asks("/a", 4000, 1, 0), asks("/b", 4001, 1, 30_000)]);
    for (seconds, waiting) in [(59, 2), (61, 1), (89, 1), (91, 0)] {
        case.now_ns = START_NS + seconds * 1000 * MS;
        case.take(&[]);
        assert_eq!(case.waiting(), waiting, "after {seconds} s");
    }
    // Its own came after all.
    case.take(&[answers(200, Event::WHOLE, 4000, 1, 61_500)]);
    let expected = [
        "192.0.2.1:4000 GET /a 0 no answer seen 70 - -",
        "192.0.2.1:4001 GET /b 0 no answer seen 70 - -",
        "192.0.2.1:4000 - - 200 - - 300 2.000",
    ];
    assert_eq!(case.lines(false), expected);
}

#[test]
fn an_answer_that_does_not_end_in_a_minute_is_a_line_without_its_end() {
    let mut case = Case::short(1);
    case.take(&[asks("/a", 4000, 1, 0), answers(200, 0, 4000, 1, 30_000)]);
    case.now_ns = START_NS + 89_000 * MS;
    case.take(&[]);
    assert_eq!(case.waiting(), 1, "a minute from the answer");
    case.now_ns += 3_000 * MS;
    case.take(&[]);
    assert_eq!(case.lines(false), ["192.0.2.1:4000 GET /a 200 - 70 - -"]);
}

#[test]
fn requests_that_wait_at_the_end_are_logged() {
    let mut case = Case::short(1);
    case.take(&[asks("/a", 4000, 1, 0), answers(200, 0, 4000, 1, 3)]);
    assert_eq!(case.lines(true), ["192.0.2.1:4000 GET /a 200 - 70 - -"]);
}

#[test]
fn a_request_that_goes_elsewhere_has_the_endpoint_that_had_it_last() {
    let mut case = Case::new(1, "$endpoint $path $status");
    let again = Event { endpoint: 7, ..event(Reason::Replaced, 4000, 1, 1000) };
    case.take(&[asks("/a", 4000, 1, 0), again]);
    assert_eq!(case.waiting(), 1);
    assert_eq!(case.lines(true), ["10.0.0.7:80 /a 0"]);
}

#[test]
fn connections_that_use_a_port_again_are_told_apart() {
    let of_another = |event: Event| Event { lot: event.lot ^ 1, ..event };
    let mut case = Case::short(1);
    case.take(&[asks("/old", 4000, 1, 0), of_another(asks("/new", 4000, 1, 10))]);
    case.take(&[answers(200, Event::WHOLE, 4000, 1, 20)]);
    assert_eq!(
        case.lines(true),
        [
            "192.0.2.1:4000 GET /old 0 no answer seen 70 - -",
            "192.0.2.1:4000 GET /new 0 no answer seen 70 - -",
            "192.0.2.1:4000 - - 200 - - 300 2.000",
        ]
    );
}

#[test]
fn the_sample_is_that_of_the_setting_and_failures_are_always_there() {
    let (drawn, other) = (port(10, true), port(10, false));
    let mut case = Case::short(10);
    // Whoever traces may want more: the kernel tells of it.
    case.take(&[asks("/a", drawn, 1, 0), asks("/a", other, 1, 0)]);
    assert_eq!(case.waiting(), 1);
    case.take(&[answers(200, Event::WHOLE, drawn, 1, 3), answers(200, Event::WHOLE, other, 1, 3)]);
    // A failure that was not drawn has no end to wait for.
    case.take(&[answers(503, 0, other, 1, 5)]);
    assert_eq!(case.waiting(), 0);
    let expected = [
        format!("192.0.2.1:{drawn} GET /a 200 - 70 300 2.000"),
        format!("192.0.2.1:{other} - - 503 - - - -"),
    ];
    assert_eq!(case.lines(true), expected);
}

#[test]
fn hand_offs_are_the_proxys_to_log() {
    let mut case = Case::short(1);
    case.take(&[Event { tier: 3, ..event(Reason::HandRoute, 4000, 1, 0) }]);
    assert_eq!(case.waiting(), 0);
    assert!(case.lines(true).is_empty());
}

#[test]
fn a_request_that_is_handed_off_after_it_was_told_of_is_the_proxys_to_log() {
    let handed = |number| Event { tier: 3, ..event(Reason::HandNoEndpoint, 4000, number, 30) };
    let mut case = Case::short(1);
    case.take(&[asks("/tried", 4000, 2, 10), handed(2)]);
    assert_eq!(case.waiting(), 0);
    // What is another's stays: an earlier connection's from the same port, and one whose response is under way.
    case.take(&[asks("/old", 4000, 1, 0), asks("/a", 4000, 2, 0), answers(200, 0, 4000, 2, 3)]);
    case.take(&[Event { lot: 1, ..handed(1) }, handed(2), handed(3)]);
    let mut lines = case.lines(true);
    lines.sort_unstable();
    let expected = ["192.0.2.1:4000 GET /a 200 - 70 - -", "192.0.2.1:4000 GET /old 0 no answer seen 70 - -"];
    assert_eq!(lines, expected);
}

#[test]
fn quiet_routes_are_logged_where_they_fail() {
    let mut case = Case::short(1);
    let quiet = Route { is_unlogged: true, ..Route::new(route_id(1), Action::Forward(Vec::new())) };
    case.snapshot = Some(Arc::new(Snapshot::new(1, [], [Arc::new(quiet)], [], [])));
    case.take(&[asks("/a", 4000, 1, 0), answers(200, Event::WHOLE, 4000, 1, 3)]);
    case.take(&[asks("/b", 4000, 2, 4), answers(404, Event::WHOLE, 4000, 2, 5)]);
    case.snapshot = None;
    case.take(&[asks("/c", 4000, 3, 6), answers(200, Event::WHOLE, 4000, 3, 7)]);
    let expected = ["192.0.2.1:4000 GET /b 404 - 70 300 2.000", "192.0.2.1:4000 GET /c 200 - 70 300 2.000"];
    assert_eq!(case.lines(true), expected);
}

#[test]
fn what_waits_is_bounded_and_no_answer_is_lost_for_it() {
    let mut case = Case::short(1);
    let many = u32::try_from(WAITING_MAX).unwrap() + 10;
    let asked: Vec<Event> = (1..=many).map(|number| asks("/a", 4000, number, 0)).collect();
    case.take(&asked);
    assert_eq!(case.waiting(), WAITING_MAX);
    assert_eq!(case.metrics.access_dropped.values(), [("too many wait", 10)]);
    let answered: Vec<Event> = (1..=many).rev().map(|number| answers(200, 0, 4000, number, 3)).collect();
    case.take(&answered);
    assert_eq!(case.waiting(), WAITING_MAX);
    let lines = case.lines(true);
    assert_eq!(lines.len(), many as usize);
    let full = lines.iter().filter(|line| line.contains("GET /a")).count();
    assert_eq!(full, WAITING_MAX, "the others have what the answer says");
}

#[test]
fn what_clients_send_ends_no_line_and_a_path_that_is_cut_says_so() {
    let long = format!("/{}", "x".repeat(200));
    for (format, hostile) in [("json", r#""path":"/\u000a\u001b[31m\"","#), ("$path", r"/\x0a\x1b[31m\x22")] {
        let mut case = Case::new(1, format);
        case.take(&[asks("/\n\x1b[31m\"", 4000, 1, 0), answers(200, Event::WHOLE, 4000, 1, 3)]);
        case.take(&[asks(&long, 4000, 2, 4), answers(200, Event::WHOLE, 4000, 2, 5)]);
        let lines = case.lines(false);
        assert_eq!(lines.len(), 2);
        assert!(lines[0].contains(hostile), "{}", lines[0]);
        assert!(lines[1].contains(&format!("/{}...", "x".repeat(95))), "{}", lines[1]);
        assert!(!lines[1].contains(&"x".repeat(96)));
    }
}

#[test]
fn a_line_has_the_route_of_its_request_though_the_connection_has_a_newer_one() {
    let mut case = Case::new(1, "$path $route");
    let second = |event: Event| Event { route: 2, ..event };
    // Pipelined: the responses are told with the route of the second request.
    case.take(&[asks("/a", 7, 1, 0), second(asks("/b", 7, 2, 1))]);
    let whole = |number, at_ms| second(answers(200, Event::WHOLE, 7, number, at_ms));
    case.take(&[whole(1, 5), whole(2, 6)]);
    let lines = case.lines(false);
    assert_eq!(lines, ["/a HTTPRoute shop/web rule 1", "/b HTTPRoute shop/web rule 2"]);
}

#[test]
fn a_failure_that_was_not_drawn_has_the_time_at_which_it_was_asked_for() {
    let mut case = Case::new(1000, "$time $status");
    case.now_ns = START_NS + 10_000 * MS;
    let port = port(1000, false);
    let late = answers(504, Event::WHOLE, port, 1, 10_000);
    case.take(&[Event { first_byte_ns: 4_000 * MS, ..late }]);
    let lines = case.lines(false);
    assert!(lines[0].starts_with("1970-01-01T00:01:36"), "{lines:?}");
}

#[test]
fn names_are_those_of_when_they_were_told() {
    let mut case = Case::new(1, "$route $endpoint $path $status");
    case.take(&[
        asks("/answered", 7, 1, 0),
        asks("/ended", 7, 2, 0),
        asks("/silent", 7, 3, 0),
        asks("/moved", 7, 4, 0),
    ]);
    case.take(&[answers(200, 0, 7, 2, 100)]);
    // A rollout: others have the indices.
    case.moved = 1;
    case.take(&[answers(200, Event::WHOLE, 7, 1, 3000), ends(7, 2, 3000)]);
    case.take(&[
        Event { endpoint: 4, ..event(Reason::Replaced, 7, 4, 3000) },
        answers(200, Event::WHOLE, 7, 5, 3000),
    ]);
    let mut lines = case.lines(true);
    lines.sort_unstable();
    let expected = [
        "HTTPRoute shop/web rule 1 10.0.0.3:80 /answered 200",
        "HTTPRoute shop/web rule 1 10.0.0.3:80 /ended 200",
        "HTTPRoute shop/web rule 1 10.0.0.3:80 /silent 0",
        "HTTPRoute shop/web rule 2 10.0.1.3:80 - 200",
        "HTTPRoute shop/web rule 2 10.0.1.4:80 /moved 0",
    ];
    assert_eq!(lines, expected);
}
