//! What must hold whatever a client sends as a token, and whatever a user gives as a set of keys. The fuzz target in `fuzz/` and the
//! replay of its corpus call the same function; it panics where a rule is broken.

use std::sync::OnceLock;

use jwt::{Demands, KeySet, KeySetError, Token};
use serde_json::Value;

/// What another implementation signed, and its keys.
struct Foreign {
    keys: Option<KeySet>,
    tokens: Vec<String>,
}

/// A token or a set of keys: nothing that was not signed is good, what is good can be judged at any time, and a set that is read has a
/// key of use, its others named by their places.
pub(crate) fn tokens(data: &[u8]) {
    match KeySet::parse(data) {
        Ok(set) => {
            let set_of: Value = serde_json::from_slice(data).unwrap_or_default();
            let count = set_of["keys"].as_array().map_or(0, Vec::len);
            assert!(set.ignored().len() < count && set.ignored().iter().all(|key| key.at < count));
        }
        Err(error) => assert!(matches!(
            error,
            KeySetError::NoSet | KeySetError::Empty | KeySetError::Useless(_) | KeySetError::TooMany
        )),
    }
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(token) = Token::parse(text) else { return };
    let foreign = foreign();
    let Some(Ok(claims)) = foreign.keys.as_ref().map(|keys| token.verify(keys)) else { return };
    // Signatures may have more than one form, what is signed has one.
    let message = |token: &str| token.rsplit_once('.').map(|(message, _)| message.to_owned());
    assert!(foreign.tokens.iter().any(|signed| message(signed) == message(text)), "forged: {text}");
    assert_eq!(claims.text("sub"), Some("anna"));
    let lifetime = Demands::default().judge(&claims);
    assert!(lifetime.is_err() || lifetime.is_ok_and(|lifetime| lifetime.from <= lifetime.until));
}

fn foreign() -> &'static Foreign {
    static FOREIGN: OnceLock<Foreign> = OnceLock::new();
    FOREIGN.get_or_init(|| {
        let all: Value = serde_json::from_str(include_str!("../foreign.json")).unwrap_or_default();
        let keys = KeySet::parse(serde_json::json!({"keys": all["keys"]}).to_string().as_bytes()).ok();
        let signed = all["tokens"].as_object().into_iter().flatten();
        let tokens: Vec<String> = signed.filter_map(|(_, text)| Some(text.as_str()?.to_owned())).collect();
        assert!(keys.is_some() && tokens.len() == 10, "what there is to be forged");
        Foreign { keys, tokens }
    })
}
