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
        lines: [line("X-Namespace", "shop"), line("X-Ingress-Name", "web"), line("X-Service-Name", "")]
            .into(),
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

/// Answers of `endpoint` with this status are `pages`' to give, and below a path those of a backend of its own.
fn explained(endpoint: &Scripted, status: u16, pages: &Scripted, (path, other): (&str, &Scripted)) -> Lab {
    Lab::new(&[
        Rule { fallback: by(1, &[status]), ..rule("/", &[endpoint.address]) },
        rule("/pages", &[pages.address]),
        Rule { fallback: by(3, &[status]), ..rule(path, &[endpoint.address]) },
        rule("/other", &[other.address]),
    ])
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
        "POST /a?b HTTP/1.1\r\nHost: a.test\r\nAccept: text/html\r\nx_code: 200\r\nX-Namespace: mine\r\n\
         X-Service-Name: mine\r\nContent-Length: 3\r\n\r\nabc",
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

/// The endpoint answers before it has the body; the client is told that it need not send the rest, and may send it all the same.
#[test]
fn an_upload_under_way_neither_resets_the_answer_nor_becomes_a_request() {
    let endpoint = Scripted::new(|conn| {
        while conn.head().is_some() {
            conn.send("HTTP/1.1 404 Any\r\nContent-Length: 5\r\n\r\ninner");
        }
    });
    let pages = answering("404 Not Found", "page");
    let half = Scripted::new(|conn| {
        conn.head();
        conn.send("HTTP/1.1 404 Any\r\nContent-Length: 100\r\n\r\nhalf");
    });
    let lab = explained(&endpoint, 404, &pages, ("/half", &half));
    for more in ["", "Connection: close\r\n"] {
        let mut client = lab.client();
        client.send(format!("POST / HTTP/1.1\r\nHost: a.test\r\n{more}Content-Length: 8000000\r\n\r\n"));
        let mut writer = client.stream.try_clone().unwrap();
        let sending =
            std::thread::spawn(move || std::io::Write::write_all(&mut writer, &vec![b'x'; 8_000_000]));
        let response = client.response();
        assert!(response.text() == "page" && response.has("Connection: close"), "{}", response.head);
        assert!(sending.join().unwrap().is_ok(), "it was reset while it sent");
    }
    let mut client = lab.client();
    client.send("PUT / HTTP/1.1\r\nHost: a.test\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n");
    let response = client.response();
    assert!(response.text() == "page" && response.has("Connection: close"), "{}", response.head);
    assert!(client.is_closed());
    // What breaks off must not look whole.
    let mut client = lab.client();
    client.send("POST /half HTTP/1.1\r\nHost: a.test\r\nContent-Length: 100\r\n\r\n");
    assert_eq!(client.response_head().status, 404);
    client.exactly(4);
    let end = std::io::Read::read(&mut client.stream, &mut [0; 8]);
    assert_eq!(end.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
}

#[test]
fn an_explained_error_keeps_its_challenges() {
    let endpoint =
        answering("401 Any\r\nWWW-Authenticate: Basic realm=\"a\"\r\nwww-authenticate: Bearer", "inner");
    let pages = answering("401 Unauthorized", "page");
    let broken = Scripted::new(|conn| drop(conn.head()));
    let lab = explained(&endpoint, 401, &pages, ("/alone", &broken));
    for path in ["/", "/alone"] {
        let response = lab.client().get(path);
        assert_eq!((response.status, response.text() == "page"), (401, path == "/"), "{path}");
        for challenge in ["Basic realm=\"a\"", "Bearer"] {
            assert!(response.has(&format!("WWW-Authenticate: {challenge}")), "{path}: {}", response.head);
        }
    }
    assert_eq!(pages.received().matches("GET / HTTP/1.1\r\n").count(), 1);
}

#[test]
fn the_question_is_a_whole_one_for_a_real_host() {
    let endpoint = answering("404 Not Found", "inner");
    let pages = answering("404 Not Found", "page");
    let lab = Lab::new(&[
        Rule { fallback: by(1, &[404]), ..rule("/", &[endpoint.address]) },
        rule("/pages", &[pages.address]),
    ]);
    let mut client = lab.client();
    client.send(
        "GET /a?? HTTP/1.1\r\nHost: a.test\r\nIf-None-Match: \"x\"\r\nIf-Match: *\r\nif-range: \"x\"\r\n\
         If-Modified-Since: Sat, 01 Jan 2028 00:00:00 GMT\r\nIf-Unmodified-Since: Sat, 01 Jan 2028 00:00:00 GMT\r\n\
         Range: bytes=0-1\r\nX-Range: kept\r\n\r\n",
    );
    assert_eq!(client.response().text(), "page");
    let forwarded = "X-Forwarded-For: 127.0.0.1\r\nX-Forwarded-Proto: http\r\n";
    let told = |uri: &str| {
        format!("X-Code: 404\r\nX-Original-URI: {uri}\r\nX-Namespace: shop\r\nX-Ingress-Name: web\r\n\r\n")
    };
    let first = format!("GET /?? HTTP/1.1\r\n{forwarded}Host: a.test\r\nX-Range: kept\r\n{}", told("/a??"));
    assert_eq!(pages.received(), first);
    let mut client = lab.client();
    client.send("GET http://b.test:81/a? HTTP/1.0\r\n\r\n");
    assert_eq!(client.response().text(), "page");
    let second = format!("GET / HTTP/1.1\r\n{forwarded}Host: b.test:81\r\n{}", told("/a?"));
    assert_eq!(pages.received(), format!("{first}{second}"));
    let mut client = lab.client();
    client.send("GET / HTTP/1.0\r\n\r\n");
    assert_eq!(client.response().text(), "page");
    let third = format!("GET / HTTP/1.1\r\n{forwarded}Host: {}\r\n{}", lab.address, told("/"));
    assert_eq!(pages.received(), format!("{first}{second}{third}"));
}

#[test]
fn what_a_default_backend_is_told_clients_cannot_say_behind_the_body() {
    let pages = Scripted::echo("pages");
    let lab = Lab::new(&[Rule { fallback: by(1, &[]), ..rule("/", &[]) }, rule("/pages", &[pages.address])]);
    for (trailer, status) in
        [("X-Sum: 1", 200), ("X-Code: 200", 400), ("x_namespace: mine", 400), ("X-Service-Name: mine", 400)]
    {
        let mut client = lab.client();
        client.send(format!(
            "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n{trailer}\r\n\r\n"
        ));
        assert_eq!(client.response().status, status, "{trailer}");
    }
    assert!(!pages.received().contains("mine"));
}

#[test]
fn a_default_backend_that_fails_leaves_the_error() {
    let broken = Scripted::new(|conn| drop(conn.head()));
    let endpoint = answering("500 Any", "inner");
    let lab = Lab::new(&[
        Rule { fallback: by(1, &[500]), ..rule("/", &[endpoint.address]) },
        rule("/broken", &[broken.address]),
        Rule { fallback: by(1, &[503]), ..rule("/dead", &[free_port()]) },
        Rule { fallback: by(1, &[]), ..rule("/none", &[]) },
    ]);
    let said = ["/", "/dead", "/none"].map(|path| {
        let response = lab.client().get(path);
        (response.status, response.text())
    });
    let expected = [
        (500, "endpoint answered with this status, and the default backend does not answer"),
        (503, "endpoint refused the connection"),
        (502, "no endpoint is ready, and the default backend does not answer"),
    ];
    assert_eq!(said, expected.map(|(status, reason)| (status, format!("{reason}\n"))));
}

/// What the gateway has against a request of its own is no error that somebody else explains.
#[test]
fn refused_bodies_are_refused_the_same_way() {
    let endpoint = answering("200 OK", "inner");
    let pages = answering("200 OK", "page");
    let limits = model::Policies { request_body_max: Some(5), ..Default::default() };
    let lab = Lab::new(&[
        Rule { fallback: by(1, &[400, 413]), policies: Some(limits), ..rule("/", &[endpoint.address]) },
        rule("/pages", &[pages.address]),
    ]);
    for (framing, status) in [
        ("Content-Length: 6\r\n\r\nabcdef", 413),
        ("Transfer-Encoding: chunked\r\n\r\n6\r\nabcdef\r\n0\r\n\r\n", 413),
        ("Transfer-Encoding: chunked\r\n\r\nx\r\n", 400),
    ] {
        let mut client = lab.client();
        client.send(format!("POST / HTTP/1.1\r\nHost: a.test\r\n{framing}"));
        let response = client.response();
        assert_eq!((response.status, response.text() == "page"), (status, false), "{framing}");
    }
    assert_eq!(pages.received(), "");
}

/// A change of what stands behind a default backend reaches the routes that have it; one of something else leaves their connections.
#[test]
fn a_default_backend_changes_under_its_routes() {
    let endpoint = answering("404 Not Found", "inner");
    let (one, two) = (answering("404 Not Found", "one"), answering("404 Not Found", "two"));
    let mut lab = Lab::new(&[]);
    for (page, name) in [(&one, "one"), (&two, "two"), (&one, "one")] {
        lab.apply(&[
            Rule { fallback: by(1, &[404]), ..rule("/", &[endpoint.address]) },
            rule("/pages", &[page.address]),
            Rule { fallback: by(1, &[]), ..rule("/none", &[]) },
        ]);
        let mut client = lab.client();
        assert_eq!((client.get("/").text(), client.get("/none").text()), (name.to_owned(), name.to_owned()));
    }
    lab.apply(&[
        Rule { fallback: by(1, &[404]), ..rule("/", &[endpoint.address]) },
        rule("/pages", &[]),
        Rule { fallback: by(1, &[]), ..rule("/none", &[]) },
    ]);
    let mut client = lab.client();
    assert_eq!((client.get("/").text(), client.get("/none").status), ("inner".to_owned(), 503));
}

#[test]
fn streams_of_grpc_keep_their_answers() {
    let endpoint = answering("404 Not Found", "inner");
    let pages = answering("404 Not Found", "page");
    let lab = Lab::new(&[
        Rule { fallback: by(1, &[404]), ..rule("/", &[endpoint.address]) },
        rule("/pages", &[pages.address]),
        Rule { fallback: by(1, &[503]), ..rule("/none", &[]) },
    ]);
    assert_eq!(lab.client().get("/").text(), "page", "over HTTP/1.1");
    let asked = pages.received();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let answers = runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(lab.address).await.unwrap();
        let (mut client, connection) = h2::client::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        let mut answers = Vec::new();
        for path in ["x", "none"] {
            let request = http::Request::post(format!("http://a.test/{path}"))
                .header("content-type", "application/grpc");
            let (response, _) = client.send_request(request.body(()).unwrap(), true).unwrap();
            let response = response.await.unwrap();
            let code = response.headers().get("grpc-status").map(|code| code.to_str().unwrap().to_owned());
            answers.push((response.status().as_u16(), code));
            client = client.ready().await.unwrap();
        }
        answers
    });
    assert_eq!(answers, [(404, None), (200, Some("14".to_owned()))]);
    assert_eq!(pages.received(), asked, "it was not asked");
}
