//! The access log of requests that the kernel serves.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use testkit::{Connection, Signal, until};

use crate::world::{Network, World};

with_clsact!(
    on_two_networks:
    requests_of_the_kernel_are_lines_of_the_access_log,
    a_sample_is_logged_and_every_failure,
    with_off_the_log_has_what_userspace_served,
);
mod full {
    on_two_networks!(a_full_buffer_loses_lines_and_no_request);
    use super::a_full_buffer_loses_lines_and_no_request;
}
mod early {
    on_two_networks!(requests_that_xdp_serves_are_lines_of_the_access_log);
    use super::requests_that_xdp_serves_are_lines_of_the_access_log;
}

const PATIENCE: Duration = Duration::from_secs(30);

/// Named apart by what is logged of them.
const FORMAT: &str = "$client|$route|$endpoint|$method|$host|$path|$status|$tier|$bytes_in|$bytes_out|$duration_ms|\
                      $first_byte_ms|$listener|$protocol|$reason";

/// A gateway whose access log is in a file.
struct Logging {
    world: World,
    path: PathBuf,
    _folder: tempfile::TempDir,
}

impl Logging {
    /// `one_in`: of the kernel's requests.
    fn new(network: Network, one_in: &str, start: impl FnOnce(Network, &[(&str, &str)]) -> World) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("access.log");
        let settings = [
            ("RAUTA_ACCESS_LOG_PATH", path.to_str().unwrap()),
            ("RAUTA_ACCESS_LOG_FORMAT", FORMAT),
            ("RAUTA_ACCESS_LOG_KERNEL_SAMPLE_ONE_IN", one_in),
        ];
        Self { world: start(network, &settings), path, _folder: folder }
    }

    /// The fields of the lines about paths that begin so.
    fn lines(&self, path: &str) -> Vec<Vec<String>> {
        let text = fs::read_to_string(&self.path).unwrap_or_default();
        // The last may be under way.
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        let fields = whole.lines().map(|line| line.split('|').map(str::to_owned).collect::<Vec<_>>());
        fields.filter(|fields| fields[5].starts_with(path)).collect()
    }

    /// Waits until there are so many.
    #[track_caller]
    fn wait_for(&self, path: &str, count: usize) -> Vec<Vec<String>> {
        let lines = || Some(self.lines(path)).filter(|lines| lines.len() >= count);
        until(PATIENCE, &format!("{count} lines of {path}"), lines).unwrap_or_else(|error| {
            panic!(
                "{error:#}\n{}\n{}",
                fs::read_to_string(&self.path).unwrap_or_default(),
                self.world.gateway.log()
            )
        })
    }
}

fn requests_of_the_kernel_are_lines_of_the_access_log(network: Network) {
    let logging = Logging::new(network, "1", World::tuned);
    let served_by = has_every_field(&logging);
    are_of_the_hook(&logging.world, served_by.iter().map(String::as_str));
}

fn requests_that_xdp_serves_are_lines_of_the_access_log(network: Network) {
    let logging = Logging::new(network, "1", World::early);
    let served_by = has_every_field(&logging);
    are_of_the_hook(&logging.world, served_by.iter().map(String::as_str));
}

/// Whether requests were served where the hook of the gateway has them served. XDP leaves to TC what it has no room for.
#[track_caller]
fn are_of_the_hook<'t>(world: &World, tiers: impl IntoIterator<Item = &'t str>) {
    let tiers: BTreeSet<&str> = tiers.into_iter().collect();
    let is_right = match world.hook.as_str() {
        "off" => tiers == BTreeSet::from(["3"]),
        // What a host leaves to its device is seen by TC alone.
        "xdp" if !world.network.offloads.tx => tiers.contains("1") && tiers.is_subset(&["1", "2"].into()),
        _ => tiers == BTreeSet::from(["2"]),
    };
    assert!(is_right, "hook {}: {tiers:?}", world.hook);
}

/// Each request and its response, as client and endpoint have seen them. Who served them.
#[track_caller]
fn has_every_field(logging: &Logging) -> Vec<String> {
    let world = &logging.world;
    let (mut connection, mut asked) = (world.connect(), Vec::new());
    let client = client_of(world, &connection);
    world.decides(7, || {
        for (method, path, body) in [
            ("GET", "/logged/1?secret=1", ""),
            ("HEAD", "/logged/2", ""),
            ("POST", "/logged/3", "hello"),
            ("GET", "/b/logged/4", ""),
            ("GET", "/status/404", ""),
            ("GET", "/128", ""),
            ("GET", "/1m", ""),
        ] {
            let length =
                if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
            let request = format!("{method} {path} HTTP/1.1\r\nHost: A.test:8080\r\n{length}\r\n{body}");
            let answer = connection.request(&request).unwrap();
            asked.push((method, path, request.len(), answer));
        }
    });
    let mut served_by = Vec::new();
    for (method, target, bytes_in, answer) in asked {
        let path = target.split('?').next().unwrap();
        let lines = logging.wait_for(path, 1);
        let [line] = &lines[..] else { panic!("{lines:?}") };
        let is_b = path.starts_with("/b/");
        let bytes_out = answer.raw_head.len() + answer.body.len();
        let (rule, endpoint) = (u32::from(is_b), network_endpoint(world, is_b));
        let expected = [
            client.clone(),
            format!("HTTPRoute default/by-path rule {rule}"),
            endpoint,
            method.to_owned(),
            "a.test".to_owned(),
            path.to_owned(),
            answer.status.to_string(),
        ];
        assert_eq!(line[..7], expected);
        assert_eq!(line[8..10], [bytes_in.to_string(), bytes_out.to_string()], "{line:?}");
        let [duration, first_byte] = [10, 11].map(|field| line[field].parse::<f64>().unwrap());
        assert!(first_byte > 0.0 && duration >= first_byte && duration < 30_000.0, "{line:?}");
        assert_eq!(line[12..], ["default/gw/http", "HTTP/1.1", "-"], "{line:?}");
        served_by.push(line[7].clone());
    }
    served_by
}

fn client_of(world: &World, connection: &Connection) -> String {
    crate::told::end_of(world, connection).to_string()
}

fn network_endpoint(world: &World, is_b: bool) -> String {
    world.network.endpoint(u8::from(is_b)).to_string()
}

fn a_sample_is_logged_and_every_failure(network: Network) {
    const REQUESTS: usize = 400;
    let logging = Logging::new(network, "10", World::tuned);
    if logging.world.hook == "off" {
        return;
    }
    for _ in 0..20 {
        let mut connection = logging.world.connect();
        for _ in 0..REQUESTS / 20 {
            assert_eq!(connection.get("a.test", "/sampled").unwrap().status, 200);
        }
    }
    // Events come in their order: when these are logged, so is what was before.
    let (mut connection, failures) = (logging.world.connect(), 30);
    for _ in 0..failures {
        assert_eq!(connection.get("a.test", "/status/503").unwrap().status, 503);
    }
    let failed = || {
        let lines = logging.lines("");
        let failed: Vec<_> = lines.into_iter().filter(|fields| fields[6] == "503").collect();
        (failed.len() >= failures).then_some(failed)
    };
    let failed = until(PATIENCE, "every failure", failed).unwrap();
    assert_eq!(failed.len(), failures);
    // Of those that were not drawn nothing was told before they failed.
    let drawn = failed.iter().filter(|fields| fields[5] == "/status/503").count();
    assert!(
        drawn < failures && failed.iter().all(|fields| ["/status/503", "-"].contains(&fields[5].as_str()))
    );
    // The share is 40 with a deviation of 6.
    let sampled = logging.lines("/sampled");
    assert!((10..=70).contains(&sampled.len()), "{} of {REQUESTS}", sampled.len());
    assert!(sampled.iter().all(|fields| fields[6] == "200"), "{sampled:?}");
    are_of_the_hook(&logging.world, sampled.iter().map(|fields| fields[7].as_str()));
}

fn with_off_the_log_has_what_userspace_served(network: Network) {
    let logging = Logging::new(network, "off", World::tuned);
    let world = &logging.world;
    if world.hook == "off" {
        return;
    }
    world.decides(2, || {
        let mut connection = world.connect();
        assert_eq!(connection.get("a.test", "/a").unwrap().status, 200);
        assert_eq!(connection.get("a.test", "/status/404").unwrap().status, 404);
    });
    assert_eq!(world.get("/user/logged").status, 200);
    let lines = logging.wait_for("/user/logged", 1);
    assert_eq!((lines.len(), lines[0][7].as_str()), (1, "3"));
    let by_kernel: Vec<_> = logging.lines("").into_iter().filter(|fields| fields[7] != "3").collect();
    assert!(by_kernel.is_empty(), "{by_kernel:?}");
}

/// An agent that stands still takes nothing out of the buffer, which has room for a few thousand events.
fn a_full_buffer_loses_lines_and_no_request(network: Network) {
    const REQUESTS: u32 = 6000;
    let mut logging = Logging::new(network, "1", World::tuned);
    if logging.world.hook == "off" {
        return;
    }
    let mut connection = logging.world.connect();
    logging.world.gateway.process().signal(Signal::SIGSTOP).unwrap();
    for _ in 0..REQUESTS {
        assert_eq!(connection.get("a.test", "/lost").unwrap().status, 200);
    }
    logging.world.gateway.process().signal(Signal::SIGCONT).unwrap();
    // From then on there is room again.
    logging.wait_for("/lost", 1);
    assert_eq!(connection.get("a.test", "/after").unwrap().status, 200);
    logging.wait_for("/after", 1);
    let lost = logging.world.counted("untold");
    assert!(lost > 1000.0, "{lost} events");
    // Two events a request; the last that had room may be a request without its response, which waits.
    let logged = logging.lines("/lost").len();
    let expected = f64::from(REQUESTS) - lost / 2.0;
    assert!(
        (f64::from(u32::try_from(logged).unwrap()) - expected).abs() < 1.6,
        "{logged} lines, {lost} events lost"
    );
}
