//! The control plane of the cluster lab, as tests of others use it: `./x cluster test`.

use std::time::Duration;

use serde_json::json;
use testkit::cluster::ControlPlane;
use testkit::{Lab, exec, until};

const LIMIT: Duration = Duration::from_secs(60);

#[test]
fn an_api_server_serves_kubectl_and_comes_back_with_what_it_had() {
    let mut control = ControlPlane::start().unwrap();
    let kubectl = |control: &ControlPlane, words: &[&str]| {
        let mut command = control.kubectl().unwrap();
        command.args(words);
        let output = exec(None, command, LIMIT).unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let kinds = kubectl(&control, &["api-resources", "-o", "name"]);
    for kind in
        ["tcproutes.gateway.networking.k8s.io", "routingrules.rauta.io", "endpointslices.discovery.k8s.io"]
    {
        assert!(kinds.lines().any(|line| line == kind), "no {kind} in {kinds}");
    }
    kubectl(&control, &["create", "configmap", "kept", "--from-literal=a=b"]);
    let url = control.url();
    control.stop_api_server().unwrap();
    assert_eq!(control.client().get("/api/v1/nodes").unwrap_err().status(), None);
    control.start_api_server().unwrap();
    assert_eq!(control.url(), url);
    assert_eq!(kubectl(&control, &["get", "configmap", "kept", "-o", "jsonpath={.data.a}"]), "b");

    let netns = control.netns().name().to_owned();
    drop(control);
    assert!(testkit::Netns::open(&netns).is_err(), "{netns} is still there");
}

#[test]
fn an_account_may_do_what_its_roles_say_and_a_watch_sees_changes() {
    let lab = Lab::builder().build().unwrap();
    let control = ControlPlane::start_in(lab.gateway()).unwrap();
    let client = control.client();
    let accounts = "/api/v1/namespaces/default/serviceaccounts";
    client.create(accounts, &json!({"metadata": {"name": "limited"}})).unwrap();
    let file = control.kubeconfig_for("default", "limited", true).unwrap();
    let ask = |verb: &str| {
        let mut command = control.kubectl().unwrap();
        command.env("KUBECONFIG", &file).args(["auth", "can-i", verb, "configmaps"]);
        String::from_utf8(exec(Some(lab.gateway()), command, LIMIT).unwrap().stdout).unwrap()
    };
    assert_eq!(ask("list"), "no\n");

    let maps = "/api/v1/namespaces/default/configmaps";
    let version = client.get(maps).unwrap()["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    let mut watch = client.lines(&format!("{maps}?watch=1&resourceVersion={version}"), LIMIT).unwrap();
    client.create(maps, &json!({"metadata": {"name": "seen"}})).unwrap();
    client.merge(&format!("{maps}/seen"), &json!({"data": {"a": "b"}})).unwrap();
    client.delete(&format!("{maps}/seen"), None).unwrap();
    for (kind, name) in [("ADDED", "seen"), ("MODIFIED", "seen"), ("DELETED", "seen")] {
        let event: serde_json::Value = until(LIMIT, "an event of the map", || {
            let event: serde_json::Value = serde_json::from_str(&watch.next()?.unwrap()).unwrap();
            (event["object"]["metadata"]["name"] == name).then_some(event)
        })
        .unwrap();
        assert_eq!(event["type"], kind, "{event}");
    }
}
