//! What an endpoint is told first on a connection: who the client is, by the PROXY protocol.

use ::l4::proxy_protocol::{Ends, V1_UNKNOWN, V2_LOCAL, v1, v2};
use model::ProxyProtocol;

/// The header; `client`: the ends of the client's connection, or none where the gateway asks for itself (a probe).
pub(crate) fn header(version: ProxyProtocol, client: Option<Ends>) -> Vec<u8> {
    match (version, client) {
        (ProxyProtocol::V1, Some(ends)) => v1(ends),
        (ProxyProtocol::V2, Some(ends)) => v2(ends),
        (ProxyProtocol::V1, None) => V1_UNKNOWN.to_vec(),
        (ProxyProtocol::V2, None) => V2_LOCAL.to_vec(),
    }
}
