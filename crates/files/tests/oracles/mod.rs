//! What must hold whatever stands in a policy. The fuzz target in `fuzz/` and the replay of its corpus call the same function;
//! it panics where a rule is broken.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use model::{Diagnostic, ObjectKind};
use translate::Options;

/// What the policy may be for.
const OTHERS: &str = r#"
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: gw}
spec: {gatewayClassName: rauta, listeners: [{name: http, protocol: HTTP, port: 80}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: web}
spec:
  parentRefs: [{name: gw}]
  rules: [{name: api, matches: [{path: {value: /api}}], backendRefs: [{name: web, port: 80}]}]
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {ports: [{name: http, port: 80}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{name: http, port: 8080}]
endpoints: [{addresses: [10.0.0.1]}]
---
apiVersion: rauta.io/v1
kind: RoutingRule
metadata: {name: rule}
spec: {match: {path: {value: /rule}}, backends: [{endpoint: "10.0.0.1:80"}]}
---
apiVersion: v1
kind: Secret
metadata: {name: users}
stringData: {.htpasswd: "a:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ="}
"#;

/// The kind in the first byte (even: `RoutePolicy`, odd: `BackendPolicy`), then the YAML of its spec: each mistake is said once, of this
/// policy, with the line and the field that it is in; and what else is in the folder is served.
pub(crate) fn policies(data: &[u8]) {
    let Some((&kind, spec)) = data.split_first() else { return };
    let Ok(spec) = std::str::from_utf8(spec) else { return };
    let kind = if kind % 2 == 0 { ObjectKind::RoutePolicy } else { ObjectKind::BackendPolicy };
    // Within the spec, whatever it says: YAML 1.2 section 5.4 ends lines by these two.
    let spec = spec.replace('\r', "\n").replace('\n', "\n  ");
    let text = format!(
        "apiVersion: rauta.io/v1\nkind: {}\nmetadata: {{name: any}}\nspec:\n  {spec}\n",
        kind.as_str()
    );
    let folder = Folder::new(&[("a.yaml", OTHERS), ("b.yaml", &text)]);
    let loaded = files::load_once(std::slice::from_ref(&folder.0), Options::for_files());
    for diagnostic in &loaded.diagnostics {
        holds(diagnostic, kind, &text);
    }
    let mut sorted = loaded.diagnostics.clone();
    sorted.dedup();
    assert_eq!(sorted, loaded.diagnostics, "said twice");
    let served: Vec<&str> = loaded.snapshot.routes.iter().map(|route| &*route.id.object.name).collect();
    assert!(served.contains(&"web") && served.contains(&"rule"), "{served:?} by {text}");
}

fn holds(diagnostic: &Diagnostic, kind: ObjectKind, text: &str) {
    let said = format!("{diagnostic}\n{text}");
    assert!(!diagnostic.message.is_empty() && !diagnostic.message.ends_with('.'), "{said}");
    assert!(!diagnostic.message.contains('\n'), "{said}");
    let place = diagnostic.place.as_ref();
    assert!(place.is_some_and(|place| place.file.ends_with("b.yaml") && place.line > 0), "{said}");
    // The last line may be where something is missing.
    let lines = text.split('\n').count();
    assert!(place.is_some_and(|place| place.line as usize <= lines), "{said}");
    match &diagnostic.object {
        Some(object) => assert!(object.kind == kind && &*object.name == "any", "{said}"),
        // No document, or none that can be told.
        None => assert!(diagnostic.field.is_empty(), "{said}"),
    }
}

/// A folder of its own, gone with the value.
struct Folder(PathBuf);

impl Folder {
    fn new(files: &[(&str, &str)]) -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let name = format!("rauta-policies-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).expect("the folder for temporary files can be written");
        for (name, text) in files {
            std::fs::write(path.join(name), text).expect("a file can be written");
        }
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
