//! Health, readiness, the status page and /metrics.
//!
//! Two addresses: the admin one, which belongs on loopback (`/`, `/healthz`, `/readyz`), and the metrics one, which
//! Prometheus must reach (`/metrics`). GET and HEAD only: nothing here changes anything.
//!
//! The page shows [`Table`]s that the agent fills; the command line prints the same ones.

mod page;
mod serve;
mod table;

pub use page::{Page, Style, render};
pub use serve::{AdminView, BindError, HttpSocket, Readiness, bind, serve_admin, serve_metrics};
pub use table::{Cell, Mood, Table};
