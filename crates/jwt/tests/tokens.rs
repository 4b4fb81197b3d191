//! Tokens of another implementation (`foreign.json`, by PyJWT 2.15), forgeries, and what is asked of claims.

#![allow(clippy::unwrap_used, reason = "helpers of tests: a panic is how they report")]

use std::time::Duration;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jwt::{Claims, Demands, KeySet, KeySetError, Lifetime, Token, TokenError};
use serde_json::{Map, Value, json};

fn foreign() -> Value {
    serde_json::from_str(include_str!("foreign.json")).unwrap()
}

fn keys(list: &Value) -> KeySet {
    KeySet::parse(json!({"keys": list}).to_string().as_bytes()).unwrap()
}

fn texts(of: &Value) -> Map<String, Value> {
    of.as_object().unwrap().clone()
}

fn verify(token: &str, keys: &KeySet) -> Result<Claims, TokenError> {
    Token::parse(token)?.verify(keys)
}

/// Who signs for a test.
struct Signer(Ed25519KeyPair);

impl Signer {
    fn new() -> Self {
        Self(Ed25519KeyPair::generate().unwrap())
    }

    fn keys(&self) -> KeySet {
        keys(&json!([self.jwk()]))
    }

    fn jwk(&self) -> Value {
        let x = URL_SAFE_NO_PAD.encode(self.0.public_key());
        json!({"kty": "OKP", "crv": "Ed25519", "x": x})
    }

    fn token(&self, header: &Value, claims: &Value) -> String {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let message = format!("{}.{}", part(header), part(claims));
        let signature = URL_SAFE_NO_PAD.encode(self.0.sign(message.as_bytes()));
        format!("{message}.{signature}")
    }

    fn claims(&self, claims: &Value) -> Claims {
        verify(&self.token(&json!({"alg": "EdDSA"}), claims), &self.keys()).unwrap()
    }
}

#[test]
fn tokens_of_every_algorithm_are_good_with_their_keys_only() {
    let foreign = foreign();
    let all = keys(&foreign["keys"]);
    let mut seen = 0;
    for (alg, token) in texts(&foreign["tokens"]) {
        let token = token.as_str().unwrap();
        assert_eq!(verify(token, &all).unwrap().text("sub"), Some("anna"), "{alg}");
        // The last byte of the claims is another: still an object, and not what was signed.
        let mut parts: Vec<_> = token.split('.').map(str::to_owned).collect();
        parts[1] = URL_SAFE_NO_PAD.encode(r#"{"sub":"eve","exp":4102444800}"#);
        assert_eq!(verify(&parts.join("."), &all).unwrap_err(), TokenError::Signature, "{alg}");
        for key in foreign["keys"].as_array().unwrap() {
            // Without the name of the key all are tried that take the algorithm.
            let mut unnamed = key.clone();
            unnamed.as_object_mut().unwrap().remove("kid");
            let verdict = verify(token, &keys(&json!([unnamed])));
            assert!(verdict.is_ok() || verdict == Err(TokenError::NoKey), "{alg}");
            seen += usize::from(verdict.is_ok());
        }
    }
    assert_eq!(seen, 10, "each token has one key");
}

#[test]
fn forgeries_are_refused_whatever_algorithm_they_claim() {
    let foreign = foreign();
    let all = keys(&foreign["keys"]);
    let forged = texts(&foreign["forged"]);
    assert_eq!(forged.len(), 6);
    for (how, token) in forged {
        let expected = if how == "a key of its own" { TokenError::Signature } else { TokenError::NoKey };
        assert_eq!(verify(token.as_str().unwrap(), &all).unwrap_err(), expected, "{how}");
    }
}

#[test]
fn a_key_with_an_algorithm_takes_no_other() {
    let foreign = foreign();
    let mut rsa = foreign["keys"][0].clone();
    rsa["alg"] = "PS256".into();
    let only = keys(&json!([rsa]));
    let token = |alg: &str| foreign["tokens"][alg].as_str().unwrap().to_owned();
    assert!(verify(&token("PS256"), &only).is_ok());
    assert_eq!(verify(&token("RS256"), &only).unwrap_err(), TokenError::NoKey);
    assert_eq!(verify(&token("ES256"), &only).unwrap_err(), TokenError::NoKey);
}

#[test]
fn the_name_of_a_key_chooses_and_without_one_all_that_fit_are_tried() {
    let (a, b) = (Signer::new(), Signer::new());
    let named = |signer: &Signer, kid: &str| {
        let mut jwk = signer.jwk();
        jwk["kid"] = kid.into();
        jwk
    };
    let set = keys(&json!([named(&a, "a"), named(&b, "b")]));
    let claims = json!({"exp": 1});
    assert!(verify(&b.token(&json!({"alg": "EdDSA", "kid": "b"}), &claims), &set).is_ok());
    assert!(verify(&b.token(&json!({"alg": "EdDSA"}), &claims), &set).is_ok());
    let of_a = b.token(&json!({"alg": "EdDSA", "kid": "a"}), &claims);
    assert_eq!(verify(&of_a, &set).unwrap_err(), TokenError::Signature);
    let unknown = b.token(&json!({"alg": "EdDSA", "kid": "c"}), &claims);
    assert_eq!(verify(&unknown, &set).unwrap_err(), TokenError::NoKey);
    // One more than are tried.
    let mut many: Vec<_> = (0..8).map(|_| Signer::new().jwk()).collect();
    many.push(b.jwk());
    let token = b.token(&json!({"alg": "EdDSA"}), &claims);
    assert_eq!(verify(&token, &keys(&json!(many))).unwrap_err(), TokenError::Signature);
    assert!(verify(&token, &keys(&json!(many[1..]))).is_ok());
}

#[test]
fn what_is_no_token_is_refused() {
    let signer = Signer::new();
    let good = signer.token(&json!({"alg": "EdDSA"}), &json!({"exp": 1}));
    let (claims, header) = (json!({"exp": 1}), json!({"alg": "EdDSA"}));
    for (text, expected) in [
        (String::new(), TokenError::Malformed),
        ("a.b".into(), TokenError::Malformed),
        ("..".into(), TokenError::Malformed),
        (format!("{good}.x"), TokenError::Malformed),
        (format!("{good}="), TokenError::Malformed),
        (format!(" {good}"), TokenError::Malformed),
        (signer.token(&json!({}), &claims), TokenError::Malformed),
        (signer.token(&json!({"alg": 1}), &claims), TokenError::Malformed),
        (signer.token(&json!({"alg": "EdDSA", "kid": 1}), &claims), TokenError::Malformed),
        (signer.token(&header, &json!([1])), TokenError::Malformed),
        (signer.token(&header, &json!({"exp": 1, "x": "x".repeat(20_000)})), TokenError::Malformed),
        (
            signer.token(&json!({"alg": "EdDSA", "crit": ["b64"], "b64": false}), &claims),
            TokenError::Critical,
        ),
    ] {
        assert_eq!(verify(&text, &signer.keys()).unwrap_err(), expected, "{text}");
    }
    assert!(verify(&good, &signer.keys()).is_ok());
}

#[test]
fn a_set_leaves_out_what_is_of_no_use_and_is_none_without_a_key() {
    let signer = Signer::new();
    let with = |field: &str, value: Value| {
        let mut jwk = signer.jwk();
        jwk[field] = value;
        jwk
    };
    for (useless, problem) in [
        (json!({"kty": "oct", "k": "c2VjcmV0"}), "symmetric"),
        (json!({"kty": "RSA", "n": "AQAB", "e": "AQAB"}), "2048"),
        (json!({"kty": "EC", "crv": "P-256", "x": "AQAB", "y": "AQAB"}), "length"),
        (
            json!({"kty": "EC", "crv": "P-256", "x": "AQ".repeat(21) + "A", "y": "AQ".repeat(21) + "A"}),
            "point",
        ),
        (json!({"kty": "EC", "crv": "secp256k1", "x": "", "y": ""}), "curve"),
        (json!({"kty": "OKP", "crv": "X25519", "x": "AQAB"}), "Ed25519"),
        (json!({"kty": "OKP", "crv": "Ed25519", "x": "+/=="}), "base64url"),
        (json!({"kty": "XYZ"}), "kind"),
        (json!({"kty": 1}), "no JWK"),
        (with("use", "enc".into()), "signatures"),
        (with("key_ops", json!(["encrypt"])), "signatures"),
        (with("alg", "HS256".into()), "does not fit"),
    ] {
        let set = keys(&json!([useless, signer.jwk()]));
        assert_eq!(set.ignored().len(), 1, "{useless}");
        assert!(set.ignored()[0].problem.contains(problem), "{:?} {problem}", set.ignored());
        let alone = KeySet::parse(json!({"keys": [useless]}).to_string().as_bytes());
        assert!(matches!(alone, Err(KeySetError::Useless(_))), "{useless}");
    }
    let parsed = |text: &str| KeySet::parse(text.as_bytes()).unwrap_err();
    assert_eq!((parsed("{}"), parsed("nothing")), (KeySetError::NoSet, KeySetError::NoSet));
    assert_eq!(parsed(r#"{"keys": []}"#), KeySetError::Empty);
    let many: Vec<_> = (0..65).map(|_| signer.jwk()).collect();
    assert_eq!(parsed(&json!({"keys": many}).to_string()), KeySetError::TooMany);
}

#[test]
fn issuer_audience_and_times_are_asked_for() {
    let signer = Signer::new();
    let demands = Demands {
        issuer: Some("https://issuer.test".into()),
        audiences: vec!["shop".into(), "store".into()],
        leeway: Duration::from_secs(60),
    };
    let base = json!({"iss": "https://issuer.test", "aud": "shop", "exp": 1000, "nbf": 500});
    let judge = |field: &str, value: Value| {
        let mut claims = base.clone();
        claims[field] = value;
        demands.judge(&signer.claims(&claims))
    };
    let lifetime = Lifetime { from: 440, until: 1060 };
    let good = Ok(lifetime);
    assert_eq!(judge("x", Value::Null), good);
    assert_eq!(judge("aud", json!(["other", "store"])), good);
    assert_eq!(judge("exp", json!(1000.7)), good);
    assert_eq!(judge("nbf", json!(10)), Ok(Lifetime { from: 0, until: 1060 }));
    for (field, value, error) in [
        ("iss", json!("https://issuer.test/"), TokenError::Issuer),
        ("iss", Value::Null, TokenError::Issuer),
        ("aud", json!("shopping"), TokenError::Audience),
        ("aud", json!([]), TokenError::Audience),
        ("aud", Value::Null, TokenError::Audience),
        ("exp", json!("1000"), TokenError::Malformed),
        ("exp", json!(-1), TokenError::Malformed),
        ("nbf", Value::Null, TokenError::Malformed),
    ] {
        assert_eq!(judge(field, value.clone()), Err(error), "{field} {value}");
    }
    let endless = signer.claims(&json!({"iss": "x"}));
    assert_eq!(Demands::default().judge(&endless), Err(TokenError::Endless));
    assert_eq!(lifetime.holds(439), Err(TokenError::TooEarly));
    assert_eq!((lifetime.holds(440), lifetime.holds(1059)), (Ok(()), Ok(())));
    assert_eq!(lifetime.holds(1060), Err(TokenError::Expired));
}

#[test]
fn claims_are_found_by_path_and_become_values_of_headers() {
    let claims = Signer::new().claims(&json!({
        "sub": "anna", "level": 3, "vip": true, "none": null, "scope": "read write",
        "realm": {"roles": ["admin", "user"], "name": "x"}, "https://a.test/id": "dots", "tags": [1, "two"],
    }));
    let value = |path: &str| claims.header_value(path);
    assert_eq!((value("sub"), value("level")), (Some("anna".into()), Some("3".into())));
    assert_eq!((value("vip"), value("none"), value("gone")), (Some("true".into()), None, None));
    assert_eq!((value("realm.name"), value("https://a.test/id")), (Some("x".into()), Some("dots".into())));
    assert_eq!(value("realm.roles"), Some(URL_SAFE_NO_PAD.encode(r#"["admin","user"]"#)));
    assert_eq!(value("sub.x"), None);
    let has = |path: &str, values: &[&str]| claims.has(path, values);
    assert!(has("realm.roles", &["user"]) && has("level", &["2", "3"]) && has("vip", &["true"]));
    assert!(has("scope", &["write"]) && has("sub", &[]) && has("tags", &["1"]));
    assert!(!has("realm.roles", &["adm"]) && !has("scope", &["read write"]) && !has("none", &[]));
    assert!(!has("sub", &["ann"]) && !has("gone", &[]) && !has("realm", &["x"]));
}
