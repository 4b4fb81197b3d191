//! `rauta run --upgrade`: another agent takes over, and nobody is refused.

use std::net::UdpSocket;
use std::time::Duration;

use testkit::{Addresses, BACKEND_PORT, Connection, Gateway, Lab, Load, Nginx, Signal};

use crate::manifests::{GATEWAY, all_to, documents};
use crate::secure::eventually;
use crate::world::{RAUTA, World};

pub(crate) const ENDS: Duration = Duration::from_secs(20);

/// Starts an agent that takes over, with more arguments.
pub(crate) fn successor(lab: &Lab, arguments: &[&str]) -> testkit::GatewayBuilder {
    Gateway::builder(lab, RAUTA, &[]).unwrap().arguments(&["--upgrade"]).arguments(arguments)
}

/// The agent in place of which `next` was started ends; what it answers was perhaps the old one's until then.
fn succeed(gateway: &mut Gateway, next: Gateway) {
    let mut old = std::mem::replace(gateway, next);
    assert_eq!(old.process().wait(ENDS).unwrap().code(), Some(0), "{}", old.log());
    gateway.wait_ready().unwrap();
}

/// The process id of the agent that answers at the control socket's lock.
pub(crate) fn pid(lab: &Lab) -> String {
    std::fs::read_to_string(lab.folder().join("rauta.sock.lock")).unwrap()
}

#[test]
fn no_connection_is_refused_and_no_request_fails_while_agents_take_over() {
    let mut world = World::simple();
    let address = world.gateway.address();
    let load = |text: &str, connections| {
        Load::start(world.lab.client(), address, connections, text, |answer| answer.body.len() == 128)
    };
    let kept = load("GET /128 HTTP/1.1\r\nHost: a\r\n\r\n", 8);
    let new = load("GET /128 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", 4);
    for threads in ["3", "1", "2"] {
        kept.wait_for_more(200, ENDS).unwrap();
        new.wait_for_more(100, ENDS).unwrap();
        let next = successor(&world.lab, &["--threads", threads]).start(&world.lab).unwrap();
        succeed(&mut world.gateway, next);
        assert_eq!(pid(&world.lab), world.gateway.process().pid().to_string());
        let status = world.gateway.cli(&["status"]).unwrap();
        assert!(status.status.success(), "{status:?}");
        kept.wait_for_more(200, ENDS).unwrap();
        new.wait_for_more(100, ENDS).unwrap();
    }
    for report in [kept.stop(), new.stop()] {
        assert_eq!(report.failed(), 0, "{report:?}\n{}", world.gateway.log());
    }
    // The last one ends as any other, and leaves nothing.
    world.gateway.process().signal(Signal::SIGTERM).unwrap();
    assert_eq!(world.gateway.process().wait(ENDS).unwrap().code(), Some(0));
    for file in ["rauta.sock", "rauta.sock.upgrade"] {
        assert!(!world.lab.folder().join(file).exists(), "{file}");
    }
}

#[test]
fn what_is_under_way_finishes_in_the_old_agent() {
    let mut world = World::simple();
    let mut slow = world.connect();
    slow.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    assert_eq!(slow.head().unwrap().status, 200);
    let next = successor(&world.lab, &[]).start(&world.lab).unwrap();
    let mut old = std::mem::replace(&mut world.gateway, next);
    assert_eq!(world.get("a", "/128").body.len(), 128);
    assert_eq!(slow.rest().unwrap().len(), 16 * 1024);
    assert_eq!(old.process().wait(ENDS).unwrap().code(), Some(0), "{}", old.log());
}

#[test]
fn an_agent_that_cannot_start_leaves_the_other_at_work() {
    let mut world = World::simple();
    let before = pid(&world.lab);
    // It finds out after it has the sockets.
    let builder = successor(&world.lab, &[]).env("RAUTA_SESSION_KEY_FILE", "/nowhere/key");
    let mut failing = builder.spawn(&world.lab).unwrap();
    assert_eq!(failing.process().wait(ENDS).unwrap().code(), Some(1), "{}", failing.log());
    assert!(failing.log().contains("cannot read the sessionKeyFile /nowhere/key"), "{}", failing.log());
    eventually("the other agent says so", || {
        world.gateway.log().contains("ended before it served: this one goes on")
    });
    assert_eq!(world.get("a", "/128").body.len(), 128);
    assert!(world.gateway.cli(&["status"]).unwrap().status.success());
    // It has not given anything away, and can be asked again.
    let next = successor(&world.lab, &[]).start(&world.lab).unwrap();
    succeed(&mut world.gateway, next);
    assert_ne!(pid(&world.lab), before);
    assert_eq!(world.get("a", "/128").body.len(), 128);
}

#[test]
fn without_an_agent_at_work_it_starts_as_usual() {
    let lab = Lab::builder().build().unwrap();
    let _endpoint = Nginx::start(&lab, 0).unwrap();
    let builder = Gateway::builder(&lab, RAUTA, &[("all.yaml", &all_to(&[0]))]).unwrap();
    let gateway = builder.arguments(&["--upgrade"]).start(&lab).unwrap();
    assert!(gateway.log().contains("no agent at work to take over from: starting as usual"));
    let mut client = Connection::open(lab.client(), gateway.address()).unwrap();
    assert_eq!(client.get("a", "/128").unwrap().body.len(), 128);
}

#[test]
fn listeners_follow_the_files_of_the_new_agent_and_datagrams_go_on() {
    let echoed = |client: &UdpSocket, text: &str| {
        client.send(text.as_bytes()).unwrap();
        let mut answer = [0; 64];
        let length = client.recv(&mut answer).unwrap();
        assert_eq!(&answer[..length], text.as_bytes());
    };
    let udp = GATEWAY.trim_end().strip_suffix(']').unwrap().to_owned()
        + ", {name: udp, protocol: UDP, port: 7000}]\n";
    let route = "apiVersion: gateway.networking.k8s.io/v1\nkind: UDPRoute\nmetadata: {name: echo, namespace: default}\n\
                 spec:\n  parentRefs: [{name: gw, sectionName: udp}]\n  rules: [{backendRefs: [{name: echo, port: 53}]}]\n\
                 ---\napiVersion: v1\nkind: Service\nmetadata: {name: echo, namespace: default}\n\
                 spec: {ports: [{name: udp, port: 53, protocol: UDP}]}\n";
    let slice = format!(
        "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
         metadata: {{name: echo-1, namespace: default, labels: {{kubernetes.io/service-name: echo}}}}\n\
         addressType: IPv4\nports: [{{name: udp, port: {BACKEND_PORT}, protocol: UDP}}]\n\
         endpoints: [{{addresses: [\"{}\"]}}]\n",
        Addresses::backend(0)
    );
    let all = |gateway: &str| documents(&[&all_to(&[0]).replacen(GATEWAY, gateway, 1), route, &slice]);
    let mut world = World::with(1, &all(&udp));
    let endpoint = world.lab.backend(0).run(|| UdpSocket::bind(("0.0.0.0", BACKEND_PORT)).unwrap()).unwrap();
    std::thread::spawn(move || {
        let mut buffer = [0; 64];
        while let Ok((length, from)) = endpoint.recv_from(&mut buffer) {
            endpoint.send_to(&buffer[..length], from).unwrap();
        }
    });
    let client = world.lab.client().run(|| UdpSocket::bind("0.0.0.0:0").unwrap()).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    client.connect((Addresses::GATEWAY, 7000)).unwrap();
    echoed(&client, "before");
    // The new agent has another idea of the ports: what is no listener of its own goes.
    world.gateway.write("all.yaml", &all(&udp.replace("8080", "8090"))).unwrap();
    let next = successor(&world.lab, &[]).start(&world.lab).unwrap();
    succeed(&mut world.gateway, next);
    echoed(&client, "after");
    let at = |port| Connection::open(world.lab.client(), (Addresses::GATEWAY, port).into());
    assert_eq!(at(8090).unwrap().get("a", "/128").unwrap().body.len(), 128);
    eventually("the port that is none is closed", || at(8080).is_err());
}
