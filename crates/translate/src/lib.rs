//! Kubernetes objects in, snapshot and diagnostics out; pure.
