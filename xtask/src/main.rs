//! The work behind `./x`.
fn main() {}
