//! The PROXY protocol: who the client of a connection is, said by a proxy before anything else.
//!
//! Source: W. Tarreau, "The PROXY protocol", versions 1 & 2, 2020/03/05 (`doc/proxy-protocol.txt` of HAProxy), section 2.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

/// The first twelve bytes of version 2.
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
const V1_START: &[u8] = b"PROXY ";
/// "107 chars" for a version 1 line with its CRLF (section 2.1).
const V1_BYTES_MAX: usize = 107;
/// Addresses and type-length-values; what is longer is no header that anyone sends.
const V2_BYTES_MAX: usize = 4096;
/// What a proxy writes in version 1 that speaks for itself (section 2.1: "the health checks").
pub const V1_UNKNOWN: &[u8] = b"PROXY UNKNOWN\r\n";
/// The same in version 2: command LOCAL, no addresses (section 2.2).
pub const V2_LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";
const LOCAL: u8 = 0x20;
const PROXY: u8 = 0x21;
const TCP4: u8 = 0x11;
const TCP6: u8 = 0x21;

/// The ends of a connection as the first proxy saw them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ends {
    /// The client.
    pub source: SocketAddr,
    /// What it dialled.
    pub destination: SocketAddr,
}

/// Why a header cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum HeaderError {
    /// The connection ended, or broke, before the header did.
    #[error("the connection ended within the PROXY header")]
    Io(#[from] io::Error),
    /// Something else than a header came.
    #[error("the connection does not begin with a PROXY header")]
    Absent,
    /// A header that nobody may send.
    #[error("the PROXY header is malformed")]
    Malformed,
}

/// Writes a header of version 1 down. Ends of two families are written as IPv6.
pub fn v1(ends: Ends) -> Vec<u8> {
    let (source, destination) = same_family(ends);
    let family = if source.is_ipv4() { "TCP4" } else { "TCP6" };
    let (from, to) = (ends.source.port(), ends.destination.port());
    format!("PROXY {family} {source} {destination} {from} {to}\r\n").into_bytes()
}

/// Writes a header of version 2 down. Ends of two families are written as IPv6.
pub fn v2(ends: Ends) -> Vec<u8> {
    let mut header = SIGNATURE.to_vec();
    let octets = |address: IpAddr| match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    let (source, destination) = same_family(ends);
    let (family, length) = if source.is_ipv4() { (TCP4, 12u16) } else { (TCP6, 36) };
    header.extend([PROXY, family]);
    header.extend(length.to_be_bytes());
    header.extend(octets(source));
    header.extend(octets(destination));
    header.extend(ends.source.port().to_be_bytes());
    header.extend(ends.destination.port().to_be_bytes());
    header
}

/// Reads a header of either version and nothing behind it. None: the proxy speaks for itself (`LOCAL`, `UNKNOWN`).
///
/// # Errors
/// [`HeaderError`]. There is no time limit here.
pub async fn read(stream: &mut TcpStream) -> Result<Option<Ends>, HeaderError> {
    let mut start = [0; SIGNATURE.len()];
    stream.read_exact(&mut start).await?;
    if start == SIGNATURE {
        return read_v2(stream).await;
    }
    if !start.starts_with(V1_START) {
        return Err(HeaderError::Absent);
    }
    let mut line = start.to_vec();
    let mut peeked = [0; V1_BYTES_MAX];
    loop {
        let seen = stream.peek(&mut peeked[line.len()..]).await?;
        let new = &peeked[line.len()..][..seen];
        // What is behind the line is not ours to take.
        let take = new.iter().position(|&byte| byte == b'\n').map_or(seen, |at| at + 1);
        if take == 0 {
            return Err(HeaderError::Io(io::ErrorKind::UnexpectedEof.into()));
        }
        let at = line.len();
        line.resize(at + take, 0);
        stream.read_exact(&mut line[at..]).await?;
        if line.ends_with(b"\n") {
            return parse_v1(&line);
        }
        if line.len() >= V1_BYTES_MAX {
            return Err(HeaderError::Malformed);
        }
    }
}

async fn read_v2(stream: &mut TcpStream) -> Result<Option<Ends>, HeaderError> {
    let mut fixed = [0; 4];
    stream.read_exact(&mut fixed).await?;
    let [command, family, high, low] = fixed;
    let length = usize::from(u16::from_be_bytes([high, low]));
    if length > V2_BYTES_MAX {
        return Err(HeaderError::Malformed);
    }
    let mut rest = vec![0; length];
    stream.read_exact(&mut rest).await?;
    parse_v2(command, family, &rest)
}

/// A whole line of version 1.
fn parse_v1(line: &[u8]) -> Result<Option<Ends>, HeaderError> {
    let text = std::str::from_utf8(line).ok().and_then(|text| text.strip_suffix("\r\n"));
    let mut words = text.ok_or(HeaderError::Malformed)?.split(' ').skip(1);
    let mut next = || words.next().ok_or(HeaderError::Malformed);
    let family = next()?;
    if family == "UNKNOWN" {
        // "the receiver must ignore anything presented before the CRLF"
        return Ok(None);
    }
    let (source, destination) = (next()?, next()?);
    let (source_port, destination_port) = (port(next()?)?, port(next()?)?);
    let is_last = next().is_err();
    let address = |text: &str| match family {
        "TCP4" => text.parse().map(IpAddr::V4).ok(),
        "TCP6" => text.parse().map(IpAddr::V6).ok(),
        _ => None,
    };
    match (address(source), address(destination)) {
        (Some(source), Some(destination)) if is_last => Ok(Some(Ends {
            source: SocketAddr::new(source, source_port),
            destination: SocketAddr::new(destination, destination_port),
        })),
        _ => Err(HeaderError::Malformed),
    }
}

/// Decimal without a sign or leading zeros.
fn port(text: &str) -> Result<u16, HeaderError> {
    let is_plain = text == "0" || (!text.starts_with('0') && text.bytes().all(|byte| byte.is_ascii_digit()));
    text.parse().ok().filter(|_| is_plain).ok_or(HeaderError::Malformed)
}

/// What is behind the signature of version 2: command and version, family and transport, addresses.
fn parse_v2(command: u8, family: u8, rest: &[u8]) -> Result<Option<Ends>, HeaderError> {
    match command {
        // "the receiver must accept this connection as valid and must use the real connection endpoints"
        LOCAL => return Ok(None),
        PROXY => {}
        _ => return Err(HeaderError::Malformed),
    }
    let v4 = |at: usize| Some(IpAddr::from(Ipv4Addr::from(<[u8; 4]>::try_from(rest.get(at..at + 4)?).ok()?)));
    let v6 =
        |at: usize| Some(IpAddr::from(Ipv6Addr::from(<[u8; 16]>::try_from(rest.get(at..at + 16)?).ok()?)));
    let port = |at: usize| Some(u16::from_be_bytes(rest.get(at..at + 2)?.try_into().ok()?));
    let ends = match family {
        TCP4 => v4(0).zip(v4(4)).zip(port(8).zip(port(10))),
        TCP6 => v6(0).zip(v6(16)).zip(port(32).zip(port(34))),
        // Unspecified, UNIX and datagrams: "the receiver should ignore address information".
        _ => return Ok(None),
    };
    let ((source, destination), (from, to)) = ends.ok_or(HeaderError::Malformed)?;
    Ok(Some(Ends { source: SocketAddr::new(source, from), destination: SocketAddr::new(destination, to) }))
}

/// Both addresses in one family.
fn same_family(ends: Ends) -> (IpAddr, IpAddr) {
    let (source, destination) = (ends.source.ip().to_canonical(), ends.destination.ip().to_canonical());
    let as_v6 = |address: IpAddr| match address {
        IpAddr::V4(address) => IpAddr::V6(address.to_ipv6_mapped()),
        v6 @ IpAddr::V6(_) => v6,
    };
    if source.is_ipv4() == destination.is_ipv4() {
        (source, destination)
    } else {
        (as_v6(source), as_v6(destination))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    use super::*;

    fn ends(source: &str, destination: &str) -> Ends {
        Ends { source: source.parse().unwrap(), destination: destination.parse().unwrap() }
    }

    /// What a reader makes of these bytes, and what it leaves.
    async fn read_from(bytes: &[u8], piece: usize) -> (Result<Option<Ends>, HeaderError>, Vec<u8>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        client.set_nodelay(true).unwrap();
        let (mut stream, _) = listener.accept().await.unwrap();
        let write = async {
            for piece in bytes.chunks(piece) {
                client.write_all(piece).await.unwrap();
                tokio::task::yield_now().await;
            }
            client.shutdown().await.unwrap();
        };
        let (found, ()) = tokio::join!(read(&mut stream), write);
        let mut left = Vec::new();
        if found.is_ok() {
            stream.read_to_end(&mut left).await.unwrap();
        }
        (found, left)
    }

    #[tokio::test]
    async fn what_is_written_is_read_and_nothing_behind_it() {
        let v4 = ends("192.0.2.7:40000", "198.51.100.1:443");
        let v6 = ends("[2001:db8::7]:1", "[2001:db8::1]:65535");
        for (ends, header) in [(v4, v1(v4)), (v4, v2(v4)), (v6, v1(v6)), (v6, v2(v6))] {
            for piece in [1, 5, 4096] {
                let bytes = [&header[..], b"GET / HTTP/1.1\r\n"].concat();
                let (found, left) = read_from(&bytes, piece).await;
                assert_eq!(found.unwrap(), Some(ends));
                assert_eq!(left, b"GET / HTTP/1.1\r\n");
            }
        }
    }

    #[test]
    fn headers_have_the_form_that_the_document_shows() {
        let v4 = ends("192.0.2.7:40000", "198.51.100.1:443");
        assert_eq!(v1(v4), b"PROXY TCP4 192.0.2.7 198.51.100.1 40000 443\r\n");
        assert_eq!(
            v2(v4),
            b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x07\xc6\x33\x64\x01\x9c\x40\x01\xbb"
        );
        let mixed = ends("192.0.2.7:1", "[2001:db8::1]:2");
        assert_eq!(v1(mixed), b"PROXY TCP6 ::ffff:192.0.2.7 2001:db8::1 1 2\r\n");
    }

    #[tokio::test]
    async fn a_proxy_may_speak_for_itself() {
        let local = [&SIGNATURE[..], &[LOCAL, 0, 0, 0], b"x"].concat();
        let unix = [&SIGNATURE[..], &[PROXY, 0x31, 0, 3, 1, 2, 3], b"x"].concat();
        for bytes in [&local[..], &unix, b"PROXY UNKNOWN\r\nx", b"PROXY UNKNOWN ffff:: whatever 1\r\nx"] {
            let (found, left) = read_from(bytes, 4096).await;
            assert!(matches!(found, Ok(None)), "{found:?}");
            assert_eq!(left, b"x");
        }
    }

    #[tokio::test]
    async fn what_is_no_header_is_refused() {
        let long = [b"PROXY TCP4 ".as_slice(), &[b'1'; 200]].concat();
        let short_v2 = [&SIGNATURE[..], &[PROXY, TCP6, 0, 12], &[0; 12]].concat();
        let bad_command = [&SIGNATURE[..], &[0x22, TCP4, 0, 12], &[0; 12]].concat();
        let huge = [&SIGNATURE[..], &[PROXY, TCP4, 0xff, 0xff], &[0; 12]].concat();
        for bytes in [
            b"GET / HTTP/1.1\r\n\r\n".as_slice(),
            b"PROXY TCP4 1.2.3.4 1.2.3.5 80\r\n",
            b"PROXY TCP4 1.2.3.4 1.2.3.5 80 070\r\n",
            b"PROXY TCP4 1.2.3.4 1.2.3.5 80 +7\r\n",
            b"PROXY TCP4 1.2.3.4 1.2.3.5 80 70 9\r\n",
            b"PROXY TCP4 ::1 ::2 80 70\r\n",
            b"PROXY UDP4 1.2.3.4 1.2.3.5 80 70\r\n",
            b"PROXY TCP4 1.2.3.4 1.2.3.5 80 70\n",
            b"PROXY ",
            &long,
            &short_v2,
            &bad_command,
            &huge,
        ] {
            let (found, _) = read_from(bytes, 4096).await;
            assert!(found.is_err(), "{} gave {found:?}", bytes.escape_ascii());
        }
    }

    proptest! {
        #[test]
        fn lines_and_binary_headers_of_any_bytes_are_parsed_or_refused(bytes: Vec<u8>, command: u8, family: u8) {
            let _ = parse_v1(&bytes);
            if let Ok(Some(ends)) = parse_v2(command, family, &bytes) {
                prop_assert_eq!(&v2(ends)[14..16], if family == TCP4 { &[0, 12] } else { &[0, 36] });
            }
        }
    }
}
