//! The compiled request matcher, in Gateway API precedence.
//!
//! [`Table::build`] compiles a [`model::Snapshot`]; [`Table::socket`] finds the listeners behind a local address, and
//! [`SocketTable::lookup`] the route of a request; [`L4Table`] finds those of connections and datagrams. A table never changes: a new snapshot is a new table.
//!
//! # Precedence
//!
//! 1. **Listener**: of those sharing the socket the one whose host name fits best (exact, then the longest wildcard,
//!    then none). Only its routes count, even if none of them fits (Gateway API, listener isolation).
//! 2. **Host** of the route: exact, then the longest wildcard, then none. A host whose routes do not fit gives way to the
//!    next one: precedence is among *matching* routes.
//! 3. **Path**: exact, then the longest prefix (in bytes; of equal ones element-wise before string prefix), then regular
//!    expressions, the longest pattern first.
//! 4. Matches with a method; then those with more headers; then those with more query parameters.
//! 5. The order of `snapshot.routes` (age, namespace, name, rule), then the order of matches within the rule.
//!
//! Source: Gateway API v1.6.1, `HTTPRouteRule.matches` and `Listener.hostname` in `apis/v1`.

mod captures;
mod change;
mod conditions;
mod explain;
mod group;
mod hash;
mod host;
mod l4;
mod lengths;
mod listener;
mod paths;
mod pattern;
mod prefixes;
mod query;
mod regexes;
mod request;
mod selector;
mod shard;
mod table;
mod text;

pub use captures::Captures;
pub use explain::{ChosenListener, Considered, Explanation, Reason};
pub use l4::L4Table;
pub use pattern::{PatternError, check_pattern};
pub use query::is as is_encoded;
pub use request::{Headers, Pairs, Request};
pub use table::{BuildError, Lookup, SocketTable, Table};
