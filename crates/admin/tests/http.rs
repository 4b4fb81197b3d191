//! The admin and metrics addresses over real sockets.
#![expect(clippy::unwrap_used, reason = "a panic is how a test reports")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use admin::{AdminView, Cell, Mood, Page, Readiness, Table};
use telemetry::Metrics;

#[derive(Default)]
struct View {
    ready: AtomicBool,
}

impl AdminView for View {
    fn readiness(&self) -> Readiness {
        if self.ready.load(Relaxed) {
            Readiness::Ready
        } else {
            Readiness::NotReady("no snapshot yet".into())
        }
    }

    fn page(&self) -> Page {
        let mut table = Table::new("Routes", &["route"], "none");
        table.row([Cell::from("HTTPRoute shop/<web>")]);
        Page { headline: Cell::new("serving", Mood::Good), facts: vec![], tables: vec![table] }
    }
}

struct Running {
    admin: SocketAddr,
    metrics: SocketAddr,
    view: Arc<View>,
    _runtime: tokio::runtime::Runtime,
}

fn run() -> Running {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let free = "127.0.0.1:0".parse().unwrap();
    let admin = admin::bind(free, "admin", "--admin").unwrap();
    let metrics = admin::bind(free, "metrics", "--metrics").unwrap();
    let (admin_address, metrics_address) = (admin.address, metrics.address);
    let view = Arc::new(View::default());
    runtime.spawn(admin::serve_admin(admin, Arc::clone(&view) as Arc<dyn AdminView>));
    runtime.spawn(admin::serve_metrics(metrics, Metrics::new(1)));
    Running { admin: admin_address, metrics: metrics_address, view, _runtime: runtime }
}

fn ask(address: SocketAddr, method: &str, path: &str, host: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn get(address: SocketAddr, path: &str) -> String {
    ask(address, "GET", path, &address.to_string())
}

#[test]
fn readiness_says_why_not_and_then_ready() {
    let running = run();
    let answer = get(running.admin, "/readyz");
    assert!(
        answer.starts_with("HTTP/1.1 503 ") && answer.ends_with("not ready: no snapshot yet\n"),
        "{answer}"
    );
    assert!(get(running.admin, "/healthz").starts_with("HTTP/1.1 200 "));
    running.view.ready.store(true, Relaxed);
    let answer = get(running.admin, "/readyz");
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("ready\n"), "{answer}");
}

#[test]
fn the_page_is_html_with_a_policy_and_escaped() {
    let running = run();
    let answer = get(running.admin, "/").to_lowercase();
    assert!(answer.starts_with("http/1.1 200 "), "{answer}");
    assert!(answer.contains("content-type: text/html; charset=utf-8"));
    assert!(answer.contains("content-security-policy: default-src 'none'"));
    assert!(answer.contains("httproute shop/&lt;web&gt;") && !answer.contains("<web>"));
}

#[test]
fn only_get_and_head_are_answered() {
    let running = run();
    let host = running.admin.to_string();
    for method in ["POST", "PUT", "DELETE", "PATCH"] {
        let answer = ask(running.admin, method, "/", &host);
        assert!(answer.starts_with("HTTP/1.1 405 "), "{method}: {answer}");
    }
    let head = ask(running.admin, "HEAD", "/healthz", &host);
    assert!(head.starts_with("HTTP/1.1 200 ") && head.ends_with("\r\n\r\n"), "{head}");
    assert!(get(running.admin, "/metrics").starts_with("HTTP/1.1 404 "), "metrics have their own address");
}

#[test]
fn other_sites_names_are_refused() {
    let running = run();
    assert!(ask(running.admin, "GET", "/", "evil.example").starts_with("HTTP/1.1 421 "));
    assert!(ask(running.admin, "GET", "/", "localhost:9901").starts_with("HTTP/1.1 200 "));
}

#[test]
fn metrics_are_open_metrics() {
    let running = run();
    let answer = get(running.metrics, "/metrics");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(answer.to_lowercase().contains("content-type: application/openmetrics-text; version=1.0.0"));
    assert!(answer.contains("rauta_build_info{") && answer.contains("# EOF\n"));
    assert!(
        get(running.metrics, "/").starts_with("HTTP/1.1 404 "),
        "no status page where Prometheus comes from"
    );
}

#[test]
fn a_taken_address_says_what_to_do() {
    let taken = admin::bind("127.0.0.1:0".parse().unwrap(), "admin", "--admin").unwrap();
    let error = admin::bind(taken.address, "the admin page", "--admin").unwrap_err();
    let text = error.to_string();
    assert!(text.contains(&taken.address.to_string()) && text.contains("--admin"), "{text}");
}
