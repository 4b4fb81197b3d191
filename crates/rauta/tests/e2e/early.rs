//! Answers that come before, between or instead of what one expects: 1xx, Expect, early answers.

use crate::world::Watched;

#[test]
fn early_hints_pass_through() {
    let world = Watched::playing(&[], |peer| {
        peer.request()?;
        peer.send("HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n")?;
        peer.send("HTTP/1.1 103 Early Hints\r\nLink: </b.css>; rel=preload\r\n\r\n")?;
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")?;
        peer.to_the_end().map(drop)
    });
    let mut connection = world.connect();
    let response = connection.get("a", "/").unwrap();
    assert_eq!((response.status, response.text().as_str()), (200, "ok"));
    let hints: Vec<_> =
        response.informational.iter().map(|hint| (hint.status, hint.header("link"))).collect();
    assert_eq!(hints, [(103, Some("</a.css>; rel=preload")), (103, Some("</b.css>; rel=preload"))]);
}

#[test]
fn clients_of_http_1_0_never_see_1xx() {
    let world = Watched::playing(&[], |peer| {
        peer.request()?;
        peer.send("HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")?;
        peer.to_the_end().map(drop)
    });
    let response = world.connect().request("GET / HTTP/1.0\r\nHost: a\r\n\r\n").unwrap();
    assert_eq!((response.status, response.informational.len()), (200, 0));
}

#[test]
fn expect_continue_gets_the_endpoints_word_before_the_body() {
    let world = Watched::playing(&[], |peer| {
        let head = peer.head()?;
        assert!(String::from_utf8_lossy(&head).to_ascii_lowercase().contains("expect: 100-continue"));
        peer.send("HTTP/1.1 100 Continue\r\n\r\n")?;
        peer.exactly(5)?;
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")?;
        peer.to_the_end().map(drop)
    });
    let mut connection = world.connect();
    connection
        .send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
        .unwrap();
    assert_eq!(connection.head().unwrap().status, 100);
    connection.send("hello").unwrap();
    assert_eq!(connection.response("POST").unwrap().status, 200);
    assert!(world.endpoint.received_text().ends_with("hello"));
}

#[test]
fn expect_continue_refused_leaves_no_doubt_about_the_connection() {
    let world = Watched::playing(&[], |peer| {
        peer.head()?;
        peer.send("HTTP/1.1 417 Expectation Failed\r\nContent-Length: 2\r\n\r\nno")?;
        peer.to_the_end().map(drop)
    });
    let mut connection = world.connect();
    connection
        .send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
        .unwrap();
    let response = connection.response("POST").unwrap();
    assert_eq!(response.status, 417);
    // Whether the client sends its body now cannot be known: what follows must not be read as a request.
    assert!(response.closes(), "{response:?}");
    connection.rest().unwrap();
    assert!(!world.endpoint.received_text().contains("hello"));
}

#[test]
fn an_unknown_expectation_is_refused_without_the_endpoint() {
    let world = Watched::answering(&[]);
    let mut connection = world.connect();
    let response = connection.request("GET / HTTP/1.1\r\nHost: a\r\nExpect: a-miracle\r\n\r\n").unwrap();
    assert_eq!(response.status, 417);
    assert_eq!(world.endpoint.received_text(), "");
}

#[test]
fn an_early_answer_is_passed_on_and_the_unread_body_is_never_a_request() {
    let world = Watched::playing(&[], |peer| {
        peer.head()?;
        peer.send("HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig")?;
        peer.to_the_end().map(drop)
    });
    let mut connection = world.connect();
    let smuggled = "GET /admin HTTP/1.1\r\nHost: a\r\n\r\n";
    connection
        .send(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", smuggled.len() + 1000))
        .unwrap();
    let response = connection.response("POST").unwrap();
    assert_eq!((response.status, response.text().as_str()), (413, "big"));
    // Too late to matter; whether it still can be sent is not the question.
    let _ = connection.send(smuggled);
    let rest = connection.rest().unwrap_or_default();
    assert!(!String::from_utf8_lossy(&rest).contains("HTTP/1.1"), "{rest:?}");
}
