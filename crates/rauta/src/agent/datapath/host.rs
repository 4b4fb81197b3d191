//! Connections of the host's own stack, where userspace serves.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;

use crate::view::flow::mapped;

/// The tables of both families (`tcp4_seq_show`, net/ipv4/tcp_ipv4.c); sockets for both have IPv4 mapped in the second.
const TABLES: [&str; 2] = ["/proc/thread-self/net/tcp", "/proc/thread-self/net/tcp6"];

/// The state of the connection between `client` and `vip` in the host's stack; none if it has none.
pub(super) fn state(client: SocketAddr, vip: SocketAddr) -> Option<&'static str> {
    TABLES.into_iter().find_map(|path| {
        let table = BufReader::new(File::open(path).ok()?);
        table.lines().map_while(Result::ok).find_map(|line| state_in(&line, client, vip))
    })
}

fn state_in(line: &str, client: SocketAddr, vip: SocketAddr) -> Option<&'static str> {
    let mut fields = line.split_ascii_whitespace().skip(1);
    let (local, remote, state) = (fields.next()?, fields.next()?, fields.next()?);
    let is = |field: &str, at: SocketAddr| endpoint(field) == Some((mapped(at.ip()), at.port()));
    if !is(local, vip) || !is(remote, client) {
        return None;
    }
    // include/net/tcp_states.h.
    Some(match state {
        "01" => "established",
        "04" | "05" => "closed by the gateway",
        "06" => "in TIME_WAIT",
        "08" => "closed by the client",
        _ => "opening or closing",
    })
}

/// `0100007F:1F90`: words of the address as this machine reads them, and the port.
fn endpoint(field: &str) -> Option<(wire::IpAddress, u16)> {
    let (words, port) = field.split_once(':')?;
    let mut address = match words.len() {
        8 => mapped(std::net::Ipv4Addr::UNSPECIFIED.into()),
        32 => [0; 16],
        _ => return None,
    };
    for (to, word) in address.rchunks_exact_mut(4).zip(words.as_bytes().rchunks_exact(8)) {
        let word = u32::from_str_radix(std::str::from_utf8(word).ok()?, 16).ok()?;
        to.copy_from_slice(&word.to_ne_bytes());
    }
    Some((address, u16::from_str_radix(port, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn connections_of_both_families_are_found_until_they_end() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let listener = TcpListener::bind(address).unwrap();
            let vip = listener.local_addr().unwrap();
            let client = TcpStream::connect(vip).unwrap();
            let (mut accepted, from) = listener.accept().unwrap();
            assert_eq!(state(from, vip), Some("established"));
            assert_eq!(state(vip, vip), None);
            drop(client);
            assert_eq!(accepted.read(&mut [0]).unwrap(), 0);
            assert_eq!(state(from, vip), Some("closed by the client"));
        }
    }

    #[test]
    fn mapped_addresses_are_the_same() {
        let vip: SocketAddr = "192.0.2.1:80".parse().unwrap();
        let mut mapped = String::new();
        for word in mapped_words(vip) {
            mapped.push_str(&format!("{word:08X}"));
        }
        assert_eq!(endpoint(&format!("{mapped}:0050")), endpoint(&format!("{}:0050", &mapped[24..])));
        assert_eq!(endpoint(&format!("{mapped}:0050")), Some((super::mapped(vip.ip()), 80)));
        assert_eq!(endpoint("local_address"), None, "the head of the table");
    }

    fn mapped_words(at: SocketAddr) -> Vec<u32> {
        let bytes = super::mapped(at.ip());
        bytes.chunks_exact(4).map(|word| u32::from_ne_bytes(word.try_into().unwrap())).collect()
    }
}
