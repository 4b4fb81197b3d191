//! Route lookup over compiled tables.
