//! The control plane of the cluster lab, as tests of others use it: `./x cluster test`.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::json;
use testkit::cluster::{Cluster, ControlPlane, Images, Program};
use testkit::{Connection, Lab, exec, until};

const LIMIT: Duration = Duration::from_secs(180);

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

const ECHO: &str = r#"
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {greeting: hello}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: echo}
spec:
  replicas: 2
  selector: {matchLabels: {app: echo}}
  template:
    metadata: {labels: {app: echo}}
    spec:
      terminationGracePeriodSeconds: 5
      initContainers:
      - name: first
        image: local/shell
        command: [sh, -c, 'echo "made by $(POD_NAME)" >/scratch/first']
        env: &env
        - {name: POD_NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
        - {name: NAMESPACE, valueFrom: {fieldRef: {fieldPath: metadata.namespace}}}
        volumeMounts: [{name: work, mountPath: /scratch}]
      containers:
      - name: echo
        image: registry.example/gateway-api/echo-basic:v1
        env: *env
        readinessProbe: {httpGet: {path: /, port: 3000}, periodSeconds: 1}
        volumeMounts:
        - {name: work, mountPath: /scratch}
        - {name: settings, mountPath: /etc/settings, readOnly: true}
      volumes:
      - {name: work, emptyDir: {}}
      - {name: settings, configMap: {name: settings}}
---
apiVersion: v1
kind: Service
metadata: {name: echo}
spec:
  selector: {app: echo}
  ports: [{port: 80, targetPort: 3000}]
"#;

#[test]
fn a_deployment_becomes_ready_answers_logs_restarts_and_goes() {
    let images =
        Images::default().with("echo-basic", Program::EchoBasic.path().unwrap()).with("shell", "/bin/sh");
    let cluster = Cluster::start(2, &images).unwrap();
    let control = cluster.control_plane();
    let kubectl = |words: &[&str]| {
        let mut command = control.kubectl().unwrap();
        command.args(words);
        let output = exec(None, command, LIMIT).unwrap();
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), String::from_utf8(output.stdout).unwrap(), error)
    };
    let good = |words: &[&str]| {
        let (code, text, error) = kubectl(words);
        assert_eq!(code, Some(0), "{words:?}: {error}");
        text
    };
    let manifest = control.folder().join("echo.yaml");
    std::fs::write(&manifest, ECHO).unwrap();
    good(&["apply", "-f", &manifest.display().to_string()]);
    good(&["rollout", "status", "deployment/echo", "--timeout=150s"]);

    let slices = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices?labelSelector=kubernetes.io/service-name=echo";
    let endpoints = || {
        let list = control.client().get(slices).unwrap();
        let slices = list["items"].as_array().unwrap();
        let all = slices.iter().flat_map(|slice| slice["endpoints"].as_array().into_iter().flatten());
        let ready = all.filter(|endpoint| endpoint["conditions"]["ready"] == true);
        ready.map(|endpoint| endpoint["addresses"][0].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let addresses = until(LIMIT, "two endpoints", || Some(endpoints()).filter(|all| all.len() == 2)).unwrap();
    let pods = good(&["get", "pods", "-l", "app=echo", "-o", "jsonpath={.items[*].metadata.name}"]);
    let names: Vec<&str> = pods.split(' ').collect();
    for address in &addresses {
        let address = SocketAddr::new(address.parse().unwrap(), 3000);
        let mut connection = Connection::open(control.netns(), address).unwrap();
        let response = connection.get("echo.example", "/path").unwrap();
        let body = String::from_utf8(response.body).unwrap();
        assert!(response.status == 200 && names.iter().any(|name| body.contains(name)), "{body}");
    }

    let log = good(&["logs", names[0], "-c", "echo"]);
    assert!(log.contains("Starting server"), "{log}");
    let read = "cat /scratch/first /etc/settings/greeting /var/run/secrets/kubernetes.io/serviceaccount/namespace; read word; echo $word >&2; exit 3";
    let mut command = control.kubectl().unwrap();
    command.args(["exec", "-i", names[0], "-c", "echo", "--", "sh", "-c", read]);
    let input = control.folder().join("input");
    std::fs::write(&input, "typed\n").unwrap();
    // `exec` gives no input: a shell does.
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", "exec \"$@\" <\"$0\""]).arg(&input).arg(command.get_program()).args(command.get_args());
    shell.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let output = exec(None, shell, LIMIT).unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        format!("made by {}\nhellodefault", names[0]),
        "{error}"
    );
    assert!(error.contains("typed"), "{error}");
    assert_eq!(output.status.code(), Some(3), "{error}");

    good(&["rollout", "restart", "deployment/echo"]);
    good(&["rollout", "status", "deployment/echo", "--timeout=150s"]);
    until(LIMIT, "the old Pods to go", || {
        let pods = good(&["get", "pods", "-l", "app=echo", "-o", "name"]);
        (pods.lines().count() == 2 && names.iter().all(|name| !pods.contains(name))).then_some(())
    })
    .unwrap();

    good(&["delete", "-f", &manifest.display().to_string(), "--timeout=150s"]);
    until(LIMIT, "no Pods", || good(&["get", "pods", "-o", "name"]).is_empty().then_some(())).unwrap();
    let prefix = cluster.prefix().to_owned();
    let namespaces = || -> Vec<String> {
        let names = std::fs::read_dir("/run/netns").unwrap().flatten();
        let names = names.filter_map(|entry| entry.file_name().into_string().ok());
        names.filter(|name| name.starts_with(&prefix)).collect()
    };
    assert_eq!(namespaces().len(), 3, "{:?}", namespaces());
    drop(cluster);
    assert_eq!(namespaces(), [""; 0]);
}

#[test]
fn programs_run_on_while_the_api_server_is_away() {
    let images = Images::default().with("echo-basic", Program::EchoBasic.path().unwrap());
    let mut cluster = Cluster::start(1, &images).unwrap();
    let deployments = "/apis/apps/v1/namespaces/default/deployments";
    let variable =
        |name: &str, path: &str| json!({"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}});
    let container = json!({"name": "echo", "image": "echo-basic", "env": [
        variable("POD_NAME", "metadata.name"), variable("NAMESPACE", "metadata.namespace")]});
    let deployment = json!({"metadata": {"name": "echo"}, "spec": {
        "replicas": 1, "selector": {"matchLabels": {"app": "echo"}},
        "template": {"metadata": {"labels": {"app": "echo"}}, "spec": {"containers": [container]}}}});
    let client = cluster.control_plane().client().clone();
    client.create(deployments, &deployment).unwrap();
    let ready = |wanted: usize| {
        until(LIMIT, "Pods to be ready", || {
            let list = client.get("/api/v1/namespaces/default/pods").ok()?;
            let pods = list["items"].as_array()?.iter();
            let ready = pods.filter(|pod| pod["status"]["containerStatuses"][0]["ready"] == true);
            let mut found: Vec<_> = ready.map(|pod| pod["status"].clone()).collect();
            found.sort_by_key(|status| status["startTime"].to_string());
            (found.len() == wanted).then_some(found)
        })
        .unwrap()
    };
    let before = ready(1);
    let address = SocketAddr::new(before[0]["podIP"].as_str().unwrap().parse().unwrap(), 3000);
    cluster.control_plane_mut().stop_api_server().unwrap();
    let answer = || Connection::open(cluster.control_plane().netns(), address).ok()?.get("a", "/").ok();
    assert_eq!(until(LIMIT, "an answer of the Pod", answer).unwrap().status, 200);
    cluster.control_plane_mut().start_api_server().unwrap();
    client.merge(&format!("{deployments}/echo"), &json!({"spec": {"replicas": 2}})).unwrap();
    let after = ready(2);
    assert_eq!(after[0]["containerStatuses"], before[0]["containerStatuses"]);
    assert_eq!(after[0]["podIPs"], before[0]["podIPs"]);
}
