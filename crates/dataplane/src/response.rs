//! Where a response ends.
