//! Packet headers, flow tuples, and the map keys and values shared with the kernel.
