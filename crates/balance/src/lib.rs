//! Choosing an endpoint: Maglev, round robin, random, weighted.
