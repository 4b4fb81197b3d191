//! Kubernetes object types: core, Gateway API v1.6.1 and our own.
