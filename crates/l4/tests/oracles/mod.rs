//! What must hold whatever a connection begins with.
#![allow(clippy::unwrap_used, reason = "a panic is how an oracle reports")]

use l4::proxy_protocol::{self, Ends};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Bytes of a client: the header is read and nothing behind it, and what it says is what writing it again says.
pub(crate) fn proxy_header(data: &[u8]) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
    runtime.block_on(async {
        let (mut reading, sent) = pair(data).await;
        let read = proxy_protocol::read(&mut reading).await;
        let mut rest = Vec::new();
        // The client has gone: the end comes, or a reset.
        let _ = reading.read_to_end(&mut rest).await;
        sent.await.unwrap();
        let Ok(found) = read else { return };
        assert!(data.ends_with(&rest), "more was read than the header");
        let header = &data[..data.len() - rest.len()];
        let is_v1 = header.starts_with(b"PROXY ") && header.ends_with(b"\r\n") && header.len() <= 107;
        let is_v2 = header.starts_with(b"\r\n\r\n\0\r\nQUIT\n\x20")
            || header.starts_with(b"\r\n\r\n\0\r\nQUIT\n\x21");
        assert!(is_v1 || is_v2, "what is no header was taken for one: {header:?}");
        if let Some(ends) = found {
            for written in [proxy_protocol::v1(ends), proxy_protocol::v2(ends)] {
                assert_eq!(again(&written).await, ends, "{written:?}");
            }
        }
    });
}

/// A connection from which `data` comes and then the end.
async fn pair(data: &[u8]) -> (TcpStream, tokio::task::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (reading, _) = listener.accept().await.unwrap();
    let data = data.to_vec();
    let sent = tokio::spawn(async move {
        // Whoever reads may have had enough.
        let _ = client.write_all(&data).await;
    });
    (reading, sent)
}

async fn again(written: &[u8]) -> Ends {
    let (mut reading, sent) = pair(written).await;
    let read = proxy_protocol::read(&mut reading).await.unwrap().unwrap();
    sent.await.unwrap();
    read
}
