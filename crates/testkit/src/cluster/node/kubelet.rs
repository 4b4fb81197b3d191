//! What a node serves to the API server: logs and exec, over TLS.

use std::collections::HashMap;
use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{Ipv6Addr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::logs::{Selection, follow};
use super::place::Node;
use super::pods::Pods;
use super::registration::KUBELET_PORT;
use super::{exec, pod};
use crate::cluster::time::whole_seconds;

pub(super) type Stream = BufReader<StreamOwned<ServerConnection, TcpStream>>;

/// A request without a body.
#[derive(Debug, Default)]
pub(super) struct Request {
    path: String,
    /// In their order: `command` comes many times.
    pub(super) query: Vec<(String, String)>,
    /// By their names in small letters.
    pub(super) headers: HashMap<String, String>,
}

/// Serves on every address of `node`, with the certificate in these files, until the process ends.
pub(super) fn serve(node: &Arc<Node>, pods: &Arc<Pods>, chain: &Path, key: &Path) -> Result<()> {
    let config = server_config(chain, key)?;
    let listener = node.netns.run(|| TcpListener::bind((Ipv6Addr::UNSPECIFIED, KUBELET_PORT)))?;
    let listener = listener.context("cannot listen for the API server")?;
    let (node, pods) = (Arc::clone(node), Arc::clone(pods));
    std::thread::Builder::new().name("kubelet".into()).spawn(move || {
        for socket in listener.incoming().flatten() {
            if node.is_stopping() {
                return;
            }
            let (node, pods, config) = (Arc::clone(&node), Arc::clone(&pods), Arc::clone(&config));
            std::thread::spawn(move || {
                // The API server hangs up when its client does.
                let _ = serve_one(socket, config, &node, &pods);
            });
        }
    })?;
    Ok(())
}

fn server_config(chain: &Path, key: &Path) -> Result<Arc<ServerConfig>> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(
            vec![CertificateDer::from_pem_file(chain).context("no certificate")?],
            PrivateKeyDer::from_pem_file(key).context("no key")?,
        )?;
    Ok(Arc::new(config))
}

fn serve_one(socket: TcpStream, config: Arc<ServerConfig>, node: &Node, pods: &Pods) -> io::Result<()> {
    socket.set_read_timeout(Some(Duration::from_secs(60)))?;
    socket.set_nodelay(true)?;
    let session = ServerConnection::new(config).map_err(io::Error::other)?;
    let mut stream = BufReader::new(StreamOwned::new(session, socket));
    let request = read_request(&mut stream)?;
    let parts: Vec<&str> = request.path.trim_matches('/').split('/').collect();
    let &[what, namespace, name, container] = parts.as_slice() else {
        return answer(&mut stream, "404 Not Found", "a path that the lab's nodes do not have\n");
    };
    let view = pods.find(&node.name, namespace, name).and_then(|pod| pod.view(container));
    match (what, view) {
        ("containerLogs", Some(view)) => logs(&mut stream, &request, &view),
        ("exec", Some(pod::View { pid: Some(pid), .. })) => exec::serve(stream, &request, pid),
        ("containerLogs" | "exec", _) => answer(
            &mut stream,
            "404 Not Found",
            &format!("container {namespace}/{name}/{container} does not run\n"),
        ),
        _ => answer(&mut stream, "404 Not Found", "the lab's nodes serve containerLogs and exec\n"),
    }?;
    Ok(())
}

fn logs(stream: &mut Stream, request: &Request, view: &pod::View) -> io::Result<()> {
    let query: HashMap<String, String> = request.query.iter().cloned().collect();
    let ago = |seconds| whole_seconds(SystemTime::now() - Duration::from_secs(seconds));
    let selection = Selection::from_query(&query, ago);
    let log = fs::read_to_string(&view.log).unwrap_or_default();
    let chosen = selection.of(&log);
    if !selection.follow {
        return answer(stream, "200 OK", &chosen);
    }
    let output = stream.get_mut();
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n";
    output.write_all(head.as_bytes())?;
    chunk(output, &chosen)?;
    let pid = view.pid;
    let ended = || pid.is_none_or(|pid| !Path::new(&format!("/proc/{pid}")).exists());
    follow(&view.log, log.len() as u64, ended, |line| chunk(output, &selection.show(line)))?;
    output.write_all(b"0\r\n\r\n")?;
    finish(stream)
}

fn chunk(output: &mut impl Write, text: &str) -> io::Result<()> {
    if !text.is_empty() {
        write!(output, "{:x}\r\n{text}\r\n", text.len())?;
    }
    output.flush()
}

/// Answers with a text and hangs up.
pub(super) fn answer(stream: &mut Stream, status: &str, text: &str) -> io::Result<()> {
    let length = text.len();
    write!(
        stream.get_mut(),
        "HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{text}"
    )?;
    finish(stream)
}

fn finish(stream: &mut Stream) -> io::Result<()> {
    stream.get_mut().conn.send_close_notify();
    stream.get_mut().flush()
}

fn read_request(stream: &mut Stream) -> io::Result<Request> {
    let mut line = String::new();
    stream.read_line(&mut line)?;
    let target = line.split(' ').nth(1).unwrap_or_default();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut request = Request { path: decoded(path), ..Request::default() };
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        request.query.push((decoded(name), decoded(value)));
    }
    loop {
        line.clear();
        if stream.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let Some((name, value)) = line.trim_end().split_once(':') else { return Ok(request) };
        request.headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
}

/// `text` of a query without its `%` and `+`.
fn decoded(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut digit =
                    || bytes.next().and_then(|digit| char::from(digit).to_digit(16)).unwrap_or_default();
                u8::try_from(digit() * 16 + digit()).unwrap_or_default()
            }
            other => other,
        });
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_decoded() {
        assert_eq!(decoded("2026-11-21T22%3A00%3A00Z"), "2026-11-21T22:00:00Z");
        assert_eq!(decoded("a+b%20c%C3%A4"), "a b cä");
    }
}
