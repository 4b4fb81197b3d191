use std::net::{IpAddr, SocketAddr};

use crate::mix::mix;

/// Hashes a flow and its request counter, for [`crate::Pick::hash`].
///
/// `counter` is the number of the request on its connection: requests of one connection spread over the endpoints, and
/// the same request of the same flow always gets the same hash, on every node and in every version. An IPv4 address and
/// its IPv4-mapped IPv6 form are the same client. Not keyed: it spreads load, and a client may choose its endpoint by its
/// source port as it may by trying again.
pub fn hash_flow(client: SocketAddr, server: SocketAddr, counter: u64) -> u64 {
    let ports = u64::from(client.port()) << 16 | u64::from(server.port());
    let [client_high, client_low] = words(client.ip());
    let [server_high, server_low] = words(server.ip());
    // Each step is a bijection of what came before, so words cannot cancel each other out.
    [client_high, client_low, server_high, server_low, counter]
        .into_iter()
        .fold(mix(ports), |hash, word| mix(hash.rotate_left(23) ^ word))
}

/// The address as IPv6, in two words.
pub(crate) fn words(address: IpAddr) -> [u64; 2] {
    let v6 = match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    };
    let word = |segments: &[u16]| segments.iter().fold(0, |word, &s| word << 16 | u64::from(s));
    let segments = v6.segments();
    let (high, low) = segments.split_at(4);
    [word(high), word(low)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn the_hash_is_stable() {
        assert_eq!(hash_flow(at("10.0.0.1:40000"), at("10.0.0.2:80"), 0), 17_391_099_355_340_594_895);
        assert_eq!(hash_flow(at("[fd00::1]:40000"), at("[fd00::2]:443"), 7), 7_896_653_458_923_328_782);
    }

    #[test]
    fn a_mapped_address_is_the_same_client() {
        let server = at("10.0.0.2:80");
        assert_eq!(hash_flow(at("10.0.0.1:4"), server, 1), hash_flow(at("[::ffff:10.0.0.1]:4"), server, 1));
    }

    #[test]
    fn every_part_counts_and_directions_differ() {
        let base = hash_flow(at("10.0.0.1:1"), at("10.0.0.2:2"), 0);
        for (client, server, counter) in [
            ("10.0.0.3:1", "10.0.0.2:2", 0),
            ("10.0.0.1:3", "10.0.0.2:2", 0),
            ("10.0.0.1:1", "10.0.0.3:2", 0),
            ("10.0.0.1:1", "10.0.0.2:3", 0),
            ("10.0.0.1:1", "10.0.0.2:2", 1),
            ("10.0.0.2:2", "10.0.0.1:1", 0),
            ("10.0.0.2:1", "10.0.0.1:2", 0),
        ] {
            assert_ne!(hash_flow(at(client), at(server), counter), base, "{client} {server} {counter}");
        }
    }

    #[test]
    fn neighbouring_flows_spread_evenly() {
        let mut counts = [0u32; 16];
        for port in 0..400u16 {
            for counter in 0..40 {
                let client = SocketAddr::from(([10, 0, 0, 1], 40_000 + port));
                counts[(hash_flow(client, at("10.0.0.2:80"), counter) >> 60) as usize] += 1;
            }
        }
        // 16,000 draws into 16 cells; chi-square with 15 degrees of freedom: 37.7 has p = 0.001.
        let chi_square: f64 = counts.iter().map(|&n| (f64::from(n) - 1000.0).powi(2) / 1000.0).sum();
        assert!(chi_square < 37.7, "{chi_square} {counts:?}");
    }
}
