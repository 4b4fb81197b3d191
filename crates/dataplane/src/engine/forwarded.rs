//! The text of forwarded headers, as userspace writes it, and of even length so that checksums stay in step.

use super::TEXT_MAX;
use crate::repeat::{Step, repeat};

const FOR: &[u8; 17] = b"X-Forwarded-For: ";
const PROTO: &[u8; 27] = b"\r\nX-Forwarded-Proto: http\r\n";
/// With one more space, which means nothing (RFC 9110 section 5.6.3), where the length would be odd.
const PROTO_PADDED: &[u8; 28] = b"\r\nX-Forwarded-Proto:  http\r\n";

/// Writes the headers for a client; returns their length, which is even. `at` is where the length is kept meanwhile: memory of
/// a map, whose content the verifier does not follow, or it would walk every combination of digits.
#[inline(always)]
pub(super) fn write(client: &[u8; 16], is_v6: bool, text: &mut [u8; TEXT_MAX], at: &mut u32) -> u32 {
    let mut i = 0;
    while i < FOR.len() {
        text[i] = FOR[i];
        i += 1;
    }
    let mut line = Line { text, at };
    line.set(FOR.len() as u32);
    if is_v6 {
        v6(client, &mut line);
    } else {
        v4(client, &mut line);
    }
    // The plain form has an odd length.
    let odd = line.get() & 1 == 0;
    let mut i = 0;
    while i < PROTO_PADDED.len() {
        let byte = if odd { PROTO_PADDED[i] } else { PROTO[if i < 27 { i } else { 26 }] };
        if odd || i < PROTO.len() {
            line.put(byte);
        }
        i += 1;
    }
    line.get() & (TEXT_MAX as u32 - 1)
}

struct Line<'t> {
    text: &'t mut [u8; TEXT_MAX],
    at: &'t mut u32,
}

impl Line<'_> {
    #[inline(always)]
    fn put(&mut self, byte: u8) {
        let at = self.get();
        self.text[at as usize & (TEXT_MAX - 1)] = byte;
        self.set(at.wrapping_add(1));
    }

    #[inline(always)]
    fn get(&self) -> u32 {
        // SAFETY: a live reference; volatile, so that it stays in memory.
        unsafe { (&raw const *self.at).read_volatile() }
    }

    #[inline(always)]
    fn set(&mut self, at: u32) {
        // SAFETY: as above.
        unsafe { (&raw mut *self.at).write_volatile(at) };
    }

    /// A number below 256, without leading zeros.
    #[inline(always)]
    fn decimal(&mut self, number: u8) {
        // Multiplied instead of divided: exact below 256.
        let number = u32::from(number);
        let hundreds = (number * 41) >> 12;
        let rest = number - hundreds * 100;
        let tens = (rest * 205) >> 11;
        if hundreds != 0 {
            self.put(b'0' + hundreds as u8);
        }
        if hundreds != 0 || tens != 0 {
            self.put(b'0' + tens as u8);
        }
        self.put(b'0' + (rest - tens * 10) as u8);
    }

    /// A digit of a group, unless it is a leading zero.
    #[inline(always)]
    fn hexadecimal(&mut self, digit: u32, is_written: bool) {
        if is_written {
            self.put(if digit < 10 { b'0' + digit as u8 } else { b'a' - 10 + digit as u8 });
        }
    }
}

#[inline(always)]
fn v4(address: &[u8; 16], line: &mut Line<'_>) {
    let mut octet = 12;
    while octet < 16 {
        if octet > 12 {
            line.put(b'.');
        }
        line.decimal(address[octet]);
        octet += 1;
    }
}

/// RFC 5952: lower case, no leading zeros, the first longest run of two or more zero groups as `::`.
struct Groups<'a, 't, 'l> {
    address: &'a [u8; 16],
    line: &'l mut Line<'t>,
    run: u32,
    best_len: u32,
    best_end: u32,
}

#[inline(always)]
fn v6(address: &[u8; 16], line: &mut Line<'_>) {
    let mut groups = Groups { address, line, run: 0, best_len: 1, best_end: 0 };
    repeat(8, &mut groups, |i, groups| {
        groups.run = if groups.group(i) == 0 { groups.run + 1 } else { 0 };
        if groups.run > groups.best_len {
            groups.best_len = groups.run;
            groups.best_end = i + 1;
        }
        Step::Next
    });
    repeat(8, &mut groups, |i, groups| {
        groups.write(i);
        Step::Next
    });
}

impl Groups<'_, '_, '_> {
    #[inline(always)]
    fn group(&self, i: u32) -> u32 {
        let at = (i as usize & 7) * 2;
        u32::from(u16::from_be_bytes([self.address[at], self.address[at + 1]]))
    }

    #[inline(always)]
    fn write(&mut self, i: u32) {
        let best_start = self.best_end.wrapping_sub(self.best_len);
        let has_run = self.best_end != 0;
        if has_run && i >= best_start && i < self.best_end {
            // One colon at the start of the run, one at the end of the address or before the next group.
            if i == best_start || i == 7 {
                self.line.put(b':');
            }
            return;
        }
        if i != 0 {
            self.line.put(b':');
        }
        let group = self.group(i);
        self.line.hexadecimal(group >> 12, group > 0xfff);
        self.line.hexadecimal(group >> 8 & 15, group > 0xff);
        self.line.hexadecimal(group >> 4 & 15, group > 0xf);
        self.line.hexadecimal(group & 15, true);
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
    use std::string::String;

    use super::*;

    fn text(address: IpAddr) -> String {
        let mut text = [0xff; TEXT_MAX];
        let bytes = match address {
            IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
            IpAddr::V6(v6) => v6.octets(),
        };
        let len = write(&bytes, address.is_ipv6(), &mut text, &mut 0);
        assert_eq!(len % 2, 0);
        String::from_utf8(text[..len as usize].to_vec()).unwrap()
    }

    fn check(address: IpAddr) {
        let written = text(address);
        let mut lines = written.split("\r\n");
        assert_eq!(lines.next().unwrap(), std::format!("X-Forwarded-For: {address}"));
        assert_eq!(lines.next().unwrap().replace("  ", " "), "X-Forwarded-Proto: http");
        assert_eq!((lines.next(), lines.next()), (Some(""), None), "{address}");
    }

    #[test]
    fn every_octet() {
        for octet in 0..=255 {
            check(Ipv4Addr::new(octet, 1, 99, octet).into());
        }
        check(Ipv4Addr::new(255, 255, 255, 255).into());
    }

    #[test]
    fn every_pattern_of_zero_groups_as_the_standard_library_writes_it() {
        for zeros in 0u32..256 {
            for value in [1u16, 0x20, 0x300, 0xfedc] {
                let groups: [u16; 8] = core::array::from_fn(|i| if zeros >> i & 1 == 1 { 0 } else { value });
                let address = Ipv6Addr::from(groups);
                // Mapped and compatible addresses have a notation of their own, and are no IPv6 peers.
                if address.to_ipv4().is_none() {
                    check(address.into());
                }
            }
        }
    }
}
