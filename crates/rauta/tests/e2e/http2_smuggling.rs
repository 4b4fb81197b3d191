//! Requests of HTTP/2 made to become something else in HTTP/1: what reaches the endpoint is compared byte for byte.

use testkit::{Addresses, Ended, Http2, frame, section};

use crate::world::Watched;

type Field<'f> = (&'f [u8], &'f [u8]);
/// A name, the head, the payload, and what the endpoint gets.
type Forwarded<'f> = (&'f str, Vec<Field<'f>>, &'f [&'f [u8]], String);

/// A world with one thread, so that what the endpoint got is in the order of the requests.
struct Downgrade {
    world: Watched,
    /// How much of each of the endpoint's connections was looked at.
    seen: Vec<usize>,
}

impl Downgrade {
    fn new() -> Self {
        Self { world: Watched::answering(&[("RAUTA_THREADS", "1")]), seen: Vec::new() }
    }

    /// Sends one request on a connection of its own: how it ended, and what the endpoint got of it.
    fn ask(&mut self, fields: &[Field<'_>], data: &[&[u8]]) -> (Ended, Vec<u8>) {
        self.ask_with_trailers(fields, data, &[])
    }

    fn ask_with_trailers(
        &mut self,
        fields: &[Field<'_>],
        data: &[&[u8]],
        trailers: &[Field<'_>],
    ) -> (Ended, Vec<u8>) {
        let mut client = Http2::open(self.world.lab.client(), self.world.gateway.address(), &[]).unwrap();
        client.request(1, fields, data.is_empty() && trailers.is_empty()).unwrap();
        for (index, payload) in data.iter().enumerate() {
            let is_last = trailers.is_empty() && index + 1 == data.len();
            // The gateway may have ended the stream already.
            let _ = client.send(frame::DATA, u8::from(is_last), 1, payload);
        }
        if !trailers.is_empty() {
            let _ =
                client.send(frame::HEADERS, frame::END_HEADERS | frame::END_STREAM, 1, &section(trailers));
        }
        let ended = client.ended(1).unwrap();
        let endpoint = &self.world.endpoint;
        self.seen.resize(endpoint.connections().max(self.seen.len()), 0);
        let mut new = Vec::new();
        for (index, seen) in self.seen.iter_mut().enumerate() {
            let all = endpoint.received(index);
            new.extend_from_slice(&all[*seen..]);
            *seen = all.len();
        }
        (ended, new)
    }
}

fn head<'f>(method: &'f str, authority: &'f str, path: &'f str, more: &[Field<'f>]) -> Vec<Field<'f>> {
    let pseudo: [Field<'f>; 4] = [
        (b":method", method.as_bytes()),
        (b":scheme", b"http"),
        (b":authority", authority.as_bytes()),
        (b":path", path.as_bytes()),
    ];
    [&pseudo, more].concat()
}

const PROTOCOL_ERROR: u32 = 1;

/// What the endpoint gets first of a request `line`.
fn text(line: &str, lines: &str) -> String {
    format!(
        "{line} HTTP/1.1\r\nX-Forwarded-For: {}\r\nX-Forwarded-Proto: http\r\n{lines}\r\n",
        Addresses::client(0)
    )
}

/// Each must end as `expected` says (a status, or none: an error of the stream or connection) and reach nobody.
fn refuse(cases: &[(&str, Vec<Field<'_>>, Option<u16>)]) {
    let mut world = Downgrade::new();
    for (case, fields, expected) in cases {
        let (ended, seen) = world.ask(fields, &[]);
        let is_right = match (&ended, expected) {
            (Ended::Answered { status, .. }, Some(_)) => status == expected,
            (Ended::Reset(PROTOCOL_ERROR) | Ended::GoneAway(PROTOCOL_ERROR), None) => true,
            _ => false,
        };
        assert!(is_right, "{case}: {ended:?}");
        assert_eq!(String::from_utf8_lossy(&seen), "", "{case}: reached the endpoint");
    }
    let (ended, _) = world.ask(&head("GET", "a", "/", &[]), &[]);
    assert_eq!(ended, Ended::Answered { status: Some(200), body: b"fine".to_vec() }, "an honest request");
}

/// Each must be answered, and the endpoint must get exactly this.
fn forward(cases: &[Forwarded<'_>]) {
    let mut world = Downgrade::new();
    for (case, fields, data, expected) in cases {
        let (ended, seen) = world.ask(fields, data);
        assert_eq!(ended, Ended::Answered { status: Some(200), body: b"fine".to_vec() }, "{case}");
        assert_eq!(String::from_utf8_lossy(&seen), *expected, "{case}");
    }
}

#[test]
fn h2_5_request_lines_in_disguise() {
    let path = |path, status| ("path", head("GET", "a", path, &[]), status);
    let method = |method, status| ("method", head(method, "a", "/", &[]), status);
    let mut cases = vec![
        path("/a b", None),
        path("/a HTTP/1.1\r\nX: y", None),
        path("", None),
        path("a", None),
        path("*", Some(400)),
        path("?x", Some(400)),
        path("http://a/x", None),
        path("http://b/x", None),
        path("/a\0", None),
        path("/a\tb", None),
        path("/\u{ff}", Some(400)),
        method("G ET", None),
        method("", None),
        method("A\0", None),
        method("GET /x HTTP/1.1\r\nHost: b\r\n\r\nGET", None),
        method("CONNECT", None),
        ("CONNECT", vec![(b":method", b"CONNECT"), (b":authority", b"a:80")], Some(501)),
        ("forged protocol", head("CONNECT", "a", "/", &[(b":protocol", b"a\r\nx: y")]), Some(501)),
        ("two protocols", head("CONNECT", "a", "/", &[(b":protocol", b"a, b")]), Some(501)),
        ("protocol of a GET", head("GET", "a", "/", &[(b":protocol", b"websocket")]), None),
        ("two paths", head("GET", "a", "/", &[(b":path", b"/b")]), None),
        ("unknown pseudo-header", head("GET", "a", "/", &[(b":x", b"y")]), None),
        ("pseudo-header of responses", head("GET", "a", "/", &[(b":status", b"200")]), None),
        ("pseudo-header behind a field", head("GET", "a", "/", &[(b"x", b"y"), (b":path", b"/b")]), None),
    ];
    let scheme: &[Field<'_>] =
        &[(b":method", b"GET"), (b":scheme", b"http://x/?"), (b":authority", b"a"), (b":path", b"/")];
    cases.push(("scheme", scheme.to_vec(), None));
    refuse(&cases);
}

/// RFC 8441: it reads as the GET that would ask for the same in HTTP/1.1, and its data reach nobody before a 101.
#[test]
fn h2_5_extended_connect_is_an_upgrade() {
    let mut world = Downgrade::new();
    let data: &[&[u8]] = &[b"GET /hidden HTTP/1.1\r\nHost: a\r\n\r\n"];
    let (ended, seen) = world.ask(&head("CONNECT", "a", "/x", &[(b":protocol", b"other")]), data);
    assert_eq!(ended, Ended::Answered { status: Some(502), body: Vec::new() }, "200 is no tunnel");
    let lines = "host: a\r\nupgrade: other\r\nConnection: upgrade\r\n";
    assert_eq!(String::from_utf8_lossy(&seen), text("GET /x", lines));
}

#[test]
fn h2_5_hosts_in_doubt() {
    let bad =
        ["u@a", "u:p@a", "a:99999", "a:", "a:8x", "a,b"].map(|a| (a, head("GET", a, "/", &[]), Some(400)));
    let worse = ["", "a b", "a/b", "a\tb", "[::1", "a\r\nx: y", "a%20b", "a#b", "a?b"]
        .map(|a| (a, head("GET", a, "/", &[]), None));
    let nameless: &[Field<'_>] = &[(b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/")];
    let others = [
        ("another Host", head("GET", "a", "/", &[(b"host", b"b")]), Some(400)),
        ("two Hosts", head("GET", "a", "/", &[(b"host", b"a"), (b"host", b"b")]), Some(400)),
        ("no host", nameless.to_vec(), Some(400)),
    ];
    refuse(&bad.into_iter().chain(worse).chain(others).collect::<Vec<_>>());
}

#[test]
fn h2_5_fields_that_would_be_others_in_http1() {
    let names: [&[u8]; 15] = [
        b"X-Up",
        b"x y",
        b"x:",
        b"x\r\ny",
        b"",
        b"x\0",
        b"x\xe9",
        b"transfer-encoding",
        b"connection",
        b"keep-alive",
        b"upgrade",
        b"proxy-connection",
        b"te",
        b"x\ty",
        b"x(y",
    ];
    let values: [&[u8]; 7] =
        [b"a\rb", b"a\nb", b"a\0b", b"a\x0bb", b"\x7f", b"a\r\n b", b"a\r\n\r\nGET /x HTTP/1.1\r\n"];
    let of_names = names.map(|name| ("name", head("GET", "a", "/", &[(name, b"chunked")]), None));
    let of_values = values.map(|value| ("value", head("GET", "a", "/", &[(b"x", value)]), None));
    let of_cookies = values
        .map(|value| ("cookie", head("GET", "a", "/", &[(b"cookie", b"c=1"), (b"cookie", value)]), None));
    refuse(&of_names.into_iter().chain(of_values).chain(of_cookies).collect::<Vec<_>>());
}

#[test]
fn h2_3_crumbs_are_counted_before_they_become_one_cookie() {
    let crumbs = |count| vec![(&b"cookie"[..], &b"a=1"[..]); count];
    refuse(&[("too many", head("GET", "a", "/", &crumbs(200)), Some(431))]);
    let merged = format!("host: a\r\ncookie: {}\r\n", vec!["a=1"; 100].join("; "));
    forward(&[("many", head("GET", "a", "/", &crumbs(100)), &[], text("GET /", &merged))]);
}

#[test]
fn h2_5_what_is_forwarded_means_what_was_sent() {
    let plain = |line: &str| text(line, "host: a\r\n");
    let field = |name, value| head("GET", "a", "/", &[(name, value)]);
    let by_host: &[Field<'_>] =
        &[(b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/"), (b"host", b"a")];
    let hidden = b"0\r\n\r\nGET /hidden HTTP/1.1\r\nHost: a\r\n\r\n";
    forward(&[
        ("slashes", head("GET", "a", "//b/", &[]), &[], plain("GET //b/")),
        ("encoded dots", head("GET", "a", "/%2e%2e/x", &[]), &[], plain("GET /%2e%2e/x")),
        // What is matched is what is forwarded: both without the fragment.
        ("fragment", head("GET", "a", "/a#b", &[]), &[], plain("GET /a")),
        ("asterisk", head("OPTIONS", "a", "*", &[]), &[], plain("OPTIONS *")),
        ("port", head("GET", "a:80", "/", &[]), &[], text("GET /", "host: a:80\r\n")),
        ("Host alone", by_host.to_vec(), &[], plain("GET /")),
        ("Host again", field(b"host", b"a"), &[], plain("GET /")),
        ("settings of h2c", field(b"http2-settings", b"AAMAAABk"), &[], plain("GET /")),
        ("proxy's password", field(b"proxy-authorization", b"x"), &[], plain("GET /")),
        ("a length in disguise", field(b"content_length", b"5"), &[], plain("GET /")),
        ("forged address", field(b"x-forwarded-for", b"1.2.3.4"), &[], plain("GET /")),
        (
            "te",
            field(b"te", b"trailers"),
            &[],
            text("GET /", "host: a\r\nte: trailers\r\nConnection: te\r\n"),
        ),
        (
            "length",
            head("POST", "a", "/", &[(b"content-length", b"3")]),
            &[b"ab", b"c"],
            text("POST /", "host: a\r\ncontent-length: 3\r\n") + "abc",
        ),
        (
            "a request within a body",
            head("POST", "a", "/", &[]),
            &[hidden],
            text("POST /", "host: a\r\nTransfer-Encoding: chunked\r\n")
                + &format!("{:x}\r\n{}\r\n0\r\n\r\n", hidden.len(), String::from_utf8_lossy(hidden)),
        ),
    ]);
}

#[test]
fn h2_6_lengths_that_lie() {
    let mut world = Downgrade::new();
    for lengths in [
        &["+3"][..],
        &["3,3"],
        &[""],
        &["-3"],
        &["0x3"],
        &[" 3"],
        &["18446744073709551619"],
        &["3", "4"],
        &["3", "3"],
    ] {
        let (ended, seen) = world.ask(&of_length(lengths), &[b"abc"]);
        assert!(is_refused(&ended), "{lengths:?}: {ended:?}");
        assert_eq!(String::from_utf8_lossy(&seen), "", "{lengths:?}");
        let (ended, seen) = world.ask(&head("GET", "a", "/next", &[]), &[]);
        assert_eq!(ended, Ended::Answered { status: Some(200), body: b"fine".to_vec() });
        assert_eq!(String::from_utf8_lossy(&seen), text("GET /next", "host: a\r\n"), "{lengths:?}");
    }
}

/// The head is right: it may be on its way before the data show the lie. Then the request stays incomplete, and nothing comes behind it.
#[test]
fn h2_6_lengths_that_only_the_data_show_to_lie() {
    for length in ["5", "1"] {
        let mut world = Downgrade::new();
        let (ended, _) = world.ask(&of_length(&[length]), &[b"abc"]);
        assert!(is_refused(&ended), "{length}: {ended:?}");
        let (ended, _) = world.ask(&head("GET", "a", "/next", &[]), &[]);
        assert_eq!(ended, Ended::Answered { status: Some(200), body: b"fine".to_vec() });
        let begun = text("POST /", &format!("host: a\r\ncontent-length: {length}\r\n"));
        let next = text("GET /next", "host: a\r\n");
        let endpoint = &world.world.endpoint;
        let mut complete = 0;
        for index in 0..endpoint.connections() {
            let seen = String::from_utf8_lossy(&endpoint.received(index)).into_owned();
            let is_begun = (begun.clone() + "abc").starts_with(&seen)
                && seen.len() < begun.len() + length.parse::<usize>().unwrap();
            assert!(seen == next || is_begun, "{length}: {seen}");
            complete += usize::from(seen == next);
        }
        assert_eq!(complete, 1, "{length}");
    }
}

fn of_length<'f>(lengths: &[&'f str]) -> Vec<Field<'f>> {
    let more: Vec<Field<'_>> = lengths.iter().map(|l| (&b"content-length"[..], l.as_bytes())).collect();
    head("POST", "a", "/", &more)
}

fn is_refused(ended: &Ended) -> bool {
    matches!(ended, Ended::Reset(PROTOCOL_ERROR) | Ended::Answered { status: Some(400), .. })
}

#[test]
fn h2_5_trailers_that_must_not_be() {
    for name in
        [&b"content-length"[..], b"host", b"authorization", b"transfer-encoding", b"connection", b"x y", b"X"]
    {
        let mut world = Downgrade::new();
        let (ended, seen) = world.ask_with_trailers(&head("POST", "a", "/", &[]), &[b"abc"], &[(name, b"5")]);
        assert!(
            matches!(ended, Ended::Answered { status: Some(400), .. } | Ended::Reset(_) | Ended::GoneAway(_)),
            "{}: {ended:?}",
            String::from_utf8_lossy(name)
        );
        let seen = String::from_utf8_lossy(&seen).into_owned();
        assert!(!seen.contains("0\r\n"), "{}: a whole request: {seen}", String::from_utf8_lossy(name));
    }
}
