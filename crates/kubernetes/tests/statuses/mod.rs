//! What is written of statuses, and what is not, when the API server takes less than all.

use serde_json::{Value, json};

use super::api::{Api, Statuses};
use super::{Followed, GATEWAYS, PATIENCE, ROUTES, gateway, route, with_gateway};

/// Waits until there are such statuses among those of paths that end so; all of them then.
async fn until(api: &Api, end: &str, what: &str, is_so: impl Fn(&[Value]) -> bool) -> Vec<Value> {
    let poll = async {
        loop {
            let patches = api.patches(end);
            if is_so(&patches) {
                return patches;
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    let waited = tokio::time::timeout(PATIENCE, poll).await;
    waited.unwrap_or_else(|_| panic!("{what}: not seen; {end} had {:?}", api.patches(end)))
}

async fn until_any(api: &Api, end: &str) {
    until(api, end, "a status", |patches| !patches.is_empty()).await;
}

/// How many routes a Gateway says it has.
fn routes(status: &Value) -> &Value {
    &status["listeners"][0]["attachedRoutes"]
}

const WEB: &str = "/gateways/web";

#[tokio::test]
async fn a_status_of_which_not_all_is_kept_is_written_again_when_it_is_another() {
    let api = with_gateway();
    api.set_statuses(GATEWAYS, Statuses::KeptWithout("listeners"));
    let _followed = Followed::start(&api).await;
    // The second follows from what was kept of the first, and changes nothing: not the version either.
    until(&api, WEB, "two statuses", |patches| patches.len() == 2).await;
    api.apply(ROUTES, route("a.test"));
    until_any(&api, "/httproutes/a.test").await;
    let before =
        until(&api, WEB, "a route", |patches| patches.last().is_some_and(|one| *routes(one) == 1)).await;
    // What comes behind Gateways is written, and of the Gateway nothing: it is to say what it was told to.
    api.apply(
        ROUTES,
        json!({"metadata": {"name": "b", "namespace": "shop"},
        "spec": {"parentRefs": [{"name": "web", "sectionName": "none"}]}}),
    );
    until_any(&api, "/httproutes/b").await;
    assert_eq!(api.patches(WEB), before);
}

#[tokio::test]
async fn a_status_behind_one_that_is_not_valid_is_written_over_the_same_version() {
    let api = with_gateway();
    api.set_statuses(GATEWAYS, Statuses::Refused(422));
    let _followed = Followed::start(&api).await;
    until_any(&api, WEB).await;
    api.set_statuses(GATEWAYS, Statuses::Kept);
    api.apply(ROUTES, route("a.test"));
    let statuses =
        until(&api, WEB, "a route", |patches| patches.last().is_some_and(|one| *routes(one) == 1)).await;
    assert_eq!(statuses.len(), 2, "{statuses:?}");
}

const GATEWAY_COUNT: usize = 50;

/// With many Gateways of whose statuses this becomes, beside `web`.
fn with_many_gateways(statuses: Statuses) -> Api {
    let api = with_gateway();
    for number in 0..GATEWAY_COUNT {
        let mut one = gateway(&[]);
        one["metadata"]["name"] = json!(format!("web-{number}"));
        api.apply(GATEWAYS, one);
    }
    api.set_statuses(GATEWAYS, statuses);
    api
}

/// How many statuses of Gateways were to be written.
fn tried_gateways(api: &Api) -> usize {
    let is_meant = |one: &&String| one.contains("/gateways/") && one.contains("/status");
    api.asked().iter().filter(is_meant).count()
}

/// How many of them were by the time two routes were, one after the other.
async fn written_before_routes(statuses: Statuses) -> usize {
    let api = with_many_gateways(statuses);
    api.apply(ROUTES, route("a.test"));
    let _followed = Followed::start(&api).await;
    until_any(&api, "/httproutes/a.test").await;
    api.apply(ROUTES, route("b.test"));
    until_any(&api, "/httproutes/b.test").await;
    tried_gateways(&api)
}

#[tokio::test]
async fn a_right_that_is_missing_is_asked_for_once_and_holds_up_no_other_kind() {
    assert_eq!(written_before_routes(Statuses::Refused(403)).await, 1);
}

#[tokio::test]
async fn a_definition_without_a_status_is_found_once_and_holds_up_no_other_kind() {
    assert_eq!(written_before_routes(Statuses::NotServed).await, 1);
}

#[tokio::test]
async fn an_object_that_is_gone_holds_up_none_of_its_kind() {
    let api = with_many_gateways(Statuses::Gone);
    let _followed = Followed::start(&api).await;
    until(&api, "", "all Gateways tried", |_| tried_gateways(&api) >= 51).await;
}

#[tokio::test]
async fn statuses_are_written_several_at_once_and_each_once() {
    let api = with_many_gateways(Statuses::Kept);
    let _followed = Followed::start(&api).await;
    let is_done = |number: usize| !api.patches(&format!("/gateways/web-{number}")).is_empty();
    until(&api, "", "all Gateways", |_| (0..GATEWAY_COUNT).all(is_done)).await;
    api.apply(ROUTES, route("a.test"));
    until_any(&api, "/httproutes/a.test").await;
    let twice =
        (0..GATEWAY_COUNT).filter(|number| api.patches(&format!("/gateways/web-{number}")).len() != 1);
    assert_eq!(twice.collect::<Vec<_>>(), Vec::<usize>::new());
    assert!(api.most_at_once() > 1, "one after the other");
}

#[tokio::test]
async fn the_release_of_the_definitions_is_said_and_nobody_waits_for_the_right_to_read_it() {
    const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    let api = with_gateway();
    api.refuse(DEFINITIONS, Some(403));
    let _followed = Followed::start(&api).await;
    let is_said = |status: &'static str| {
        move |patches: &[Value]| {
            let conditions = patches.last().and_then(|last| last["conditions"].as_array());
            let mut version =
                conditions.into_iter().flatten().filter(|one| one["type"] == "SupportedVersion");
            version.any(|one| one["status"] == status)
        }
    };
    until(&api, "/gatewayclasses/rauta", "unknown", is_said("Unknown")).await;
    until_any(&api, WEB).await;
    let name = "gatewayclasses.gateway.networking.k8s.io";
    let release = json!({"gateway.networking.k8s.io/bundle-version": "v1.6.0"});
    api.refuse(DEFINITIONS, None);
    api.apply(DEFINITIONS, json!({"metadata": {"name": name, "annotations": release}}));
    until(&api, "/gatewayclasses/rauta", "supported", is_said("True")).await;
}
