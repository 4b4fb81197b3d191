//! The headers of one packet, copied out, read as numbers, changed, and put back.

use wire::{TcpFlags, TcpOptions, Tuple};

use crate::repeat::{Step, repeat};
use crate::sum::Sum;

/// The longest TCP header, in bytes, and room for a word at any place that six bits say.
pub const TCP_MAX: usize = 68;

/// The IP header: 20 bytes of IPv4 without options, or 40 of IPv6.
pub const IP_MAX: usize = 40;

/// Where a packet's headers are, and what they say. Numbers are in host order.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct Image {
    /// Sender and receiver as they arrived.
    pub tuple: Tuple,
    /// Offset of the IP header in the frame.
    pub ip_at: u32,
    /// Offset of the TCP header.
    pub tcp_at: u32,
    /// Length of the TCP header with its options.
    pub tcp_len: u32,
    /// Bytes behind the TCP header that belong to the datagram.
    pub payload_len: u32,
    /// 1 for IPv6.
    pub is_v6: u32,
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgement number.
    pub ack: u32,
    /// Window as it stands in the header.
    pub window: u32,
    /// Control bits.
    pub flags: u32,
    /// Offset of the timestamps' eight bytes in the TCP header; 0: none.
    pub timestamps_at: u32,
    /// Timestamp.
    pub tsval: u32,
    /// Echo of the other side's timestamp.
    pub tsecr: u32,
    /// Offset of the first SACK edge in the TCP header; 0: none.
    pub sack_at: u32,
    /// Number of edges: two for each block.
    pub sack_edges: u32,
    /// What a SYN announces.
    pub options: TcpOptions,
    /// The link header's addresses as they arrived: receiver, sender.
    pub link: [u8; 12],
    /// The IP header.
    pub ip: [u8; IP_MAX],
    /// The TCP header.
    pub tcp: [u8; TCP_MAX],
}

/// Why a header cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadOptions;

impl Image {
    /// Whether `flag` of [`TcpFlags`] is set.
    #[inline(always)]
    pub const fn has(&self, flag: u8) -> bool {
        self.flags & flag as u32 != 0
    }

    /// Just behind the segment in sequence space: data, SYN and FIN count.
    #[inline(always)]
    pub const fn end(&self) -> u32 {
        let marks = self.has(TcpFlags::FIN) as u32 + self.has(TcpFlags::SYN) as u32;
        self.seq.wrapping_add(self.payload_len).wrapping_add(marks)
    }

    /// Offset of the payload in the frame.
    #[inline(always)]
    pub const fn payload_at(&self) -> u32 {
        self.tcp_at + self.tcp_len
    }

    /// Reads the numbers out of the fixed TCP header.
    #[inline(always)]
    pub fn read_numbers(&mut self) {
        self.seq = self.word(4);
        self.ack = self.word(8);
        self.window = u32::from(self.half(14));
        self.flags = u32::from(self.tcp[13]);
        self.timestamps_at = 0;
        self.sack_at = 0;
        self.sack_edges = 0;
        self.tsval = 0;
        self.tsecr = 0;
    }

    /// Walks the options; knows the two usual layouts of segments in flight without walking.
    ///
    /// # Errors
    /// An option that reaches past the header.
    #[inline(always)]
    pub fn read_options(&mut self) -> Result<(), BadOptions> {
        if self.tcp_len == 20 {
            return Ok(());
        }
        if self.tcp_len == 32 && self.word(20) == 0x0101_080a {
            self.timestamps_at = 24;
            self.tsval = self.word(24);
            self.tsecr = self.word(28);
            return Ok(());
        }
        walk(self)
    }

    /// Four bytes of the TCP header; `at` is taken modulo 64, rounded down to even by callers.
    #[inline(always)]
    pub fn word(&self, at: u32) -> u32 {
        let tcp = self.tcp.as_ptr();
        // SAFETY: at most 63 + 4 bytes into an array of 68.
        u32::from_be_bytes(unsafe { tcp.add(at as usize & 63).cast::<[u8; 4]>().read() })
    }

    /// Two bytes of the TCP header.
    #[inline(always)]
    pub fn half(&self, at: u32) -> u16 {
        let tcp = self.tcp.as_ptr();
        // SAFETY: at most 63 + 2 bytes into an array of 68.
        u16::from_be_bytes(unsafe { tcp.add(at as usize & 63).cast::<[u8; 2]>().read() })
    }

    /// Writes four bytes of the TCP header.
    #[inline(always)]
    pub fn set_word(&mut self, at: u32, value: u32) {
        let tcp = self.tcp.as_mut_ptr();
        // SAFETY: as in `word`.
        unsafe { tcp.add(at as usize & 63).cast::<[u8; 4]>().write(value.to_be_bytes()) };
    }

    /// Writes two bytes of the TCP header.
    #[inline(always)]
    pub fn set_half(&mut self, at: u32, value: u16) {
        let tcp = self.tcp.as_mut_ptr();
        // SAFETY: as in `half`.
        unsafe { tcp.add(at as usize & 63).cast::<[u8; 2]>().write(value.to_be_bytes()) };
    }

    /// The checksum field, as it stands.
    #[inline(always)]
    pub const fn checksum(&self) -> [u8; 2] {
        [self.tcp[16], self.tcp[17]]
    }

    /// The sum of the TCP header without its checksum field. `tcp_len` is 20 to 60.
    #[inline(always)]
    pub fn header_sum(&self) -> Sum {
        let mut sum = Sum::default();
        let mut at = 0;
        // Fixed bound, no early exit: the bytes behind the header are masked out.
        while at < 60 {
            let word =
                u32::from_ne_bytes([self.tcp[at], self.tcp[at + 1], self.tcp[at + 2], self.tcp[at + 3]]);
            if (at as u32) < self.tcp_len {
                sum.0 += u64::from(word);
            }
            at += 4;
        }
        sum.less_half(self.checksum())
    }

    /// The sum of the pseudo-header for a segment of `tcp_bytes` from and to the addresses in the IP header.
    #[inline(always)]
    pub fn pseudo_sum(&self, tcp_bytes: u32) -> Sum {
        let ip = &self.ip;
        let word = |at: usize| [ip[at], ip[at + 1], ip[at + 2], ip[at + 3]];
        let sum = Sum::default().tcp_length(tcp_bytes);
        if self.is_v6 == 0 {
            return sum.word(word(12)).word(word(16));
        }
        let sum = sum.word(word(8)).word(word(12)).word(word(16)).word(word(20));
        sum.word(word(24)).word(word(28)).word(word(32)).word(word(36))
    }
}

/// Where a walk over options is.
struct Walk<'i> {
    image: &'i mut Image,
    at: u32,
    is_bad: bool,
}

#[inline(never)]
fn walk(image: &mut Image) -> Result<(), BadOptions> {
    let mut walk = Walk { image, at: 20, is_bad: true };
    repeat(41, &mut walk, |_, walk| walk.option());
    if walk.is_bad { Err(BadOptions) } else { Ok(()) }
}

impl Walk<'_> {
    /// One option (RFC 9293 section 3.1).
    #[inline(always)]
    fn option(&mut self) -> Step {
        let left = self.image.tcp_len.wrapping_sub(self.at);
        if left == 0 || left > 40 {
            self.is_bad = left != 0;
            return Step::Stop;
        }
        let head = self.image.half(self.at);
        let kind = head >> 8;
        if kind == 0 {
            self.is_bad = false;
            return Step::Stop;
        }
        if kind == 1 {
            self.at += 1;
            return Step::Next;
        }
        let length = u32::from(head & 0xff);
        if left < 2 || length < 2 || length > left {
            return Step::Stop;
        }
        self.take(kind, length);
        self.at += length;
        Step::Next
    }

    #[inline(always)]
    fn take(&mut self, kind: u16, length: u32) {
        let (at, image) = (self.at, &mut *self.image);
        match (kind, length) {
            (2, 4) => image.options.mss = image.half(at + 2),
            (3, 3) => image.options.window_scale = ((image.half(at + 1) & 0xff) as u8).min(14),
            (4, 2) => image.options.flags |= TcpOptions::SACK,
            (8, 10) => {
                image.options.flags |= TcpOptions::TIMESTAMPS;
                image.timestamps_at = at + 2;
                image.tsval = image.word(at + 2);
                image.tsecr = image.word(at + 6);
            }
            (5, 10 | 18 | 26 | 34) => {
                image.sack_at = at + 2;
                image.sack_edges = (length - 2) >> 2;
            }
            _ => {}
        }
    }
}

impl Default for Image {
    fn default() -> Self {
        Self {
            tuple: Tuple::default(),
            ip_at: 0,
            tcp_at: 0,
            tcp_len: 0,
            payload_len: 0,
            is_v6: 0,
            seq: 0,
            ack: 0,
            window: 0,
            flags: 0,
            timestamps_at: 0,
            tsval: 0,
            tsecr: 0,
            sack_at: 0,
            sack_edges: 0,
            options: TcpOptions::default(),
            link: [0; 12],
            ip: [0; IP_MAX],
            tcp: [0; TCP_MAX],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(options: &[u8]) -> Image {
        let mut image = Image { tcp_len: 20 + options.len() as u32, ..Image::default() };
        image.tcp[20..20 + options.len()].copy_from_slice(options);
        image.read_numbers();
        image.options = TcpOptions { mss: 536, window_scale: TcpOptions::NO_SCALE, flags: 0 };
        image
    }

    fn options(bytes: &[u8]) -> (u16, u8, bool, bool) {
        let mut image = with(bytes);
        image.read_options().unwrap();
        let is = image.options;
        (is.mss, is.window_scale, is.sack(), is.timestamps())
    }

    #[test]
    fn the_layouts_of_linux_windows_and_macos() {
        let linux = [2, 4, 5, 0xb4, 4, 2, 8, 10, 1, 2, 3, 4, 0, 0, 0, 0, 1, 3, 3, 7];
        assert_eq!(options(&linux), (1460, 7, true, true));
        let windows = [2, 4, 5, 0xb4, 1, 3, 3, 8, 1, 1, 4, 2];
        assert_eq!(options(&windows), (1460, 8, true, false));
        let macos = [2, 4, 5, 0xb4, 1, 3, 3, 6, 1, 1, 8, 10, 1, 2, 3, 4, 0, 0, 0, 0, 4, 2, 0, 0];
        assert_eq!(options(&macos), (1460, 6, true, true));
        assert_eq!(options(&[]), (536, 15, false, false));
        assert_eq!(options(&[3, 3, 200, 0]).1, 14, "RFC 7323 section 2.3: more than 14 means 14");
    }

    #[test]
    fn timestamps_and_sack_blocks_are_found_wherever_they_stand() {
        let mut usual = with(&[1, 1, 8, 10, 0, 0, 0, 5, 0, 0, 0, 6]);
        usual.read_options().unwrap();
        assert_eq!((usual.timestamps_at, usual.tsval, usual.tsecr), (24, 5, 6));
        let mut both = with(&[1, 1, 8, 10, 0, 0, 0, 5, 0, 0, 0, 6, 1, 1, 5, 10, 0, 0, 0, 1, 0, 0, 0, 2]);
        both.read_options().unwrap();
        assert_eq!(
            (both.timestamps_at, both.sack_at, both.sack_edges, both.word(both.sack_at)),
            (24, 36, 2, 1)
        );
        let mut odd = with(&[8, 10, 0, 0, 0, 5, 0, 0, 0, 6, 1, 1]);
        odd.read_options().unwrap();
        assert_eq!((odd.timestamps_at, odd.tsval), (22, 5));
    }

    #[test]
    fn options_that_lie_about_their_length_are_refused() {
        for bytes in [&[2u8, 0, 0, 0][..], &[2, 1, 0, 0], &[8, 10, 0, 0], &[1, 1, 1, 2], &[254, 40, 0, 0]] {
            assert_eq!(with(bytes).read_options(), Err(BadOptions), "{bytes:?}");
        }
        assert_eq!(with(&[1; 40]).read_options(), Ok(()), "padding only");
        assert_eq!(with(&[0, 9, 9, 9]).read_options(), Ok(()), "behind the end");
    }
}
