//! One connection of the echo.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use http1::{Body, Limits, Piece, RequestHead, reason_phrase};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::answer::Echo;

/// A client that neither sends nor takes anything for so long is closed.
const IDLE: Duration = Duration::from_secs(300);

const READ_BYTES: usize = 16 * 1024;

/// Serves requests one after the other until the client or an error ends it. Nobody waits for the reason.
pub(super) async fn serve(mut stream: TcpStream, peer: SocketAddr, name: &str) {
    let _ = stream.set_nodelay(true);
    let _ = requests(&mut stream, peer, name).await;
}

async fn requests(stream: &mut TcpStream, peer: SocketAddr, name: &str) -> io::Result<()> {
    let limits = Limits::default();
    let (mut head, mut buffer, mut out) = (RequestHead::default(), BytesMut::new(), BytesMut::new());
    loop {
        loop {
            match head.parse(&mut buffer, &limits) {
                Ok(true) => break,
                Ok(false) if !fill(stream, &mut buffer).await? => return Ok(()),
                Ok(false) => {}
                Err(error) => {
                    let response = Response { status: error.status(), name, closes: true, is_head: false };
                    response.write(&mut out, "text/plain", &format!("{}\n", error.reason()));
                    return send(stream, &mut out).await;
                }
            }
        }
        let mut body = Body::new(head.framing(), &limits);
        if head.expects_continue() && !body.is_done() && buffer.is_empty() {
            out.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
            send(stream, &mut out).await?;
        }
        let Some(length) = read_body(stream, &mut buffer, &mut body).await? else { return Ok(()) };
        let (content_type, text) = Echo::new(name, &head, peer, length).body(&head);
        let closes = !head.keep_alive();
        let response = Response { status: 200, name, closes, is_head: head.method() == "HEAD" };
        response.write(&mut out, content_type, &text);
        send(stream, &mut out).await?;
        if closes {
            return Ok(());
        }
    }
}

/// Reads a body to its end and returns its length without framing; none if the client went away or broke the rules.
async fn read_body(
    stream: &mut TcpStream,
    buffer: &mut BytesMut,
    body: &mut Body,
) -> io::Result<Option<u64>> {
    let mut length = 0;
    loop {
        match body.next_piece(buffer) {
            Ok(Piece::Done) => return Ok(Some(length)),
            Ok(Piece::Data(bytes)) => {
                length += bytes as u64;
                buffer.advance(bytes);
            }
            Ok(Piece::Framing(bytes) | Piece::Trailer(bytes)) => buffer.advance(bytes),
            Ok(Piece::NeedMore) if !fill(stream, buffer).await? => return Ok(None),
            Ok(Piece::NeedMore) => {}
            Err(_) => return Ok(None),
        }
    }
}

struct Response<'a> {
    status: u16,
    name: &'a str,
    closes: bool,
    is_head: bool,
}

impl Response<'_> {
    fn write(&self, out: &mut BytesMut, content_type: &str, body: &str) {
        // A name is a flag's text: nothing of it may end the line.
        let name: String = self.name.chars().filter(|c| !c.is_control()).collect();
        let connection = if self.closes { "close" } else { "keep-alive" };
        let head = format!(
            "HTTP/1.1 {} {}\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\nX-Endpoint: {name}\r\n\
             Connection: {connection}\r\n\r\n",
            self.status,
            reason_phrase(self.status),
            body.len(),
        );
        out.extend_from_slice(head.as_bytes());
        if !self.is_head {
            out.extend_from_slice(body.as_bytes());
        }
    }
}

/// Reads more; false at the end of the connection.
async fn fill(stream: &mut TcpStream, buffer: &mut BytesMut) -> io::Result<bool> {
    buffer.reserve(READ_BYTES);
    let read = timeout(IDLE, stream.read_buf(buffer)).await.map_err(|_| io::ErrorKind::TimedOut)??;
    Ok(read > 0)
}

async fn send(stream: &mut TcpStream, out: &mut BytesMut) -> io::Result<()> {
    timeout(IDLE, stream.write_all(out)).await.map_err(|_| io::ErrorKind::TimedOut)??;
    out.clear();
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpStream as Client;

    use super::super::{bind, serve as serve_all};

    fn with_echo(test: impl FnOnce(std::net::SocketAddr)) {
        let (listener, address) = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let thread = std::thread::spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    _ = serve_all(listener, "one".into()) => {}
                    _ = stopped => {}
                }
            });
        });
        test(address);
        drop(stop);
        thread.join().unwrap();
    }

    fn talk(address: std::net::SocketAddr, request: &str) -> String {
        let mut client = Client::connect(address).unwrap();
        client.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        answer
    }

    #[test]
    fn pipelined_requests_with_bodies_are_answered_in_order() {
        with_echo(|address| {
            let answer = talk(
                address,
                "POST /a?b=c HTTP/1.1\r\nHost: x.example\r\nTransfer-Encoding: chunked\r\n\r\n\
                 5\r\nhello\r\n3\r\nyou\r\n0\r\n\r\n\
                 PUT /second HTTP/1.1\r\nHost: y\r\nContent-Length: 4\r\n\r\nbody\
                 HEAD /third HTTP/1.1\r\nHost: z\r\nConnection: close\r\n\r\n",
            );
            assert_eq!(answer.matches("HTTP/1.1 200 OK\r\n").count(), 3, "{answer}");
            assert!(answer.contains("POST /a?b=c\n") && answer.contains("8 bytes of body"), "{answer}");
            assert!(answer.contains("PUT /second\n") && answer.contains("4 bytes of body"), "{answer}");
            assert!(answer.contains("X-Endpoint: one\r\n"));
            assert!(answer.ends_with("Connection: close\r\n\r\n"), "HEAD has no body: {answer}");
        });
    }

    #[test]
    fn json_for_those_who_ask() {
        with_echo(|address| {
            let answer = talk(
                address,
                "GET /x HTTP/1.1\r\nHost: h:81\r\nAccept: application/json\r\nX-A: 1\r\nX-A: 2\r\nConnection: close\r\n\r\n",
            );
            let (_, body) = answer.split_once("\r\n\r\n").unwrap();
            let json: serde_json::Value = serde_json::from_str(body).unwrap();
            assert_eq!(
                (&json["endpoint"], &json["path"], &json["host"]),
                (&"one".into(), &"/x".into(), &"h:81".into())
            );
            let lines = json["headers"].as_array().unwrap();
            assert_eq!(lines.iter().filter(|line| line[0] == "X-A").count(), 2);
        });
    }

    #[test]
    fn nonsense_is_refused_and_the_echo_lives_on() {
        with_echo(|address| {
            assert!(talk(address, "nonsense\r\n\r\n").starts_with("HTTP/1.1 400 "));
            let half = Client::connect(address).unwrap();
            drop(half);
            assert!(talk(address, "GET / HTTP/1.0\r\n\r\n").starts_with("HTTP/1.1 200 "));
        });
    }
}
