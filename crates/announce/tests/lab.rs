//! Two machines on one segment, and a third one that asks them: who answers for an address.
#![allow(clippy::unwrap_used, reason = "a panic is how a test reports")]

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use announce::{AnnounceError, Announcer, HoldError};
use testkit::{Lab, Netns, exec, until};

/// Long enough for a busy machine.
const LIMIT: Duration = Duration::from_secs(30);
const PORT: u16 = 7000;
const V4: &str = "10.77.1.100";
const V6: &str = "fd77:0:0:1::64";

#[test]
fn neighbours_follow_an_address_to_another_machine() {
    let lab = Lab::builder().backends(2).build().unwrap();
    let both = addresses(&[V4, V6]);
    answer(lab.backend(0), "first");
    answer(lab.backend(1), "second");
    let mut first = announcer(lab.backend(0));
    let mut second = announcer(lab.backend(1));
    assert!(first.hold(&both, Instant::now()).is_empty());
    assert_eq!((first.interface(), first.held()), ("eth0", both.clone()));
    for address in &both {
        assert_eq!(ask(&lab, *address).unwrap(), "first");
        assert_eq!(neighbour(&lab, *address), hardware(lab.backend(0)));
    }
    // Its own connections come from its own address.
    let own = lab
        .backend(0)
        .run(|| TcpStream::connect(("10.77.1.12", PORT)).unwrap().local_addr().unwrap())
        .unwrap();
    assert_eq!(own.ip().to_string(), "10.77.1.11");

    // The first one's agent dies: its address stays for a while, and the neighbours know it there.
    drop(first);
    let taken = Instant::now();
    assert!(second.hold(&both, taken).is_empty());
    for address in &both {
        until(LIMIT, "the neighbour to learn", || {
            assert!(second.tick(Instant::now()).is_empty());
            (neighbour(&lab, *address) == hardware(lab.backend(1))).then_some(())
        })
        .unwrap();
        assert_eq!(ask(&lab, *address).unwrap(), "second");
    }
    println!("neighbours follow after {} ms", taken.elapsed().as_millis());

    // What the dead one held goes by itself, what the living one holds stays.
    until(LIMIT, "the dead agent's addresses to go", || {
        assert!(second.tick(Instant::now()).is_empty());
        let left = shown(lab.backend(0));
        (!left.contains(V4) && !left.contains(V6)).then_some(())
    })
    .unwrap();
    let kept = shown(lab.backend(1));
    assert!(kept.contains(V4) && kept.contains(V6), "{kept}");

    // Given up in order, it is gone at once.
    assert!(second.hold(&BTreeSet::new(), Instant::now()).is_empty());
    let left = shown(lab.backend(1));
    assert!(!left.contains(V4) && !left.contains(V6), "{left}");
}

#[test]
fn what_an_agent_left_is_taken_away_and_what_is_others_is_not() {
    let lab = Lab::builder().build().unwrap();
    let machine = lab.backend(0);
    let mut first = announcer(machine);
    assert!(first.hold(&addresses(&[V4, V6]), Instant::now()).is_empty());
    drop(first);
    ip(machine, &["addr", "add", "10.77.1.101/32", "dev", "eth0"]);
    let before = shown(machine);
    assert!(before.contains(V4) && before.contains(V6), "{before}");

    let mut second = announcer(machine);
    // One that the administrator has added is announced where it stands.
    let wanted = addresses(&["10.77.1.101", "10.77.1.102"]);
    assert!(second.hold(&wanted, Instant::now()).is_empty());
    assert_eq!(second.held(), wanted);
    let now = shown(machine);
    assert!(!now.contains(V4) && !now.contains(V6), "left by an agent that died: {now}");
    let line = now.lines().skip_while(|line| !line.contains("10.77.1.101/32")).nth(1).unwrap();
    assert!(line.contains("valid_lft forever"), "the administrator's has got a lifetime: {now}");
    assert!(now.contains("10.77.1.102/32"), "{now}");

    assert!(second.hold(&BTreeSet::new(), Instant::now()).is_empty());
    let last = shown(machine);
    assert!(last.contains("10.77.1.101/32") && !last.contains("10.77.1.102"), "{last}");
    assert!(last.contains("10.77.1.11/24"), "{last}");
}

#[test]
fn what_others_do_to_the_interface_is_seen_in_time() {
    let lab = Lab::builder().build().unwrap();
    let machine = lab.backend(0);
    let mut announcer = announcer(machine);
    let wanted = addresses(&[V4, "10.77.1.101"]);
    ip(machine, &["addr", "add", "10.77.1.101/32", "dev", "eth0"]);
    assert!(announcer.hold(&wanted, Instant::now()).is_empty());
    // One that is held is taken away, the administrator takes away the other one, and an agent's that died comes up.
    ip(machine, &["addr", "del", &format!("{V4}/32"), "dev", "eth0"]);
    ip(machine, &["addr", "del", "10.77.1.101/32", "dev", "eth0"]);
    let left = ["addr", "add", "10.77.1.102/32", "dev", "eth0", "valid_lft", "10", "preferred_lft", "0"];
    ip(machine, &left);
    let now = until(LIMIT, "both to be there", || {
        assert!(announcer.tick(Instant::now()).is_empty());
        let now = shown(machine);
        let is_there = |address: &str| now.contains(&format!("{address}/32"));
        (is_there(V4) && is_there("10.77.1.101")).then_some(now)
    })
    .unwrap();
    assert!(!now.contains("10.77.1.102"), "left by an agent that died: {now}");

    // The interface goes: it is said, and its addresses are no longer this machine's.
    ip(machine, &["link", "del", "eth0"]);
    until(LIMIT, "the loss of the interface", || {
        let errors = announcer.tick(Instant::now());
        errors.iter().any(HoldError::is_of_lost_interface).then_some(())
    })
    .unwrap();
    assert_eq!(announcer.held(), BTreeSet::new());
}

#[test]
fn the_interface_is_the_one_with_the_default_route_or_a_named_one() {
    let lab = Lab::builder().build().unwrap();
    let named = lab.gateway().run(|| Announcer::open(Some("back0"))).unwrap().unwrap();
    assert_eq!(named.interface(), "back0");
    let none = lab.gateway().run(|| Announcer::open(None)).unwrap().unwrap_err();
    assert!(matches!(none, AnnounceError::NoDefaultRoute), "{none}");
    ip(lab.gateway(), &["route", "add", "default", "via", "10.77.1.11", "metric", "7"]);
    let found = lab.gateway().run(|| Announcer::open(None)).unwrap().unwrap();
    assert_eq!(found.interface(), "back0");
}

fn announcer(machine: &Netns) -> Announcer {
    machine.run(|| Announcer::open(None)).unwrap().unwrap()
}

fn addresses(texts: &[&str]) -> BTreeSet<IpAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

/// Answers every connection to any of its addresses with `name`.
fn answer(machine: &Netns, name: &'static str) {
    let listener = machine.run(|| TcpListener::bind(("::", PORT))).unwrap().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            // A client that has gone away wants no answer.
            let _ = stream.and_then(|mut stream| stream.write_all(name.as_bytes()));
        }
    });
}

/// Who answers at an address, to the lab's gateway.
fn ask(lab: &Lab, address: IpAddr) -> std::io::Result<String> {
    lab.gateway()
        .run(|| {
            let mut stream = TcpStream::connect_timeout(&SocketAddr::new(address, PORT), LIMIT)?;
            let mut name = String::new();
            stream.read_to_string(&mut name)?;
            Ok(name)
        })
        .unwrap()
}

/// The hardware address that the lab's gateway knows an address by.
fn neighbour(lab: &Lab, address: IpAddr) -> String {
    let line = ip(lab.gateway(), &["neigh", "show", &address.to_string(), "dev", "back0"]);
    line.split_whitespace().skip_while(|word| *word != "lladdr").nth(1).unwrap_or_default().to_owned()
}

fn hardware(machine: &Netns) -> String {
    let line = ip(machine, &["-br", "link", "show", "eth0"]);
    line.split_whitespace().nth(2).unwrap().to_owned()
}

fn shown(machine: &Netns) -> String {
    ip(machine, &["addr", "show", "eth0"])
}

fn ip(machine: &Netns, arguments: &[&str]) -> String {
    let mut command = Command::new("ip");
    command.args(arguments);
    let output = exec(Some(machine), command, LIMIT).unwrap();
    assert!(output.status.success(), "ip {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}
