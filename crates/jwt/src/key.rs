//! One key of a set: what it is, and which algorithms it takes.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ECDSA_P521_SHA512_FIXED, ED25519, ParsedPublicKey,
    RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512,
    RSA_PSS_2048_8192_SHA256, RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512, RsaParameters,
    RsaPublicKeyComponents, VerificationAlgorithm,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;

/// The algorithms of RSA keys (RFC 7518 sections 3.3 and 3.5).
static RSA: [(&str, &RsaParameters); 6] = [
    ("RS256", &RSA_PKCS1_2048_8192_SHA256),
    ("RS384", &RSA_PKCS1_2048_8192_SHA384),
    ("RS512", &RSA_PKCS1_2048_8192_SHA512),
    ("PS256", &RSA_PSS_2048_8192_SHA256),
    ("PS384", &RSA_PSS_2048_8192_SHA384),
    ("PS512", &RSA_PSS_2048_8192_SHA512),
];
/// The least and the most bytes of an RSA key's modulus (RFC 7518 section 3.3: "a key of size 2048 bits or larger MUST be used").
const MODULUS_BYTES: std::ops::RangeInclusive<usize> = 256..=1024;

/// A key as it is written (RFC 7517 section 4); what signs (`d` and so on) is not read.
#[derive(Deserialize)]
pub(crate) struct Jwk {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    purpose: Option<String>,
    key_ops: Option<Vec<String>>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

/// A key that checks signatures.
pub(crate) struct Key {
    kid: Option<Box<str>>,
    /// By name of the algorithm.
    takes: Vec<(&'static str, ParsedPublicKey)>,
}

impl Key {
    /// # Errors
    /// Why it is of no use here.
    pub(crate) fn new(jwk: Jwk) -> Result<Self, &'static str> {
        if jwk.purpose.as_deref().is_some_and(|purpose| purpose != "sig") {
            return Err("is not for signatures (`use`)");
        }
        if jwk.key_ops.as_ref().is_some_and(|ops| !ops.iter().any(|op| op == "verify")) {
            return Err("is not for checking signatures (`key_ops`)");
        }
        let mut takes = match jwk.kty.as_str() {
            "RSA" => rsa(&jwk)?,
            "EC" => elliptic(&jwk)?,
            "OKP" => edwards(&jwk)?,
            // Who can check with it can sign with it.
            "oct" => return Err("is symmetric: a gateway takes public keys only"),
            _ => return Err("is of a kind (`kty`) that is none of RSA, EC and OKP"),
        };
        if let Some(alg) = &jwk.alg {
            takes.retain(|(name, _)| name == alg);
        }
        if takes.is_empty() {
            return Err("is for an algorithm (`alg`) that does not fit it");
        }
        Ok(Self { kid: jwk.kid.map(Into::into), takes })
    }

    /// Whether a token that names this key, or none, may be signed with it. A key without a name may be meant by any.
    pub(crate) fn is_named(&self, kid: Option<&str>) -> bool {
        match (&self.kid, kid) {
            (Some(own), Some(asked)) => &**own == asked,
            _ => true,
        }
    }

    /// Whether it signed `message`; none: it takes no such algorithm.
    pub(crate) fn signed(&self, alg: &str, message: &[u8], signature: &[u8]) -> Option<bool> {
        let (_, key) = self.takes.iter().find(|(name, _)| *name == alg)?;
        Some(key.verify_sig(message, signature).is_ok())
    }
}

fn rsa(jwk: &Jwk) -> Result<Vec<(&'static str, ParsedPublicKey)>, &'static str> {
    let (n, e) = (number(jwk.n.as_deref())?, number(jwk.e.as_deref())?);
    if !MODULUS_BYTES.contains(&n.len()) {
        return Err("is an RSA key of less than 2048 bits, or of more than 8192");
    }
    let components = RsaPublicKeyComponents { n, e };
    let parsed = RSA.iter().map(|(name, parameters)| {
        let key = components.to_parsed_public_key(parameters);
        key.map(|key| (*name, key)).map_err(|_| "is no RSA key")
    });
    parsed.collect()
}

/// RFC 7518 section 6.2: coordinates of a point, each as long as the curve's field.
fn elliptic(jwk: &Jwk) -> Result<Vec<(&'static str, ParsedPublicKey)>, &'static str> {
    let (name, algorithm, bytes): (_, &'static dyn VerificationAlgorithm, _) = match jwk.crv.as_deref() {
        Some("P-256") => ("ES256", &ECDSA_P256_SHA256_FIXED, 32),
        Some("P-384") => ("ES384", &ECDSA_P384_SHA384_FIXED, 48),
        Some("P-521") => ("ES512", &ECDSA_P521_SHA512_FIXED, 66),
        _ => return Err("is on a curve (`crv`) that is none of P-256, P-384 and P-521"),
    };
    let mut point = vec![4];
    for coordinate in [&jwk.x, &jwk.y] {
        let coordinate = decoded(coordinate.as_deref())?;
        if coordinate.len() != bytes {
            return Err("has a coordinate of the wrong length");
        }
        point.extend(coordinate);
    }
    let key = ParsedPublicKey::new(algorithm, point).map_err(|_| "is no point of its curve")?;
    Ok(vec![(name, key)])
}

/// RFC 8037 section 2.
fn edwards(jwk: &Jwk) -> Result<Vec<(&'static str, ParsedPublicKey)>, &'static str> {
    if jwk.crv.as_deref() != Some("Ed25519") {
        return Err("is on a curve (`crv`) other than Ed25519");
    }
    let key = decoded(jwk.x.as_deref())?;
    // RFC 9864 gives the algorithm of this curve a name of its own.
    let parsed = ["EdDSA", "Ed25519"].map(|name| {
        ParsedPublicKey::new(&ED25519, &key).map(|key| (name, key)).map_err(|_| "is no key of Ed25519")
    });
    parsed.into_iter().collect()
}

/// A number in the fewest bytes (RFC 7518 section 2, Base64urlUInt).
fn number(text: Option<&str>) -> Result<Vec<u8>, &'static str> {
    let bytes = decoded(text)?;
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    Ok(bytes.get(zeros..).unwrap_or_default().to_vec())
}

fn decoded(text: Option<&str>) -> Result<Vec<u8>, &'static str> {
    let text = text.ok_or("lacks a part of itself")?;
    URL_SAFE_NO_PAD.decode(text).map_err(|_| "has a part that is no base64url")
}
