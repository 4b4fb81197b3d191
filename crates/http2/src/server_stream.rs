use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use bytes::{BufMut, Bytes, BytesMut};
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::{Request, Response, StatusCode, header};
use http1::{Framing, Limits, ResponseHead};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::body_in::BodyIn;
use crate::body_out::BodyOut;
use crate::error::{invalid, io_error};
use crate::extended_connect::{self, ExtendedConnect};
use crate::fields;
use crate::hand_out;
use crate::memory::Memory;

/// One request of a client, as HTTP/1.1 text to read, and its response, as HTTP/1.1 text to write.
///
/// Reading never ends by itself behind the request: nothing more comes, and an error tells that the client has reset
/// the stream. Dropping it before the response is whole resets the stream.
///
/// A CONNECT with `:protocol` (RFC 8441, RFC 9220) reads as a GET with `Upgrade`. Once it is answered with 101, both directions
/// carry bytes as they are: reading ends where the client ends, and shutting down tells the client of the end.
pub struct ServerStream {
    input: BytesMut,
    body: Option<BodyIn>,
    method: http::Method,
    respond: SendResponse<Bytes>,
    answer: Answer,
    limits: Limits,
    memory: Memory,
    /// Whether it asks for another protocol.
    is_connect: bool,
    /// Whether it ends by our own reset.
    is_reset: bool,
}

#[expect(clippy::large_enum_variant, reason = "one for each stream, and most become a body")]
enum Answer {
    /// Text of a head so far.
    Head(BytesMut),
    Body(BodyOut),
    /// No more may come: there was no body.
    Over,
    /// Another answer was given in place of this one.
    Dropped,
}

impl ServerStream {
    pub(crate) fn new(
        request: Request<RecvStream>,
        respond: SendResponse<Bytes>,
        limits: &Limits,
        memory: &Memory,
    ) -> Self {
        let (parts, stream) = request.into_parts();
        let has_body = !stream.is_end_stream();
        let asked = ExtendedConnect::of(&parts);
        let is_chunked = has_body && asked.is_none() && fields::chunks(&parts.headers);
        let mut input = memory.take_text();
        write_head(&mut input, &parts, asked.as_ref(), is_chunked, limits);
        let is_connect = asked.is_some();
        Self {
            input,
            body: has_body.then(|| BodyIn::new(stream, is_chunked)),
            method: parts.method,
            respond,
            answer: Answer::Head(BytesMut::new()),
            limits: *limits,
            memory: memory.clone(),
            is_connect,
            is_reset: false,
        }
    }

    /// Whether the client has given the request up, or made it fail by an error of its own, before its answer was whole. What
    /// was upgraded ends as its own protocol wants.
    pub fn is_cancelled(&mut self) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        let is_upgraded = self.is_connect && matches!(self.answer, Answer::Body(_));
        !is_upgraded && !self.is_reset && !self.is_answered() && self.poll_gone(&mut cx).is_ready()
    }

    /// Bytes of the answer that left since the last call: what is written is taken at once and leaves as the window opens.
    pub fn take_sent(&mut self) -> usize {
        match &mut self.answer {
            Answer::Body(body) => body.take_sent(),
            _ => 0,
        }
    }

    /// Ready when the client has reset the stream or its connection is gone.
    pub fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.answer {
            Answer::Head(_) => self.respond.poll_reset(cx).map(|_| ()),
            Answer::Body(body) if !body.is_over() => body.poll_reset(cx),
            _ => Poll::Pending,
        }
    }

    /// Resets the stream before anything was done for it: its client may ask again, whatever the method (REFUSED_STREAM, RFC 9113
    /// section 8.7).
    pub fn refuse(mut self) {
        self.respond.send_reset(Reason::REFUSED_STREAM);
    }

    /// Resets the stream: what was answered so far is not all.
    pub fn reset(&mut self) {
        self.is_reset = true;
        match &mut self.answer {
            Answer::Body(body) => body.reset(),
            _ => self.respond.send_reset(Reason::INTERNAL_ERROR),
        }
    }

    /// Whether the response is whole and on its way.
    pub fn is_answered(&self) -> bool {
        match &self.answer {
            Answer::Head(_) => false,
            Answer::Body(body) => body.is_over(),
            Answer::Over | Answer::Dropped => true,
        }
    }

    /// Takes text of heads, and sends those that are whole; the state moves on behind the final one.
    fn take_heads(&mut self, more: &[u8]) -> io::Result<()> {
        if let Answer::Head(text) = &mut self.answer {
            self.memory.lend_text(text);
            text.extend_from_slice(more);
        }
        let mut head = self.memory.take_response();
        let sent = self.send_heads(&mut head);
        self.memory.return_response(head);
        sent
    }

    fn send_heads(&mut self, head: &mut ResponseHead) -> io::Result<()> {
        while let Answer::Head(text) = &mut self.answer {
            let is_whole = head.parse(text, &self.limits).map_err(|_| invalid("no valid response head"))?;
            if !is_whole {
                return Ok(());
            }
            let status = StatusCode::from_u16(head.status()).map_err(|_| invalid("no valid status"))?;
            let mut response = Response::new(());
            *response.status_mut() = status;
            *response.headers_mut() = fields::read_lines(head.headers())
                .map_err(|_| invalid("a field that HTTP/2 cannot carry"))?;
            if head.is_informational() {
                self.respond.send_informational(response).map_err(io_error)?;
                continue;
            }
            if self.is_connect && matches!(head.status(), 101 | 200..=299) {
                return self.answer_connect(head, response);
            }
            let framing =
                head.framing(self.method.as_str()).map_err(|_| invalid("no valid framing of a response"))?;
            if !framing.has_body() {
                // gRPC calls an answer without a body Trailers-Only, which has no length: inside it has one, so that it ends.
                if framing == Framing::Length(0) && fields::is_grpc(response.headers()) {
                    response.headers_mut().remove(header::CONTENT_LENGTH);
                }
                self.respond.send_response(response, true).map_err(io_error)?;
                self.answer = Answer::Over;
                return Ok(());
            }
            if framing == Framing::UntilClose {
                return Err(invalid("a response whose end nothing tells"));
            }
            let mut rest = std::mem::take(text);
            let stream = self.respond.send_response(response, false).map_err(io_error)?;
            if rest.is_empty() {
                self.memory.return_text(std::mem::take(&mut rest));
            }
            self.answer = Answer::Body(BodyOut::new(stream, framing, &self.limits, rest));
        }
        Ok(())
    }
}

impl ServerStream {
    /// Answers a CONNECT whose GET was answered with `head`. RFC 8441 section 5: a 2xx stands for the 101 of HTTP/1.1, so what
    /// is a success there and no 101 cannot be passed on.
    fn answer_connect(&mut self, head: &ResponseHead, mut response: Response<()>) -> io::Result<()> {
        let Answer::Head(text) = &mut self.answer else { return Ok(()) };
        if head.status() != 101 {
            let mut refusal = Response::new(());
            *refusal.status_mut() = StatusCode::BAD_GATEWAY;
            self.respond.send_response(refusal, true).map_err(io_error)?;
            self.answer = Answer::Dropped;
            return Ok(());
        }
        let rest = std::mem::take(text);
        *response.status_mut() = StatusCode::OK;
        extended_connect::strip(response.headers_mut());
        let stream = self.respond.send_response(response, false).map_err(io_error)?;
        self.answer = Answer::Body(BodyOut::new(stream, Framing::UntilClose, &self.limits, rest));
        Ok(())
    }
}

impl AsyncRead for ServerStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        while this.input.is_empty() {
            let more = match &mut this.body {
                Some(body) => {
                    this.memory.lend_text(&mut this.input);
                    body.poll_more(cx, &mut this.input)?
                }
                None => Poll::Ready(false),
            };
            let Poll::Ready(more) = more else {
                // Who waits holds no memory for what may come.
                this.memory.return_text(std::mem::take(&mut this.input));
                return Poll::Pending;
            };
            if !more {
                this.body = None;
                if this.is_connect {
                    return Poll::Ready(Ok(()));
                }
                return this.poll_gone(cx).map(|()| Err(io::ErrorKind::ConnectionReset.into()));
            }
        }
        hand_out(&mut this.input, buf);
        if this.input.is_empty() {
            this.memory.return_text(std::mem::take(&mut this.input));
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for ServerStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        match &mut this.answer {
            Answer::Head(_) => {
                this.take_heads(buf)?;
                if let Answer::Body(body) = &mut this.answer
                    && let Poll::Ready(Err(error)) = body.poll_send(cx)
                {
                    return Poll::Ready(Err(error));
                }
                Poll::Ready(Ok(buf.len()))
            }
            Answer::Body(body) => body.poll_take(cx, buf),
            Answer::Over => Poll::Ready(Err(invalid("bytes behind a response without a body"))),
            Answer::Dropped => Poll::Ready(Ok(buf.len())),
        }
    }

    /// Takes a head and the beginning of its body at once.
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let mut taken = 0;
        for buf in bufs.iter().filter(|buf| !buf.is_empty()) {
            match Pin::new(&mut *this).poll_write(cx, buf) {
                Poll::Ready(Ok(size)) => taken += size,
                // What was taken is told first; the rest comes again.
                _ if taken > 0 => break,
                other => return other,
            }
        }
        Poll::Ready(Ok(taken))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().answer {
            Answer::Body(body) => body.poll_send(cx),
            _ => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().answer {
            Answer::Body(body) => body.poll_end(cx),
            _ => Poll::Ready(Ok(())),
        }
    }
}

/// The head as HTTP/1.1 text (RFC 9113 section 8.3.1). Two different hosts become two lines, which the codec refuses.
fn write_head(
    out: &mut BytesMut,
    parts: &http::request::Parts,
    asked: Option<&ExtendedConnect<'_>>,
    is_chunked: bool,
    limits: &Limits,
) {
    let target = match parts.uri.path_and_query() {
        Some(target) if parts.method != http::Method::CONNECT || asked.is_some() => target.as_str(),
        _ => parts.uri.authority().map_or("/", http::uri::Authority::as_str),
    };
    let method = if asked.is_some() { "GET" } else { parts.method.as_str() };
    out.put_slice(method.as_bytes());
    out.put_u8(b' ');
    out.put_slice(target.as_bytes());
    out.put_slice(b" HTTP/1.1\r\n");
    let authority = parts.uri.authority().map(|authority| authority.as_str().as_bytes());
    if let Some(authority) = authority {
        fields::write_line(out, "host", authority);
    }
    // As one line they would slip past the bound of lines: too many stay what they are, and the codec refuses them.
    let merges_cookie = parts.headers.len() <= limits.headers_max;
    let of_own = |name: &http::HeaderName, value: &http::HeaderValue| {
        (merges_cookie && name == header::COOKIE)
            || (is_chunked && name == header::CONTENT_LENGTH)
            || (name == header::HOST && Some(value.as_bytes()) == authority)
    };
    fields::write_lines(out, parts.headers.iter().filter(|(name, value)| !of_own(name, value)));
    if merges_cookie {
        fields::write_cookie(out, &parts.headers);
    }
    if is_chunked {
        out.put_slice(b"transfer-encoding: chunked\r\n");
    }
    if let Some(asked) = asked {
        asked.write(out);
    }
    // `te` is the one field of the connection that HTTP/2 keeps; in HTTP/1 it needs `connection` (RFC 9110 section 10.1.4).
    if parts.headers.contains_key(header::TE) {
        out.put_slice(b"connection: te\r\n");
    }
    out.put_slice(b"\r\n");
}
