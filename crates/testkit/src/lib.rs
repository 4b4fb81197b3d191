//! Test lab: namespaces, processes, clients, packets. Never in production.
