//! The gateway as its users meet it: the binary, real sockets, real endpoints, in network namespaces (needs root).
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers, too")]

mod attacks;
mod backend_policy;
mod bodies;
mod changes;
mod command_line;
mod conformance;
mod connections;
mod drain;
mod early;
mod failures;
mod filters;
mod forwarded;
mod grpc;
mod http2_floods;
mod http2_smuggling;
mod idle;
mod ingress_nginx;
mod kernel;
mod l4;
mod manifests;
mod metrics;
mod observing;
mod policies;
mod routing;
mod secure;
mod sessions;
mod tier;
mod unprivileged;
mod upgrade;
mod upgrade_of_all;
mod upgrade_of_pods;
mod upstream_tls;
mod websocket;
mod without_loss;
mod world;
