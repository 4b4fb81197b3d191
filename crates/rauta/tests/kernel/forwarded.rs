//! What endpoints learn about clients, in the kernel as in userspace.

use std::time::Duration;

use testkit::{Connection, Nginx, Recorder};

use crate::neighbours::ip;
use crate::world::{Network, World};

on_every_network!(
    forwarded_headers_say_who_asked,
    a_trusted_proxy_is_believed,
    they_can_be_turned_off,
    legs_come_from_the_addresses_of_the_pool,
    an_endpoint_sees_the_same_head_from_each_tier,
);

const FORGED: &str =
    "GET /a HTTP/1.1\r\nHost: a.test\r\nX-Forwarded-For: 1.2.3.4\r\nX-Forwarded-Proto: https\r\n\r\n";

fn forwarded_headers_say_who_asked(network: Network) {
    let world = World::new(network);
    let client = network.client();
    let expected = [format!("x-forwarded-for={client}\n"), "x-forwarded-proto=http\n".to_owned()];
    world.decides(4, || {
        let mut connection = world.connect();
        for path in ["/a", "/b", "/b", "/a"] {
            let text = connection.get("a.test", path).unwrap().text();
            assert!(expected.iter().all(|line| text.contains(line)), "{expected:?} not in {text}");
        }
    });
    // What a client says of itself is not believed, in any tier.
    let text =
        world.hands_off_for("forwarding_headers", 1, || world.connect().request(FORGED).unwrap().text());
    assert!(expected.iter().all(|line| text.contains(line)), "{text}");
}

fn a_trusted_proxy_is_believed(network: Network) {
    let world = World::tuned(network, &[("RAUTA_TRUSTED_PROXIES", &network.client())]);
    let text = world.decides(2, || {
        let mut connection = world.connect();
        assert_eq!(connection.get("a.test", "/a").unwrap().endpoint(), Some("b0"));
        connection.request(FORGED).unwrap().text()
    });
    assert!(text.contains("x-forwarded-for=1.2.3.4\nx-forwarded-proto=https\n"), "{text}");
    // The other client is not.
    let mut other = Connection::open(world.lab.client_two(), world.address()).unwrap();
    let text = world.hands_off_for("forwarding_headers", 1, || other.request(FORGED).unwrap().text());
    assert!(!text.contains("1.2.3.4") && text.contains("x-forwarded-proto=http\n"), "{text}");
}

fn they_can_be_turned_off(network: Network) {
    let world = World::tuned(network, &[("RAUTA_FORWARDED_HEADERS", "false")]);
    let text = world.decides(1, || world.get("/b").text());
    assert!(text.contains("x-forwarded-for=\nx-forwarded-proto=\n"), "{text}");
}

/// What it says of the address is the endpoint's own view of the connection.
fn legs_come_from_the_addresses_of_the_pool(network: Network) {
    let (lab, second) = (network.lab(), network.second_back_address());
    let nginx = (0..2).map(|index| Nginx::start(&lab, index).unwrap()).collect();
    // The route's own source stays what it was.
    let length = if second.is_ipv4() { "32" } else { "128" };
    ip(lab.gateway(), &format!("addr add {second}/{length} dev back0 nodad"));
    let pool = second.to_string();
    let world = World::around(network, lab, nginx, None, &[("RAUTA_DATAPLANE_SNAT_ADDRESSES", &pool)]);
    if world.hook == "off" {
        return;
    }
    let text = world.decides(1, || world.get("/a").text());
    assert!(text.contains(&format!("client={second}\n")), "{text}");
    // One that nobody has keeps the kernel from routing, and says so.
    ip(world.lab.gateway(), &format!("addr del {second}/{length} dev back0"));
    let told = || {
        world.gateway.admin("/").unwrap().text().contains(&format!("dataplane.snat.addresses has {second}"))
    };
    testkit::until(Duration::from_secs(10), "the reason on the page", || told().then_some(())).unwrap();
    assert_eq!(world.get("/a").endpoint(), Some("b0"), "userspace serves");
}

/// Byte for byte, in the order of the fields, but for a second space that makes the kernel's insertion even in length.
fn an_endpoint_sees_the_same_head_from_each_tier(network: Network) {
    let world = World::with_endpoint(network, |netns, address| {
        Recorder::start(netns, address, |peer| {
            loop {
                let head = peer.head()?;
                peer.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", head.len()))?;
                peer.send(head)?;
            }
        })
    });
    let request =
        "GET /x HTTP/1.1\r\nHost: a.test\r\nX-One: 1\r\nx-two:  2 \r\nCookie: a=b\r\nX-One: 3\r\n\r\n";
    let kernel = world.decides(1, || world.connect().request(request).unwrap().text());
    let userspace = world.hands_off_for("undecidable", 1, || {
        let mut connection = world.connect();
        let (first, second) = request.as_bytes().split_at(20);
        connection.send_pieces(&[first, second], Duration::from_millis(50)).unwrap();
        connection.response("GET").unwrap().text()
    });
    assert!(kernel.starts_with("GET /x HTTP/1.1\r\nX-Forwarded-For: "), "{kernel}");
    assert_eq!(kernel.replace("X-Forwarded-Proto:  http", "X-Forwarded-Proto: http"), userspace);
}
