//! Default backends: what they are asked, and what clients get, where a route's endpoints do not answer or not well.
#![allow(clippy::unwrap_used, reason = "helpers of tests: a panic is how they report")]

mod support;

use std::sync::mpsc;

use model::{BackendId, Fallback, HeaderLine};
use support::{Lab, Rule, Scripted, Target, content_length, free_port, rule};

/// The backend of the rule with this number answers in place of these statuses.
fn by(number: usize, statuses: &[u16]) -> Option<Box<Fallback>> {
    let line = |name: &str, value: &str| HeaderLine { name: name.into(), value: value.into() };
    Some(Box::new(Fallback {
        backend: BackendId::service("test", &format!("b{number}"), 80),
        statuses: statuses.to_vec(),
        keeps_answers: false,
        lines: [line("X-Namespace", "shop"), line("X-Ingress-Name", "web")].into(),
    }))
}

/// Answers every request with this head and this body, once its own body is there.
fn answering(head: &'static str, body: &'static str) -> Scripted {
    Scripted::new(move |conn| {
        while let Some(asked) = conn.head() {
            conn.body(content_length(&asked));
            conn.send(&format!("HTTP/1.1 {head}\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
        }
    })
}

#[test]
fn what_no_endpoint_can_serve_goes_to_the_default_backend_as_it_is() {
    let pages = Scripted::echo("pages");
    let lab = Lab::new(&[
        Rule { fallback: by(1, &[]), ..rule("/", &[]) },
        rule("/pages", &[pages.address]),
        Rule { fallback: by(1, &[]), target: Target::Invalid, ..rule("/gone", &[]) },
        Rule { fallback: by(4, &[503]), ..rule("/both", &[]) },
        rule("/none", &[]),
    ]);
    let mut client = lab.client();
    client.send(
        "POST /a?b HTTP/1.1\r\nHost: a.test\r\nAccept: text/html\r\nx_code: 200\r\nX-Namespace: mine\r\nContent-Length: 3\r\n\r\nabc",
    );
    assert_eq!(client.response().status, 200);
    assert_eq!(
        pages.received(),
        "POST /a?b HTTP/1.1\r\nX-Forwarded-For: 127.0.0.1\r\nX-Forwarded-Proto: http\r\nHost: a.test\r\n\
         Accept: text/html\r\nContent-Length: 3\r\nX-Code: 503\r\nX-Format: text/html\r\nX-Original-URI: /a?b\r\n\
         X-Namespace: shop\r\nX-Ingress-Name: web\r\n\r\nabc"
    );
    assert_eq!(client.get("/gone").status, 200);
    assert_eq!(client.get("/both").status, 503, "the default backend has no endpoint either");
}

#[test]
fn errors_are_answered_by_the_default_backend_and_connections_live_on() {
    let endpoint = Scripted::new(|conn| {
        while let Some(head) = conn.head() {
            conn.body(content_length(&head));
            let status = head.split(['/', ' ', '?']).nth(2).unwrap().to_owned();
            conn.send(&format!("HTTP/1.1 {status} Any\r\nX-Secret: 1\r\nContent-Length: 5\r\n\r\ninner"));
        }
    });
    let pages = answering("404 Not Found\r\nContent-Type: text/html", "<p>sorry</p>");
    let mut kept = by(1, &[404]);
    kept.as_mut().unwrap().keeps_answers = true;
    let lab = Lab::new(&[
        Rule { fallback: by(1, &[404, 502]), ..rule("/", &[endpoint.address]) },
        rule("/pages", &[pages.address]),
        Rule { fallback: by(1, &[503]), ..rule("/dead", &[free_port()]) },
        Rule { fallback: by(4, &[404]), ..rule("/404/alone", &[endpoint.address]) },
        rule("/none", &[]),
        Rule { fallback: kept, ..rule("/404/kept", &[endpoint.address]) },
    ]);
    let mut client = lab.client();
    for _ in 0..3 {
        client
            .send("PUT /404?q HTTP/1.1\r\nHost: a.test\r\nAccept: text/html\r\nContent-Length: 3\r\n\r\nabc");
        let response = client.response();
        assert_eq!((response.status, response.text()), (404, "<p>sorry</p>".to_owned()));
        assert!(response.has("content-type: text/html") && !response.has("x-secret: 1"), "{}", response.head);
    }
    let asked = pages.received();
    let expected = "GET /?q HTTP/1.1\r\nX-Forwarded-For: 127.0.0.1\r\nX-Forwarded-Proto: http\r\nHost: a.test\r\n\
                    Accept: text/html\r\nX-Code: 404\r\nX-Format: text/html\r\nX-Original-URI: /404?q\r\n\
                    X-Namespace: shop\r\nX-Ingress-Name: web\r\n\r\n";
    assert_eq!(asked, expected.repeat(3));
    assert_eq!((endpoint.connections(), pages.connections()), (1, 1), "both are used again");
    // What is not named stays, and so does an answer to which nobody could give another.
    for (path, status) in [("/200", 200), ("/503", 503), ("/404/alone", 404), ("/404/kept", 404)] {
        let response = client.get(path);
        assert_eq!((response.status, response.text()), (status, "inner".to_owned()), "{path}");
    }
    // The gateway's own.
    assert_eq!(client.get("/dead").text(), "<p>sorry</p>");
    assert!(pages.received().contains("X-Code: 503\r\n"));
    client.send("HEAD /404 HTTP/1.1\r\nHost: a.test\r\n\r\n");
    assert_eq!(client.response_head().status, 404);
    assert!(pages.received().contains("HEAD / HTTP/1.1\r\n"));
}

/// An endpoint that never ends its error, one that sends far too much of it, and a client that goes on sending its request.
#[test]
fn an_error_without_end_holds_nobody() {
    let (tell, told) = mpsc::channel();
    let tell = std::sync::Mutex::new(tell);
    let endless = Scripted::new(move |conn| {
        conn.head();
        conn.send("HTTP/1.1 500 Any\r\nContent-Length: 100\r\n\r\nhalf");
        // It ends where the gateway gives it up.
        conn.head();
        tell.lock().unwrap().send(()).unwrap();
    });
    let large = Scripted::new(|conn| {
        while conn.head().is_some() {
            conn.send(&format!(
                "HTTP/1.1 500 Any\r\nContent-Length: 1000000\r\n\r\n{}",
                "x".repeat(1_000_000)
            ));
        }
    });
    let pages = answering("500 Sorry", "page");
    let lab = Lab::new(&[
        Rule { fallback: by(1, &[500]), ..rule("/", &[endless.address]) },
        rule("/pages", &[pages.address]),
        Rule { fallback: by(1, &[500]), ..rule("/large", &[large.address]) },
    ]);
    let mut client = lab.client();
    assert_eq!(client.get("/").text(), "page");
    told.recv_timeout(support::PATIENCE).unwrap();
    for _ in 0..2 {
        assert_eq!(client.get("/large").text(), "page");
    }
    assert_eq!(large.connections(), 2, "too much to be read for nothing");
    // What is still to come of the request is no other request.
    let mut client = lab.client();
    client.send("POST /large HTTP/1.1\r\nHost: a.test\r\nContent-Length: 100\r\n\r\nGET /pages HTTP/1.1\r\n");
    assert_eq!(client.response().text(), "page");
    client.send("Host: a.test\r\n\r\n");
    assert!(client.try_response().is_none(), "the connection ends");
}

#[test]
fn a_default_backend_that_fails_leaves_the_error() {
    let broken = Scripted::new(|conn| drop(conn.head()));
    let endpoint = answering("500 Any", "inner");
    let lab = Lab::new(&[
        Rule { fallback: by(1, &[500]), ..rule("/", &[endpoint.address]) },
        rule("/broken", &[broken.address]),
    ]);
    let response = lab.client().get("/");
    assert_eq!(response.status, 500);
    assert!(!response.text().contains("inner"), "{}", response.text());
}

#[test]
fn streams_of_grpc_keep_their_answers() {
    let endpoint = answering("404 Not Found", "inner");
    let pages = answering("404 Not Found", "page");
    let lab = Lab::new(&[
        Rule { fallback: by(1, &[404]), ..rule("/", &[endpoint.address]) },
        rule("/pages", &[pages.address]),
    ]);
    assert_eq!(lab.client().get("/").text(), "page", "over HTTP/1.1");
    let asked = pages.received();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let status = runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(lab.address).await.unwrap();
        let (mut client, connection) = h2::client::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        let request = http::Request::post("http://a.test/x").header("content-type", "application/grpc");
        let (response, _) = client.send_request(request.body(()).unwrap(), true).unwrap();
        response.await.unwrap().status()
    });
    assert_eq!(status, 404);
    assert_eq!(pages.received(), asked, "it was not asked");
}
