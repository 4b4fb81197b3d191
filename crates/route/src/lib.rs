//! The compiled request matcher, in Gateway API precedence.
