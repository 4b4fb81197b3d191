//! What `h2` says, in the words of `std::io`.

use std::io;

use h2::Reason;

/// The peer did not process the stream (RFC 9113 sections 6.8 and 8.7): whatever it was may be sent again.
#[derive(Debug, thiserror::Error)]
#[error("the peer refused the stream unprocessed")]
pub(crate) struct Unprocessed;

/// As an I/O error: a reset of the stream is `ConnectionReset`.
pub(crate) fn io_error(error: h2::Error) -> io::Error {
    if error.is_io() {
        return error.into_io().unwrap_or_else(|| io::ErrorKind::ConnectionReset.into());
    }
    let is_refused = error.is_reset() && error.reason() == Some(Reason::REFUSED_STREAM);
    if error.is_remote() && (is_refused || error.is_go_away()) {
        return io::Error::new(io::ErrorKind::ConnectionReset, Unprocessed);
    }
    let kind = match error.reason() {
        Some(Reason::NO_ERROR) => io::ErrorKind::UnexpectedEof,
        _ => io::ErrorKind::ConnectionReset,
    };
    io::Error::new(kind, error)
}

/// Whether `error` says that the peer processed nothing of the stream.
pub(crate) fn is_unprocessed(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<Unprocessed>())
}

/// A request that HTTP/2 has no form for: what of it, for people. No stream was opened for it.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Uncarried(pub(crate) &'static str);

impl From<Uncarried> for io::Error {
    fn from(uncarried: Uncarried) -> Self {
        Self::new(io::ErrorKind::InvalidInput, uncarried)
    }
}

/// What of a request HTTP/2 cannot carry, if `error`, of a write to a [`crate::ClientStream`], says that: it is the request that is not
/// right then, and its endpoint has got nothing.
pub fn uncarried(error: &io::Error) -> Option<&'static str> {
    error.get_ref()?.downcast_ref().map(|Uncarried(what)| *what)
}

/// For what no peer can be told better.
pub(crate) fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
