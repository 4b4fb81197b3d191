//! Logging: text or JSON on standard error, rate-limited.
