use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// What carries a client's connection: TCP now, TLS over it later.
pub(crate) trait Transport: AsyncRead + AsyncWrite + Unpin {
    /// Makes closing it reset the connection, so that the client cannot take half a response for a whole one.
    fn reset_on_close(&self);
}

impl Transport for TcpStream {
    fn reset_on_close(&self) {
        // Should it fail, the connection closes in the ordinary way.
        let _ = socket2::SockRef::from(self).set_linger(Some(std::time::Duration::ZERO));
    }
}
