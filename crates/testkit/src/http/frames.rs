use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::client::{ClientError, Connection};
use crate::Netns;

/// Frame types of RFC 9113 section 6.
pub mod frame {
    /// Payload of a body.
    pub const DATA: u8 = 0;
    /// A field section, or its first part.
    pub const HEADERS: u8 = 1;
    /// The end of a stream, by an error.
    pub const RST_STREAM: u8 = 3;
    /// Settings, or their acknowledgement.
    pub const SETTINGS: u8 = 4;
    /// A question that wants an echo.
    pub const PING: u8 = 6;
    /// The connection ends.
    pub const GOAWAY: u8 = 7;
    /// Room for more payload.
    pub const WINDOW_UPDATE: u8 = 8;
    /// More of a field section.
    pub const CONTINUATION: u8 = 9;
    /// Flag: the last frame of its sender on a stream; of SETTINGS and PING: an acknowledgement.
    pub const END_STREAM: u8 = 1;
    /// Flag: the last frame of a field section.
    pub const END_HEADERS: u8 = 4;
}

/// A client of HTTP/2 that sends the frames it is told to, right or wrong.
#[derive(Debug)]
pub struct Http2 {
    stream: TcpStream,
    received: Vec<u8>,
}

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// One of [`frame`].
    pub kind: u8,
    /// Bits of [`frame`].
    pub flags: u8,
    /// 0: the connection.
    pub stream: u32,
    /// Without padding taken off.
    pub payload: Vec<u8>,
}

/// How a request ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// A whole response.
    Answered {
        /// None where the peer's compression hides it: ask the first request of a connection.
        status: Option<u16>,
        /// Payload of its DATA frames.
        body: Vec<u8>,
    },
    /// RST_STREAM with this code.
    Reset(u32),
    /// GOAWAY with this code, other than NO_ERROR.
    GoneAway(u32),
    /// The connection closed.
    Closed,
}

impl Http2 {
    /// Connects from `netns`, and sends the preface with these settings.
    ///
    /// # Errors
    /// As [`Connection::open`].
    pub fn open(netns: &Netns, address: SocketAddr, settings: &[(u16, u32)]) -> Result<Self, ClientError> {
        let connection = Connection::open(netns, address)?;
        let mut http2 = Self { stream: connection.stream().try_clone()?, received: Vec::new() };
        http2.stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")?;
        let payload: Vec<u8> = settings
            .iter()
            .flat_map(|(id, value)| [&id.to_be_bytes()[..], &value.to_be_bytes()[..]].concat())
            .collect();
        http2.send(frame::SETTINGS, 0, 0, &payload)?;
        Ok(http2)
    }

    /// The socket itself.
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Sends one frame.
    ///
    /// # Errors
    /// [`ClientError::Reset`] and the like.
    pub fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Result<(), ClientError> {
        Ok(self.stream.write_all(&encode(kind, flags, stream, payload))?)
    }

    /// Sends bytes as they are: many frames in one go.
    ///
    /// # Errors
    /// As [`Http2::send`].
    pub fn send_bytes(&mut self, bytes: &[u8]) -> Result<(), ClientError> {
        Ok(self.stream.write_all(bytes)?)
    }

    /// Sends the head of a request. `is_last`: it has no body.
    ///
    /// # Errors
    /// As [`Http2::send`].
    pub fn request(
        &mut self,
        stream: u32,
        fields: &[(&[u8], &[u8])],
        is_last: bool,
    ) -> Result<(), ClientError> {
        let end = if is_last { frame::END_STREAM } else { 0 };
        self.send(frame::HEADERS, frame::END_HEADERS | end, stream, &section(fields))
    }

    /// The next frame. Settings are acknowledged on the way.
    ///
    /// # Errors
    /// [`ClientError::Closed`], [`ClientError::Timeout`] after 10 s of silence, and the like.
    pub fn frame(&mut self) -> Result<Frame, ClientError> {
        loop {
            if let Some(next) = self.take_frame() {
                if next.kind == frame::SETTINGS && next.flags & 1 == 0 {
                    self.send(frame::SETTINGS, 1, 0, &[])?;
                }
                return Ok(next);
            }
            let mut chunk = [0; 16 * 1024];
            match self.stream.read(&mut chunk)? {
                0 => return Err(ClientError::Closed),
                read => self.received.extend_from_slice(&chunk[..read]),
            }
        }
    }

    /// Reads until `stream` has ended. Windows are opened by what came.
    ///
    /// # Errors
    /// [`ClientError::Timeout`], and the like; that the peer closes is none.
    pub fn ended(&mut self, stream: u32) -> Result<Ended, ClientError> {
        let (mut status, mut body) = (None, Vec::new());
        loop {
            let next = match self.frame() {
                Ok(next) => next,
                Err(ClientError::Closed | ClientError::Reset) => return Ok(Ended::Closed),
                Err(error) => return Err(error),
            };
            match next.kind {
                frame::GOAWAY => match code(next.payload.get(4..8)) {
                    0 => {}
                    error => return Ok(Ended::GoneAway(error)),
                },
                frame::RST_STREAM if next.stream == stream => {
                    return Ok(Ended::Reset(code(next.payload.get(..4))));
                }
                frame::HEADERS if next.stream == stream && status.is_none_or(|s| s < 200) => {
                    status = read_status(&next.payload);
                }
                frame::DATA if next.stream == stream => {
                    body.extend_from_slice(&next.payload);
                    if let Ok(size @ 1..) = u32::try_from(next.payload.len()) {
                        for of in [0, stream] {
                            self.send(frame::WINDOW_UPDATE, 0, of, &size.to_be_bytes())?;
                        }
                    }
                }
                _ => {}
            }
            let ends =
                matches!(next.kind, frame::DATA | frame::HEADERS) && next.flags & frame::END_STREAM > 0;
            if ends && next.stream == stream {
                return Ok(Ended::Answered { status, body });
            }
        }
    }

    /// Takes what the peer sends until it closes or `limit` has passed: whether it closed.
    ///
    /// # Errors
    /// The socket refuses the limit.
    pub fn closes_within(&mut self, limit: Duration) -> Result<bool, ClientError> {
        let end = std::time::Instant::now() + limit;
        let mut chunk = [0; 16 * 1024];
        loop {
            let left = end.saturating_duration_since(std::time::Instant::now());
            if left.is_zero() {
                return Ok(false);
            }
            self.stream.set_read_timeout(Some(left))?;
            match self.stream.read(&mut chunk) {
                Ok(0) => return Ok(true),
                Ok(_) => {}
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(_) => return Ok(true),
            }
        }
    }

    fn take_frame(&mut self) -> Option<Frame> {
        let head: [u8; 9] = self.received.get(..9)?.try_into().ok()?;
        let size = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let payload = self.received.get(9..9 + size)?.to_vec();
        self.received.drain(..9 + size);
        let stream = u32::from_be_bytes([head[5] & 0x7f, head[6], head[7], head[8]]);
        Some(Frame { kind: head[3], flags: head[4], stream, payload })
    }
}

/// The bytes of one frame (RFC 9113 section 4.1).
pub fn encode(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let size = u32::try_from(payload.len()).unwrap_or(u32::MAX).to_be_bytes();
    let head = [&size[1..], &[kind, flags], &stream.to_be_bytes()[..]].concat();
    [&head, payload].concat()
}

/// A field section of literals without indexing and without Huffman coding (RFC 7541 section 6.2.2).
pub fn section(fields: &[(&[u8], &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in fields {
        out.push(0);
        for text in [name, value] {
            write_length(&mut out, text.len());
            out.extend_from_slice(text);
        }
    }
    out
}

/// An integer with a prefix of seven bits (RFC 7541 section 5.1).
fn write_length(out: &mut Vec<u8>, length: usize) {
    if length < 127 {
        out.push(low(length));
        return;
    }
    out.push(127);
    let mut rest = length - 127;
    while rest >= 128 {
        out.push(low(rest) | 128);
        rest /= 128;
    }
    out.push(low(rest));
}

/// The lowest byte.
fn low(number: usize) -> u8 {
    number.to_le_bytes()[0]
}

fn code(bytes: Option<&[u8]>) -> u32 {
    bytes.and_then(|b| b.try_into().ok()).map_or(u32::MAX, u32::from_be_bytes)
}

/// The status of a field section whose first field is `:status`, from the static table or three digits.
fn read_status(section: &[u8]) -> Option<u16> {
    // Behind a change of the table's size.
    let section = &section[section.iter().take_while(|&&b| b & 0xe0 == 0x20).count()..];
    match *section.first()? {
        indexed @ 0x88..=0x8e => Some([200, 204, 206, 304, 400, 404, 500][usize::from(indexed - 0x88)]),
        0x48 | 0x08 | 0x18 => {
            let length = *section.get(1)?;
            let text = section.get(2..2 + usize::from(length & 0x7f))?;
            if length & 0x80 == 0 {
                std::str::from_utf8(text).ok()?.parse().ok()
            } else {
                huffman_digits(text)
            }
        }
        _ => None,
    }
}

/// RFC 7541 appendix B: '0' to '2' are 5 bits, 00000 to 00010; '3' to '9' are 6 bits, 011001 to 011111.
fn huffman_digits(text: &[u8]) -> Option<u16> {
    let bits: Vec<u8> = text.iter().flat_map(|byte| (0..8).rev().map(move |at| byte >> at & 1)).collect();
    let value = |from: usize, count: usize| -> Option<u16> {
        Some(bits.get(from..from + count)?.iter().fold(0, |sum, &bit| sum << 1 | u16::from(bit)))
    };
    let (mut at, mut number) = (0, 0);
    for _ in 0..3 {
        let (digit, size) = match value(at, 5)? {
            short @ 0..=2 => (short, 5),
            _ => (value(at, 6)?.checked_sub(0b01_1001)? + 3, 6),
        };
        number = number * 10 + digit;
        at += size;
    }
    Some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_and_sections_have_their_form() {
        assert_eq!(encode(6, 1, 0, b"12345678"), b"\0\0\x08\x06\x01\0\0\0\x0012345678");
        assert_eq!(section(&[(b":path", b"/")]), b"\0\x05:path\x01/");
        let mut out = Vec::new();
        // RFC 7541 appendix C.1.2 has this with a prefix of five bits: 1337 - 31; here 1337 - 127 = 1210.
        write_length(&mut out, 1337);
        assert_eq!(out, [127, 186, 9]);
    }

    #[test]
    fn a_status_is_read_however_it_is_written() {
        assert_eq!(read_status(b"\x88"), Some(200));
        assert_eq!(read_status(b"\x20\x8c"), Some(400));
        // RFC 7541 appendix C.6.1 and C.6.2: "302" and "307".
        assert_eq!(read_status(b"\x48\x82\x64\x02"), Some(302));
        assert_eq!(read_status(b"\x48\x83\x64\x0e\xff"), Some(307));
        assert_eq!(read_status(b"\x08\x03421"), Some(421));
    }
}
