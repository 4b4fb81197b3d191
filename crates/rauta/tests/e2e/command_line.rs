//! Bad input: each error names what, where, why and what to do, and disturbs nothing else.

use std::process::Command;
use std::time::Duration;

use testkit::{Connection, Gateway, Lab, Nginx, Recorder, exec};

use crate::manifests::{GATEWAY, all_to, documents, route, service};
use crate::world::RAUTA;

/// Runs `rauta check` on one file and gives exit code and everything it printed.
fn check(manifest: &str) -> (i32, String) {
    check_with(manifest, &[])
}

/// The same with settings in the environment.
fn check_with(manifest: &str, settings: &[(&str, &str)]) -> (i32, String) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("all.yaml"), manifest).unwrap();
    let mut command = Command::new(RAUTA);
    command.arg("check").arg(folder.path()).envs(settings.iter().copied());
    let output = exec(None, command, Duration::from_secs(20)).unwrap();
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output.status.code().unwrap(), text)
}

#[test]
fn check_passes_what_is_good() {
    let (code, text) = check(&all_to(&[0, 1]));
    assert_eq!(code, 0, "{text}");
}

#[test]
fn check_says_which_setting_leaves_all_to_userspace() {
    let asks = "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\n\
                metadata: {name: r, namespace: default, annotations: {rauta.io/tier: \"2\"}}\n\
                spec:\n  parentRefs: [{name: gw}]\n  rules:\n  - backendRefs: [{name: web, port: 80}]\n";
    let manifest = documents(&[GATEWAY, &service("web", &[0]), asks]);
    for (name, value, why) in [
        ("RAUTA_REQUEST_ID", "x-request-id", "every request gets an id (requestId)"),
        ("RAUTA_TRACING_CONTEXT", "true", "every request belongs to a trace (tracing)"),
    ] {
        let (_, text) = check_with(&manifest, &[(name, value)]);
        let told = format!("HTTPRoute default/r rule 0: asked for tier 2, gets tier 3: {why}");
        assert!(text.contains(&told), "{text}");
    }
    let (_, text) = check_with(&manifest, &[("RAUTA_REQUEST_ID", "host")]);
    let told = "RAUTA_REQUEST_ID: `requestId` should be the name of a header that frames nothing, such as x-request-id, or off, not `host`";
    assert!(text.contains(told), "{text}");
}

#[test]
fn check_says_which_tier_a_route_would_get_and_why() {
    let asks = |tier: &str, more: &str| {
        format!(
            "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\n\
             metadata: {{name: r{tier}, namespace: default, annotations: {{rauta.io/tier: \"{tier}\"}}}}\n\
             spec:\n  parentRefs: [{{name: gw}}]\n  rules:\n  - matches: [{{path: {{value: /r{tier}}}}}]\n    \
             {more}backendRefs: [{{name: web, port: 80}}]\n"
        )
    };
    let timed = asks("1", "timeouts: {request: 1s}\n    ");
    let (code, text) = check(&documents(&[GATEWAY, &service("web", &[0]), &asks("2", ""), &timed]));
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("TIER"), "{text}");
    let told = "HTTPRoute default/r1 rule 0: asked for tier 1, gets tier 3: it has time limits";
    assert!(text.contains(told) && !text.contains("r2 rule 0: asked"), "{text}");
}

#[test]
fn check_names_file_line_field_and_reason() {
    let good_route = || route("web", &[], &[("", "[{name: web, port: 80}]")]);
    let with_route = |route: &str| documents(&[GATEWAY, &service("web", &[0]), route]);
    let duplicate_listener = GATEWAY.replace(
        "listeners: [{name: http, protocol: HTTP, port: 8080}]",
        "listeners: [{name: http, protocol: HTTP, port: 8080}, {name: again, protocol: HTTP, port: 8080}]",
    );
    for (case, manifest, expected) in [
        ("not YAML", "kind: [unclosed\n".to_owned(), vec!["all.yaml:", "Malformed"]),
        ("not an object", "- just\n- a list\n".to_owned(), vec!["all.yaml:1", "Malformed"]),
        (
            "wrong field",
            with_route(&good_route().replace("backendRefs", "backendReefs")),
            vec!["all.yaml:", "HTTPRoute default/web", "backendReefs"],
        ),
        (
            "wrong type",
            with_route(&good_route().replace("port: 80}", "port: eighty}")),
            vec!["all.yaml:", "HTTPRoute default/web", "port"],
        ),
        (
            "duplicate listener",
            documents(&[&duplicate_listener, &service("web", &[0]), &good_route()]),
            vec!["all.yaml:", "Gateway default/gw", "Conflicted"],
        ),
        (
            "unresolvable Service",
            with_route(&good_route().replace("name: web, port: 80", "name: nowhere, port: 80")),
            vec![
                "all.yaml:",
                "HTTPRoute default/web",
                "spec.rules[0].backendRefs[0]",
                "nowhere",
                "BackendNotFound",
            ],
        ),
        (
            "no such port",
            with_route(&good_route().replace("name: web, port: 80", "name: web, port: 81")),
            vec!["HTTPRoute default/web", "81", "BackendNotFound"],
        ),
        (
            "no parent",
            with_route(&good_route().replace("parentRefs: [{name: gw}]", "parentRefs: [{name: other}]")),
            vec!["HTTPRoute default/web", "other"],
        ),
        (
            "bad regular expression",
            with_route(&route(
                "web",
                &[],
                &[("[{path: {type: RegularExpression, value: \"/(\"}}]", "[{name: web, port: 80}]")],
            )),
            vec!["HTTPRoute default/web", "path"],
        ),
    ] {
        let (code, text) = check(&manifest);
        assert_eq!(code, 1, "{case}: {text}");
        for part in expected {
            assert!(text.contains(part), "{case}: {part:?} not in\n{text}");
        }
        assert!(!text.contains("panicked"), "{case}: {text}");
    }
}

#[test]
fn an_unknown_kind_is_named_and_the_rest_of_its_file_is_served() {
    // Folders of manifests hold Deployments and the like: a warning. What nobody knows is an error.
    for (version, kind, expected, severity) in [
        ("v1", "Servce", 1, "error"),
        ("example.com/v1", "Gizmo", 1, "error"),
        ("apps/v1", "Deployment", 0, "warning"),
    ] {
        let object = format!("apiVersion: {version}\nkind: {kind}\nmetadata: {{name: g}}\n");
        let (code, text) = check(&documents(&[&object, &all_to(&[0])]));
        assert_eq!(code, expected, "{text}");
        for part in ["all.yaml:2", kind, severity, "UnknownKind", "HTTPRoute default/web"] {
            assert!(text.contains(part), "{part:?} not in\n{text}");
        }
    }
}

#[test]
fn check_of_nothing_is_an_error_that_names_the_path() {
    let mut command = Command::new(RAUTA);
    command.args(["check", "/nonexistent/manifests"]);
    let output = exec(None, command, Duration::from_secs(20)).unwrap();
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(text.contains("/nonexistent/manifests"), "{text}");
}

#[test]
fn usage_errors_exit_with_2() {
    for arguments in [&["run", "--no-such-flag"] as &[&str], &["explode"], &["check"]] {
        let mut command = Command::new(RAUTA);
        command.args(arguments);
        let output = exec(None, command, Duration::from_secs(20)).unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
    }
}

#[test]
fn bad_settings_are_named_before_anything_starts() {
    let lab = Lab::builder().build().unwrap();
    for (settings, expected) in [
        ("lissten: \":8080\"\n", vec!["lissten", "rauta.yaml:1"]),
        ("threads: many\n", vec!["threads", "rauta.yaml:1"]),
        ("timeouts: {idle: 5}\n", vec!["timeouts.idle", "30s"]),
        ("sessionKeyFile: /dev/null\n", vec!["/dev/null has 0 bytes", "head -c 32 /dev/urandom"]),
    ] {
        let mut gateway = Gateway::builder(&lab, RAUTA, &[("all.yaml", &all_to(&[0]))])
            .unwrap()
            .settings(&lab, settings)
            .unwrap()
            .spawn(&lab)
            .unwrap();
        let status = gateway.process().wait(Duration::from_secs(20)).unwrap();
        assert_eq!(status.code(), Some(1), "{settings}: {}", gateway.log());
        for part in expected {
            assert!(gateway.log().contains(part), "{part:?} not in\n{}", gateway.log());
        }
    }
}

#[test]
fn a_port_in_use_is_named_others_serve_and_it_is_taken_when_free() {
    let lab = Lab::builder().build().unwrap();
    let _nginx = Nginx::start(&lab, 0).unwrap();
    let squatter =
        Recorder::start(lab.gateway(), "0.0.0.0:8090".parse().unwrap(), |peer| peer.head().map(drop))
            .unwrap();
    let two = all_to(&[0]).replace(
        "listeners: [{name: http, protocol: HTTP, port: 8080}]",
        "listeners: [{name: http, protocol: HTTP, port: 8080}, {name: taken, protocol: HTTP, port: 8090}]",
    );
    let mut gateway = Gateway::builder(&lab, RAUTA, &[("all.yaml", &two)]).unwrap().spawn(&lab).unwrap();
    gateway.wait_for_log("8090").unwrap();
    gateway.wait_for_answer(lab.client(), "a", "/128", |answer| answer.status == 200).unwrap();
    assert!(gateway.log().contains("in use"), "{}", gateway.log());
    assert!(gateway.metric("rauta_listener_problems", "").unwrap() >= 1.0);
    drop(squatter);
    let taken = (testkit::Addresses::GATEWAY, 8090).into();
    testkit::until(Duration::from_secs(20), "the port to be served", || {
        let answer = Connection::open(lab.client(), taken).ok()?.get("a", "/128").ok()?;
        (answer.status == 200).then_some(())
    })
    .unwrap();
}

#[test]
fn an_admin_port_in_use_and_a_second_agent_are_fatal_and_say_so() {
    let lab = Lab::builder().build().unwrap();
    let first = Gateway::start(&lab, RAUTA, &[("all.yaml", &all_to(&[0]))]).unwrap();
    let run = |arguments: &[&str]| {
        let mut command = Command::new(RAUTA);
        command.args(["run", "--hook", "off", "-f"]).arg(lab.folder().join("manifests")).args(arguments);
        exec(Some(lab.gateway()), command, Duration::from_secs(20)).unwrap()
    };
    let socket = lab.folder().join("other.sock").display().to_string();
    let same_admin = run(&["--admin", "127.0.0.1:9901", "--metrics", "127.0.0.1:9910", "--socket", &socket]);
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&same_admin.stdout),
        String::from_utf8_lossy(&same_admin.stderr)
    );
    assert_eq!(same_admin.status.code(), Some(1), "{text}");
    assert!(text.contains("127.0.0.1:9901") && text.contains("in use"), "{text}");

    let socket = lab.folder().join("rauta.sock").display().to_string();
    let same_socket = run(&["--admin", "127.0.0.1:9911", "--metrics", "127.0.0.1:9912", "--socket", &socket]);
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&same_socket.stdout),
        String::from_utf8_lossy(&same_socket.stderr)
    );
    assert_eq!(same_socket.status.code(), Some(1), "{text}");
    assert!(text.contains("rauta.sock") && text.contains("running"), "{text}");
    drop(first);
}

#[test]
fn no_permission_names_the_socket_and_the_way_out() {
    let lab = Lab::builder().build().unwrap();
    let gateway = Gateway::start(&lab, RAUTA, &[("all.yaml", &all_to(&[0]))]).unwrap();
    let home = tempfile::tempdir().unwrap();
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(home.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::set_permissions(lab.folder(), std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::copy(RAUTA, home.path().join("rauta")).unwrap();
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid", "65534", "--regid", "65534", "--clear-groups"])
        .arg(home.path().join("rauta"))
        .args(["status", "--socket"])
        .arg(lab.folder().join("rauta.sock"));
    let output = exec(Some(lab.gateway()), command, Duration::from_secs(20)).unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("rauta.sock") && text.to_lowercase().contains("permi"), "{text}");
    drop(gateway);
}

#[test]
fn a_question_without_an_agent_says_how_to_start_one() {
    let mut command = Command::new(RAUTA);
    command.args(["status", "--socket", "/nonexistent/rauta.sock"]);
    let output = exec(None, command, Duration::from_secs(20)).unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("/nonexistent/rauta.sock") && text.contains("rauta run"), "{text}");
}
