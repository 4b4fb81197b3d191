//! Services that decide about requests by gRPC: what they are asked, and what becomes of their answers.
#![allow(clippy::unwrap_used, reason = "helpers of tests: a panic is how they report")]

mod support;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Response};
use model::{BackendId, ExtAuth, ExtAuthProtocol, Policies};
use prost::Message;
use support::{Lab, Rule, Scripted, rule};

/// Parts of `envoy.service.auth.v3`, by the numbers of external_auth.proto and attribute_context.proto.
mod envoy {
    use std::collections::HashMap;

    use prost::Message;

    #[derive(Clone, PartialEq, Message)]
    pub(crate) struct CheckRequest {
        #[prost(message, optional, tag = "1")]
        pub(crate) attributes: Option<Attributes>,
    }

    #[derive(Clone, PartialEq, Message)]
    pub(crate) struct Attributes {
        #[prost(message, optional, tag = "1")]
        pub(crate) source: Option<Peer>,
        #[prost(message, optional, tag = "2")]
        pub(crate) destination: Option<Peer>,
        #[prost(message, optional, tag = "4")]
        pub(crate) request: Option<Request>,
    }

    #[derive(Clone, PartialEq, Message)]
    pub(crate) struct Peer {
        #[prost(message, optional, tag = "1")]
        pub(crate) address: Option<Address>,
    }

    #[derive(Clone, PartialEq, Message)]
    pub(crate) struct Address {
        #[prost(message, optional, tag = "1")]
        pub(crate) socket_address: Option<SocketAddress>,
    }

    #[derive(Clone, PartialEq, Message)]
    pub(crate) struct SocketAddress {
        #[prost(string, tag = "2")]
        pub(crate) address: String,
        #[prost(uint32, tag = "3")]
        pub(crate) port_value: u32,
    }

    #[derive(Clone, PartialEq, Message)]
    pub(crate) struct Request {
        #[prost(message, optional, tag = "2")]
        pub(crate) http: Option<Http>,
    }

    #[derive(Clone, PartialEq, Message)]
    pub(crate) struct Http {
        #[prost(string, tag = "2")]
        pub(crate) method: String,
        #[prost(map = "string, string", tag = "3")]
        pub(crate) headers: HashMap<String, String>,
        #[prost(string, tag = "4")]
        pub(crate) path: String,
        #[prost(string, tag = "5")]
        pub(crate) host: String,
        #[prost(string, tag = "6")]
        pub(crate) scheme: String,
        #[prost(int64, tag = "9")]
        pub(crate) size: i64,
        #[prost(string, tag = "10")]
        pub(crate) protocol: String,
    }

    #[derive(Clone, PartialEq, Message)]
    pub(crate) struct CheckResponse {
        #[prost(message, optional, tag = "1")]
        pub(crate) status: Option<Code>,
        #[prost(message, optional, tag = "2")]
        pub(crate) denied: Option<Denied>,
        #[prost(message, optional, tag = "3")]
        pub(crate) ok: Option<Ok>,
    }

    #[derive(Clone, PartialEq, Message)]
    pub(crate) struct Code {
        #[prost(int32, tag = "1")]
        pub(crate) code: i32,
    }

    #[derive(Clone, PartialEq, Message)]
    pub(crate) struct Denied {
        #[prost(message, optional, tag = "1")]
        pub(crate) status: Option<Code>,
        #[prost(message, repeated, tag = "2")]
        pub(crate) headers: Vec<HeaderOption>,
        #[prost(string, tag = "3")]
        pub(crate) body: String,
    }

    #[derive(Clone, PartialEq, Message)]
    pub(crate) struct Ok {
        #[prost(message, repeated, tag = "2")]
        pub(crate) headers: Vec<HeaderOption>,
        #[prost(string, repeated, tag = "5")]
        pub(crate) headers_to_remove: Vec<String>,
    }

    #[derive(Clone, PartialEq, Message)]
    pub(crate) struct HeaderOption {
        #[prost(message, optional, tag = "1")]
        pub(crate) header: Option<Header>,
        #[prost(message, optional, tag = "2")]
        pub(crate) append: Option<BoolValue>,
        #[prost(int32, tag = "3")]
        pub(crate) append_action: i32,
    }

    #[derive(Clone, PartialEq, Message)]
    pub(crate) struct BoolValue {
        #[prost(bool, tag = "1")]
        pub(crate) value: bool,
    }

    #[derive(Clone, PartialEq, Message)]
    pub(crate) struct Header {
        #[prost(string, tag = "1")]
        pub(crate) key: String,
        #[prost(string, tag = "2")]
        pub(crate) value: String,
    }
}

use envoy::{CheckRequest, CheckResponse, Code, Denied, Header, HeaderOption};

/// What a call is answered with: the bytes of its message, and its status.
type Answer = (Vec<u8>, &'static str);

struct Service {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<CheckRequest>>>,
    connections: Arc<Mutex<usize>>,
}

/// Answers every call the same.
fn service(message: Vec<u8>, status: &'static str) -> Service {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    listener.set_nonblocking(true).unwrap();
    let service = Service { address, asked: Arc::default(), connections: Arc::default() };
    let (asked, connections) = (service.asked.clone(), service.connections.clone());
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            while let Ok((stream, _)) = listener.accept().await {
                *connections.lock().unwrap() += 1;
                tokio::spawn(serve(stream, asked.clone(), (message.clone(), status)));
            }
        });
    });
    service
}

async fn serve(
    stream: tokio::net::TcpStream,
    asked: Arc<Mutex<Vec<CheckRequest>>>,
    (message, status): Answer,
) {
    let mut connection = h2::server::handshake(stream).await.unwrap();
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        let (asked, message) = (asked.clone(), message.clone());
        tokio::spawn(async move {
            assert_eq!(request.uri().path(), "/envoy.service.auth.v3.Authorization/Check");
            assert_eq!(request.headers()["content-type"], "application/grpc");
            assert_eq!(request.headers()["te"], "trailers");
            let mut body = request.into_body();
            let mut text = Vec::new();
            while let Some(data) = body.data().await {
                text.extend_from_slice(&data.unwrap());
            }
            assert_eq!(text[..5], [&[0][..], &u32::try_from(text.len() - 5).unwrap().to_be_bytes()].concat());
            asked.lock().unwrap().push(CheckRequest::decode(&text[5..]).unwrap());
            let head = Response::builder().header("content-type", "application/grpc");
            let mut send = respond.send_response(head.body(()).unwrap(), false).unwrap();
            if !message.is_empty() {
                send.send_data(Bytes::from(message), false).unwrap();
            }
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", status.parse().unwrap());
            send.send_trailers(trailers).unwrap();
        });
    }
}

fn framed(response: &CheckResponse) -> Vec<u8> {
    let message = response.encode_to_vec();
    [&[0][..], &u32::try_from(message.len()).unwrap().to_be_bytes(), &message].concat()
}

fn header(key: &str, value: &str) -> HeaderOption {
    HeaderOption { header: Some(Header { key: key.into(), value: value.into() }), ..Default::default() }
}

fn asked() -> ExtAuth {
    ExtAuth {
        backend: BackendId::service("test", "b1", 80),
        protocol: ExtAuthProtocol::Grpc,
        headers_to_ext_auth: vec![],
        fails_open: false,
        timeout: Duration::from_secs(20),
        status_on_error: 503,
    }
}

fn lab(asked: ExtAuth, endpoint: &Scripted, service: &Service) -> Lab {
    let policies = Some(Policies { ext_auth: Some(asked), ..Default::default() });
    Lab::new(&[Rule { policies, ..rule("/", &[endpoint.address]) }, rule("/service", &[service.address])])
}

const REQUEST: &str = "POST /a/b?c=d HTTP/1.1\r\nHost: a.test:81\r\nAuthorization: Bearer x\r\nX-Two: 1\r\nX-Two: 2\r\n\
                       X-User: eve\r\nX_User: eve\r\nX-Gone: 1\r\nX-There: 1\r\nX-Forwarded-For: 10.6.6.6\r\n\
                       Content-Length: 4\r\n\r\nbody";

#[test]
fn the_service_is_told_of_the_request_and_changes_it() {
    let endpoint = Scripted::echo("one");
    let append = HeaderOption { append: Some(envoy::BoolValue { value: true }), ..header("X-Two", "3") };
    let if_absent = |name| HeaderOption { append_action: 1, ..header(name, "new") };
    let if_there = |name| HeaderOption { append_action: 3, ..header(name, "new") };
    let ok = envoy::Ok {
        headers: vec![
            header("X-User", "anna"),
            append,
            if_absent("X-There"),
            if_absent("X-Absent"),
            if_there("X-Absent-Too"),
            header("Host", "forged.test"),
            header(":path", "/forged"),
        ],
        headers_to_remove: vec!["x-gone".into(), "host".into()],
    };
    let service = service(framed(&CheckResponse { ok: Some(ok), ..Default::default() }), "0");
    let lab = lab(asked(), &endpoint, &service);
    let mut client = lab.client();
    let port = client.stream.local_addr().unwrap().port();
    for _ in 0..3 {
        client.send(REQUEST);
        let answer = client.response();
        assert_eq!(answer.status, 200, "{}", answer.text());
        let text = answer.text();
        assert!(
            text.starts_with("one\nPOST /a/b?c=d HTTP/1.1\r\n") && text.ends_with("\r\n\r\nbody"),
            "{text}"
        );
        for line in ["X-User: anna", "X-Two: 1", "X-Two: 3", "X-There: 1", "X-Absent: new", "Host: a.test:81"]
        {
            assert!(text.contains(&format!("\r\n{line}\r\n")), "{line} in {text}");
        }
        for absent in ["eve", "X-Gone", "X-Absent-Too", "forged"] {
            assert!(!text.contains(absent), "{absent} in {text}");
        }
    }
    assert_eq!(*service.connections.lock().unwrap(), 1, "its connection is kept");
    let asked = service.asked.lock().unwrap();
    assert_eq!(asked.len(), 3);
    let attributes = asked[0].attributes.clone().unwrap();
    let address = |peer: Option<envoy::Peer>| {
        let at = peer.unwrap().address.unwrap().socket_address.unwrap();
        (at.address, at.port_value)
    };
    assert_eq!(address(attributes.source), ("127.0.0.1".into(), u32::from(port)));
    assert_eq!(address(attributes.destination), ("127.0.0.1".into(), u32::from(lab.address.port())));
    let http = attributes.request.unwrap().http.unwrap();
    assert_eq!((&*http.method, &*http.path, &*http.host), ("POST", "/a/b?c=d", "a.test:81"));
    assert_eq!((&*http.scheme, &*http.protocol, http.size), ("http", "HTTP/1.1", 4));
    let expected = [
        ("authorization", "Bearer x"),
        ("x-two", "1,2"),
        ("x-user", "eve"),
        ("x_user", "eve"),
        ("x-gone", "1"),
        ("x-there", "1"),
        ("x-forwarded-for", "127.0.0.1"),
        ("x-forwarded-proto", "http"),
        (":method", "POST"),
        (":path", "/a/b?c=d"),
        (":authority", "a.test:81"),
        (":scheme", "http"),
    ];
    let expected: HashMap<_, _> = expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    assert_eq!(http.headers, expected);
}

#[test]
fn only_the_headers_that_are_named_are_told() {
    let endpoint = Scripted::echo("one");
    let service = service(framed(&CheckResponse::default()), "0");
    let lab = lab(ExtAuth { headers_to_ext_auth: vec!["x-two".into()], ..asked() }, &endpoint, &service);
    let mut client = lab.client();
    client.send(REQUEST);
    assert_eq!(client.response().status, 200);
    let asked = service.asked.lock().unwrap();
    let http = asked[0].attributes.clone().unwrap().request.unwrap().http.unwrap();
    let mut names: Vec<_> = http.headers.into_keys().filter(|name| !name.starts_with(':')).collect();
    names.sort();
    assert_eq!(names, ["authorization", "x-forwarded-for", "x-forwarded-proto", "x-two"]);
}

#[test]
fn a_refusal_of_the_service_is_the_clients_answer() {
    let endpoint = Scripted::echo("one");
    let denied = Denied {
        status: Some(Code { code: 302 }),
        headers: vec![
            header("Location", "https://login.test/"),
            header("Content-Type", "text/html"),
            header("Content-Length", "1000"),
        ],
        body: "<p>no".into(),
    };
    let status = Some(Code { code: 16 });
    let told =
        service(framed(&CheckResponse { status: status.clone(), denied: Some(denied), ok: None }), "0");
    let refused = lab(asked(), &endpoint, &told).client().get("/");
    assert_eq!((refused.status, refused.text()), (302, "<p>no".into()));
    for line in ["Location: https://login.test/", "Content-Type: text/html", "Content-Length: 5"] {
        assert!(refused.has(line), "{line} in {}", refused.head);
    }
    let bare = service(framed(&CheckResponse { status, ..Default::default() }), "0");
    assert_eq!(lab(asked(), &endpoint, &bare).client().get("/").status, 403);
    assert_eq!(endpoint.connections(), 0);
}

#[test]
fn what_cannot_be_understood_lets_nobody_in_unless_it_is_said() {
    let endpoint = Scripted::echo("one");
    let whole = framed(&CheckResponse { ok: Some(envoy::Ok::default()), ..Default::default() });
    let forged = envoy::Ok { headers: vec![header("X-User", "a\r\nX-Admin: 1")], ..Default::default() };
    let forged = framed(&CheckResponse { ok: Some(forged), ..Default::default() });
    let compressed = [&[1][..], &whole[1..]].concat();
    for (message, status) in [
        (whole.clone(), "14"),
        (whole[..whole.len() - 1].to_vec(), "0"),
        (Vec::new(), "0"),
        (compressed, "0"),
        (vec![0, 0, 0, 0, 2, 0xff, 0xff], "0"),
        (forged, "0"),
    ] {
        let service = service(message.clone(), status);
        let refused = lab(asked(), &endpoint, &service).client().get("/");
        assert_eq!(refused.status, 503, "{message:?} {status}: {}", refused.text());
        assert!(refused.text().contains("external authorization service"), "{}", refused.text());
        let open = lab(ExtAuth { fails_open: true, ..asked() }, &endpoint, &service);
        let answer = open.client().get("/");
        assert!(answer.status == 200 && !answer.text().contains("X-Admin"), "{}", answer.text());
    }
    // One that speaks HTTP/1 only, and one that is not there.
    let http1 = Scripted::echo("service");
    for address in [http1.address, support::free_port()] {
        let service = Service { address, asked: Arc::default(), connections: Arc::default() };
        assert_eq!(lab(asked(), &endpoint, &service).client().get("/").status, 503);
    }
}
