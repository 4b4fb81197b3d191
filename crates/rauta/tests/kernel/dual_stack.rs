//! Pods with an address in each IP family that answer by one of them.

use std::process::Command;
use std::time::Duration;

use testkit::{Addresses, Families, Nginx, NginxOptions, exec, until};

use crate::manifests::{dual_stack_service, route};
use crate::world::{Network, World};

on_two_networks!(pods_that_answer_by_the_other_family_are_one_endpoint_and_lose_no_request);

/// The preferred address of `b0` refuses, that of `b1` says nothing.
fn pods_that_answer_by_the_other_family_are_one_endpoint_and_lose_no_request(network: Network) {
    let lab = network.lab();
    let families = if network.is_v6 { Families::V6 } else { Families::V4 };
    let options = NginxOptions { families, ..Default::default() };
    let nginx = (0..2).map(|index| Nginx::with(&lab, index, options).unwrap()).collect();
    let other = Network { is_v6: !network.is_v6, ..network };
    let gateway_back = match network.is_v6 {
        true => Addresses::GATEWAY_BACK.to_string(),
        false => Addresses::GATEWAY_BACK_V6.to_string(),
    };
    let mut blackhole = Command::new("ip");
    blackhole.args(["route", "add", "blackhole", &gateway_back]);
    let done = exec(Some(lab.backend(1)), blackhole, Duration::from_secs(10)).unwrap();
    assert!(done.status.success(), "{done:?}");
    let world = World::around(network, lab, nginx, None, &[]);
    let mut yaml = String::new();
    for (index, name) in [(0, "half-refusing"), (1, "half-silent")] {
        yaml.push_str(&dual_stack_service(name, other.endpoint(index), network.endpoint(index)));
        let backends = format!("[{{name: {name}, port: 80}}]");
        yaml.push_str(&route(name, Some(&format!("{name}.test")), &[("PathPrefix", "/", &backends)]));
    }
    world.gateway.write("dual.yaml", &yaml).unwrap();
    for (index, name) in [(0_u8, "half-refusing"), (1, "half-silent")] {
        let host = format!("{name}.test");
        let ask = || world.connect().get(&host, "/").unwrap();
        let backends = || text(&world, "backends");
        until(Duration::from_secs(20), "the route", || backends().contains(name).then_some(())).unwrap();
        for _ in 0..20 {
            let answer = ask();
            assert_eq!(
                (answer.status, answer.endpoint()),
                (200, Some(&*format!("b{index}"))),
                "{name}: {}\n{}",
                answer.text(),
                backends()
            );
        }
        // Userspace has found out which address answers: legs go there from then on.
        let mut before = world.counted("bound");
        until(Duration::from_secs(20), "the kernel to reach the pod by its other address", || {
            assert_eq!(ask().status, 200);
            let now = world.counted("bound");
            let has_bound = world.hook == "off" || now > before;
            before = now;
            has_bound.then_some(())
        })
        .unwrap();
        world.decides(20, || (0..20).for_each(|_| assert_eq!(ask().endpoint(), Some(&*format!("b{index}")))));
        let (preferred, second) = (other.endpoint(index).to_string(), network.endpoint(index).to_string());
        let backends = backends();
        let row = backends.lines().position(|line| line.contains(name)).unwrap();
        let rows: Vec<&str> = backends.lines().skip(row).take(2).collect();
        assert!(rows[0].contains(&preferred) && rows[0].contains("ready"), "{backends}");
        assert!(rows[1].contains(&second) && !rows[1].contains("ready"), "{backends}");
    }
}

fn text(world: &World, command: &str) -> String {
    let output = world.gateway.cli(&[command]).unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}
