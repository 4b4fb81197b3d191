//! A lab with the gateway under test in it.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use testkit::{Addresses, Connection, Dial, Gateway, Lab, Netns, Nginx, Offloads, Recorder, Response, until};

use crate::manifests;
use crate::options::LIMIT;

/// The program under test.
pub(crate) const RAUTA: &str = env!("CARGO_BIN_EXE_rauta");

/// What the packets of a case look like.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Network {
    pub(crate) is_v6: bool,
    pub(crate) offloads: Offloads,
    /// Programs are attached as on a kernel without tcx.
    pub(crate) is_clsact: bool,
}

impl Network {
    pub(crate) const V4_OFFLOADS: Self = Self { is_v6: false, offloads: Offloads::ON, is_clsact: false };
    pub(crate) const V4_WIRE: Self = Self { offloads: Offloads::OFF, ..Self::V4_OFFLOADS };
    pub(crate) const V6_OFFLOADS: Self = Self { is_v6: true, ..Self::V4_OFFLOADS };
    pub(crate) const V6_WIRE: Self = Self { is_v6: true, ..Self::V4_WIRE };
    pub(crate) const CLSACT: Self = Self { is_clsact: true, ..Self::V4_OFFLOADS };

    /// Where endpoint `index` listens.
    pub(crate) fn endpoint(self, index: u8) -> SocketAddr {
        if self.is_v6 { Addresses::backend_socket_v6(index) } else { Addresses::backend_socket(index) }
    }

    /// Where clients reach the gateway.
    pub(crate) fn gateway(self) -> SocketAddr {
        if self.is_v6 { Addresses::gateway_socket_v6() } else { Addresses::gateway_socket() }
    }

    /// An address of the endpoints' network that nobody has.
    pub(crate) fn second_back_address(self) -> IpAddr {
        if self.is_v6 {
            let [a, b, c, d, e, f, g, _] = Addresses::GATEWAY_BACK_V6.segments();
            [a, b, c, d, e, f, g, 7].into()
        } else {
            let [a, b, c, _] = Addresses::backend(0).octets();
            [a, b, c, 7].into()
        }
    }

    /// The first client, as endpoints should hear of it.
    pub(crate) fn client(self) -> String {
        if self.is_v6 { Addresses::client_v6(0).to_string() } else { Addresses::client(0).to_string() }
    }

    pub(crate) fn lab(self) -> Lab {
        Lab::builder().backends(2).offloads(self.offloads).build().unwrap()
    }
}

/// Packets to the gateway, by who decided them.
#[derive(Clone, Copy, Debug)]
struct Decided {
    kernel: f64,
    userspace: f64,
}

/// The gateway in front of two endpoints, `b0` and `b1`, with the routes of [`manifests::routes`].
pub(crate) struct World {
    pub(crate) gateway: Gateway,
    /// Real endpoints, unless a case brings its own for `b0`.
    pub(crate) nginx: Vec<Nginx>,
    _recorder: Option<Recorder>,
    pub(crate) hook: String,
    settings: Vec<(String, String)>,
    pub(crate) network: Network,
    pub(crate) lab: Lab,
}

impl World {
    /// nginx as both endpoints.
    pub(crate) fn new(network: Network) -> Self {
        Self::tuned(network, &[])
    }

    /// The same with settings given as environment variables.
    pub(crate) fn tuned(network: Network, settings: &[(&str, &str)]) -> Self {
        Self::of_nginx(network, settings, hook())
    }

    /// nginx as both endpoints, and XDP programs before those of TC.
    pub(crate) fn early(network: Network, settings: &[(&str, &str)]) -> Self {
        Self::of_nginx(network, settings, "xdp".to_owned())
    }

    /// The same in a lab that is there already.
    pub(crate) fn early_in(network: Network, lab: Lab) -> Self {
        let nginx = (0..2).map(|index| Nginx::start(&lab, index).unwrap()).collect();
        Self::start(network, lab, nginx, None, &[], "xdp".to_owned())
    }

    /// nginx as both endpoints, and no kernel programs.
    pub(crate) fn userspace(network: Network) -> Self {
        Self::of_nginx(network, &[], "off".to_owned())
    }

    /// [`World::with_endpoint`] without kernel programs.
    pub(crate) fn userspace_with_endpoint(
        network: Network,
        start: impl FnOnce(&Netns, SocketAddr) -> anyhow::Result<Recorder>,
    ) -> Self {
        Self::recording(network, start, "off".to_owned())
    }

    /// `b0` is what `start` makes of its namespace and address, `b1` is nginx.
    pub(crate) fn with_endpoint(
        network: Network,
        start: impl FnOnce(&Netns, SocketAddr) -> anyhow::Result<Recorder>,
    ) -> Self {
        Self::recording(network, start, hook())
    }

    /// The gateway in a lab whose endpoints run; waits until the kernel routes.
    pub(crate) fn around(
        network: Network,
        lab: Lab,
        nginx: Vec<Nginx>,
        recorder: Option<Recorder>,
        settings: &[(&str, &str)],
    ) -> Self {
        Self::start(network, lab, nginx, recorder, settings, hook())
    }

    fn of_nginx(network: Network, settings: &[(&str, &str)], hook: String) -> Self {
        let lab = network.lab();
        let nginx = (0..2).map(|index| Nginx::start(&lab, index).unwrap()).collect();
        Self::start(network, lab, nginx, None, settings, hook)
    }

    fn recording(
        network: Network,
        start: impl FnOnce(&Netns, SocketAddr) -> anyhow::Result<Recorder>,
        hook: String,
    ) -> Self {
        let lab = network.lab();
        let recorder = start(lab.backend(0), network.endpoint(0)).unwrap();
        let nginx = vec![Nginx::start(&lab, 1).unwrap()];
        Self::start(network, lab, nginx, Some(recorder), &[], hook)
    }

    fn start(
        network: Network,
        lab: Lab,
        nginx: Vec<Nginx>,
        recorder: Option<Recorder>,
        settings: &[(&str, &str)],
        hook: String,
    ) -> Self {
        let settings: Vec<(String, String)> =
            settings.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
        let gateway = start_gateway(&lab, (network, &manifests::routes(network)), &hook, &settings, &[]);
        let world = Self { gateway, nginx, _recorder: recorder, hook, settings, network, lab };
        world.wait_for_the_kernel();
        world
    }

    /// Starts the agent again after its end, on what it left behind.
    pub(crate) fn restart(&mut self) {
        self.restart_with(&manifests::routes(self.network));
    }

    /// The same with other routes than at first.
    pub(crate) fn restart_with(&mut self, manifest: &str) {
        self.gateway = start_gateway(&self.lab, (self.network, manifest), &self.hook, &self.settings, &[]);
    }

    /// An agent takes over, and the one that was at work ends.
    pub(crate) fn succeed(&mut self) {
        let routes = manifests::routes(self.network);
        let of = (self.network, &*routes);
        let next = start_gateway(&self.lab, of, &self.hook, &self.settings, &["--upgrade"]);
        let mut old = std::mem::replace(&mut self.gateway, next);
        let status = old.process().wait(Duration::from_secs(20)).unwrap();
        assert_eq!(status.code(), Some(0), "{}", old.log());
        // Until then the old one may have answered.
        self.gateway.wait_ready().unwrap();
    }

    /// Where clients reach the gateway.
    pub(crate) fn address(&self) -> SocketAddr {
        self.network.gateway()
    }

    /// A new connection of the first client.
    pub(crate) fn connect(&self) -> Connection {
        Connection::open(self.lab.client(), self.address()).unwrap()
    }

    /// A new connection of the first client, to be adjusted.
    pub(crate) fn dial(&self) -> Dial {
        Dial::to(self.address())
    }

    /// A GET on a new connection.
    pub(crate) fn get(&self, path: &str) -> Response {
        self.connect().get("a.test", path).unwrap()
    }

    /// Runs `work`, whose `requests` requests the kernel must decide alone: none is handed to userspace.
    #[track_caller]
    pub(crate) fn decides<T>(&self, requests: u32, work: impl FnOnce() -> T) -> T {
        self.decides_at_least(requests, 0, work)
    }

    /// The same of `requests` on one connection over wires so bad that an endpoint may seem dead at any of them, behind which userspace has
    /// the connection: in one of a few runs the kernel must decide all of them.
    #[track_caller]
    pub(crate) fn decides_in_the_end<T>(&self, requests: u32, mut work: impl FnMut() -> T) -> T {
        const RUNS: u32 = 6;
        for _ in 0..RUNS {
            let before = self.decided();
            let result = self.decides_at_least(0, 1, &mut work);
            let (Some(before), Some(after)) = (before, self.decided()) else { return result };
            if after.kernel - before.kernel >= f64::from(requests) {
                return result;
            }
        }
        panic!(
            "in none of {RUNS} runs all {requests} requests decided in the kernel\n{}",
            self.gateway.metrics().unwrap()
        );
    }

    /// Runs `work`, in which the kernel must decide `least` requests, and userspace may get `others` connections.
    #[track_caller]
    pub(crate) fn decides_at_least<T>(&self, least: u32, others: u32, work: impl FnOnce() -> T) -> T {
        let before = self.decided();
        let result = work();
        if let (Some(before), Some(after)) = (before, self.decided()) {
            let (kernel, userspace) = (after.kernel - before.kernel, after.userspace - before.userspace);
            assert!(
                kernel >= f64::from(least) && userspace < f64::from(others) + 0.5,
                "{kernel} of at least {least} requests decided in the kernel, {userspace} handed to userspace\n{}",
                self.gateway.metrics().unwrap()
            );
        }
        result
    }

    /// Runs `work`, of which userspace must have got something.
    #[track_caller]
    pub(crate) fn hands_off<T>(&self, work: impl FnOnce() -> T) -> T {
        let before = self.decided();
        let result = work();
        if let (Some(before), Some(after)) = (before, self.decided()) {
            assert!(after.userspace > before.userspace, "nothing went to userspace");
        }
        result
    }

    /// Runs `work`, in which userspace must get exactly `connections` connections, all of them for `reason` (the label of
    /// the metric without `hand_off_`).
    #[track_caller]
    pub(crate) fn hands_off_for<T>(&self, reason: &str, connections: u32, work: impl FnOnce() -> T) -> T {
        let before = self.decided();
        let result = self.counts(&[(&format!("hand_off_{reason}"), connections)], work);
        if let (Some(before), Some(after)) = (before, self.decided()) {
            let userspace = after.userspace - before.userspace;
            assert!(
                (userspace - f64::from(connections)).abs() < 0.5,
                "{userspace} connections went to userspace, {connections} of them for {reason}\n{}",
                self.gateway.metrics().unwrap()
            );
        }
        result
    }

    /// Runs `work`, in which each of these events of the kernel tier must happen exactly so often. What comes of the last
    /// packet of `work` is waited for.
    #[track_caller]
    pub(crate) fn counts<T>(&self, expected: &[(&str, u32)], work: impl FnOnce() -> T) -> T {
        if self.hook == "off" {
            return work();
        }
        let event = |(reason, _): &(&str, u32)| self.counted(reason);
        let before: Vec<f64> = expected.iter().map(event).collect();
        let result = work();
        for (before, expected) in before.into_iter().zip(expected) {
            let found = || event(expected) - before;
            let wanted = f64::from(expected.1);
            // Beyond the limit the comparison below says what is there.
            let _ = until(LIMIT, expected.0, || (found() > wanted - 0.5).then_some(()));
            assert!(
                (found() - wanted).abs() < 0.5,
                "{} happened {} times instead of {wanted}\n{}",
                expected.0,
                found(),
                self.gateway.metrics().unwrap()
            );
        }
        result
    }

    /// How often this event happened in the kernel tier.
    pub(crate) fn counted(&self, reason: &str) -> f64 {
        let labels = format!("reason=\"{reason}\"");
        // What never happened has no series.
        self.gateway.metric("rauta_kernel_events_total", &labels).unwrap_or(0.0)
    }

    /// Which part of the requests of `work` the kernel decided alone, 0 to 1; 1 where no kernel programs are wanted.
    pub(crate) fn kernel_share_of(&mut self, work: impl FnOnce(&mut Self)) -> f64 {
        let before = self.decided();
        work(self);
        let (Some(before), Some(after)) = (before, self.decided()) else { return 1.0 };
        let (kernel, userspace) = (after.kernel - before.kernel, after.userspace - before.userspace);
        kernel / (kernel + userspace)
    }

    /// None where no kernel programs are wanted.
    fn decided(&self) -> Option<Decided> {
        if self.hook == "off" {
            return None;
        }
        // Events, not packets: a late acknowledgement of a connection that is over is the stack's, and no request.
        let text = self.gateway.metrics().unwrap();
        let count = |wanted: &dyn Fn(&str) -> bool| -> f64 {
            text.lines()
                .filter_map(|line| line.strip_prefix("rauta_kernel_events_total{"))
                .filter(|line| wanted(line))
                .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
                .sum()
        };
        let requests = ["\"bound\"", "\"reused\"", "\"rebound\"", "\"pooled\""];
        Some(Decided {
            kernel: count(&|line| requests.iter().any(|reason| line.contains(reason))),
            userspace: count(&|line| line.contains("reason=\"hand_off_")),
        })
    }

    /// Endpoints enter the kernel's tables a moment after the agent is ready.
    pub(crate) fn wait_for_the_kernel(&self) {
        let Some(mut before) = self.decided() else { return };
        until(Duration::from_secs(30), "a request to be decided in the kernel alone", || {
            assert_eq!(self.get("/b").status, 200);
            let after = self.decided()?;
            let found = after.kernel > before.kernel && after.userspace - before.userspace < 0.5;
            before = after;
            found.then_some(())
        })
        .unwrap_or_else(|error| {
            panic!("{error:#}\n{}\n{}", self.gateway.log(), self.gateway.metrics().unwrap())
        });
    }
}

/// `off`, or the hook whose programs are attached.
pub(crate) fn hook() -> String {
    std::env::var("TEST_HOOK").unwrap_or_else(|_| "tc".to_owned())
}

fn start_gateway(
    lab: &Lab,
    (network, manifest): (Network, &str),
    hook: &str,
    settings: &[(String, String)],
    arguments: &[&str],
) -> Gateway {
    let mut builder =
        Gateway::builder(lab, RAUTA, &[("all.yaml", manifest)]).unwrap().hook(hook).arguments(arguments);
    if network.is_clsact {
        builder = builder.env("RAUTA_PRETEND_WITHOUT", "tcx");
    }
    for (name, value) in settings {
        builder = builder.env(name, value);
    }
    builder.start(lab).unwrap()
}
