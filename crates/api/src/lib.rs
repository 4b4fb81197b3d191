//! The gRPC control API and its client.
