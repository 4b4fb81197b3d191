//! Loads, attaches and pins the kernel programs; typed map handles.
