//! What the real helm says of the chart: `./x cluster test`.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers, too")]

use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use serde_json::Value;
use testkit::cluster::Program;
use testkit::exec;

const LIMIT: Duration = Duration::from_secs(120);

fn helm(words: &[&str]) -> Output {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut command = Command::new(Program::Helm.path().unwrap());
    command.args(words).current_dir(root);
    exec(None, command, LIMIT).unwrap()
}

/// What `helm template` makes with these values, as `--set` takes them.
fn template(values: &[&str]) -> Result<Vec<Value>, String> {
    let mut words = vec!["template", "edge", "deploy/helm/rauta", "--namespace", "net"];
    words.extend(values.iter().flat_map(|value| ["--set-json", value]));
    let output = helm(&words);
    if !output.status.success() {
        return Err(String::from_utf8(output.stderr).unwrap());
    }
    let text = String::from_utf8(output.stdout).unwrap();
    Ok(text
        .split("\n---\n")
        .filter(|document| document.lines().any(|line| line.starts_with("kind:")))
        .map(|document| serde_saphyr::from_str(document).unwrap())
        .collect())
}

fn one<'a>(objects: &'a [Value], kind: &str) -> &'a Value {
    let found: Vec<&Value> = objects.iter().filter(|object| object["kind"] == kind).collect();
    assert_eq!(found.len(), 1, "{kind}");
    found[0]
}

fn container(objects: &[Value]) -> &Value {
    &one(objects, "DaemonSet")["spec"]["template"]["spec"]["containers"][0]
}

#[test]
fn helm_finds_nothing_wrong_and_the_plain_manifests_are_what_it_makes() {
    let output = helm(&["lint", "--strict", "deploy/helm/rauta"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    command.args(["manifests", "--check"]);
    let output = exec(None, command, LIMIT).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn by_default_the_pod_has_the_rights_that_it_needs_and_no_others() {
    let objects = template(&[]).unwrap();
    let pod = &one(&objects, "DaemonSet")["spec"]["template"]["spec"];
    let security = &container(&objects)["securityContext"];
    assert_eq!(security["capabilities"]["drop"], serde_json::json!(["ALL"]));
    let added = serde_json::json!(["NET_BIND_SERVICE", "BPF", "NET_ADMIN", "PERFMON"]);
    assert_eq!(security["capabilities"]["add"], added);
    for (field, value) in
        [("privileged", false), ("allowPrivilegeEscalation", false), ("readOnlyRootFilesystem", true)]
    {
        assert_eq!(security[field], value, "{field}");
    }
    assert!(pod["hostPID"].is_null() && pod["hostIPC"].is_null());
    assert!(container(&objects)["ports"].is_null(), "two Pods of a node could not be there at once");
    let volumes = pod["volumes"].as_array().unwrap();
    let paths: Vec<_> = volumes.iter().filter_map(|volume| volume["hostPath"]["path"].as_str()).collect();
    assert_eq!(paths, ["/run/rauta", "/sys/fs/bpf/rauta"]);
    let roles = one(&objects, "ClusterRole").to_string();
    assert!(!roles.contains('*'), "{roles}");
    assert_eq!(one(&objects, "ClusterRole")["metadata"]["name"], "edge-rauta");
    let kinds: Vec<_> = objects.iter().filter_map(|object| object["kind"].as_str()).collect();
    for kind in ["ServiceAccount", "GatewayClass", "IngressClass", "ValidatingAdmissionPolicyBinding"] {
        assert!(kinds.contains(&kind), "{kinds:?}");
    }
    for kind in ["ConfigMap", "Service", "ServiceMonitor", "PrometheusRule"] {
        assert!(!kinds.contains(&kind), "{kinds:?}");
    }
    assert_eq!(kinds.iter().filter(|kind| **kind == "CustomResourceDefinition").count(), 3);
}

#[test]
fn values_become_what_they_say() {
    let objects = template(&[
        r#"settings={"listen": ":80", "timeouts": {"drain": "5s"}}"#,
        r#"kernel={"enabled": false}"#,
        r#"extraCapabilities=["NET_RAW"]"#,
        r#"image={"repository": "registry.example/rauta", "digest": "sha256:0000000000000000000000000000000000000000000000000000000000000000"}"#,
        r#"rbac={"secretNamespaces": ["shop", "pay"], "admissionPolicy": false}"#,
        r#"metrics={"serviceMonitor": {"create": true}, "prometheusRule": {"create": true}}"#,
        r#"ingressClass={"default": true}"#,
        r#"crds={"install": false}"#,
    ])
    .unwrap();
    let settings: Value =
        serde_saphyr::from_str(one(&objects, "ConfigMap")["data"]["rauta.yaml"].as_str().unwrap()).unwrap();
    assert_eq!(settings, serde_json::json!({"listen": ":80", "timeouts": {"drain": "5s"}}));
    let container = container(&objects);
    assert_eq!(
        container["securityContext"]["capabilities"]["add"],
        serde_json::json!(["NET_BIND_SERVICE", "NET_RAW"]),
        "without kernel programs none of their rights"
    );
    assert!(container["image"].as_str().unwrap().starts_with("registry.example/rauta@sha256:"));
    let volumes = one(&objects, "DaemonSet")["spec"]["template"]["spec"]["volumes"].to_string();
    assert!(!volumes.contains("bpf"), "{volumes}");
    assert!(!one(&objects, "ClusterRole").to_string().contains("secrets"));
    let roles: Vec<_> = objects.iter().filter(|object| object["kind"] == "Role").collect();
    let of_secrets = roles.iter().filter(|role| role.to_string().contains("secrets"));
    let namespaces: Vec<_> = of_secrets.map(|role| role["metadata"]["namespace"].as_str().unwrap()).collect();
    assert_eq!(namespaces, ["shop", "pay"]);
    one(&objects, "ServiceMonitor");
    one(&objects, "Service");
    let rules = &one(&objects, "PrometheusRule")["spec"]["groups"][0]["rules"];
    let url = rules[0]["annotations"]["runbook_url"].as_str().unwrap();
    assert!(url.starts_with("https://") && url.ends_with("/start.md"), "{url}");
    let annotations = &one(&objects, "IngressClass")["metadata"]["annotations"];
    assert_eq!(annotations["ingressclass.kubernetes.io/is-default-class"], "true");
    for kind in ["CustomResourceDefinition", "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"]
    {
        assert!(objects.iter().all(|object| object["kind"] != kind), "{kind}");
    }
}

#[test]
fn pods_are_read_where_gateways_or_ingresses_have_addresses_of_nodes_and_nowhere_else() {
    let reads = |values: &[&str]| {
        let objects = template(values).unwrap();
        let has = |kind: &str, resource: &str| {
            let roles = objects.iter().filter(|object| object["kind"] == kind);
            let rules = roles.flat_map(|role| role["rules"].as_array().unwrap());
            rules.into_iter().any(|rule| {
                let verbs = serde_json::json!(["list", "watch"]);
                rule["resources"] == serde_json::json!([resource]) && rule["verbs"] == verbs
            })
        };
        (has("ClusterRole", "nodes"), has("Role", "pods"))
    };
    assert_eq!(reads(&[]), (true, true));
    let pool = r#"settings={"addresses": {"pool": ["10.0.0.0/24"]}}"#;
    assert_eq!(reads(&[pool]), (true, true), "of Ingresses");
    for values in [
        r#"service={"create": true}"#,
        r#"settings={"addresses": {"pool": ["10.0.0.0/24"], "ingresses": ["lb.test"]}}"#,
        r#"settings={"addresses": {"pool": ["10.0.0.0/24"], "nodes": ["192.0.2.1"]}}"#,
        r#"settings={"addresses": {"nodes": ["192.0.2.1"]}}"#,
        r#"settings={"addresses": {"service": "net/edge"}}"#,
    ] {
        assert_eq!(reads(&[values]), (true, false), "{values}: the zone of the own node is always read");
    }
}

#[test]
fn a_service_brings_the_traffic_and_the_agents_know_it() {
    let service = r#"service={"create": true, "annotations": {"a.test/b": "c"}, "ports": [{"name": "dns", "port": 53, "targetPort": 5353, "protocol": "UDP"}]}"#;
    let objects = template(&[service]).unwrap();
    let made = one(&objects, "Service");
    assert_eq!(made["metadata"]["annotations"]["a.test/b"], "c");
    let spec = &made["spec"];
    assert_eq!(spec["type"], "LoadBalancer");
    assert_eq!(spec["externalTrafficPolicy"], "Local");
    let port = serde_json::json!({"name": "dns", "port": 53, "targetPort": 5353, "protocol": "UDP"});
    assert_eq!(spec["ports"], serde_json::json!([port]));
    assert_eq!(spec["selector"], one(&objects, "DaemonSet")["spec"]["selector"]["matchLabels"]);
    let variables = container(&objects)["env"].as_array().unwrap();
    let named = variables.iter().find(|one| one["name"] == "RAUTA_ADDRESSES_SERVICE").unwrap();
    assert_eq!(named["value"], "net/edge-rauta");
    let ports =
        &one(&template(&[r#"service={"create": true}"#]).unwrap(), "Service")["spec"]["ports"].clone();
    assert_eq!(
        ports[1],
        serde_json::json!({"name": "https", "port": 443, "targetPort": 443, "protocol": "TCP"})
    );
    let pool = r#"settings={"addresses": {"pool": ["10.0.0.0/24"]}}"#;
    let error = template(&[r#"service={"create": true}"#, pool]).unwrap_err();
    assert!(error.contains("service.create is set beside settings.addresses"), "{error}");
}

#[test]
fn ingresses_have_the_ports_of_the_web_unless_values_or_settings_say_others() {
    let listens = |values: &[&str]| {
        let objects = template(values).unwrap();
        let variables = container(&objects)["env"].as_array().unwrap().clone();
        ["RAUTA_LISTEN", "RAUTA_LISTEN_HTTPS"].map(|name| {
            let of_it = variables.iter().find(|one| one["name"] == name);
            of_it.map(|one| one["value"].as_str().unwrap().to_owned())
        })
    };
    let at = |text: &str| Some(text.to_owned());
    assert_eq!(listens(&[]), [at(":80"), at(":443")]);
    assert_eq!(listens(&[r#"ports={"http": 8080, "https": 8443}"#]), [at(":8080"), at(":8443")]);
    assert_eq!(listens(&[r#"ports={"http": 0, "https": 0}"#]), [None, None], "the agent's own");
    // What is in the environment would come before what is in the file.
    assert_eq!(listens(&[r#"settings={"listen": "192.0.2.1:80"}"#]), [None, at(":443")]);
    assert_eq!(listens(&[r#"settings={"listenHttps": ":8443"}"#]), [at(":80"), None]);
    // Values of a release from before there were these ports, as --reuse-values has them.
    assert_eq!(listens(&[r#"ports.http=null"#, r#"ports.https=null"#]), [at(":80"), at(":443")]);
}

#[test]
fn other_settings_are_other_pods() {
    let pod = |values: &[&str]| one(&template(values).unwrap(), "DaemonSet")["spec"]["template"].to_string();
    assert_eq!(pod(&[r#"settings={"listen": ":80"}"#]), pod(&[r#"settings={"listen": ":80"}"#]));
    assert_ne!(pod(&[r#"settings={"listen": ":80"}"#]), pod(&[r#"settings={"listen": ":81"}"#]));
}

#[test]
fn values_that_cannot_be_are_refused_by_name() {
    for (value, named) in [
        (r#"imagee={}"#, "imagee"),
        (r#"ports={"admin": 0}"#, "/ports/admin"),
        (r#"ports={"metrics": 70000}"#, "/ports/metrics"),
        (r#"ports={"http": -1}"#, "/ports/http"),
        (r#"ports={"https": "https"}"#, "/ports/https"),
        (r#"image={"digest": "latest"}"#, "/image/digest"),
        (r#"image={"pullPolicy": "Sometimes"}"#, "/image/pullPolicy"),
        (r#"kernel={"hook": "iptables"}"#, "/kernel/hook"),
        (r#"service={"type": "ClusterIP"}"#, "/service/type"),
        (r#"service={"type": "NodePort"}"#, "/service/type"),
        (r#"service={"ports": []}"#, "/service/ports"),
        (r#"host={"runFolder": "run"}"#, "/host/runFolder"),
        (r#"rbac={"secretNamespaces": ["Shop"]}"#, "/rbac/secretNamespaces/0"),
        (r#"extraCapabilities=["ALL"]"#, "/extraCapabilities/0"),
        (r#"settings={"admin": "0.0.0.0:9901"}"#, "/settings"),
        (r#"settings={"dataplane": {"pinRoot": "/x"}}"#, "/settings/dataplane"),
        (r#"terminationGracePeriodSeconds="soon""#, "/terminationGracePeriodSeconds"),
        (r#"metrics={"serviceMonitor": {"create": true, "interval": "often"}}"#, "/interval"),
    ] {
        let error = template(&[value]).expect_err(value);
        assert!(error.contains(named), "{value}: {error}");
    }
    let error = template(&[r#"ports={"metrics": 0}"#, r#"metrics={"service": true}"#]).unwrap_err();
    assert!(error.contains("ports.metrics is 0, so that nothing serves metrics"), "{error}");
}
