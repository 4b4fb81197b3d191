//! What of a request the kernel may decide.
