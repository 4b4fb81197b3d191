use std::io;
use std::task::{Context, Poll, ready};

use bytes::{BufMut, BytesMut};
use h2::RecvStream;

use crate::error::io_error;
use crate::fields;

/// A body that comes in DATA frames, as HTTP/1 text.
pub(crate) struct BodyIn {
    stream: RecvStream,
    /// Chunked, because no Content-Length says where it ends.
    is_chunked: bool,
    step: Step,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    Data,
    Trailers,
    Over,
}

impl BodyIn {
    pub(crate) fn new(stream: RecvStream, is_chunked: bool) -> Self {
        Self { stream, is_chunked, step: Step::Data }
    }

    /// Appends what comes next to `out`; false: the body is over.
    ///
    /// The window is opened again for what is appended, so the caller asks for more only when `out` is used up.
    pub(crate) fn poll_more(&mut self, cx: &mut Context<'_>, out: &mut BytesMut) -> Poll<io::Result<bool>> {
        loop {
            match self.step {
                Step::Data => match ready!(self.stream.poll_data(cx)) {
                    Some(Ok(data)) if data.is_empty() => {}
                    Some(Ok(data)) => {
                        if self.is_chunked {
                            http1::write_chunk_header(out, data.len());
                        }
                        out.put_slice(&data);
                        if self.is_chunked {
                            http1::write_chunk_end(out);
                        }
                        // Fails only for a stream that is gone, which the next poll reports.
                        let _ = self.stream.flow_control().release_capacity(data.len());
                        return Poll::Ready(Ok(true));
                    }
                    Some(Err(error)) => return Poll::Ready(Err(io_error(error))),
                    None => self.step = Step::Trailers,
                },
                Step::Trailers => {
                    let trailers = ready!(self.stream.poll_trailers(cx)).map_err(io_error)?;
                    self.step = Step::Over;
                    if self.is_chunked {
                        out.put_slice(b"0\r\n");
                        if let Some(trailers) = trailers {
                            fields::write_lines(out, trailers.iter());
                        }
                        out.put_slice(b"\r\n");
                        return Poll::Ready(Ok(true));
                    }
                }
                Step::Over => return Poll::Ready(Ok(false)),
            }
        }
    }
}
