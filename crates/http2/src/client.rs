use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{BufMut, Bytes, BytesMut};
use h2::client::{ResponseFuture, SendRequest};
use http::uri::{PathAndQuery, Scheme};
use http::{Method, Request, Uri, Version, header};
use http1::{Framing, Limits, RequestHead};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::body_in::BodyIn;
use crate::body_out::BodyOut;
use crate::error::{Uncarried, invalid, io_error, is_unprocessed};
use crate::fields;
use crate::hand_out;
use crate::{Memory, Settings};

/// A connection to an endpoint that carries many requests at once.
pub struct Client {
    send: SendRequest<Bytes>,
    scheme: Scheme,
    limits: Limits,
    /// Each stream holds one more reference.
    streams: Rc<()>,
    streams_max: usize,
    memory: Memory,
}

/// Moves a connection's frames; it is ready when the connection is over. Whoever opens a connection runs it.
pub type Driver = Pin<Box<dyn Future<Output = io::Result<()>>>>;

impl Client {
    /// Exchanges prefaces and SETTINGS over `io`. `is_tls`: what `:scheme` says. Streams keep what they can in `memory`, which others of
    /// the thread may have, too.
    ///
    /// # Errors
    /// The endpoint does not speak HTTP/2, or is gone.
    pub async fn handshake<S>(
        io: S,
        is_tls: bool,
        settings: &Settings,
        limits: &Limits,
        memory: &Memory,
    ) -> io::Result<(Self, Driver)>
    where
        S: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let (send, mut connection) = h2::client::Builder::new()
            .enable_push(false)
            .initial_max_send_streams(0)
            .initial_window_size(settings.stream_window)
            .initial_connection_window_size(settings.connection_window)
            .max_send_buffer_size(settings.send_buffer_max)
            .max_header_list_size(settings.header_list_max)
            .reset_stream_duration(settings.reset_memory)
            .handshake(io)
            .await
            .map_err(io_error)?;
        // How many streams it takes, the endpoint says first of all (RFC 9113 section 3.4). One that says nothing does not speak
        // HTTP/2, and must not get a request.
        poll_fn(|cx| match Pin::new(&mut connection).poll(cx) {
            Poll::Ready(Ok(())) => Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
            Poll::Ready(Err(error)) => Poll::Ready(Err(io_error(error))),
            Poll::Pending if send.current_max_send_streams() > 0 => Poll::Ready(Ok(())),
            Poll::Pending => Poll::Pending,
        })
        .await?;
        let scheme = if is_tls { Scheme::HTTPS } else { Scheme::HTTP };
        let driver = Box::pin(async move { connection.await.map_err(io_error) });
        let streams_max = settings.streams_max as usize;
        let (streams, memory) = (Rc::new(()), memory.clone());
        Ok((Self { send, scheme, limits: *limits, streams, streams_max, memory }, driver))
    }

    /// Whether another stream may be opened at once: neither the endpoint's limit of concurrent streams nor our own is
    /// reached.
    pub fn has_room(&self) -> bool {
        self.active() < self.send.current_max_send_streams().min(self.streams_max)
    }

    /// Streams under way.
    pub fn active(&self) -> usize {
        Rc::strong_count(&self.streams) - 1
    }

    /// Whether the connection takes no more streams: it is over, or the endpoint said GOAWAY.
    pub fn is_closed(&mut self) -> bool {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        matches!(self.send.poll_ready(&mut cx), Poll::Ready(Err(_)))
    }

    /// A stream for one request.
    pub fn open(&self) -> ClientStream {
        ClientStream {
            send: self.send.clone(),
            scheme: self.scheme.clone(),
            limits: self.limits,
            memory: self.memory.clone(),
            _counted: self.streams.clone(),
            request: Sending::Head(BytesMut::new()),
            response: Receiving::Nothing,
            method: Method::GET,
            input: BytesMut::new(),
            is_unprocessed: false,
        }
    }
}

/// One request to an endpoint, as HTTP/1.1 text to write, and its response, as HTTP/1.1 text to read.
pub struct ClientStream {
    send: SendRequest<Bytes>,
    scheme: Scheme,
    limits: Limits,
    memory: Memory,
    _counted: Rc<()>,
    request: Sending,
    response: Receiving,
    method: Method,
    input: BytesMut,
    is_unprocessed: bool,
}

#[expect(clippy::large_enum_variant, reason = "one for each stream, and most become a body")]
enum Sending {
    /// Text of the head so far.
    Head(BytesMut),
    /// A head that waits for room on the connection, how its body is framed, and what of that came.
    Waiting(Box<(Request<()>, Framing, BytesMut)>),
    /// A head that HTTP/2 cannot carry.
    Uncarried(Uncarried),
    Body(BodyOut),
    Over,
}

enum Receiving {
    Nothing,
    Head(ResponseFuture),
    Body(BodyIn),
    Over,
}

impl ClientStream {
    /// Whether the endpoint said that it processed nothing of the request (RFC 9113 section 8.7).
    pub fn is_unprocessed(&self) -> bool {
        self.is_unprocessed
    }

    /// Whether request and response are whole.
    pub fn is_over(&self) -> bool {
        let is_sent = match &self.request {
            Sending::Body(body) => body.is_over(),
            Sending::Over => true,
            _ => false,
        };
        is_sent && matches!(self.response, Receiving::Over) && self.input.is_empty()
    }

    /// Opens the stream once its head is whole and the connection has room.
    fn poll_open(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let (request, framing, mut rest) = match &mut self.request {
            Sending::Head(text) => {
                let mut head = self.memory.take_request();
                let is_whole =
                    head.parse(text, &self.limits).map_err(|_| invalid("no valid request head"))?;
                if !is_whole {
                    self.memory.return_request(head);
                    return Poll::Ready(Ok(()));
                }
                let (request, framing) = (request(&head, &self.scheme), head.framing());
                self.memory.return_request(head);
                let rest = std::mem::take(text);
                match request {
                    Ok(request) => (request, framing, rest),
                    Err(uncarried) => {
                        self.request = Sending::Uncarried(uncarried);
                        return Poll::Ready(Err(uncarried.into()));
                    }
                }
            }
            Sending::Waiting(waiting) => {
                ready!(self.send.poll_ready(cx)).map_err(io_error)?;
                std::mem::replace(&mut **waiting, (Request::new(()), Framing::None, BytesMut::new()))
            }
            Sending::Uncarried(uncarried) => return Poll::Ready(Err((*uncarried).into())),
            Sending::Body(_) | Sending::Over => return Poll::Ready(Ok(())),
        };
        let has_room = self.send.poll_ready(cx).map_err(io_error);
        let Poll::Ready(Ok(())) = has_room else {
            self.request = Sending::Waiting(Box::new((request, framing, rest)));
            return has_room;
        };
        self.method = request.method().clone();
        let (response, stream) = self.send.send_request(request, !framing.has_body()).map_err(io_error)?;
        self.response = Receiving::Head(response);
        self.request = if framing.has_body() {
            let rest = if rest.is_empty() { BytesMut::new() } else { std::mem::take(&mut rest) };
            Sending::Body(BodyOut::new(stream, framing, &self.limits, rest))
        } else {
            Sending::Over
        };
        self.memory.return_text(rest);
        Poll::Ready(Ok(()))
    }

    /// Moves what was written on as far as it goes.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_open(cx))?;
        match &mut self.request {
            Sending::Body(body) => body.poll_send(cx),
            _ => Poll::Ready(Ok(())),
        }
    }

    /// Appends what comes next to `input`; false: the response is over.
    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        match &mut self.response {
            // `poll_send` wakes the task that opens the stream, which is this one.
            Receiving::Nothing => Poll::Pending,
            Receiving::Over => Poll::Ready(Ok(false)),
            Receiving::Body(body) => {
                let more = ready!(body.poll_more(cx, &mut self.input))?;
                if !more {
                    self.response = Receiving::Over;
                }
                Poll::Ready(Ok(more))
            }
            Receiving::Head(response) => {
                if let Poll::Ready(Some(interim)) = response.poll_informational(cx) {
                    let (parts, ()) = interim.map_err(io_error)?.into_parts();
                    write_head(&mut self.input, &parts, None);
                    return Poll::Ready(Ok(true));
                }
                let (mut parts, stream) = ready!(Pin::new(response).poll(cx)).map_err(io_error)?.into_parts();
                let has_body = !stream.is_end_stream();
                let is_bodiless = self.method == Method::HEAD || matches!(parts.status.as_u16(), 204 | 304);
                let framing = match (has_body, is_bodiless) {
                    (_, true) => None,
                    (true, false) if fields::chunks(&parts.headers) => {
                        parts.headers.remove(header::CONTENT_LENGTH);
                        Some("transfer-encoding: chunked\r\n")
                    }
                    (false, false) if !parts.headers.contains_key(header::CONTENT_LENGTH) => {
                        Some("content-length: 0\r\n")
                    }
                    _ => None,
                };
                write_head(&mut self.input, &parts, framing);
                self.response = if has_body && !is_bodiless {
                    let is_chunked = framing.is_some();
                    Receiving::Body(BodyIn::new(stream, is_chunked))
                } else {
                    Receiving::Over
                };
                Poll::Ready(Ok(true))
            }
        }
    }

    fn note<T>(&mut self, result: io::Result<T>) -> io::Result<T> {
        if let Err(error) = &result {
            self.is_unprocessed |= is_unprocessed(error);
        }
        result
    }
}

impl AsyncRead for ClientStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if let Poll::Ready(sent) = this.poll_send(cx) {
            // An endpoint that takes no more of the request may have answered it all the same.
            if let Err(error) = this.note(sent)
                && matches!(this.response, Receiving::Nothing)
            {
                return Poll::Ready(Err(error));
            }
        }
        while this.input.is_empty() {
            this.memory.lend_text(&mut this.input);
            let Poll::Ready(more) = this.poll_more(cx) else {
                // Who waits holds no memory for what may come.
                this.memory.return_text(std::mem::take(&mut this.input));
                return Poll::Pending;
            };
            if !this.note(more)? {
                return Poll::Ready(Ok(()));
            }
        }
        hand_out(&mut this.input, buf);
        if this.input.is_empty() {
            this.memory.return_text(std::mem::take(&mut this.input));
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for ClientStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        match &mut this.request {
            Sending::Head(text) => {
                this.memory.lend_text(text);
                text.extend_from_slice(buf);
                if let Poll::Ready(sent) = this.poll_send(cx) {
                    this.note(sent)?;
                }
                Poll::Ready(Ok(buf.len()))
            }
            Sending::Waiting(_) => {
                let sent = ready!(this.poll_send(cx));
                this.note(sent)?;
                Pin::new(this).poll_write(cx, buf)
            }
            Sending::Body(body) => {
                let taken = ready!(body.poll_take(cx, buf));
                Poll::Ready(this.note(taken))
            }
            Sending::Uncarried(uncarried) => Poll::Ready(Err((*uncarried).into())),
            Sending::Over => Poll::Ready(Err(invalid("bytes behind a request without a body"))),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let sent = ready!(this.poll_send(cx));
        Poll::Ready(this.note(sent))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush(cx)
    }
}

/// A request for HTTP/2 out of a head of HTTP/1.
///
/// Its `:path` is the target as it is, or none: `http` takes only what may stand there (RFC 9113 section 8.3.1 means the path and the query
/// of RFC 3986 section 3), and a target that is encoded on the way would be another one to who signs or compares it.
fn request(head: &RequestHead, scheme: &Scheme) -> Result<Request<()>, Uncarried> {
    const TARGET: Uncarried = Uncarried("request target that HTTP/2 cannot carry");
    const HEADER: Uncarried = Uncarried("request header that HTTP/2 cannot carry");
    let mut fields = fields::read_lines(head.headers()).map_err(|_| HEADER)?;
    fields.remove(header::HOST);
    let target = PathAndQuery::try_from(head.target()).map_err(|_| TARGET)?;
    let uri = Uri::builder().scheme(scheme.clone()).authority(head.authority()).path_and_query(target);
    let mut request = Request::new(());
    *request.version_mut() = Version::HTTP_2;
    *request.method_mut() = Method::from_bytes(head.method().as_bytes())
        .map_err(|_| Uncarried("method that HTTP/2 cannot carry"))?;
    *request.uri_mut() = uri.build().map_err(|_| TARGET)?;
    *request.headers_mut() = fields;
    Ok(request)
}

/// The head of a response as HTTP/1.1 text.
fn write_head(out: &mut BytesMut, parts: &http::response::Parts, framing: Option<&str>) {
    out.put_slice(b"HTTP/1.1 ");
    out.put_slice(parts.status.as_str().as_bytes());
    out.put_u8(b' ');
    out.put_slice(http1::reason_phrase(parts.status.as_u16()).as_bytes());
    out.put_slice(b"\r\n");
    fields::write_lines(out, parts.headers.iter());
    out.put_slice(framing.unwrap_or_default().as_bytes());
    out.put_slice(b"\r\n");
}
