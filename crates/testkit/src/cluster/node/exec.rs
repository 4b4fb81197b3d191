//! `kubectl exec`: a program in a container, over a WebSocket of the protocol `v5.channel.k8s.io`.
//!
//! Source: RFC 6455; Kubernetes KEP-4006 and `k8s.io/apimachinery/pkg/util/httpstream/wsstream`: binary messages whose
//! first byte is the channel: 0 input, 1 output, 2 errors, 3 the status at the end, 255 the channel that the client ends.

use std::io::{self, Read, Write};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use sha1::{Digest, Sha1};

use super::kubelet::{Request, Stream, answer};
use super::probe::inside;
use super::sandbox::quoted;

const PROTOCOL: &str = "v5.channel.k8s.io";
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

const INPUT: u8 = 0;
const OUTPUT: u8 = 1;
const ERRORS: u8 = 2;
const STATUS: u8 = 3;
const END_OF: u8 = 255;

/// Runs the command of `request` beside process `pid`.
pub(super) fn serve(mut stream: Stream, request: &Request, pid: u32) -> io::Result<()> {
    let header = |name: &str| request.headers.get(name).map(String::as_str).unwrap_or_default();
    let key = header("sec-websocket-key");
    if key.is_empty() || !header("sec-websocket-protocol").split(',').any(|name| name.trim() == PROTOCOL) {
        let text = format!("the lab's nodes speak {PROTOCOL} only: use kubectl 1.31 or newer\n");
        return answer(&mut stream, "400 Bad Request", &text);
    }
    write!(
        stream.get_mut(),
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {}\r\nSec-WebSocket-Protocol: {PROTOCOL}\r\n\r\n",
        accept(key)
    )?;
    stream.get_mut().flush()?;
    let mut child = match command(request, pid).spawn() {
        Ok(child) => child,
        Err(error) => return end(&mut stream, &failure(&error.to_string(), None)),
    };
    let relayed = relay(&mut stream, &mut child);
    // When the client hung up first; ended by itself is as good.
    let _ = child.kill();
    let status = child.wait()?;
    relayed?;
    end(&mut stream, &result(status))
}

fn command(request: &Request, pid: u32) -> Command {
    let all = |wanted: &str| -> Vec<&str> {
        request.query.iter().filter(|(name, _)| name == wanted).map(|(_, value)| value.as_str()).collect()
    };
    let is_set = |name: &str| matches!(all(name).first(), Some(&("true" | "1")));
    let mut command = inside(pid);
    if is_set("tty") {
        // A terminal of its own, from util-linux.
        let words: Vec<String> = all("command").into_iter().map(quoted).collect();
        command.args(["script", "--quiet", "--return", "--command", &words.join(" "), "/dev/null"]);
    } else {
        command.args(all("command"));
    }
    let input = if is_set("input") { Stdio::piped() } else { Stdio::null() };
    command.stdin(input).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Copies between the client and the program until the program has ended and its outputs are empty.
fn relay(stream: &mut Stream, child: &mut Child) -> io::Result<()> {
    let (send, output) = channel();
    if let Some(stdout) = child.stdout.take() {
        pump(OUTPUT, stdout, send.clone());
    }
    if let Some(stderr) = child.stderr.take() {
        pump(ERRORS, stderr, send);
    }
    let mut input = child.stdin.take();
    let mut received = stream.buffer().to_vec();
    let length = received.len();
    std::io::BufRead::consume(stream, length);
    stream.get_ref().sock.set_read_timeout(Some(Duration::from_millis(10)))?;
    loop {
        if drain(stream, &output)? {
            return Ok(());
        }
        let mut buffer = [0; 16_384];
        match stream.get_mut().read(&mut buffer) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => received.extend_from_slice(&buffer[..count]),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                continue;
            }
            Err(error) => return Err(error),
        }
        while let Some((kind, message, used)) = parse(&received) {
            received.drain(..used);
            match kind {
                CLOSE => return Err(io::ErrorKind::ConnectionAborted.into()),
                PING => send_frame(stream, PONG, &message)?,
                _ => take(&message, &mut input),
            }
        }
    }
}

/// Sends what the program printed; true once there will be no more.
fn drain(stream: &mut Stream, output: &Receiver<Vec<u8>>) -> io::Result<bool> {
    use std::sync::mpsc::TryRecvError;
    loop {
        match output.try_recv() {
            Ok(message) => send_frame(stream, BINARY, &message)?,
            Err(TryRecvError::Empty) => return Ok(false),
            Err(TryRecvError::Disconnected) => return Ok(true),
        }
    }
}

fn pump(channel: u8, mut output: impl Read + Send + 'static, to: Sender<Vec<u8>>) {
    std::thread::spawn(move || {
        let mut buffer = [0; 16_384];
        while let Ok(count @ 1..) = output.read(&mut buffer) {
            let mut message = vec![channel];
            message.extend_from_slice(&buffer[..count]);
            if to.send(message).is_err() {
                return;
            }
        }
    });
}

fn take(message: &[u8], input: &mut Option<ChildStdin>) {
    match message {
        [INPUT, bytes @ ..] => {
            if let Some(pipe) = input
                && pipe.write_all(bytes).is_err()
            {
                *input = None;
            }
        }
        [END_OF, INPUT] => *input = None,
        // The size of the terminal, which is not passed on.
        _ => {}
    }
}

fn end(stream: &mut Stream, status: &Value) -> io::Result<()> {
    let mut message = vec![STATUS];
    message.extend_from_slice(status.to_string().as_bytes());
    send_frame(stream, BINARY, &message)?;
    // 1000: all done.
    send_frame(stream, CLOSE, &[0x03, 0xe8])?;
    stream.get_mut().conn.send_close_notify();
    stream.get_mut().flush()
}

fn result(status: ExitStatus) -> Value {
    match status.code() {
        Some(0) => json!({"metadata": {}, "status": "Success"}),
        Some(code) => failure(&format!("command terminated with exit code {code}"), Some(code)),
        None => failure(&status.to_string(), None),
    }
}

fn failure(message: &str, code: Option<i32>) -> Value {
    let (reason, causes) = match code {
        Some(code) => ("NonZeroExitCode", json!([{"reason": "ExitCode", "message": code.to_string()}])),
        None => ("InternalError", json!([])),
    };
    json!({"metadata": {}, "status": "Failure", "reason": reason, "message": message, "details": {"causes": causes}})
}

/// RFC 6455, section 4.2.2.
fn accept(key: &str) -> String {
    BASE64_STANDARD.encode(Sha1::digest(format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11")))
}

/// One frame, unmasked as a server's are (section 5.1).
fn send_frame(stream: &mut Stream, kind: u8, message: &[u8]) -> io::Result<()> {
    let mut frame = vec![0x80 | kind];
    match (u8::try_from(message.len()), u16::try_from(message.len())) {
        (Ok(length @ ..126), _) => frame.push(length),
        (_, Ok(length)) => {
            frame.push(126);
            frame.extend(length.to_be_bytes());
        }
        _ => {
            frame.push(127);
            frame.extend((message.len() as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(message);
    stream.get_mut().write_all(&frame)?;
    stream.get_mut().flush()
}

/// The first frame of `bytes`, if it is there as a whole: kind, message and its length with the head. Messages in several
/// frames come as several messages; each of a client's `kubectl` is in one.
fn parse(bytes: &[u8]) -> Option<(u8, Vec<u8>, usize)> {
    let (kind, short) = (*bytes.first()? & 0x0f, *bytes.get(1)? & 0x7f);
    let (length, mut at) = match short {
        126 => (usize::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?)), 4),
        127 => (usize::try_from(u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?)).ok()?, 10),
        short => (usize::from(short), 2),
    };
    let mut mask = [0; 4];
    if bytes[1] & 0x80 != 0 {
        mask.copy_from_slice(bytes.get(at..at + 4)?);
        at += 4;
    }
    let body = bytes.get(at..at.checked_add(length)?)?;
    let message = body.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect();
    Some((kind, message, at + length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_frames_are_as_rfc_6455_shows_them() {
        assert_eq!(accept("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        // Section 5.7: a masked "Hello".
        let hello = [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
        assert_eq!(parse(&hello), Some((1, b"Hello".to_vec(), 11)));
        assert_eq!(parse(&hello[..10]), None);
        let mut long = vec![0x82, 126, 1, 0];
        long.extend([7; 256]);
        assert_eq!(parse(&long), Some((2, vec![7; 256], 260)));
    }

    #[test]
    fn an_exit_code_is_told_as_kubectl_reads_it() {
        let told = failure("x", Some(3));
        assert_eq!(told["details"]["causes"][0], json!({"reason": "ExitCode", "message": "3"}));
    }
}
