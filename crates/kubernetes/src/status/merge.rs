use serde_json::{Map, Value, json};

/// The status to write, where it is another than the one that is there.
///
/// Conditions whose status stays keep their time; others have `now` (RFC 3339). Entries of `parents` and `ancestors` that other
/// controllers wrote stay, as do conditions with a domain in their type.
pub(crate) fn merged(current: &Value, wanted: &Value, controller: &str, now: &str) -> Option<Value> {
    let Value::Object(wanted) = wanted else { return None };
    let mut status = current.as_object().cloned().unwrap_or_default();
    for (name, value) in wanted {
        let before = &current[name];
        // One that is empty is not there.
        let entries = |of: &Value| of["ingress"].as_array().cloned().unwrap_or_default();
        if name == "loadBalancer" && entries(before) == entries(value) {
            continue;
        }
        let value = match (name.as_str(), value) {
            ("conditions", value) => conditions(before, value, now),
            ("listeners", Value::Array(listeners)) => {
                listeners.iter().map(|one| entry(find(before, one, &["name"]), one, now)).collect()
            }
            (list @ ("parents" | "ancestors"), Value::Array(entries)) => {
                let others = before.as_array().into_iter().flatten();
                let others = others.filter(|one| one["controllerName"] != *controller).cloned();
                let reference = if list == "parents" { "parentRef" } else { "ancestorRef" };
                let is_it = [reference, "controllerName"];
                let ours = entries.iter().map(|one| entry(find(before, one, &is_it), one, now));
                others.chain(ours).collect()
            }
            (_, value) => value.clone(),
        };
        status.insert(name.clone(), value);
    }
    let status = Value::Object(status);
    // A route or policy that is nobody's business has no status, or an empty one.
    let is_empty = |value: &Value| value.as_array().is_some_and(Vec::is_empty);
    let is_nothing =
        current.is_null() && status.as_object().is_some_and(|status| status.values().all(is_empty));
    (status != *current && !is_nothing).then_some(status)
}

/// An entry of a list with its conditions.
fn entry(before: &Value, wanted: &Value, now: &str) -> Value {
    let mut entry: Map<String, Value> = wanted.as_object().cloned().unwrap_or_default();
    entry.insert("conditions".to_owned(), conditions(&before["conditions"], &wanted["conditions"], now));
    Value::Object(entry)
}

fn conditions(before: &Value, wanted: &Value, now: &str) -> Value {
    let is_foreign = |one: &&Value| one["type"].as_str().is_some_and(|name| name.contains('/'));
    let foreign = before.as_array().into_iter().flatten().filter(is_foreign).cloned();
    let timed = |one: &Value| {
        let old = find(before, one, &["type", "status"]);
        let mut one = one.clone();
        one["lastTransitionTime"] = match &old["lastTransitionTime"] {
            Value::Null => json!(now),
            time => time.clone(),
        };
        one
    };
    wanted.as_array().into_iter().flatten().map(timed).chain(foreign).collect()
}

/// The entry of a list that has the same values as `like` in these fields; null: none has.
fn find<'v>(list: &'v Value, like: &Value, fields: &[&str]) -> &'v Value {
    let is_it = |one: &&Value| fields.iter().all(|field| one[*field] == like[*field]);
    list.as_array().and_then(|list| list.iter().find(is_it)).unwrap_or(&Value::Null)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: &str = "rauta.io/gateway-controller";
    const T1: &str = "2026-01-01T00:00:00Z";
    const T2: &str = "2026-01-02T00:00:00Z";

    fn accepted(status: &str, generation: u64) -> Value {
        json!({"type": "Accepted", "status": status, "reason": "R", "message": "", "observedGeneration": generation})
    }

    #[test]
    fn times_stay_while_statuses_do() {
        let first = merged(&Value::Null, &json!({"conditions": [accepted("True", 1)]}), OURS, T1).unwrap();
        assert_eq!(first["conditions"][0]["lastTransitionTime"], T1);
        assert_eq!(merged(&first, &json!({"conditions": [accepted("True", 1)]}), OURS, T2), None);
        let second = merged(&first, &json!({"conditions": [accepted("True", 2)]}), OURS, T2).unwrap();
        assert_eq!(second["conditions"][0]["lastTransitionTime"], T1);
        let third = merged(&second, &json!({"conditions": [accepted("False", 2)]}), OURS, T2).unwrap();
        assert_eq!(third["conditions"][0]["lastTransitionTime"], T2);
    }

    #[test]
    fn entries_of_others_stay() {
        let theirs = json!({"parentRef": {"name": "a"}, "controllerName": "else/where", "conditions": []});
        let stale = json!({"parentRef": {"name": "old"}, "controllerName": OURS, "conditions": []});
        let current = json!({"parents": [theirs, stale]});
        let ours =
            json!({"parentRef": {"name": "a"}, "controllerName": OURS, "conditions": [accepted("True", 1)]});
        let new = merged(&current, &json!({"parents": [ours]}), OURS, T1).unwrap();
        assert_eq!(new["parents"][0], theirs);
        assert_eq!(new["parents"].as_array().unwrap().len(), 2);
        assert_eq!(new["parents"][1]["conditions"][0]["lastTransitionTime"], T1);
        let left = merged(&new, &json!({"parents": []}), OURS, T1).unwrap();
        assert_eq!(left, json!({"parents": [theirs]}));
    }

    #[test]
    fn a_route_of_others_is_not_touched() {
        assert_eq!(merged(&Value::Null, &json!({"parents": []}), OURS, T1), None);
        let theirs = json!({"parentRef": {"name": "a"}, "controllerName": "else/where", "conditions": []});
        assert_eq!(merged(&json!({"parents": [theirs]}), &json!({"parents": []}), OURS, T1), None);
    }

    #[test]
    fn conditions_of_others_stay_and_ours_that_no_longer_hold_go() {
        let health = json!({"type": "example.com/health", "status": "True", "lastTransitionTime": T1});
        let partly = json!({"type": "PartiallyInvalid", "status": "True", "lastTransitionTime": T1});
        let current = json!({"conditions": [health, partly]});
        let new = merged(&current, &json!({"conditions": [accepted("True", 1)]}), OURS, T2).unwrap();
        let types: Vec<_> =
            new["conditions"].as_array().unwrap().iter().map(|one| one["type"].clone()).collect();
        assert_eq!(types, ["Accepted", "example.com/health"]);
    }
}
