//! Ingresses of a real API server: who answers, by class, host and path, and what their status says.

mod tables;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::process::Command;

use serde_json::{Value, json};
use tables::{DEFAULT_BACKEND, PATHS, Rule, SCENARIOS, SERVICES, SUITE};
use testkit::cluster::{Client, ControlPlane};
use testkit::{Addresses, Connection, GATEWAY_PORT, Lab, Process, Recorder, Response, exec, until};

use super::https;
use super::{LIMIT, account, named, start_with};

const INGRESSES: &str = "/apis/networking.k8s.io/v1/namespaces/shop/ingresses";
const CLASSES: &str = "/apis/networking.k8s.io/v1/ingressclasses";
/// Where endpoints listen: one port each, on the lab's first backend.
const FIRST_PORT: u16 = 9100;
/// Endpoints of the Service `ten`.
const TEN: u16 = 10;

struct World {
    lab: Lab,
    control: ControlPlane,
    _endpoints: Vec<Recorder>,
    rauta: Process,
}

impl World {
    /// An agent on an API server with the class `rauta`, which is not the default one, and Services.
    fn new() -> Self {
        let lab = Lab::builder().build().unwrap();
        let control = ControlPlane::start_in(lab.gateway()).unwrap();
        let client = control.client();
        account(&control);
        client.create("/api/v1/namespaces", &named("shop", json!({}))).unwrap();
        for (name, controller) in [("rauta", "rauta.io/ingress-controller"), ("other", "else/where")] {
            client.create(CLASSES, &named(name, json!({"spec": {"controller": controller}}))).unwrap();
        }
        let mut ports = FIRST_PORT..;
        let mut start_endpoint =
            |service: &str, name: &str| endpoint(&lab, client, service, name, ports.next().unwrap());
        let mut endpoints = Vec::new();
        for name in SERVICES {
            service(client, name);
            endpoints.push(start_endpoint(name, name));
        }
        service(client, "ten");
        endpoints.extend((0..TEN).map(|i| start_endpoint("ten", &format!("ten-{i}"))));
        let rauta = start(&lab, &control);
        Self { lab, control, _endpoints: endpoints, rauta }
    }

    fn client(&self) -> &Client {
        self.control.client()
    }

    /// Makes an Ingress; `metadata` besides the name.
    fn create(&self, name: &str, annotations: Value, spec: Value) {
        let mut ingress = named(name, json!({"spec": spec}));
        ingress["metadata"]["annotations"] = annotations;
        self.client().create(INGRESSES, &ingress).unwrap();
    }

    fn ask(&self, method: &str, host: &str, path: &str) -> Response {
        let address = SocketAddr::from((Addresses::GATEWAY, GATEWAY_PORT));
        let length = if matches!(method, "POST" | "PUT" | "PATCH") { "Content-Length: 0\r\n" } else { "" };
        let host = if host.is_empty() { address.to_string() } else { host.to_owned() };
        let text = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: suite\r\n{length}\r\n");
        Connection::open(self.lab.client(), address).unwrap().request(&text).unwrap()
    }

    /// Who answers a GET; none: the gateway, with this status.
    fn answers(&self, host: &str, path: &str) -> Result<String, u16> {
        let response = self.ask("GET", host, path);
        response.endpoint().map(str::to_owned).ok_or(response.status)
    }

    fn until_answered(&self, host: &str, path: &str, by: Result<&str, u16>) {
        let what = format!("{by:?} from {host}{path}; log:\n{}", self.rauta.log());
        let is_it = || {
            // Before the first route nobody listens.
            let address = SocketAddr::from((Addresses::GATEWAY, GATEWAY_PORT));
            Connection::open(self.lab.client(), address).ok()?;
            (self.answers(host, path).as_deref() == by.as_ref().map(|name| *name)).then_some(())
        };
        until(LIMIT, &what, is_it).unwrap();
    }

    /// Makes a Secret with a certificate for `host`, which clients find as `HOST.pem`.
    fn add_certificate(&self, secret: &str, host: &str) {
        let secret = https::secret(secret, host, self.lab.folder());
        self.client().create("/api/v1/namespaces/shop/secrets", &secret).unwrap();
    }

    /// What is answered to `GET /` of a host over HTTPS, or else what curl says, in small letters. The certificate that was made for
    /// `trusted` is verified.
    fn ask_https(&self, host: &str, trusted: &str) -> Result<String, String> {
        let trusted = self.lab.folder().join(format!("{trusted}.pem"));
        let address = SocketAddr::from((Addresses::GATEWAY, 8443));
        let said = https::ask(self.lab.client(), address, host, &trusted);
        said.map(|text| text.to_lowercase()).map_err(|text| text.to_lowercase())
    }

    /// The addresses that an Ingress says.
    fn reached(&self, name: &str) -> Value {
        let ingress = self.client().get(&format!("{INGRESSES}/{name}")).unwrap();
        ingress["status"]["loadBalancer"]["ingress"].clone()
    }

    fn until_reached(&self, name: &str, wanted: &Value) {
        let what = format!("{wanted} as the status of {name}; log:\n{}", self.rauta.log());
        until(LIMIT, &what, || (self.reached(name) == *wanted).then_some(())).unwrap();
    }
}

fn start(lab: &Lab, control: &ControlPlane) -> Process {
    let nodes = format!("addresses.nodes={}", Addresses::GATEWAY);
    start_with(lab, control, &["--set", &nodes])
}

fn service(client: &Client, name: &str) {
    let port = json!({"name": "http", "port": 8080});
    let spec = json!({"spec": {"clusterIP": "None", "ports": [port]}});
    client.create("/api/v1/namespaces/shop/services", &named(name, spec)).unwrap();
}

/// Starts an endpoint of a Service: it says its name, and the request as it came.
fn endpoint(lab: &Lab, client: &Client, service: &str, name: &str, port: u16) -> Recorder {
    let address = SocketAddr::from((Addresses::backend(0), port));
    let says = name.to_owned();
    let started = Recorder::start(lab.backend(0), address, move |peer| {
        loop {
            let request = String::from_utf8_lossy(&peer.request()?).into_owned();
            peer.send(format!(
                "HTTP/1.1 200 OK\r\nX-Endpoint: {says}\r\nContent-Type: text/plain\r\nServer: suite\r\n\
                 Date: Sun, 22 Nov 2026 00:00:00 GMT\r\nContent-Length: {}\r\n\r\n{request}",
                request.len()
            ))?;
        }
    })
    .unwrap();
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": name, "labels": {"kubernetes.io/service-name": service}},
        "endpoints": [{"addresses": [address.ip().to_string()]}], "ports": [{"name": "http", "port": port}],
    });
    client.create("/apis/discovery.k8s.io/v1/namespaces/shop/endpointslices", &slice).unwrap();
    started
}

/// A backend: `NAME`, its port by number; `NAME:PORT`, by name; `*`, a resource.
fn backend(service: &str) -> Value {
    match service.split_once(':') {
        None if service == "*" => {
            json!({"resource": {"apiGroup": "example.com", "kind": "Bucket", "name": "a"}})
        }
        None => json!({"service": {"name": service, "port": {"number": 8080}}}),
        Some((name, port)) => json!({"service": {"name": name, "port": {"name": port}}}),
    }
}

fn rules(rules: &[Rule]) -> Value {
    let rule = |(host, path_type, path, service): &Rule| {
        let path = json!({"path": path, "pathType": path_type, "backend": backend(service)});
        json!({"host": host, "http": {"paths": [path]}})
    };
    json!({"rules": rules.iter().map(rule).collect::<Vec<_>>()})
}

fn one(class: Option<&str>, rule: Rule) -> Value {
    let mut spec = rules(&[rule]);
    if let Some(class) = class {
        spec["ingressClassName"] = json!(class);
    }
    spec
}

#[test]
fn ingresses_are_served_by_class_host_and_path_and_say_where() {
    let world = World::new();
    let reached = json!([{"ip": Addresses::GATEWAY.to_string()}]);
    classes(&world, &reached);
    suite(&world, &reached);
    https(&world, &reached);
    table(&world);
    balancing(&world);
    resources(&world);
    migrate(&world);
    let world = events(world);
    // Last: it takes what nobody else does.
    default_backend(&world, &reached);
    statuses(&world, &reached);
    let log = world.rauta.log();
    assert!(!log.contains("may not") && !log.contains("cannot write"), "{log}");
}

/// Whose an Ingress is: by its class, the annotation of old, or the default class.
fn classes(world: &World, reached: &Value) {
    // Made while there is no default class, so that the API server gives it none.
    world.create("classless", json!({}), one(None, ("classless.test", "Prefix", "/", "first")));
    // The suite's scenario of a class that nobody has.
    let unknown = one(Some("some-invalid-class-name"), ("ingress-class", "Prefix", "/", "first"));
    world.create("unknown", json!({}), unknown);
    world.create("foreign", json!({}), one(Some("other"), ("foreign.test", "Prefix", "/", "first")));
    world.create("named", json!({}), one(Some("rauta"), ("named.test", "Prefix", "/", "first")));
    let legacy = |class: &str| json!({"kubernetes.io/ingress.class": class});
    world.create("legacy", legacy("rauta"), one(None, ("legacy.test", "Prefix", "/", "second")));
    world.create(
        "legacy-foreign",
        legacy("other"),
        one(None, ("legacy-foreign.test", "Prefix", "/", "first")),
    );
    world.until_answered("named.test", "/", Ok("first"));
    world.until_answered("legacy.test", "/", Ok("second"));
    world.until_reached("named", reached);
    world.until_reached("legacy", reached);
    for (name, host) in [
        ("classless", "classless.test"),
        ("unknown", "ingress-class"),
        ("foreign", "foreign.test"),
        ("legacy-foreign", "legacy-foreign.test"),
    ] {
        assert_eq!(world.answers(host, "/"), Err(404), "{name}");
        assert_eq!(world.reached(name), Value::Null, "{name}");
    }
    let is_default =
        json!({"metadata": {"annotations": {"ingressclass.kubernetes.io/is-default-class": "true"}}});
    world.client().merge(&format!("{CLASSES}/rauta"), &is_default).unwrap();
    world.until_answered("classless.test", "/", Ok("first"));
    world.until_reached("classless", reached);
}

/// The suite's scenarios of hosts and paths over HTTP, of Ingresses of the default class. One has `spec.tls`, as there, and is served over
/// HTTP all the same: nobody has chosen a port of HTTPS.
fn suite(world: &World, reached: &Value) {
    world.add_certificate("conformance-tls", "foo.bar.com");
    for (name, all) in SUITE {
        let mut spec = rules(all);
        if *name == "host-rules" {
            spec["tls"] = json!([{"hosts": ["foo.bar.com"], "secretName": "conformance-tls"}]);
        }
        world.create(name, json!({}), spec);
        world.until_reached(name, reached);
    }
    for (host, path, service) in SCENARIOS.iter().filter(|(_, _, service)| service.is_some()) {
        world.until_answered(host, path, service.ok_or(404));
        let response = world.ask("GET", host, path);
        let seen = response.text();
        assert_eq!(response.status, 200);
        assert!(seen.starts_with(&format!("GET {path} HTTP/1.1\r\n")), "{seen}");
        assert!(seen.to_lowercase().contains(&format!("host: {host}\r\n")), "{seen}");
    }
    for (host, path, _) in SCENARIOS.iter().filter(|(_, _, service)| service.is_none()) {
        assert_eq!(world.answers(host, path), Err(404), "{host}{path}");
    }
}

/// The suite's scenario of TLS, whose clients verify what they are shown; and an Ingress whose Secret comes later, and then a redirect.
fn https(world: &World, reached: &Value) {
    let what = format!("HTTPS; log:\n{}", world.rauta.log());
    let until_served = |host| until(LIMIT, &what, || world.ask_https(host, host).ok()).unwrap();
    let seen = until_served("foo.bar.com");
    assert!(seen.starts_with("http/1.1 200") && seen.contains("x-endpoint: foo-bar-com"), "{seen}");
    assert!(seen.contains("host: foo.bar.com\r\n") && seen.contains("x-forwarded-proto: https"), "{seen}");
    let refused = world.ask_https("bar.foo.com", "foo.bar.com").unwrap_err();
    assert!(refused.contains("unrecognized name"), "{refused}");

    let mut late = one(None, ("late.test", "Prefix", "/", "first"));
    late["tls"] = json!([{"hosts": ["late.test"], "secretName": "late-tls"}]);
    world.create("late", json!({}), late);
    let is_told = || {
        let list = world.client().get("/apis/events.k8s.io/v1/namespaces/shop/events").unwrap();
        let events = list["items"].as_array().cloned().unwrap_or_default();
        let of = |event: &Value| {
            event["regarding"]["name"] == "late" && event["reason"] == "InvalidCertificateRef"
        };
        events.into_iter().find(of).and_then(|event| event["note"].as_str().map(str::to_owned))
    };
    let note = until(LIMIT, "an event of the missing Secret", is_told).unwrap();
    assert!(note.contains("there is no Secret shop/late-tls"), "{note}");
    assert_eq!(world.answers("late.test", "/"), Ok("first".to_owned()), "HTTP goes on");
    world.add_certificate("late-tls", "late.test");
    assert!(until_served("late.test").contains("x-endpoint: first"));
    assert_eq!(
        world.answers("late.test", "/"),
        Ok("first".to_owned()),
        "nobody is sent where he may not come"
    );
    let redirects =
        json!({"metadata": {"annotations": {"nginx.ingress.kubernetes.io/ssl-redirect": "true"}}});
    world.client().merge(&format!("{INGRESSES}/late"), &redirects).unwrap();
    world.until_answered("late.test", "/", Err(308));
    let redirect = world.ask("GET", "late.test", "/a?b");
    assert_eq!((redirect.status, redirect.header("location")), (308, Some("https://late.test:8443/a?b")));
    world.until_reached("late", reached);
    world.until_reached("host-rules", reached);
    assert_eq!(world.answers("foo.bar.com", "/"), Ok("foo-bar-com".to_owned()));
}

/// Each row of the table has a host of its own.
fn table(world: &World) {
    let host = |row: usize| format!("row-{row}.test");
    for (row, (paths, _, _)) in PATHS.iter().enumerate() {
        let services = ["first", "second", "third"];
        let path = |((kind, path), service): (&(&str, &str), &str)| {
            let backend = backend(service);
            json!({"path": path, "pathType": kind, "backend": backend})
        };
        let paths: Vec<_> = paths.iter().zip(services).map(path).collect();
        let spec = json!({"rules": [{"host": host(row), "http": {"paths": paths}}]});
        world.create(&format!("row-{row}"), json!({}), spec);
    }
    let rows = || PATHS.iter().enumerate().map(|(row, (_, path, service))| (host(row), path, service));
    for (host, path, service) in rows().filter(|(_, _, service)| service.is_some()) {
        world.until_answered(&host, path, service.ok_or(404));
    }
    for (host, path, _) in rows().filter(|(_, _, service)| service.is_none()) {
        assert_eq!(world.answers(&host, path), Err(404), "{host}{path}");
    }
}

/// The suite's scenario of load balancing: of ten endpoints each has some of 100 requests.
fn balancing(world: &World) {
    world.create("ten", json!({}), one(None, ("load-balancing", "Prefix", "/", "ten")));
    let seen =
        || -> BTreeSet<_> { (0..100).filter_map(|_| world.answers("load-balancing", "/").ok()).collect() };
    until(LIMIT, "ten endpoints", || (seen().len() == usize::from(TEN)).then_some(())).unwrap();
}

/// A resource as backend is refused by itself: the rest of its Ingress is served.
fn resources(world: &World) {
    let all = [("resources.test", "Prefix", "/bucket", "*"), ("resources.test", "Prefix", "/", "first")];
    world.create("resources", json!({}), rules(&all));
    world.until_answered("resources.test", "/", Ok("first"));
    assert_eq!(world.answers("resources.test", "/bucket"), Err(500));
}

/// What becomes of annotations is told of the cluster's Ingresses, of whatever class.
fn migrate(world: &World) {
    let annotations = json!({"nginx.ingress.kubernetes.io/app-root": "/app"});
    world.create("of-nginx", annotations, one(Some("other"), ("of-nginx.test", "Prefix", "/", "first")));
    let kubeconfig = world.control.kubeconfig_for("rauta", "agent", true).unwrap();
    let asked = |namespace: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rauta"));
        command.args(["migrate", "ingress-nginx", "--kubernetes", "-n", namespace, "--kubeconfig"]);
        command.arg(&kubeconfig);
        let output = exec(Some(world.lab.gateway()), command, LIMIT).unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let said = asked("shop");
    assert!(said.contains("Ingress shop/of-nginx\n  differs    app-root"), "{said}");
    assert!(said.ends_with("annotations of ingress-nginx: 2, understood: 2\n"), "{said}");
    assert!(asked("rauta").starts_with("Ingresses: 0;"));
}

/// What is wrong with an Ingress is an event of it, once: neither other changes nor another agent repeat it.
fn events(mut world: World) -> World {
    let annotations = json!({
        "nginx.ingress.kubernetes.io/proxy-body-size": "8mb",
        "nginx.ingress.kubernetes.io/limit-rate": "1",
    });
    world.create("wrong", annotations.clone(), one(None, ("wrong.test", "Prefix", "/", "first")));
    world.create("wrong-foreign", annotations, one(Some("other"), ("wrong.test", "Prefix", "/", "first")));
    let refused = json!({"rauta.io/use-regex": "true"});
    let pattern = one(None, ("refused.test", "ImplementationSpecific", "/(", "first"));
    world.create("refused", refused, pattern);
    let all = |world: &World| -> Vec<Value> {
        let list = world.client().get("/apis/events.k8s.io/v1/namespaces/shop/events").unwrap();
        list["items"].as_array().cloned().unwrap_or_default()
    };
    let of = |world: &World, name: &str| -> Vec<Value> {
        all(world).into_iter().filter(|event| event["regarding"]["name"] == name).collect()
    };
    let about = |world: &World, name: &str, wanted: (&str, &str)| {
        let what = format!("{wanted:?} of {name}; log:\n{}", world.rauta.log());
        let is_it = |event: &Value| {
            event["reason"] == wanted.0 && event["note"].as_str().is_some_and(|note| note.contains(wanted.1))
        };
        until(LIMIT, &what, || of(world, name).into_iter().find(is_it)).unwrap()
    };
    let event = about(&world, "wrong", ("InvalidField", "proxy-body-size"));
    let ingress = world.client().get(&format!("{INGRESSES}/wrong")).unwrap();
    assert_eq!(event["regarding"]["uid"], ingress["metadata"]["uid"]);
    assert_eq!((&event["type"], &event["regarding"]["kind"]), (&json!("Warning"), &json!("Ingress")));
    assert_eq!(event["reportingController"], "rauta.io/ingress-controller");
    about(&world, "wrong", ("Unsupported", "limit-rate"));
    about(&world, "refused", ("InvalidField", "nothing of it is served"));
    world.create("later", json!({}), one(None, ("later.test", "Prefix", "/", "first")));
    world.until_answered("later.test", "/", Ok("first"));
    world.rauta.stop(LIMIT).unwrap();
    // One was said long ago.
    let path = format!(
        "/apis/events.k8s.io/v1/namespaces/shop/events/{}",
        event["metadata"]["name"].as_str().unwrap()
    );
    world.client().delete(&path, None).unwrap();
    let mut old = event.clone();
    old["metadata"] = json!({"name": event["metadata"]["name"]});
    old["eventTime"] = json!("2020-01-01T00:00:00.000000Z");
    world.client().create("/apis/events.k8s.io/v1/namespaces/shop/events", &old).unwrap();
    let others = |world: &World| -> Vec<Value> {
        let is_other = |one: &Value| one["metadata"]["name"] != event["metadata"]["name"];
        all(world).into_iter().filter(is_other).collect()
    };
    let before = others(&world);
    world.rauta = start(&world.lab, &world.control);
    // What is new is said after what is old.
    let annotations = json!({"nginx.ingress.kubernetes.io/limit-rate": "2"});
    world.create("zzz", annotations, one(None, ("zzz.test", "Prefix", "/", "first")));
    about(&world, "zzz", ("Unsupported", "limit-rate"));
    let again = || Some(world.client().get(&path).unwrap()).filter(|event| event["series"]["count"] == 2);
    let again = until(LIMIT, &format!("it again; log:\n{}", world.rauta.log()), again).unwrap();
    assert!(again["series"]["lastObservedTime"].is_string(), "{again}");
    let mut after = others(&world);
    after.retain(|event| event["regarding"]["name"] != "zzz");
    assert_eq!(after, before, "log:\n{}", world.rauta.log());
    assert_eq!(of(&world, "wrong-foreign"), [] as [Value; 0]);
    world
}

fn default_backend(world: &World, reached: &Value) {
    world.create("default-backend", json!({}), json!({"defaultBackend": backend("echo-service")}));
    world.until_reached("default-backend", reached);
    world.until_answered("my-host", "/", Ok("echo-service"));
    for (method, host, path) in DEFAULT_BACKEND {
        let response = world.ask(method, host, path);
        assert_eq!(
            (response.status, response.endpoint()),
            (200, Some("echo-service")),
            "{method} {host}{path}"
        );
        for name in ["content-length", "content-type", "date", "server"] {
            assert!(response.header(name).is_some_and(|value| !value.is_empty()), "{name}: {response:?}");
        }
        let seen = response.text();
        assert!(seen.starts_with(&format!("{method} {path} HTTP/1.1\r\n")), "{seen}");
        assert!(seen.contains("User-Agent: suite\r\n"), "{seen}");
    }
    // "/aaa (Prefix), request /ccc: no match, uses defaultBackend", and a host whose paths do not match.
    for (row, (_, path, _)) in PATHS.iter().enumerate().filter(|(_, (_, _, service))| service.is_none()) {
        let host = format!("row-{row}.test");
        assert_eq!(world.answers(&host, path), Ok("echo-service".to_owned()), "{host}{path}");
    }
    world.client().delete(&format!("{INGRESSES}/default-backend"), None).unwrap();
    world.until_answered("my-host", "/", Err(404));
}

/// What was written goes when an Ingress is ours no longer; what another controller wrote stays.
fn statuses(world: &World, reached: &Value) {
    let foreign = format!("{INGRESSES}/foreign");
    let theirs = json!([{"hostname": "lb.example.com"}]);
    let status = json!({"status": {"loadBalancer": {"ingress": theirs}}});
    world.client().merge(&format!("{foreign}/status"), &status).unwrap();
    let give = |path: &str, class: &str| {
        world.client().merge(path, &json!({"spec": {"ingressClassName": class}})).unwrap();
    };
    give(&format!("{INGRESSES}/named"), "other");
    world.until_reached("named", &Value::Null);
    world.until_answered("named.test", "/", Err(404));
    assert_eq!(world.reached("foreign"), theirs);
    // And the other way round.
    give(&foreign, "rauta");
    world.until_reached("foreign", reached);
    give(&foreign, "other");
    world.until_reached("foreign", &Value::Null);
}
