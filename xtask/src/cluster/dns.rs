//! Stands for the suite's CoreDNS: it answers every question.

use std::net::{Ipv6Addr, UdpSocket};

use anyhow::{Context, Result};

/// Bytes of a header (RFC 1035 section 4.1.1).
const HEADER_LEN: usize = 12;
/// Byte 2 of a header: this is an answer.
const ANSWER: u8 = 0x80;

/// Answers at UDP port `port` of all addresses, for ever: no error, and nothing found.
pub(super) fn serve(port: u16) -> Result<()> {
    let socket = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, port))
        .with_context(|| format!("cannot bind UDP port {port}"))?;
    let mut bytes = [0; 1500];
    loop {
        let (length, client) = socket.recv_from(&mut bytes).context("cannot receive")?;
        if let Some(answer) = answer(&mut bytes[..length]) {
            // Who does not wait any more need not be told.
            let _ = socket.send_to(answer, client);
        }
    }
}

/// Makes a question its own answer; none: it is no question.
fn answer(message: &mut [u8]) -> Option<&[u8]> {
    let flags = message.get_mut(..HEADER_LEN)?.get_mut(2)?;
    if *flags & ANSWER != 0 {
        return None;
    }
    *flags |= ANSWER;
    Some(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_are_answered_and_answers_are_not() {
        let mut message = *b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00\x01";
        assert_eq!(answer(&mut message).unwrap()[..4], [0x12, 0x34, 0x81, 0]);
        assert!(answer(&mut message).is_none());
        assert!(answer(&mut [0; 4]).is_none());
    }
}
