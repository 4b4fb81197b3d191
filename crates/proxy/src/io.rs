//! Reading into and writing from `BytesMut` by polling, so that one task drives both directions of an exchange.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BufMut, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Reads what is there behind what `buffer` holds, with room for `size` bytes or more. Ready(Ok(0)): end of stream.
pub(crate) fn poll_read<S: AsyncRead + Unpin>(
    stream: &mut S,
    cx: &mut Context<'_>,
    buffer: &mut BytesMut,
    size: usize,
) -> Poll<io::Result<usize>> {
    buffer.reserve(size);
    let spare = buffer.chunk_mut();
    // SAFETY: `poll_read` only writes initialised bytes into the slice, through ReadBuf, which keeps count.
    let mut unfilled = ReadBuf::uninit(unsafe { spare.as_uninit_slice_mut() });
    ready!(Pin::new(stream).poll_read(cx, &mut unfilled))?;
    let filled = unfilled.filled().len();
    // SAFETY: `filled` bytes from the start of the spare capacity were just initialised.
    unsafe { buffer.advance_mut(filled) };
    Poll::Ready(Ok(filled))
}

/// Writes all of `first`, then `second[..*pending]`, taking both away as they go.
///
/// Both leave in one call where the stream takes vectors. Ready(Ok(n)): all written, `n` bytes by this call; Pending
/// returns with some of it written perhaps, which `moved` says.
pub(crate) fn poll_write_both<S: AsyncWrite + Unpin>(
    stream: &mut S,
    cx: &mut Context<'_>,
    first: &mut BytesMut,
    second: &mut BytesMut,
    pending: &mut usize,
    mut taken: impl FnMut(&[u8]),
    moved: &mut usize,
) -> Poll<io::Result<()>> {
    while !first.is_empty() || *pending > 0 {
        let written = if first.is_empty() {
            ready!(Pin::new(&mut *stream).poll_write(cx, &second[..*pending]))?
        } else if *pending == 0 {
            ready!(Pin::new(&mut *stream).poll_write(cx, first))?
        } else {
            let parts = [IoSlice::new(first), IoSlice::new(&second[..*pending])];
            ready!(Pin::new(&mut *stream).poll_write_vectored(cx, &parts))?
        };
        if written == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        *moved += written;
        let of_first = written.min(first.len());
        first.advance(of_first);
        let of_second = written - of_first;
        taken(&second[..of_second]);
        second.advance(of_second);
        *pending -= of_second;
    }
    Poll::Ready(Ok(()))
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use tokio::io::AsyncReadExt;

    use super::*;

    #[tokio::test]
    async fn both_parts_leave_in_order_and_what_is_not_pending_stays() {
        let (mut near, mut far) = tokio::io::duplex(5);
        let (mut first, mut second, mut pending) = (BytesMut::from("head"), BytesMut::from("bodyNEXT"), 4);
        let (mut copy, mut moved) = (Vec::new(), 0);
        let mut received = Vec::new();
        loop {
            let mut cx = Context::from_waker(Waker::noop());
            let taken = |bytes: &[u8]| copy.extend_from_slice(bytes);
            let done =
                poll_write_both(&mut near, &mut cx, &mut first, &mut second, &mut pending, taken, &mut moved);
            let mut chunk = [0; 3];
            let n = far.read(&mut chunk).await.unwrap();
            received.extend_from_slice(&chunk[..n]);
            if done.is_ready() {
                break;
            }
        }
        drop(near);
        far.read_to_end(&mut received).await.unwrap();
        assert_eq!((received.as_slice(), copy.as_slice()), (&b"headbody"[..], &b"body"[..]));
        assert_eq!((first.len(), &second[..], pending, moved), (0, &b"NEXT"[..], 0, 8));
    }
}
