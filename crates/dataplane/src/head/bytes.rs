//! Byte classes, and searches that look at eight bytes at a time.

pub(super) const HTAB: u8 = b'\t';
pub(super) const LF: u8 = b'\n';
pub(super) const CR: u8 = b'\r';
pub(super) const SP: u8 = b' ';

/// `TOKEN[b]`: whether `b` may stand in a token (RFC 9110 section 5.6.2).
static TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0u8;
    while byte < 128 {
        table[byte as usize] = byte.is_ascii_alphanumeric()
            || matches!(
                byte,
                b'!' | b'#'
                    | b'$'
                    | b'%'
                    | b'&'
                    | b'\''
                    | b'*'
                    | b'+'
                    | b'-'
                    | b'.'
                    | b'^'
                    | b'_'
                    | b'`'
                    | b'|'
                    | b'~'
            );
        byte += 1;
    }
    table
};

/// Whether `byte` may stand in a token: a method, a field name (RFC 9110 section 5.6.2).
#[inline]
pub fn is_token_byte(byte: u8) -> bool {
    TOKEN.get(usize::from(byte)).copied().unwrap_or(false)
}

/// The first offset from `at` on whose byte is no token byte; the length of `bytes` if there is none.
#[inline]
pub(super) fn token_end(bytes: &[u8], at: usize) -> usize {
    let rest = bytes.get(at..).unwrap_or_default();
    at + rest.iter().position(|&b| !is_token_byte(b)).unwrap_or(rest.len())
}

/// The first offset from `at` on whose byte is a control byte (0x00 to 0x1f, 0x7f), HTAB included.
#[inline]
pub(super) fn control_byte(bytes: &[u8], at: usize) -> usize {
    find(bytes, at, |word| below(word, SP) | equal(word, 0x7f), |b| b < SP || b == 0x7f)
}

/// The first offset from `at` on whose byte may not stand in a request target: control, space, `#`, 0x7f and above.
#[inline]
pub(super) fn target_end(bytes: &[u8], at: usize) -> usize {
    find(
        bytes,
        at,
        |word| below(word, SP + 1) | equal(word, b'#') | equal(word, 0x7f) | (word & TOPS),
        |b| b <= SP || b == b'#' || b >= 0x7f,
    )
}

const ONES: u64 = 0x0101_0101_0101_0101;
const TOPS: u64 = 0x8080_8080_8080_8080;

/// The first offset from `at` on that `one` names. `eight` marks it in the top bit of the byte and may mark bytes above
/// the first by error (the borrow of a subtraction), so only the lowest mark counts.
#[inline(always)]
fn find(bytes: &[u8], at: usize, eight: impl Fn(u64) -> u64, one: impl Fn(u8) -> bool) -> usize {
    let mut at = at;
    while let Some(chunk) = bytes.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        let marks = eight(u64::from_le_bytes(*chunk));
        if marks != 0 {
            return at + (marks.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    while let Some(&b) = bytes.get(at) {
        if one(b) {
            break;
        }
        at += 1;
    }
    at
}

/// Marks the bytes below `limit` (at most 0x80).
#[inline(always)]
fn below(word: u64, limit: u8) -> u64 {
    word.wrapping_sub(ONES * limit as u64) & !word & TOPS
}

/// Marks the bytes equal to `byte`.
#[inline(always)]
fn equal(word: u64, byte: u8) -> u64 {
    let zero_where_equal = word ^ (ONES * byte as u64);
    zero_where_equal.wrapping_sub(ONES) & !zero_where_equal & TOPS
}
