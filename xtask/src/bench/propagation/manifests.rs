//! Routes as users write them, and changes of them.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::Result;
use testkit::Addresses;

/// Routes that share a Service.
const ROUTES_PER_SERVICE: usize = 20;
/// Where the ports of endpoints begin: nobody listens there, and nobody needs to.
const FIRST_PORT: usize = 20_000;

/// How the objects are spread over files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// One for each route, one for each Service with its endpoints.
    ManyFiles,
    /// All in one.
    OneFile,
}

/// A change of one object, or two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Edit {
    /// A route gets another path.
    Route,
    /// A Service gets another endpoint.
    Endpoint,
    /// A route comes, and goes with the next change.
    ComeAndGo,
}

/// A folder of manifests.
pub(super) struct Manifests {
    folder: PathBuf,
    scratch: PathBuf,
    layout: Layout,
    /// Of each object its file's name and text; the objects of a Service are together.
    objects: Vec<(String, String)>,
    routes: usize,
}

impl Edit {
    pub(super) const ALL: [Self; 3] = [Self::Route, Self::Endpoint, Self::ComeAndGo];
}

impl fmt::Display for Edit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Route => "a route's path",
            Self::Endpoint => "a Service's endpoint",
            Self::ComeAndGo => "a route comes or goes",
        })
    }
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ManyFiles => "many files",
            Self::OneFile => "one file",
        })
    }
}

impl Manifests {
    /// Writes a Gateway and `routes` HTTPRoutes, each with a host of its own, below `lab`.
    pub(super) fn write(lab: &Path, routes: usize, layout: Layout) -> Result<Self> {
        let (folder, scratch) = (lab.join("manifests"), lab.join("scratch.tmp"));
        fs::create_dir_all(&folder)?;
        let mut objects = vec![("gateway.yaml".to_owned(), gateway())];
        let services = routes.div_ceil(ROUTES_PER_SERVICE);
        objects.extend((0..services).map(|n| (format!("service-{n}.yaml"), service(n, 0))));
        objects.extend((0..routes).map(|n| (format!("route-{n}.yaml"), route(n, 0))));
        let manifests = Self { folder, scratch, layout, objects, routes };
        match layout {
            Layout::OneFile => manifests.put(ALL_IN_ONE, &manifests.all())?,
            Layout::ManyFiles => {
                for (name, text) in &manifests.objects {
                    manifests.put(name, text)?;
                }
            }
        }
        Ok(manifests)
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Makes a change, and says when its file had its new content.
    pub(super) fn edit(&mut self, edit: Edit, turn: usize) -> Result<SystemTime> {
        let services = self.routes.div_ceil(ROUTES_PER_SERVICE);
        let (name, text) = match edit {
            Edit::Route => {
                let n = (turn * 7919) % self.routes;
                (format!("route-{n}.yaml"), Some(route(n, turn + 1)))
            }
            Edit::Endpoint => {
                let n = (turn * 7919) % services;
                (format!("service-{n}.yaml"), Some(service(n, turn + 1)))
            }
            Edit::ComeAndGo => {
                let text = turn.is_multiple_of(2).then(|| route(self.routes, turn));
                (format!("route-{}.yaml", self.routes), text)
            }
        };
        self.objects.retain(|(other, _)| text.is_some() || *other != name);
        if let Some(text) = &text {
            match self.objects.iter_mut().find(|(other, _)| *other == name) {
                Some((_, old)) => old.clone_from(text),
                None => self.objects.push((name.clone(), text.clone())),
            }
        }
        match (self.layout, text) {
            (Layout::OneFile, _) => self.put(ALL_IN_ONE, &self.all())?,
            (Layout::ManyFiles, Some(text)) => self.put(&name, &text)?,
            (Layout::ManyFiles, None) => fs::remove_file(self.folder.join(name))?,
        }
        Ok(SystemTime::now())
    }

    fn all(&self) -> String {
        self.objects.iter().map(|(_, text)| format!("---\n{text}")).collect()
    }

    /// In one step, so that what is measured is not the writing.
    fn put(&self, name: &str, text: &str) -> Result<()> {
        fs::write(&self.scratch, text)?;
        Ok(fs::rename(&self.scratch, self.folder.join(name))?)
    }
}

const ALL_IN_ONE: &str = "all.yaml";

fn gateway() -> String {
    "apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: web, namespace: shop}
spec:
  gatewayClassName: rauta
  listeners:
  - {name: http, protocol: HTTP, port: 8080}
"
    .to_owned()
}

fn route(n: usize, version: usize) -> String {
    format!(
        "apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata:
  name: route-{n}
  namespace: shop
  labels: {{app.kubernetes.io/name: route-{n}, app.kubernetes.io/part-of: shop}}
spec:
  parentRefs:
  - name: web
  hostnames:
  - app-{n}.example.com
  rules:
  - matches:
    - path: {{type: PathPrefix, value: /api/v{version}}}
    - path: {{type: Exact, value: /health}}
    backendRefs:
    - {{name: service-{}, port: 80}}
",
        n / ROUTES_PER_SERVICE
    )
}

fn service(n: usize, version: usize) -> String {
    let address = Addresses::backend_socket(0).ip();
    // Two endpoints of its own; the second one changes.
    let port = FIRST_PORT + n * 2;
    let other = FIRST_PORT + 20_000 + (n * 2 + version) % 10_000;
    let slice = |name: &str, port: usize| {
        format!(
            "---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: service-{n}-{name}
  namespace: shop
  labels: {{kubernetes.io/service-name: service-{n}}}
addressType: IPv4
ports: [{{name: http, port: {port}, protocol: TCP}}]
endpoints: [{{addresses: [{address}], conditions: {{ready: true}}}}]
"
        )
    };
    format!(
        "apiVersion: v1
kind: Service
metadata: {{name: service-{n}, namespace: shop}}
spec:
  ports: [{{name: http, port: 80, targetPort: {port}}}]
{}{}",
        slice("a", port),
        slice("b", other)
    )
}
