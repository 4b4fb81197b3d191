//! Health, readiness, the status page and /metrics.
