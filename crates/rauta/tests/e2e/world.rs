//! A lab with a gateway and endpoints in it.

use testkit::{Addresses, Connection, Gateway, Lab, Nginx, Peer, Recorder, Response};

use crate::manifests;

/// The program under test.
pub(crate) const RAUTA: &str = env!("CARGO_BIN_EXE_rauta");

/// Fields go in this order: the gateway first, the lab last.
pub(crate) struct World {
    pub(crate) gateway: Gateway,
    pub(crate) endpoints: Vec<Nginx>,
    pub(crate) lab: Lab,
}

impl World {
    /// nginx as `count` endpoints, and the gateway on this manifest.
    pub(crate) fn with(count: u8, manifest: &str) -> Self {
        Self::tuned(count, manifest, &[])
    }

    /// The same with settings given as environment variables.
    pub(crate) fn tuned(count: u8, manifest: &str, settings: &[(&str, &str)]) -> Self {
        let lab = Lab::builder().backends(count).build().unwrap();
        let endpoints = (0..usize::from(count)).map(|index| Nginx::start(&lab, index).unwrap()).collect();
        let gateway = start(&lab, manifest, settings);
        Self { gateway, endpoints, lab }
    }

    /// Every request goes to one nginx.
    pub(crate) fn simple() -> Self {
        Self::with(1, &manifests::all_to(&[0]))
    }

    /// A new connection of the first client.
    pub(crate) fn connect(&self) -> Connection {
        Connection::open(self.lab.client(), self.gateway.address()).unwrap()
    }

    /// A GET on a new connection.
    pub(crate) fn get(&self, host: &str, path: &str) -> Response {
        self.connect().get(host, path).unwrap()
    }
}

/// A gateway in front of a recording endpoint.
pub(crate) struct Watched {
    pub(crate) gateway: Gateway,
    pub(crate) endpoint: Recorder,
    pub(crate) lab: Lab,
}

impl Watched {
    /// The endpoint plays `script`.
    pub(crate) fn playing(
        settings: &[(&str, &str)],
        script: impl Fn(&mut Peer) -> std::io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        let lab = Lab::builder().build().unwrap();
        let endpoint = Recorder::start(lab.backend(0), Addresses::backend_socket(0), script).unwrap();
        let gateway = start(&lab, &manifests::all_to(&[0]), settings);
        Self { gateway, endpoint, lab }
    }

    /// The endpoint answers every request with 200 and `fine`.
    pub(crate) fn answering(settings: &[(&str, &str)]) -> Self {
        let lab = Lab::builder().build().unwrap();
        let endpoint = Recorder::answering(lab.backend(0), Addresses::backend_socket(0), "fine").unwrap();
        let gateway = start(&lab, &manifests::all_to(&[0]), settings);
        Self { gateway, endpoint, lab }
    }

    /// A new connection of the first client.
    pub(crate) fn connect(&self) -> Connection {
        Connection::open(self.lab.client(), self.gateway.address()).unwrap()
    }
}

fn start(lab: &Lab, manifest: &str, settings: &[(&str, &str)]) -> Gateway {
    let mut builder = Gateway::builder(lab, RAUTA, &[("all.yaml", manifest)]).unwrap();
    for (name, value) in settings {
        builder = builder.env(name, value);
    }
    builder.start(lab).unwrap()
}
