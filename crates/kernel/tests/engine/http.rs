//! Requests, responses, and the log of what was asked and done.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use crate::random::Random;
use crate::sim::{vip, vip6};

/// How a response is framed and given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Length,
    Chunked,
    /// With a trailer: its end cannot be seen by the kernel tier.
    Trailer,
    NoContent,
    NotModified,
    /// An interim response first.
    Hints,
    /// Its end is the end of the connection.
    UntilClose,
    /// Of known length, and then the connection ends.
    Last,
    /// Refused before the body has come.
    TooLarge,
    /// The head comes in two pieces.
    Split,
    /// A head that is not read, and half a body; then the rest.
    Odd,
    /// 401: the endpoint may ask who it is by connection.
    Unauthorized,
}

const KINDS: [(Kind, char); 12] = [
    (Kind::Length, 'l'),
    (Kind::Chunked, 'c'),
    (Kind::Trailer, 't'),
    (Kind::NoContent, '4'),
    (Kind::NotModified, '3'),
    (Kind::Hints, 'i'),
    (Kind::UntilClose, 'z'),
    (Kind::Last, 'x'),
    (Kind::TooLarge, 'e'),
    (Kind::Split, 's'),
    (Kind::Odd, 'o'),
    (Kind::Unauthorized, 'u'),
];

/// What a client says that asks for nothing more, and what is left of it where the endpoint is not told.
pub(crate) const CLOSE: &str = "Connection: close";
const BLANKED: &str = "Connection:      ";

/// What a client asks for.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    pub(crate) route: char,
    pub(crate) method: &'static str,
    pub(crate) kind: Kind,
    /// Length of the response's body.
    pub(crate) size: usize,
    /// Until the response begins, and between its pieces, in ms.
    pub(crate) delay: u64,
    /// Bytes that make the head longer.
    pub(crate) pad: usize,
    /// Length of the request's body.
    pub(crate) body: usize,
    /// Another field line.
    pub(crate) extra: &'static str,
}

impl Ask {
    pub(crate) fn get(route: char) -> Self {
        Self { route, method: "GET", kind: Kind::Length, size: 100, delay: 0, pad: 0, body: 0, extra: "" }
    }

    pub(crate) fn post(route: char, body: usize) -> Self {
        Self { method: "POST", body, ..Self::get(route) }
    }

    pub(crate) fn kind(self, kind: Kind) -> Self {
        Self { kind, ..self }
    }

    pub(crate) fn size(self, size: usize) -> Self {
        Self { size, ..self }
    }

    pub(crate) fn delay(self, delay: u64) -> Self {
        Self { delay, ..self }
    }

    pub(crate) fn pad(self, pad: usize) -> Self {
        Self { pad, ..self }
    }

    pub(crate) fn head(self) -> Self {
        Self { method: "HEAD", ..self }
    }

    pub(crate) fn extra(self, extra: &'static str) -> Self {
        Self { extra, ..self }
    }

    /// With `Connection: close`.
    pub(crate) fn last(self) -> Self {
        self.extra(CLOSE)
    }

    pub(crate) fn is_last(&self) -> bool {
        self.extra == CLOSE
    }

    pub(crate) fn ends(&self) -> bool {
        matches!(self.kind, Kind::UntilClose | Kind::Last | Kind::TooLarge)
    }
}

pub(crate) struct Asked {
    pub(crate) ask: Ask,
    pub(crate) bytes: Vec<u8>,
    pub(crate) client: SocketAddr,
}

/// What was asked and what was done.
#[derive(Default)]
pub(crate) struct Log {
    pub(crate) asked: HashMap<u32, Asked>,
    /// Requests and who did them.
    pub(crate) done: Vec<(u32, &'static str)>,
    next: u32,
}

impl Log {
    pub(crate) fn ask(&mut self, ask: &Ask, client: SocketAddr) -> u32 {
        self.next += 1;
        let id = self.next;
        let letter = KINDS.iter().find(|(kind, _)| *kind == ask.kind).unwrap().1;
        let mut head = format!(
            "{} /{}?i={id}&k={letter}&n={}&d={} HTTP/1.1\r\nHost: example.test\r\n",
            ask.method, ask.route, ask.size, ask.delay
        );
        if !ask.extra.is_empty() {
            head += ask.extra;
            head += "\r\n";
        }
        if ask.pad > 0 {
            head += &format!("X-Pad: {}\r\n", "p".repeat(ask.pad));
        }
        if ask.method == "POST" {
            head += &format!("Content-Length: {}\r\n", ask.body);
        }
        head += "\r\n";
        let bytes = [head.into_bytes(), body(id ^ 0x55, ask.body)].concat();
        self.asked.insert(id, Asked { ask: ask.clone(), bytes, client });
        id
    }

    /// Takes what an endpoint is told first out of a stream that it reads: its length and the client; none if it is not whole yet.
    pub(crate) fn told(stream: &[u8]) -> Option<(usize, SocketAddr)> {
        let start = stream.get(..16)?;
        assert_eq!(start[..13], *b"\r\n\r\n\0\r\nQUIT\n\x21", "no header of the PROXY protocol");
        let (vip, address, port): (SocketAddr, IpAddr, _) = match start[13..] {
            [0x11, 0, 12] => (vip(), <[u8; 4]>::try_from(stream.get(16..20)?).unwrap().into(), 24),
            [0x21, 0, 36] => (vip6(), <[u8; 16]>::try_from(stream.get(16..32)?).unwrap().into(), 48),
            _ => panic!("the header is of another kind: {start:?}"),
        };
        let ports = stream.get(port..port + 4)?;
        let octets = match vip.ip() {
            IpAddr::V4(vip) => vip.octets().to_vec(),
            IpAddr::V6(vip) => vip.octets().to_vec(),
        };
        assert_eq!(stream[port - octets.len()..port], octets, "the address that was dialled");
        assert_eq!(ports[2..], vip.port().to_be_bytes(), "and its port");
        Some((port + 4, SocketAddr::new(address, u16::from_be_bytes([ports[0], ports[1]]))))
    }

    /// Takes the first request out of a stream that `name` reads: its number and length, and whether it says that it is the last;
    /// none if it is not whole yet.
    pub(crate) fn take(&mut self, stream: &[u8], name: &'static str) -> Option<(u32, usize, bool)> {
        let head_len = stream.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
        let head =
            std::str::from_utf8(&stream[..head_len]).unwrap_or_else(|_| panic!("{name}: bytes in a head"));
        let number = |key: &str| {
            let at = head.find(key).unwrap_or_else(|| panic!("{name}: no request of ours: {head:?}"));
            head[at + key.len()..].split(['&', ' ']).next().unwrap().parse::<u32>().unwrap()
        };
        let id = number("?i=");
        let asked = self.asked.get(&id).unwrap_or_else(|| panic!("{name}: unknown request: {head:?}"));
        let inserted = self.check_head(head, asked, name);
        let len = if asked.ask.kind == Kind::TooLarge { head_len } else { asked.bytes.len() + inserted };
        if stream.len() < len {
            return None;
        }
        assert_eq!(
            stream[head_len..len],
            asked.bytes[head_len - inserted..len - inserted],
            "{name}: body of {id}"
        );
        self.done.push((id, name));
        Some((id, len, head.contains(CLOSE)))
    }

    /// The head is as the client wrote it, but for forwarded headers where they belong; their length.
    fn check_head(&self, head: &str, asked: &Asked, name: &str) -> usize {
        let (line, rest) = head.split_once("\r\n").unwrap();
        let route = asked.ask.route;
        let is_host = name == "host";
        assert!(is_host || may_serve(route, name), "{name} got a request for /{route}");
        let brings = asked.ask.extra.starts_with("X-Forwarded");
        let wanted = !is_host && !brings && matches!(route, 'a' | 'b' | 'w' | 'k' | 'v' | 'c');
        let mut inserted = 0;
        let mut rest = rest;
        if wanted {
            let start = rest;
            let address = format!("X-Forwarded-For: {}\r\n", asked.client.ip());
            rest = rest
                .strip_prefix(&address)
                .unwrap_or_else(|| panic!("{name}: no forwarded headers: {head:?}"));
            rest = rest.strip_prefix("X-Forwarded-Proto: ").unwrap_or_else(|| panic!("{name}: {head:?}"));
            rest = rest.trim_start_matches(' ').strip_prefix("http\r\n").unwrap();
            inserted = start.len() - rest.len();
        }
        let mut whole = [line, "\r\n", rest].concat();
        if asked.ask.is_last() && !is_host {
            whole = whole.replacen(BLANKED, CLOSE, 1);
        }
        assert_eq!(whole.as_bytes(), &asked.bytes[..whole.len()], "{name}: head");
        inserted
    }
}

/// Whether an endpoint belongs to a route.
pub(crate) fn may_serve(route: char, name: &str) -> bool {
    match route {
        'a' | 'n' | 'k' | 'c' => matches!(name, "e1" | "e2"),
        'b' | 'm' => name == "e3",
        'w' | 'v' => matches!(name, "e1" | "e2" | "e3"),
        _ => false,
    }
}

/// The body of something, `len` bytes.
pub(crate) fn body(id: u32, len: usize) -> Vec<u8> {
    (0..len as u32)
        .map(|n| b'!' + ((n / 7).wrapping_mul(31).wrapping_add(id.wrapping_mul(17)) % 90) as u8)
        .collect()
}

/// A response in pieces, and whether the connection ends behind it.
///
/// `says` is what the endpoint says of it, where it says nothing else.
pub(crate) fn response(id: u32, ask: &Ask, name: &str, says: &str, random: &Random) -> (Vec<Vec<u8>>, bool) {
    let body = body(id, ask.size);
    let head = |status: &str, framing: &str| {
        let says = if framing.contains("Connection") { "" } else { says };
        format!("HTTP/1.1 {status}\r\nX-Id: {id}\r\n{says}X-By: {name}\r\n{framing}\r\n").into_bytes()
    };
    let length = format!("Content-Length: {}\r\n", body.len());
    let has_body = ask.method != "HEAD";
    let with_body = |head: Vec<u8>| if has_body { [head, body.clone()].concat() } else { head };
    let pieces = match ask.kind {
        Kind::Length => vec![with_body(head("200 OK", &length))],
        Kind::Unauthorized => vec![with_body(head("401 Unauthorized", &length))],
        Kind::NoContent => vec![head("204 No Content", "")],
        Kind::NotModified => vec![head("304 Not Modified", &length)],
        Kind::Hints => vec![
            b"HTTP/1.1 103 Early Hints\r\nLink: </x>; rel=preload\r\n\r\n".to_vec(),
            with_body(head("200 OK", &length)),
        ],
        Kind::Last => vec![with_body(head("200 OK", &format!("{length}Connection: close\r\n")))],
        Kind::UntilClose if ask.delay > 0 && has_body => {
            let (first, rest) = body.split_at(body.len() / 2);
            vec![[&head("200 OK", "")[..], first].concat(), rest.to_vec()]
        }
        Kind::UntilClose => vec![with_body(head("200 OK", ""))],
        Kind::TooLarge => {
            vec![with_body(head("413 Content Too Large", &format!("{length}Connection: close\r\n")))]
        }
        Kind::Odd => {
            let whole = with_body(head("200 OK", &format!("{length}Connection: x-odd\r\n")));
            let at = whole.len() - if has_body { ask.size / 2 } else { 0 };
            vec![whole[..at].to_vec(), whole[at..].to_vec()]
        }
        Kind::Split => {
            let whole = with_body(head("200 OK", &length));
            let at = 1 + random.below(40) as usize;
            vec![whole[..at].to_vec(), whole[at..].to_vec()]
        }
        Kind::Chunked | Kind::Trailer => {
            let framing = if ask.kind == Kind::Trailer { "Trailer: X-T\r\n" } else { "" };
            let mut whole = head("200 OK", &format!("Transfer-Encoding: chunked\r\n{framing}"));
            if has_body {
                let mut rest = &body[..];
                while !rest.is_empty() {
                    let len =
                        (1 + random.below(random.pick(&[3, 200, 3000]))).min(rest.len() as u64) as usize;
                    whole.extend(format!("{len:x}\r\n").bytes());
                    whole.extend(&rest[..len]);
                    whole.extend(b"\r\n");
                    rest = &rest[len..];
                }
                whole.extend(if ask.kind == Kind::Trailer {
                    &b"0\r\nX-T: t\r\n\r\n"[..]
                } else {
                    b"0\r\n\r\n"
                });
            }
            if ask.delay > 0 {
                let at = random.below(whole.len() as u64) as usize;
                vec![whole[..at].to_vec(), whole[at..].to_vec()]
            } else {
                vec![whole]
            }
        }
    };
    (pieces.into_iter().filter(|piece| !piece.is_empty()).collect(), ask.ends())
}

/// Reads the response to request `id` from the start of a stream: its length and whose it is; none if it is not whole yet.
pub(crate) fn read_response(stream: &[u8], at_end: bool, id: u32, ask: &Ask) -> Option<(usize, String)> {
    let head_len = stream.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let head = std::str::from_utf8(&stream[..head_len]).unwrap();
    assert!(head.starts_with("HTTP/1.1 "), "no response: {head:?}");
    if head.starts_with("HTTP/1.1 1") {
        let (len, by) = read_response(&stream[head_len..], at_end, id, ask)?;
        return Some((head_len + len, by));
    }
    let field = |name: &str| {
        let at = head.find(name)? + name.len();
        Some(head[at..].split("\r\n").next().unwrap().to_owned())
    };
    let answers = field("X-Id: ").unwrap_or_else(|| panic!("nobody's response: {head:?}"));
    assert_eq!(answers, id.to_string(), "the response to another request");
    let by = field("X-By: ").unwrap();
    if let Some(said) = field("Connection: ") {
        assert!(matches!(said.as_str(), "close" | "close     " | "keep-alive" | "x-odd"), "{said:?}");
        assert!(said != "close     " || ask.is_last(), "{said:?} to one who did not ask for it");
    }
    assert!(by == "host" || may_serve(ask.route, &by), "/{} was answered by {by}", ask.route);
    let status = &head[9..12];
    if ask.method == "HEAD" || status == "204" || status == "304" {
        return Some((head_len, by));
    }
    let rest = &stream[head_len..];
    let wanted = body(id, ask.size);
    let (got, len) = if let Some(length) = field("Content-Length: ") {
        let length: usize = length.parse().unwrap();
        (rest.get(..length)?.to_vec(), length)
    } else if head.contains("chunked") {
        unchunk(rest)?
    } else if at_end {
        (rest.to_vec(), rest.len())
    } else {
        return None;
    };
    assert!(got == wanted, "the body of {id} by {by}");
    Some((head_len + len, by))
}

fn unchunk(stream: &[u8]) -> Option<(Vec<u8>, usize)> {
    let (mut got, mut at) = (vec![], 0);
    loop {
        let line = stream[at..].windows(2).position(|two| two == b"\r\n")?;
        let size = std::str::from_utf8(&stream[at..at + line]).unwrap();
        let size = usize::from_str_radix(size, 16).unwrap();
        at += line + 2;
        if size == 0 {
            let rest = &stream[at..];
            let end = if rest.starts_with(b"\r\n") {
                2
            } else {
                rest.windows(4).position(|four| four == b"\r\n\r\n")? + 4
            };
            return Some((got, at + end));
        }
        got.extend(stream.get(at..at + size)?);
        assert_eq!(stream.get(at + size..at + size + 2)?, b"\r\n", "behind a chunk");
        at += size + 2;
    }
}
