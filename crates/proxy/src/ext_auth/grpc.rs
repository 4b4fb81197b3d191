//! Services that are asked by gRPC: `envoy.service.auth.v3.Authorization/Check`, as far as it is used.
//!
//! Source: envoyproxy/envoy `api/envoy/service/auth/v3/external_auth.proto` and `attribute_context.proto`; "Length-Prefixed-Message"
//! of gRPC over HTTP/2.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use bytes::BytesMut;
use http1::{RequestHead, is_token_byte};
use policy::{HeadKind, header_refusal};
use prost::{Message, Oneof};

use super::http::is_ours;
use super::{AUTHORIZATION, Asked, Denial, INCOMPLETE, Question, UNREADABLE, WITH_AN_ERROR};
use crate::capture::Answer;
use crate::changes::Changes;

/// A denial that names no status (`DeniedHttpResponse.status`).
const STATUS_DENIED: u16 = 403;

/// The call about a request.
pub(super) fn question(asked: &Asked<'_>) -> Question {
    let message = CheckRequest { attributes: Some(attributes(asked)) }.encode_to_vec();
    let mut body = vec![0];
    body.extend_from_slice(&u32::try_from(message.len()).unwrap_or(u32::MAX).to_be_bytes());
    body.extend(message);
    let head = format!(
        "POST /envoy.service.auth.v3.Authorization/Check HTTP/1.1\r\nHost: {}\r\nContent-Type: application/grpc\r\n\
         TE: trailers\r\nConnection: te\r\nContent-Length: {}\r\n\r\n",
        asked.host(),
        body.len()
    );
    Question { head: BytesMut::from(head.as_bytes()), body }
}

fn attributes(asked: &Asked<'_>) -> Attributes {
    let (head, client) = (asked.head, asked.client);
    // Who came through proxies that are trusted has no port that anybody knows.
    let source = asked.address().map(|ip| match client.peer.ip() == ip {
        true => client.peer,
        false => SocketAddr::new(ip, 0),
    });
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let seconds = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
    let time = Timestamp { seconds, nanos: i32::try_from(since.subsec_nanos()).unwrap_or(0) };
    let http = HttpRequest {
        method: head.method().to_owned(),
        headers: headers(asked),
        path: asked.uri(),
        host: asked.host(),
        scheme: client.scheme().to_owned(),
        size: match head.framing() {
            http1::Framing::Length(bytes) => i64::try_from(bytes).unwrap_or(i64::MAX),
            http1::Framing::None => 0,
            _ => -1,
        },
        protocol: if asked.is_http2 { "HTTP/2" } else { "HTTP/1.1" }.to_owned(),
    };
    Attributes {
        source: source.map(peer),
        destination: Some(peer(client.local)),
        request: Some(RequestAttributes { time: Some(time), http: Some(http) }),
    }
}

/// What it sees of the request's headers, names in lower case, lines of one name joined with commas. What is said of the client is the
/// gateway's word.
fn headers(asked: &Asked<'_>) -> BTreeMap<String, String> {
    let (head, client) = (asked.head, asked.client);
    let mut all: BTreeMap<String, String> = BTreeMap::new();
    for (name, value) in asked.lines() {
        let name = name.to_ascii_lowercase();
        let is_asked = || name == AUTHORIZATION || asked.sees.iter().any(|seen| **seen == name);
        // Host is :authority; framing and connections are nobody else's.
        let is_seen =
            header_refusal(HeadKind::Request, &name).is_none() && (asked.sees.is_empty() || is_asked());
        if is_seen {
            let value = String::from_utf8_lossy(value);
            all.entry(name)
                .and_modify(|all| *all = format!("{all},{value}"))
                .or_insert_with(|| value.into_owned());
        }
    }
    all.remove("x-forwarded-for");
    if let Some(address) = asked.address() {
        all.insert("x-forwarded-for".to_owned(), address.to_string());
    }
    for (name, value) in [
        ("x-forwarded-proto", client.scheme().to_owned()),
        (":method", head.method().to_owned()),
        (":path", asked.uri()),
        (":authority", asked.host()),
        (":scheme", client.scheme().to_owned()),
    ] {
        all.insert(name.to_owned(), value);
    }
    all
}

fn peer(at: SocketAddr) -> Peer {
    let at = SocketAddress { address: at.ip().to_string(), port_value: u32::from(at.port()) };
    Peer { address: Some(Address { socket_address: Some(at) }) }
}

/// None: it lets in; what it says of the request is in `changes`.
///
/// # Errors
/// Nothing is known: why.
pub(super) fn verdict(
    answer: &Answer,
    head: &RequestHead,
    changes: &mut Changes,
) -> Result<Option<Denial>, &'static str> {
    if !answer.is_whole {
        return Err(INCOMPLETE);
    }
    let status = answer.head.values("grpc-status").next().or_else(|| answer.trailer("grpc-status"));
    if answer.head.status() != 200 || status != Some(b"0") {
        return Err(WITH_AN_ERROR);
    }
    let response = CheckResponse::decode(message(&answer.body).ok_or(UNREADABLE)?).map_err(|_| UNREADABLE)?;
    // As with Envoy, no status is the one of 0: OK.
    let is_let_in = response.status.is_none_or(|status| status.code == 0);
    match (is_let_in, response.http_response) {
        (true, Some(HttpResponse::Ok(said))) => change(said, head, changes).map(|()| None),
        (true, _) => Ok(None),
        (false, Some(HttpResponse::Denied(said))) => denial(said).map(Some),
        (false, _) => denial(DeniedResponse::default()).map(Some),
    }
}

/// The one message of a body.
fn message(body: &[u8]) -> Option<&[u8]> {
    let (prefix, message) = body.split_first_chunk::<5>()?;
    let [flags, length @ ..] = *prefix;
    (flags == 0 && usize::try_from(u32::from_be_bytes(length)) == Ok(message.len())).then_some(message)
}

/// What the service wants of the request. Headers that are no policy's to change stay as they are.
fn change(said: OkResponse, head: &RequestHead, changes: &mut Changes) -> Result<(), &'static str> {
    let may_change = |name: &str| !name.starts_with(':') && header_refusal(HeadKind::Request, name).is_none();
    for name in said.headers_to_remove.iter().filter(|name| may_change(name)) {
        if !is_name(name) {
            return Err(UNREADABLE);
        }
        changes.lines_mut().remove(name);
    }
    for option in said.headers {
        let how = option.how();
        let Some(header) = option.header else { continue };
        if !may_change(&header.key) {
            continue;
        }
        let (name, value) = (header.key.as_str(), header.value());
        if !is_name(name) || !is_value(value) {
            return Err(UNREADABLE);
        }
        let is_there = head.values(name).next().is_some();
        match how {
            How::Append => changes.lines_mut().add(name, value),
            How::AddIfAbsent if is_there => {}
            How::OverwriteIfExists if !is_there => {}
            How::AddIfAbsent | How::Overwrite | How::OverwriteIfExists => {
                changes.lines_mut().remove_alike(name);
                changes.lines_mut().set(name, value);
            }
        }
    }
    Ok(())
}

fn denial(said: DeniedResponse) -> Result<Denial, &'static str> {
    let code = said.status.map_or(0, |status| status.code);
    let status = u16::try_from(code).ok().filter(|code| (200..=599).contains(code)).unwrap_or(STATUS_DENIED);
    let (mut headers, mut content_type) = (Vec::new(), None);
    for header in said.headers.into_iter().filter_map(|option| option.header) {
        let (name, value) = (header.key.as_str(), header.value());
        if name.eq_ignore_ascii_case("content-type") {
            content_type = std::str::from_utf8(value).ok().filter(|_| is_value(value)).map(str::to_owned);
        } else if !name.starts_with(':') && !is_ours(name) {
            if !is_name(name) || !is_value(value) {
                return Err(UNREADABLE);
            }
            headers.push((name.to_owned(), value.to_vec()));
        }
    }
    let content_type = content_type.unwrap_or_else(|| "text/plain; charset=utf-8".to_owned());
    Ok(Denial { status, headers, content_type, body: said.body.into_bytes() })
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(is_token_byte)
}

/// RFC 9110 section 5.5.
fn is_value(value: &[u8]) -> bool {
    value.iter().all(|&byte| byte == b'\t' || (byte >= b' ' && byte != 0x7f))
}

/// What becomes of a header.
enum How {
    Append,
    AddIfAbsent,
    Overwrite,
    OverwriteIfExists,
}

impl HeaderOption {
    /// `append` says it where it is there, else `append_action`; nothing said is a line in the place of all others, as
    /// `OkHttpResponse.headers` wants it.
    fn how(&self) -> How {
        match (self.append.as_ref().map(|append| append.value), self.append_action) {
            (Some(true), _) => How::Append,
            (None, 1) => How::AddIfAbsent,
            (None, 3) => How::OverwriteIfExists,
            _ => How::Overwrite,
        }
    }
}

impl Header {
    fn value(&self) -> &[u8] {
        if self.raw_value.is_empty() { self.value.as_bytes() } else { &self.raw_value }
    }
}

#[derive(Clone, PartialEq, Message)]
struct CheckRequest {
    #[prost(message, optional, tag = "1")]
    attributes: Option<Attributes>,
}

#[derive(Clone, PartialEq, Message)]
struct Attributes {
    #[prost(message, optional, tag = "1")]
    source: Option<Peer>,
    #[prost(message, optional, tag = "2")]
    destination: Option<Peer>,
    #[prost(message, optional, tag = "4")]
    request: Option<RequestAttributes>,
}

#[derive(Clone, PartialEq, Message)]
struct Peer {
    #[prost(message, optional, tag = "1")]
    address: Option<Address>,
}

#[derive(Clone, PartialEq, Message)]
struct Address {
    #[prost(message, optional, tag = "1")]
    socket_address: Option<SocketAddress>,
}

#[derive(Clone, PartialEq, Message)]
struct SocketAddress {
    #[prost(string, tag = "2")]
    address: String,
    #[prost(uint32, tag = "3")]
    port_value: u32,
}

#[derive(Clone, PartialEq, Message)]
struct RequestAttributes {
    #[prost(message, optional, tag = "1")]
    time: Option<Timestamp>,
    #[prost(message, optional, tag = "2")]
    http: Option<HttpRequest>,
}

#[derive(Clone, PartialEq, Message)]
struct Timestamp {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

#[derive(Clone, PartialEq, Message)]
struct HttpRequest {
    #[prost(string, tag = "2")]
    method: String,
    #[prost(btree_map = "string, string", tag = "3")]
    headers: BTreeMap<String, String>,
    #[prost(string, tag = "4")]
    path: String,
    #[prost(string, tag = "5")]
    host: String,
    #[prost(string, tag = "6")]
    scheme: String,
    #[prost(int64, tag = "9")]
    size: i64,
    #[prost(string, tag = "10")]
    protocol: String,
}

#[derive(Clone, PartialEq, Message)]
struct CheckResponse {
    #[prost(message, optional, tag = "1")]
    status: Option<Status>,
    #[prost(oneof = "HttpResponse", tags = "2, 3")]
    http_response: Option<HttpResponse>,
}

#[derive(Clone, PartialEq, Oneof)]
enum HttpResponse {
    #[prost(message, tag = "2")]
    Denied(DeniedResponse),
    #[prost(message, tag = "3")]
    Ok(OkResponse),
}

/// `google.rpc.Status`.
#[derive(Clone, PartialEq, Message)]
struct Status {
    #[prost(int32, tag = "1")]
    code: i32,
}

#[derive(Clone, PartialEq, Message)]
struct DeniedResponse {
    #[prost(message, optional, tag = "1")]
    status: Option<HttpStatus>,
    #[prost(message, repeated, tag = "2")]
    headers: Vec<HeaderOption>,
    #[prost(string, tag = "3")]
    body: String,
}

#[derive(Clone, PartialEq, Message)]
struct HttpStatus {
    #[prost(int32, tag = "1")]
    code: i32,
}

#[derive(Clone, PartialEq, Message)]
struct OkResponse {
    #[prost(message, repeated, tag = "2")]
    headers: Vec<HeaderOption>,
    #[prost(string, repeated, tag = "5")]
    headers_to_remove: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
struct HeaderOption {
    #[prost(message, optional, tag = "1")]
    header: Option<Header>,
    #[prost(message, optional, tag = "2")]
    append: Option<BoolValue>,
    #[prost(int32, tag = "3")]
    append_action: i32,
}

#[derive(Clone, PartialEq, Message)]
struct BoolValue {
    #[prost(bool, tag = "1")]
    value: bool,
}

#[derive(Clone, PartialEq, Message)]
struct Header {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(string, tag = "2")]
    value: String,
    #[prost(bytes = "vec", tag = "3")]
    raw_value: Vec<u8>,
}
