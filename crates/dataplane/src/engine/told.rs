//! Headers of the PROXY protocol, version 2, for endpoints that wait for one.
//!
//! Source: W. Tarreau, "The PROXY protocol", versions 1 & 2, 2020/03/05 (`doc/proxy-protocol.txt` of HAProxy), section 2.2.

use wire::BackendRecord;

use crate::flow::TOLD_MAX;
use crate::image::Image;

/// Room for the longest one, in words of eight bytes.
pub(super) const ROOM: usize = 56;
/// Bytes of one for IPv4 and for IPv6: both are multiples of four, so that sums go on behind them.
pub(super) const LENGTHS: [u32; 2] = [28, TOLD_MAX];

/// The first twelve bytes, version 2 with command PROXY.
const START: [u8; 13] = *b"\r\n\r\n\0\r\nQUIT\n\x21";
/// Family and transport, and the length of what follows: TCP over IPv4, over IPv6.
const FAMILIES: [[u8; 3]; 2] = [[0x11, 0, 12], [0x21, 0, 36]];

/// How many bytes the endpoints of a backend are told first.
#[inline(always)]
pub(super) const fn length(record: &BackendRecord, is_v6: bool) -> u32 {
    if record.flags & BackendRecord::PROXY_V2 == 0 { 0 } else { LENGTHS[is_v6 as usize] }
}

/// Writes the header of the client whose segment is at hand. Behind it anything.
#[inline(always)]
pub(super) fn write(image: &Image, into: &mut [u8; ROOM]) {
    let is_v6 = image.is_v6 != 0;
    let (tuple, family) = (&image.tuple, if is_v6 { FAMILIES[1] } else { FAMILIES[0] });
    copy::<13, 13>(&START, 0, into, 0);
    copy::<3, 3>(&family, 0, into, START.len());
    if is_v6 {
        copy::<16, 16>(&tuple.source, 0, into, 16);
        copy::<16, 16>(&tuple.destination, 0, into, 32);
        copy::<2, 2>(&tuple.source_port, 0, into, 48);
        copy::<2, 2>(&tuple.destination_port, 0, into, 50);
    } else {
        copy::<16, 4>(&tuple.source, 12, into, 16);
        copy::<16, 4>(&tuple.destination, 12, into, 20);
        copy::<2, 2>(&tuple.source_port, 0, into, 24);
        copy::<2, 2>(&tuple.destination_port, 0, into, 26);
    }
}

/// Copies `LEN` bytes from `skip` on.
#[inline(always)]
fn copy<const N: usize, const LEN: usize>(from: &[u8; N], skip: usize, into: &mut [u8; ROOM], at: usize) {
    let mut i = 0;
    while i < LEN {
        into[at + i] = from[skip + i];
        i += 1;
    }
}
