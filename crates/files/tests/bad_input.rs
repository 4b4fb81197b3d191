//! Bad input, one row each: what stands in the file, what is said about it, and that the rest is served.

#![allow(clippy::unwrap_used, reason = "helpers of tests: a panic is how they report")]

use std::fs;

use files::load_once;
use translate::Options;

/// A rule that must be served whatever stands beside it.
const GOOD: &str = "\
apiVersion: rauta.io/v1
kind: RoutingRule
metadata: {name: good}
spec:
  backends:
  - endpoint: 127.0.0.1:9000
";

const GATEWAY: &str = "\
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: gw}
spec:
  gatewayClassName: rauta
  listeners:
  - {name: a, protocol: HTTP, port: 8081}
";

fn check(name: &str, text: &str, expected: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("bad.yaml"), text).unwrap();
    fs::write(folder.path().join("good.yaml"), GOOD).unwrap();
    let loaded = load_once(&[folder.path().to_owned()], Options::for_files());
    let prefix = format!("{}/", folder.path().display());
    let shown: Vec<_> = loaded.diagnostics.iter().map(|d| d.to_string().replace(&prefix, "")).collect();
    assert_eq!(shown.len(), expected.len(), "{name}: {shown:#?}");
    for (shown, expected) in shown.iter().zip(expected) {
        let mut rest = shown.as_str();
        for part in expected.split(" … ") {
            let at = rest.find(part).unwrap_or_else(|| panic!("{name}: {shown:?} lacks {part:?}"));
            rest = &rest[at + part.len()..];
        }
        assert!(shown.starts_with(expected.split(" … ").next().unwrap()), "{name}: {shown:?}");
    }
    let names: Vec<_> = loaded.snapshot.routes.iter().map(|route| &*route.id.object.name).collect();
    assert!(names.contains(&"good"), "{name}: the good rule is served: {names:?}");
}

#[test]
fn what_is_no_object() {
    check("not YAML", "a: [1\nb: }\n", &["bad.yaml:2:2: error: is no YAML: … (Malformed)"]);
    check(
        "a key twice",
        "kind: A\nkind: B\n",
        &["bad.yaml:2:1: error: is no YAML: key \"kind\" stands here twice; first in line 1 … (Malformed)"],
    );
    check("a text", "hello\n", &["bad.yaml:1:1: error: is no Kubernetes object: … (Malformed)"]);
    check("no kind", "apiVersion: v1\n", &["bad.yaml:1:1: error: kind is missing … (Malformed)"]);
    check(
        "unknown kind",
        "apiVersion: example.com/v1\nkind: Thing\n",
        &["bad.yaml:2:1: error: example.com/v1 Thing: the gateway knows no such kind; … (UnknownKind)"],
    );
    check(
        "other version",
        "apiVersion: gateway.networking.k8s.io/v1beta1\nkind: HTTPRoute\n",
        &[
            "bad.yaml:2:1: error: … the gateway reads this kind as apiVersion gateway.networking.k8s.io/v1 (UnknownKind)",
        ],
    );
    check(
        "not served",
        "apiVersion: gateway.networking.x-k8s.io/v1alpha1\nkind: XListenerSet\n",
        &["bad.yaml:2:1: error: … does not serve this kind (UnknownKind)"],
    );
    check(
        "harmless",
        "apiVersion: apps/v1\nkind: Deployment\n",
        &["bad.yaml:2:1: warning: apps/v1 Deployment: the gateway does not read this kind (UnknownKind)"],
    );
    check(
        "no name",
        "apiVersion: v1\nkind: Service\nmetadata: {}\n",
        &["bad.yaml:3:1: error: metadata.name is missing … (InvalidField)"],
    );
    for name in ["Web", "a_b", "-a", "a..b", "<b>", "a\\e[31m", &"a".repeat(254)] {
        check(
            name,
            &GOOD.replace("name: good", &format!("name: \"{name}\"")),
            &["bad.yaml:3:12: error: metadata.name … is no name: … (InvalidField)"],
        );
    }
    check(
        "namespace",
        &GOOD.replace("name: good", "name: a, namespace: a.b"),
        &["bad.yaml:3:21: error: metadata.namespace \"a.b\" is no name: … (InvalidField)"],
    );
    check("empty documents", "---\n---\n# nothing\n---\n", &[]);
}

#[test]
fn wrong_fields_and_values() {
    let route = "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: r}\nspec:\n  parentRefs:\n  - name: gw\n";
    let with = |rest: &str| format!("{GATEWAY}---\n{route}{rest}");
    check(
        "wrong field",
        &with("  rules:\n  - backendRef:\n    - {name: a, port: 80}\n"),
        &[
            "bad.yaml:16:5: error: HTTPRoute default/r: spec.rules[0].backendRef: no such field; did you mean \"backendRefs\"?; nothing of it is served (InvalidField)",
        ],
    );
    check(
        "wrong type",
        &with("  rules:\n  - backendRefs:\n    - name: a\n      port: http\n"),
        &[
            "bad.yaml:18:7: error: HTTPRoute default/r: spec.rules[0].backendRefs[0].port: invalid type: string \"http\", expected i32; … (InvalidField)",
        ],
    );
    check(
        "unquoted text",
        "apiVersion: v1\nkind: Service\nmetadata:\n  name: a\n  labels: {version: 1.10}\n",
        &[
            "bad.yaml:5:12: error: Service default/a: metadata.labels.version: invalid type: floating point `1.1`, expected a string: put it in quotes; … (InvalidField)",
        ],
    );
    check(
        "a regular expression",
        &with("  rules:\n  - matches:\n    - path: {type: RegularExpression, value: '/(a'}\n"),
        &[
            "bad.yaml:17:39: error: HTTPRoute default/r: spec.rules[0].matches[0].path.value: \"/(a\" is no usable regular expression: unclosed group; … (InvalidField)",
        ],
    );
    check(
        "a host",
        &with("  hostnames: [10.0.0.1]\n"),
        &[
            "bad.yaml:15:15: error: HTTPRoute default/r: spec.hostnames[0]: \"10.0.0.1\" is an IP address, … (InvalidField)",
        ],
    );
    check(
        "a table size",
        &GOOD.replace("good", "bad").replace("spec:", "spec:\n  maglev: {tableSize: 4096}"),
        &[
            "bad.yaml:5:12: error: RoutingRule default/bad: spec.maglev.tableSize: 4096 is no table size: it must be a prime … (InvalidField)",
        ],
    );
    check(
        "in a list",
        "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Service\n  metadata: {name: a}\n  spec:\n    ports:\n    - port: 99999\n",
        &["bad.yaml:9:7: error: Service default/a: spec.ports[0].port: 99999 is no port: … (InvalidField)"],
    );
}

#[test]
fn what_does_not_fit_together() {
    let listener = format!("{GATEWAY}  - {{name: b, protocol: HTTP, port: 8081}}\n");
    check(
        "a listener twice",
        &listener,
        &[
            "bad.yaml:8:31: error: Gateway default/gw: spec.listeners[1].port: port 8081 and every host are taken by listener default/gw/a, which is served instead: … (Conflicted)",
        ],
    );
    let route = "---\napiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: r}\nspec:\n  parentRefs: [{name: gw}]\n  rules:\n  - backendRefs:\n    - {name: nowhere, port: 80}\n";
    check(
        "an unresolvable Service",
        &format!("{GATEWAY}{route}"),
        &[
            "bad.yaml:16:7: error: HTTPRoute default/r: spec.rules[0].backendRefs[0]: there is no Service default/nowhere, so this share of the requests gets 500: add it (BackendNotFound)",
        ],
    );
    check(
        "no such Gateway",
        route,
        &[
            "bad.yaml:6:16: error: HTTPRoute default/r: spec.parentRefs[0]: there is no Gateway default/gw (NoMatchingParent)",
        ],
    );
    check(
        "the same object twice",
        &GOOD.replace("9000", "9001"),
        &[
            "good.yaml:1:1: error: RoutingRule default/good: stands in … bad.yaml already, and that one is used: remove one (DuplicateObject)",
        ],
    );
}

#[test]
fn files_that_cannot_be_read() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a.yaml"), [0xff, 0xfe, b'a']).unwrap();
    fs::File::create(folder.path().join("b.yaml")).unwrap().set_len((16 << 20) + 1).unwrap();
    // Nobody writes to it: opening it would wait for ever.
    let pipe = folder.path().join("c.yaml");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    fs::write(folder.path().join("good.yaml"), GOOD).unwrap();
    let missing = folder.path().join("missing");
    let loaded = load_once(&[folder.path().to_owned(), missing], Options::for_files());
    let shown: Vec<_> = loaded.diagnostics.iter().map(ToString::to_string).collect();
    let expected = [
        "a.yaml:1: error: cannot be read: is no UTF-8 text from byte 0 on",
        "b.yaml:1: error: cannot be read: is larger than 16 MiB: split it",
        "c.yaml:1: error: cannot be read: is no regular file",
        "missing:1: error: cannot be read: No such file or directory",
    ];
    assert_eq!(shown.len(), 4, "{shown:#?}");
    for (shown, expected) in shown.iter().zip(expected) {
        assert!(shown.contains(expected), "{shown:?} lacks {expected:?}");
    }
    assert_eq!(loaded.snapshot.routes.len(), 1);
}
