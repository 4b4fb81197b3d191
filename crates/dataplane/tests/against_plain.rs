//! The scanner against the plainest parser of the same rules.
#![allow(clippy::unwrap_used, reason = "a panic is how a test reports")]

use dataplane::head::{Field, HeadError, Known, Version, scan_request, scan_response};

type Lines = Vec<(Vec<u8>, Vec<u8>)>;

/// What a plain parser says of bytes.
#[derive(Debug, PartialEq, Eq)]
enum Plain {
    /// No complete line is wrong, and the empty line has not come.
    Partial,
    Wrong,
    /// Method, target and version, or version and status; the field lines; the length.
    Head([Vec<u8>; 3], Lines, usize),
}

/// Reads line by line; `request` says by which grammar the first.
fn plain(bytes: &[u8], request: bool) -> Plain {
    let mut at = 0;
    if request && bytes.starts_with(b"\r\n") {
        at = 2;
    }
    let mut start: Option<[Vec<u8>; 3]> = None;
    let mut lines = Vec::new();
    loop {
        let Some(len) = bytes[at..].iter().position(|&b| b == b'\n') else { return Plain::Partial };
        let Some(line) = bytes[at..at + len].strip_suffix(b"\r") else { return Plain::Wrong };
        at += len + 1;
        if line.iter().any(|&b| (b < 0x20 && b != b'\t') || b == 0x7f) {
            return Plain::Wrong;
        }
        let Some(start) = &start else {
            start = if request { plain_request_line(line) } else { plain_status_line(line) };
            if start.is_none() {
                return Plain::Wrong;
            }
            continue;
        };
        if line.is_empty() {
            return Plain::Head(start.clone(), lines, at);
        }
        let Some(colon) = line.iter().position(|&b| b == b':') else { return Plain::Wrong };
        let (name, value) = (&line[..colon], &line[colon + 1..]);
        if !is_token(name) {
            return Plain::Wrong;
        }
        lines.push((name.to_vec(), trim(value).to_vec()));
    }
}

fn plain_request_line(line: &[u8]) -> Option<[Vec<u8>; 3]> {
    let parts: Vec<&[u8]> = line.split(|&b| b == b' ').collect();
    let [method, target, version] = parts[..] else { return None };
    let target_right = !target.is_empty() && target.iter().all(|b| b.is_ascii_graphic() && *b != b'#');
    let version_right = version == b"HTTP/1.1" || version == b"HTTP/1.0";
    (is_token(method) && target_right && version_right)
        .then(|| [method.to_vec(), target.to_vec(), version.to_vec()])
}

fn plain_status_line(line: &[u8]) -> Option<[Vec<u8>; 3]> {
    let (version, rest) = line.split_at_checked(8)?;
    let (status, reason) = rest.strip_prefix(b" ")?.split_at_checked(3)?;
    let reason_right = reason.is_empty() || reason.starts_with(b" ");
    let status_right = status.iter().all(u8::is_ascii_digit) && status[0] != b'0';
    let version_right = version == b"HTTP/1.1" || version == b"HTTP/1.0";
    let reason = reason.strip_prefix(b" ").unwrap_or_default();
    (version_right && status_right && reason_right)
        .then(|| [version.to_vec(), status.to_vec(), reason.to_vec()])
}

fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(b))
}

fn trim(value: &[u8]) -> &[u8] {
    let blank = |b: &u8| *b == b' ' || *b == b'\t';
    let Some(first) = value.iter().position(|b| !blank(b)) else { return b"" };
    let last = value.iter().rposition(|b| !blank(b)).unwrap();
    &value[first..=last]
}

/// What the scanner says, in the same terms; `None` for bytes that it has no fault to find with yet.
fn scanned(bytes: &[u8], request: bool) -> Result<Option<Plain>, HeadError> {
    let mut lines = Vec::new();
    let mut take = |field: Field| {
        lines.push((field.name.of(bytes).to_vec(), field.value.of(bytes).to_vec()));
        assert_eq!(field.known, Known::of(field.name.of(bytes)));
        true
    };
    let version = |version| match version {
        Version::Http10 => b"HTTP/1.0".to_vec(),
        Version::Http11 => b"HTTP/1.1".to_vec(),
    };
    Ok(if request {
        scan_request(bytes, &mut take)?.map(|scan| {
            let start =
                [scan.method.of(bytes).to_vec(), scan.target.of(bytes).to_vec(), version(scan.version)];
            Plain::Head(start, lines, usize::from(scan.head_len))
        })
    } else {
        scan_response(bytes, &mut take)?.map(|scan| {
            let start =
                [version(scan.version), scan.status.to_string().into_bytes(), scan.reason.of(bytes).to_vec()];
            Plain::Head(start, lines, usize::from(scan.head_len))
        })
    })
}

fn compare(bytes: &[u8]) {
    for request in [true, false] {
        let found = scanned(bytes, request);
        match plain(bytes, request) {
            Plain::Wrong => assert!(found.is_err(), "{found:?} for {:?}", String::from_utf8_lossy(bytes)),
            Plain::Partial if found.is_err() => {
                // It may see a fault before the line ends, but only one that is there: no rest of the line mends it.
                for rest in
                    [&b"\r\n\r\n"[..], b"\n\r\n", b" HTTP/1.1\r\n\r\n", b":\r\n\r\n", b"/ HTTP/1.1\r\n\r\n"]
                {
                    assert_eq!(
                        plain(&[bytes, rest].concat(), request),
                        Plain::Wrong,
                        "{:?}",
                        String::from_utf8_lossy(bytes)
                    );
                }
            }
            Plain::Partial => assert_eq!(found, Ok(None), "{:?}", String::from_utf8_lossy(bytes)),
            head => assert_eq!(found, Ok(Some(head)), "{:?}", String::from_utf8_lossy(bytes)),
        }
    }
}

/// Parts that heads are made of, right ones and wrong ones.
const PARTS: &[&[u8]] = &[
    b"GET / HTTP/1.1\r\n",
    b"HTTP/1.1 200 OK\r\n",
    b"\r\n",
    b"Host: a\r\n",
    b"X-Long-Name:   a longer value \t\r\n",
    b"GET ",
    b"/a?b",
    b" HTTP/1.1",
    b" HTTP/1.0\r\n",
    b"HTTP/1.",
    b" 204",
    b":",
    b" ",
    b"\t",
    b"\r",
    b"\n",
    b"\0",
    b"\x7f",
    b"\x80",
    b"\xff",
    b"#",
    b"a",
    b"abcdefgh",
    b"(",
    b"_",
    b"5",
    b" HTTP/2.0\r\n",
    b"\x1f",
    b"!",
    b"\x0b",
];

#[test]
fn both_say_the_same_of_heads_at_random() {
    bolero::check!().with_type::<Vec<u8>>().with_iterations(100_000).for_each(|choices| {
        let bytes: Vec<u8> =
            choices.iter().flat_map(|&n| PARTS[usize::from(n) % PARTS.len()]).copied().collect();
        compare(&bytes);
        compare(choices);
    });
}

#[test]
fn both_say_the_same_of_every_byte_in_every_place() {
    let heads: [&[u8]; 2] = [
        b"POST /path/of/length?q=1 HTTP/1.1\r\nHost: a.example\r\nX-Name: \t some value\there \t\r\nE:\r\n\r\n",
        b"HTTP/1.0 404 Not Found at all\r\nServer: x\r\nX-Name: \t some value\there \t\r\n\r\n",
    ];
    for head in heads {
        for at in 0..head.len() {
            compare(&head[..at]);
            for byte in 0..=255 {
                let mut bytes = head.to_vec();
                bytes[at] = byte;
                compare(&bytes);
                bytes.insert(at, head[at]);
                compare(&bytes);
            }
        }
    }
}

#[test]
fn errors_name_the_first_fault() {
    let fault = |bytes: &[u8]| scan_request(bytes, &mut |_: Field| true).unwrap_err();
    let cases: &[(&[u8], HeadError)] = &[
        (b"\x16\x03", HeadError::BadMethod),
        (b" GET", HeadError::BadMethod),
        (b"GET \xff", HeadError::BadTarget),
        (b"GET /\r\n", HeadError::BadVersion),
        (b"GET / HTTP/1.1x", HeadError::BadVersion),
        (b"GET / HTTP/2.0", HeadError::UnsupportedVersion),
        (b"GET / HTTP/1.1\n", HeadError::BareLf),
        (b"GET / HTTP/1.1\rX", HeadError::BareCr),
        (b"GET / HTTP/1.1\r\nA: b\r\n c", HeadError::ObsFold),
        (b"GET / HTTP/1.1\r\nA : b", HeadError::SpaceBeforeColon),
        (b"GET / HTTP/1.1\r\n: b", HeadError::BadFieldName),
        (b"GET / HTTP/1.1\r\nA\r\n", HeadError::NoColon),
        (b"GET / HTTP/1.1\r\nA: \0", HeadError::BadFieldValue),
    ];
    for (bytes, error) in cases {
        assert_eq!(fault(bytes), *error, "{:?}", String::from_utf8_lossy(bytes));
        assert!(!error.as_str().is_empty());
    }
    let head = b"GET / HTTP/1.1\r\nA: b\r\nC: d\r\n\r\n";
    let mut room = 1;
    let mut take = |_: Field| {
        room -= 1;
        room >= 0
    };
    assert_eq!(scan_request(head, &mut take), Err(HeadError::TooManyFields));
    let endless = [b"GET /", &[b'a'; 70_000][..]].concat();
    assert_eq!(fault(&endless), HeadError::TooLong);
}

#[test]
fn names_are_known_in_any_case() {
    for (name, known) in [
        ("HOST", Known::Host),
        ("te", Known::Te),
        ("Content-length", Known::ContentLength),
        ("transfer-ENCODING", Known::TransferEncoding),
        ("connection", Known::Connection),
        ("Keep-Alive", Known::KeepAlive),
        ("Trailer", Known::Trailer),
        ("upgrade", Known::Upgrade),
        ("Expect", Known::Expect),
        ("HTTP2-Settings", Known::Http2Settings),
        ("Proxy-Connection", Known::ProxyConnection),
        ("proxy-authorization", Known::ProxyAuthorization),
        ("Proxy-Authenticate", Known::ProxyAuthenticate),
        ("proxy", Known::ProxyOther),
        ("Proxy-Features", Known::ProxyOther),
        ("Forwarded", Known::Forwarded),
        ("X-Forwarded-For", Known::XForwardedFor),
        ("x-forwarded-proto", Known::XForwardedProto),
        ("X-Forwarded-Host", Known::XForwardedHost),
        ("X-Forwarded-Port", Known::XForwardedPort),
        ("X-Forwarded-Server", Known::XForwardedOther),
        ("X-Real-IP", Known::XRealIp),
        ("Date", Known::Date),
        ("Server", Known::Server),
        ("content_length", Known::Disguised),
        ("X-Forwarded_For", Known::Disguised),
        ("Proxy_X", Known::Disguised),
        ("hosts", Known::Other),
        ("X-Forwarded", Known::Other),
        ("Proxying", Known::Other),
        ("", Known::Other),
        ("my_header", Known::Other),
    ] {
        assert_eq!(Known::of(name.as_bytes()), known, "{name}");
    }
}
