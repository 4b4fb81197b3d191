//! TCP segments made by hand, and a host that no kernel speaks for.

pub(crate) mod flood;
pub(crate) mod host;
pub(crate) mod segment;
mod too_big;
