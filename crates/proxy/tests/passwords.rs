//! Passwords whose check is dear: how many requests wait for it, and what becomes of those that stop waiting.
#![allow(clippy::unwrap_used, reason = "helpers of tests: a panic is how they report")]

mod support;

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use http::{Request, StatusCode};
use model::{BasicAuth, Policies, SecretBytes};
use support::{Lab, Rule, Scripted, rule};
use tokio::net::TcpStream;

/// `a:secret`, which is right and checked soon.
const RIGHT: &str = "Basic YTpzZWNyZXQ=";
/// `b:secret`, which is wrong, and takes as long as its cost says.
const WRONG: &str = "Basic YjpzZWNyZXQ=";

/// One thread, which checks one password at a time and lets 16 wait.
fn lab(cost: u32, endpoint: &Scripted) -> Lab {
    let right = bcrypt::hash_with_salt("secret", 4, *b"0123456789abcdef").unwrap().to_string();
    let wrong = right.replace("$04$", &format!("${cost:02}$"));
    let users = SecretBytes::new(format!("a:{right}\nb:{wrong}\n").as_bytes());
    let basic_auth = Some(BasicAuth { realm: "x".into(), username_header: None, users });
    let policies = Some(Policies { basic_auth, ..Default::default() });
    Lab::new(&[Rule { policies, ..rule("/", &[endpoint.address]) }])
}

async fn client(lab: &Lab) -> SendRequest<Bytes> {
    let stream = TcpStream::connect(lab.address).await.unwrap();
    let (send, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(async move { drop(connection.await) });
    send
}

/// None: the gateway has said that it takes no more.
async fn ask(client: &SendRequest<Bytes>, credentials: Option<&str>) -> Option<ResponseFuture> {
    let mut request = Request::get("http://a.test/");
    if let Some(credentials) = credentials {
        request = request.header("authorization", credentials);
    }
    let mut client = client.clone().ready().await.ok()?;
    Some(client.send_request(request.body(()).unwrap(), true).ok()?.0)
}

#[tokio::test]
async fn requests_that_are_reset_while_they_wait_for_a_check_count_at_once_and_are_not_checked() {
    let endpoint = Scripted::echo("one");
    let lab = lab(12, &endpoint);
    let is_told_to_leave =
        || lab.metrics.encode().contains("rauta_refusals_total{reason=\"most streams cancelled\"} 1");
    let resetting = client(&lab).await;
    // All of them checked would take many times as long as this.
    for _ in 0..30 {
        let mut waiting = Vec::new();
        for _ in 0..10 {
            waiting.extend(ask(&resetting, Some(WRONG)).await);
        }
        // This one needs no check: when it is answered, those before it wait.
        let Some(unchecked) = ask(&resetting, None).await else { break };
        let Ok(unchecked) = unchecked.await else { break };
        assert_eq!(unchecked.status(), StatusCode::UNAUTHORIZED);
    }
    support::eventually("who resets most of its requests is told to leave", is_told_to_leave);
    let allowed = ask(&client(&lab).await, Some(RIGHT)).await.unwrap();
    assert_eq!(allowed.await.unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn one_more_than_may_wait_for_a_check_is_told_to_come_again() {
    let endpoint = Scripted::echo("one");
    let lab = lab(6, &endpoint);
    let asking = client(&lab).await;
    let mut asked = Vec::new();
    for _ in 0..60 {
        asked.push(ask(&asking, Some(WRONG)).await.unwrap());
    }
    let (mut wrong, mut busy) = (0, 0);
    for response in asked {
        let (parts, mut body) = response.await.unwrap().into_parts();
        let text = body.data().await.unwrap().unwrap();
        if parts.status == StatusCode::UNAUTHORIZED {
            wrong += 1;
            continue;
        }
        busy += 1;
        assert_eq!(
            (parts.status.as_u16(), &text[..]),
            (503, &b"too many passwords wait to be checked\n"[..])
        );
        assert_eq!(parts.headers["retry-after"], "1");
    }
    assert!(wrong >= 17 && busy > 0, "{wrong} checked, {busy} sent away");
    let counted =
        format!("rauta_responses_generated_total{{reason=\"too many passwords wait to be checked\"}} {busy}");
    assert!(lab.metrics.encode().contains(&counted), "{counted}");
    assert_eq!(ask(&asking, Some(RIGHT)).await.unwrap().await.unwrap().status(), StatusCode::OK);
}
