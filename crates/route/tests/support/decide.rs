//! What the compiled table says of a generated request.

use route::{Lookup, Pairs, Request, Table};

use super::generate::Generated;
use super::naive::Decision;

/// What the table says; with `check_explanation`, also that the explanation says the same.
pub(crate) fn compiled(table: &Table, request: &Generated, check_explanation: bool) -> Decision {
    let query = encode(&request.parameters);
    let asked = Request {
        host: &request.host,
        path: &request.path,
        query: query.as_deref(),
        method: &request.method,
        headers: &Pairs(&request.headers),
    };
    let socket = table.socket(request.address, request.port)?;
    let decision = match socket.lookup(&asked) {
        Lookup::Match { listener, route_index, match_index, .. } => {
            Some((listener.id.clone(), Some((route_index, match_index))))
        }
        Lookup::NoRoute { listener } => Some((listener.id.clone(), None)),
        Lookup::NoListener => None,
    };
    if check_explanation {
        let explanation = socket.explain(&asked);
        let winner = explanation.winner.map(|at| &explanation.considered[at]);
        let winner = winner.map(|one| (one.route_index, one.match_index));
        let explained = explanation.listener.map(|listener| (listener.id, winner));
        assert_eq!(explained, decision, "explanation of {request:?}");
    }
    decision
}

fn encode(parameters: &[(String, String)]) -> Option<String> {
    let text = |text: &str| -> String {
        text.bytes()
            .map(|byte| match byte {
                b'a'..=b'z' | b'0'..=b'9' => char::from(byte).to_string(),
                b' ' => "+".into(),
                _ => format!("%{byte:02X}"),
            })
            .collect()
    };
    let pairs: Vec<_> =
        parameters.iter().map(|(name, value)| format!("{}={}", text(name), text(value))).collect();
    (!pairs.is_empty()).then(|| pairs.join("&"))
}
