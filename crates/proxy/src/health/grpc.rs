//! The messages of `grpc.health.v1.Health/Check`.
//!
//! Source: grpc/grpc-proto, `grpc/health/v1/health.proto`; "Length-Prefixed-Message" of gRPC over HTTP/2.

/// `HealthCheckResponse.ServingStatus.SERVING`.
const SERVING: u64 = 1;

/// `HealthCheckRequest { service }` with its prefix.
pub(super) fn request(service: &str) -> Vec<u8> {
    let mut message = Vec::new();
    if !service.is_empty() {
        // Field 1, a string.
        message.push(0x0a);
        put_varint(&mut message, service.len() as u64);
        message.extend_from_slice(service.as_bytes());
    }
    let mut framed = vec![0];
    framed.extend_from_slice(&u32::try_from(message.len()).unwrap_or(u32::MAX).to_be_bytes());
    framed.extend(message);
    framed
}

/// Whether the answer says SERVING; none: it is not whole yet. What cannot be read does not.
pub(super) fn answer(framed: &[u8]) -> Option<bool> {
    let (prefix, rest) = framed.split_first_chunk::<5>()?;
    let [flags, length @ ..] = *prefix;
    if flags != 0 {
        return Some(false);
    }
    let message = rest.get(..usize::try_from(u32::from_be_bytes(length)).ok()?)?;
    Some(status(message) == Some(SERVING))
}

/// Field 1 of the message, a varint; the last one counts, and 0 stands for none.
fn status(mut message: &[u8]) -> Option<u64> {
    let mut status = 0;
    while !message.is_empty() {
        let tag = take_varint(&mut message)?;
        match (tag >> 3, tag & 7) {
            (1, 0) => status = take_varint(&mut message)?,
            (_, 0) => drop(take_varint(&mut message)?),
            (_, 1) => message = message.get(8..)?,
            (_, 2) => {
                let length = usize::try_from(take_varint(&mut message)?).ok()?;
                message = message.get(length..)?;
            }
            (_, 5) => message = message.get(4..)?,
            _ => return None,
        }
    }
    Some(status)
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}

fn take_varint(from: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = from.split_first()?;
        *from = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_names_the_service_if_there_is_one() {
        assert_eq!(request(""), [0, 0, 0, 0, 0]);
        assert_eq!(request("a.B"), [0, 0, 0, 0, 5, 0x0a, 3, b'a', b'.', b'B']);
        let long = request(&"x".repeat(200));
        assert_eq!(long[..8], [0, 0, 0, 0, 203, 0x0a, 0xc8, 1]);
    }

    #[test]
    fn only_serving_is_serving() {
        assert_eq!(answer(&[0, 0, 0, 0, 2, 8, 1]), Some(true));
        assert_eq!(answer(&[0, 0, 0, 0, 2, 8, 2]), Some(false), "NOT_SERVING");
        assert_eq!(answer(&[0, 0, 0, 0, 0]), Some(false), "UNKNOWN");
        assert_eq!(answer(&[1, 0, 0, 0, 2, 8, 1]), Some(false), "compressed, which nobody allowed");
        assert_eq!(answer(&[0, 0, 0, 0, 2, 8]), None);
        assert_eq!(answer(&[0, 0, 0]), None);
        // Fields of a later version are passed over; one that breaks off is no answer.
        assert_eq!(answer(&[0, 0, 0, 0, 7, 0x12, 1, b'x', 0x18, 9, 8, 1]), Some(true));
        assert_eq!(answer(&[0, 0, 0, 0, 2, 0x12, 9]), Some(false));
        assert_eq!(answer(&[0, 0, 0, 0, 1, 0xff]), Some(false));
    }
}
