//! A small blocking HTTP/1 client: bytes in, parsed answers out. It never repairs or retries.

pub(crate) mod client;
pub(crate) mod dial;
pub(crate) mod frames;
pub(crate) mod load;
pub(crate) mod response;
