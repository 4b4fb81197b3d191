//! Signed tokens of RoutePolicies: who is let in, what clients are told, and what endpoints get.
#![allow(clippy::unwrap_used, reason = "helpers of tests: a panic is how they report")]

mod support;

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderMap, HeaderName, HeaderValue, Request};
use model::{ClaimHeader, Jwks, Jwt, JwtKeys, JwtProvider, Policies, RequiredClaim, TokenPlaces};
use serde_json::{Value, json};
use support::{Lab, Response, Rule, Scripted, rule};
use tokio::net::TcpStream;

/// Who issues tokens.
struct Issuer(Ed25519KeyPair);

impl Issuer {
    fn new() -> Self {
        Self(Ed25519KeyPair::generate().unwrap())
    }

    /// As a policy names it, with its own name for `iss`.
    fn provider(&self, name: &str) -> JwtProvider {
        let key = json!({"kty": "OKP", "crv": "Ed25519", "x": URL_SAFE_NO_PAD.encode(self.0.public_key())});
        let headers = vec![("authorization".into(), "Bearer ".into())];
        JwtProvider {
            name: name.into(),
            keys: JwtKeys::Local(Jwks::new(json!({"keys": [key]}).to_string().as_bytes())),
            issuer: Some(name.into()),
            audiences: vec![],
            clock_skew: Duration::from_secs(60),
            extract_from: TokenPlaces { headers, cookies: vec![], params: vec![] },
            forwards: true,
            claim_to_headers: vec![],
            required_claims: vec![],
        }
    }

    fn token(&self, claims: &Value) -> String {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let message = format!("{}.{}", part(&json!({"alg": "EdDSA"})), part(claims));
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(self.0.sign(message.as_bytes())))
    }
}

fn policies(is_optional: bool, providers: &[JwtProvider]) -> Policies {
    let jwt = Some(Jwt { is_optional, providers: providers.to_vec() });
    Policies { jwt, ..Default::default() }
}

fn lab(policies: Policies, endpoint: &Scripted) -> Lab {
    Lab::new(&[Rule { policies: Some(policies), ..rule("/", &[endpoint.address]) }])
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

fn ask(lab: &Lab, target: &str, lines: &str) -> Response {
    let mut client = lab.client();
    client.send(format!("GET {target} HTTP/1.1\r\nHost: a.test\r\n{lines}\r\n"));
    client.response()
}

fn bearer(lab: &Lab, token: &str) -> Response {
    ask(lab, "/", &format!("Authorization: Bearer {token}\r\n"))
}

fn claim_header(claim: &str, header: &str) -> ClaimHeader {
    ClaimHeader { claim: claim.into(), header: header.into() }
}

#[test]
fn a_good_token_lets_in_and_any_other_is_refused_with_a_reason() {
    let endpoint = Scripted::echo("one");
    let (issuer, other) = (Issuer::new(), Issuer::new());
    let lab = lab(policies(false, &[issuer.provider("issuer")]), &endpoint);
    let good = issuer.token(&json!({"iss": "issuer", "exp": now() + 3600}));
    for _ in 0..2 {
        let answer = bearer(&lab, &good);
        assert_eq!(answer.status, 200);
        assert!(answer.text().contains(&good), "the endpoint gets the token");
    }
    assert_eq!(ask(&lab, "/", &format!("Authorization: bEARER {good}\r\n")).status, 200);
    let before = endpoint.received();
    let missing = ask(&lab, "/", "");
    assert!(missing.has("WWW-Authenticate: Bearer realm=\"restricted\""), "{}", missing.head);
    assert_eq!((missing.status, missing.text()), (401, "a token is missing\n".into()));
    assert_eq!(ask(&lab, "/", "Authorization: Basic YTpi\r\n").text(), "a token is missing\n");
    let (message, signature) = good.rsplit_once('.').unwrap();
    let other_first = if signature.starts_with('A') { "B" } else { "A" };
    let forged = format!("{message}.{other_first}{}", &signature[1..]);
    for (token, reason) in [
        (forged, "the signature of the token is wrong"),
        (other.token(&json!({"iss": "issuer", "exp": now() + 3600})), "the signature of the token is wrong"),
        (issuer.token(&json!({"iss": "other", "exp": now() + 3600})), "the token is of another issuer"),
        (issuer.token(&json!({"iss": "issuer", "exp": now() - 120})), "the token has expired"),
        (issuer.token(&json!({"iss": "issuer"})), "the token has no time of expiry"),
        ("a.b.c".to_owned(), "the token is no JWT"),
    ] {
        let refused = bearer(&lab, &token);
        assert_eq!((refused.status, refused.text()), (401, format!("{reason}\n")));
        let challenge = format!(
            "WWW-Authenticate: Bearer realm=\"restricted\", error=\"invalid_token\", error_description=\"{reason}\""
        );
        assert!(refused.has(&challenge), "{}", refused.head);
    }
    // A second one, which the endpoint might look at, has to be good, too.
    let two = format!("Authorization: Bearer {good}\r\nAuthorization: Bearer x.y.z\r\n");
    assert_eq!(ask(&lab, "/", &two).status, 401);
    let many: String = (0..9).map(|i| format!("Authorization: Bearer {i}\r\n")).collect();
    assert_eq!(ask(&lab, "/", &many).text(), "the request has too many tokens\n");
    assert_eq!(endpoint.received(), before, "the endpoint hears of none of them");
}

#[test]
fn what_is_remembered_of_a_token_ends_with_it_and_with_its_key() {
    let endpoint = Scripted::echo("one");
    let (issuer, other) = (Issuer::new(), Issuer::new());
    let addresses = [endpoint.address];
    let with = |issuer: &Issuer, clock_skew| {
        let provider = JwtProvider { clock_skew, ..issuer.provider("issuer") };
        Rule { policies: Some(policies(false, &[provider])), ..rule("/", &addresses) }
    };
    let mut lab = Lab::new(&[with(&issuer, Duration::ZERO)]);
    let good = issuer.token(&json!({"iss": "issuer", "exp": now() + 3600}));
    assert_eq!(bearer(&lab, &good).status, 200);
    lab.apply(&[with(&other, Duration::ZERO)]);
    assert_eq!(bearer(&lab, &good).status, 401);
    lab.apply(&[with(&issuer, Duration::ZERO)]);
    assert_eq!(bearer(&lab, &good).status, 200);
    let short = issuer.token(&json!({"iss": "issuer", "exp": now() + 2}));
    support::eventually("the token has expired", || {
        bearer(&lab, &short).text().starts_with("the token has e")
    });
    // Clocks may differ by more than that.
    lab.apply(&[with(&issuer, Duration::from_secs(3600))]);
    assert_eq!(bearer(&lab, &short).status, 200);
}

#[test]
fn claims_become_headers_that_no_client_can_forge() {
    let endpoint = Scripted::echo("one");
    let issuer = Issuer::new();
    let claim_to_headers = vec![claim_header("sub", "X-User"), claim_header("realm.roles", "X-Roles")];
    let provider = JwtProvider { claim_to_headers, ..issuer.provider("issuer") };
    let lab = lab(policies(true, &[provider]), &endpoint);
    let token = |sub: &str| issuer.token(&json!({"iss": "issuer", "exp": now() + 3600, "sub": sub}));
    let forged = "x-USER: eve\r\nX_User: eve\r\nX.User: eve\r\nX-Roles: admin\r\nX-Users: kept\r\n";
    let answer = ask(&lab, "/", &format!("{forged}Authorization: Bearer {}\r\n", token("anna"))).text();
    assert!(answer.contains("\r\nX-User: anna\r\n") && answer.contains("\r\nX-Users: kept\r\n"), "{answer}");
    assert!(!answer.contains("eve") && !answer.to_ascii_lowercase().contains("x-roles"), "{answer}");
    // Connection names lines that are for the gateway alone: not those that it writes.
    let named = format!("Connection: x-user\r\nAuthorization: Bearer {}\r\n", token("anna"));
    assert!(ask(&lab, "/", &named).text().contains("\r\nX-User: anna\r\n"));
    // Who may come without a token is nobody.
    let anonymous = ask(&lab, "/", forged);
    assert_eq!(anonymous.status, 200);
    assert!(
        !anonymous.text().contains("eve") && !anonymous.text().contains("X-Roles"),
        "{}",
        anonymous.text()
    );
    assert_eq!(bearer(&lab, "x.y.z").status, 401, "one that is not good is no better for being optional");
    // Blanks at its ends would be lost, and who signs up as `anna ` would be somebody else.
    for name in ["a\r\nX-Forged: 1", "anna ", " anna", "anna\t", " "] {
        let unspeakable = bearer(&lab, &token(name));
        assert_eq!(
            (unspeakable.status, unspeakable.text()),
            (403, "a claim of the token can stand in no header\n".into()),
            "{name:?}"
        );
    }
}

#[tokio::test]
async fn headers_made_of_claims_do_not_pass_as_trailers() {
    let endpoint = Scripted::echo("one");
    let issuer = Issuer::new();
    let claim_to_headers = vec![claim_header("sub", "X-User")];
    let lab =
        lab(policies(false, &[JwtProvider { claim_to_headers, ..issuer.provider("issuer") }]), &endpoint);
    let token = issuer.token(&json!({"iss": "issuer", "exp": now() + 3600, "sub": "anna"}));
    for (name, status) in [("x-sum", 200), ("x-user", 400), ("x_user", 400)] {
        let mut client = lab.client();
        let head = format!("POST / HTTP/1.1\r\nHost: a.test\r\nAuthorization: Bearer {token}\r\n");
        let body = format!("2\r\nab\r\n0\r\n{name}: eve\r\n\r\n");
        client.send(format!("{head}Transfer-Encoding: chunked\r\n\r\n{body}"));
        let answer = client.response();
        assert_eq!(answer.status, status, "{name}");
        let text = answer.text();
        let is_right =
            if status == 200 { text.contains("x-sum: eve\r\n") } else { text == "forbidden trailer\n" };
        assert!(is_right, "{name}: {text}");
        // The same over HTTP/2.
        let stream = TcpStream::connect(lab.address).await.unwrap();
        let (send, connection) = h2::client::handshake(stream).await.unwrap();
        tokio::spawn(async move { drop(connection.await) });
        let request = Request::post("http://a.test/").header("authorization", format!("Bearer {token}"));
        let mut send = send.ready().await.unwrap();
        let (response, mut stream) = send.send_request(request.body(()).unwrap(), false).unwrap();
        stream.send_data("ab".into(), false).unwrap();
        let trailer = (HeaderName::from_static(name), HeaderValue::from_static("eve"));
        stream.send_trailers(HeaderMap::from_iter([trailer])).unwrap();
        assert_eq!(response.await.unwrap().status().as_u16(), status, "{name}");
    }
    assert!(!endpoint.received().to_ascii_lowercase().contains("user: eve"), "{}", endpoint.received());
}

#[test]
fn tokens_do_not_pass_as_trailers_where_they_pass_as_headers() {
    let endpoint = Scripted::echo("one");
    let issuer = Issuer::new();
    let headers = vec![("x-token".into(), "".into())];
    let extract_from = TokenPlaces { headers, cookies: vec![], params: vec![] };
    let lab = lab(policies(true, &[JwtProvider { extract_from, ..issuer.provider("issuer") }]), &endpoint);
    let token = issuer.token(&json!({"iss": "issuer", "exp": now() + 3600}));
    for (line, name, status) in [
        (format!("X-Token: {token}\r\n"), "x-sum", 200),
        (format!("X-Token: {token}\r\n"), "X-Token", 400),
        (String::new(), "x_token", 400),
        (String::new(), "authorization", 400),
        (String::new(), "x-tokens", 200),
    ] {
        let mut client = lab.client();
        let body = format!("2\r\nab\r\n0\r\n{name}: eve\r\n\r\n");
        client.send(format!(
            "POST / HTTP/1.1\r\nHost: a.test\r\n{line}Transfer-Encoding: chunked\r\n\r\n{body}"
        ));
        let answer = client.response();
        assert_eq!(answer.status, status, "{name}");
        assert!(status == 200 || answer.text() == "forbidden trailer\n", "{name}");
    }
    let received = endpoint.received().to_ascii_lowercase();
    assert!(received.contains(&format!("x-token: {token}").to_ascii_lowercase()), "the header passes");
    assert!(!received.contains("token: eve"), "{received}");
}

#[test]
fn claims_that_are_asked_for_are_needed() {
    let endpoint = Scripted::echo("one");
    let issuer = Issuer::new();
    let claim = |name: &str, values: &[&str]| RequiredClaim {
        name: name.into(),
        values: values.iter().map(|value| Arc::from(*value)).collect(),
    };
    let required_claims = vec![claim("scope", &["write"]), claim("realm.roles", &["admin", "root"])];
    let provider = JwtProvider { required_claims, ..issuer.provider("issuer") };
    let lab = lab(policies(false, &[provider]), &endpoint);
    let ask = |scope: &str, role: &str| {
        let claims =
            json!({"iss": "issuer", "exp": now() + 3600, "scope": scope, "realm": {"roles": [role]}});
        bearer(&lab, &issuer.token(&claims))
    };
    assert_eq!(ask("read write", "root").status, 200);
    assert_eq!((ask("read", "root").status, ask("write", "user").status), (403, 403));
    let refused = ask("writes", "root");
    assert!(refused.head.contains("error=\"insufficient_scope\""), "{}", refused.head);
}

#[test]
fn tokens_are_found_in_all_places_and_kept_back_where_that_is_asked() {
    let endpoint = Scripted::echo("one");
    let issuer = Issuer::new();
    let extract_from = TokenPlaces {
        headers: vec![("x-token".into(), "".into())],
        cookies: vec!["session".into()],
        params: vec!["token".into()],
    };
    let lab_of = |forwards: bool| {
        let provider =
            JwtProvider { extract_from: extract_from.clone(), forwards, ..issuer.provider("issuer") };
        lab(policies(false, &[provider]), &endpoint)
    };
    let (forwarding, keeping) = (lab_of(true), lab_of(false));
    let token = issuer.token(&json!({"iss": "issuer", "exp": now() + 3600}));
    for (target, lines) in [
        ("/p?a=1&b=2".to_owned(), format!("X-Token: {token}\r\nCookie: a=1; b=2\r\n")),
        ("/p?a=1&b=2".to_owned(), format!("Cookie: a=1; session={token}; b=2\r\n")),
        (format!("/p?a=1&token={token}&b=2"), "Cookie: a=1; b=2\r\n".to_owned()),
    ] {
        assert!(ask(&forwarding, &target, &lines).text().contains(&token), "{target} {lines}");
        let kept = ask(&keeping, &target, &lines).text();
        assert!(!kept.contains(&token), "{kept}");
        assert!(
            kept.contains("GET /p?a=1&b=2 HTTP/1.1\r\n") && kept.contains("\r\nCookie: a=1; b=2\r\n"),
            "{kept}"
        );
    }
    let only = ask(&keeping, &format!("/p?token={token}"), "").text();
    assert!(only.contains("GET /p HTTP/1.1\r\n"), "{only}");
    assert_eq!(ask(&keeping, "/p", &format!("Authorization: Bearer {token}\r\n")).status, 401);
    // One in another spelling of its place, which an endpoint may read, is no way around.
    for (target, lines) in
        [("/p?t%6Fken=x.y.z", ""), ("/p", "X_Token: x.y.z\r\n"), ("/p", "Cookie: session =x.y.z\r\n")]
    {
        let both = ask(&forwarding, target, &format!("X-Token: {token}\r\n{lines}"));
        assert_eq!((both.status, both.text()), (401, "the token is no JWT\n".into()), "{target} {lines}");
    }
    // One that is good does not let another in that is not.
    let two = ask(&keeping, "/p?token=x.y.z", &format!("X-Token: {token}\r\n"));
    assert_eq!(two.status, 401);
}

#[test]
fn a_token_of_any_provider_lets_in_with_its_own_headers() {
    let endpoint = Scripted::echo("one");
    let (a, b, nobody) = (Issuer::new(), Issuer::new(), Issuer::new());
    let with = |issuer: &Issuer, name: &str, header: &str| JwtProvider {
        claim_to_headers: vec![claim_header("sub", header)],
        ..issuer.provider(name)
    };
    let lab = lab(policies(false, &[with(&a, "a", "X-A"), with(&b, "b", "X-B")]), &endpoint);
    let token =
        |issuer: &Issuer, iss: &str| issuer.token(&json!({"iss": iss, "exp": now() + 3600, "sub": "s"}));
    let of_b = ask(&lab, "/", &format!("X-A: eve\r\nAuthorization: Bearer {}\r\n", token(&b, "b"))).text();
    assert!(of_b.contains("\r\nX-B: s\r\n") && !of_b.contains("X-A"), "{of_b}");
    assert!(bearer(&lab, &token(&a, "a")).text().contains("\r\nX-A: s\r\n"));
    assert_eq!(bearer(&lab, &token(&a, "b")).text(), "the signature of the token is wrong\n");
    assert_eq!(bearer(&lab, &token(&nobody, "c")).text(), "the token is of another issuer\n");
}
