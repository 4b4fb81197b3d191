//! An agent that is started again finds statuses as it left them, and writes none.

use std::collections::BTreeMap;

use serde_json::json;
use testkit::until;

use super::{GATEWAY_API, LIMIT, World, start};

const ROUTES: usize = 20;
/// The last by name: of what is written in order, it is.
const LAST: &str = "z.test";

impl World {
    /// The version of every object that has a status of the gateway's, but for [`LAST`].
    fn versions(&self) -> BTreeMap<String, String> {
        let mut versions = BTreeMap::new();
        for collection in ["gatewayclasses", "gateways", "httproutes"] {
            let list = self.client().get(&format!("{GATEWAY_API}/{collection}")).unwrap();
            for object in list["items"].as_array().unwrap() {
                let text = |field: &str| object["metadata"][field].as_str().unwrap().to_owned();
                if text("name") != LAST {
                    versions.insert(format!("{collection}/{}", text("name")), text("resourceVersion"));
                }
            }
        }
        versions
    }

    /// Waits until the agent has written what it has to: the last in order says what is so now.
    fn until_written(&self) {
        let last = format!("namespaces/shop/httproutes/{LAST}");
        self.until_condition(&last, &["parents", "0"], ("Accepted", "True", "Accepted"));
        self.until_condition("namespaces/shop/gateways/web", &[], ("Programmed", "True", "Programmed"));
        until(LIMIT, "all routes attached", || {
            let gateway = self.client().get(&format!("{GATEWAY_API}/namespaces/shop/gateways/web")).unwrap();
            (gateway["status"]["listeners"][0]["attachedRoutes"] == ROUTES + 1).then_some(())
        })
        .unwrap();
    }
}

#[test]
fn a_restart_writes_no_status_anew() {
    let mut world = World::new();
    (0..ROUTES).for_each(|n| world.add_route(&format!("a{n}.test")));
    world.add_route(LAST);
    world.until_code(LAST, "200");
    world.until_written();
    let versions = world.versions();

    world.rauta.stop(LIMIT).unwrap();
    world.rauta = start(&world.lab, &world.control);
    world.until_code(LAST, "200");
    // A change of one route that no other object shows.
    let path = format!("{GATEWAY_API}/namespaces/shop/httproutes/{LAST}");
    let rule = json!({"matches": [{"path": {"type": "PathPrefix", "value": "/new"}}],
        "backendRefs": [{"name": "web", "port": 80}]});
    world.client().merge(&path, &json!({"spec": {"rules": [rule]}})).unwrap();
    world.until_code(LAST, "404");
    world.until_written();
    assert_eq!(world.versions(), versions, "statuses were written again: {}", world.rauta.log());
}
