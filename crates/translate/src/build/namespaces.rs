use std::collections::BTreeMap;

use model::{ObjectKind, ObjectRef};
use resources::core::LabelSelector;
use serde::Serialize;

use crate::objects::Objects;

/// The label that every Namespace has: the one that a selector can be judged by without a Namespace object.
const NAMESPACE_NAME: &str = "kubernetes.io/metadata.name";

/// Which namespaces may attach: routes to a listener, ListenerSets to a Gateway.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum From {
    All,
    Only(String),
    Selected(LabelSelector),
    Nobody,
}

impl From {
    /// Reads a selector in whichever type it was generated.
    ///
    /// # Errors
    /// What is wrong with it, and where within it.
    pub(super) fn selector(selector: Option<&impl Serialize>) -> Result<Self, (String, String)> {
        let selector = selector.and_then(|selector| serde_json::to_value(selector).ok());
        let selector = selector.and_then(|value| serde_json::from_value::<LabelSelector>(value).ok());
        let Some(selector) = selector else {
            return Err((String::new(), "is missing: from: Selector needs one".to_owned()));
        };
        for (i, one) in selector.match_expressions.iter().flatten().enumerate() {
            let has_values = one.values.as_ref().is_some_and(|values| !values.is_empty());
            let problem = match (one.operator.as_str(), has_values) {
                ("In" | "NotIn", true) | ("Exists" | "DoesNotExist", false) => continue,
                ("In" | "NotIn", false) => "needs values",
                ("Exists" | "DoesNotExist", true) => "must not have values",
                _ => "has an operator that is none of In, NotIn, Exists and DoesNotExist",
            };
            return Err((format!(".matchExpressions[{i}]"), problem.to_owned()));
        }
        Ok(Self::Selected(selector))
    }

    /// Whether objects of `namespace` may attach.
    pub(super) fn takes(&self, namespace: &str, objects: &Objects) -> bool {
        match self {
            Self::All => true,
            Self::Nobody => false,
            Self::Only(name) => name == namespace,
            Self::Selected(selector) => selects(selector, &labels(namespace, objects)),
        }
    }

    /// Whether it takes labels to tell, and there is no Namespace object to have them from.
    pub(super) fn misses(&self, namespace: &str, objects: &Objects) -> bool {
        let key = ObjectRef::new(ObjectKind::Namespace, "", namespace);
        matches!(self, Self::Selected(_)) && !objects.namespaces.contains_key(&key)
    }
}

/// The labels of a namespace. Its name is one of them, whether it says so or not, as the API server would have it.
fn labels(namespace: &str, objects: &Objects) -> BTreeMap<String, String> {
    let key = ObjectRef::new(ObjectKind::Namespace, "", namespace);
    let object = objects.namespaces.get(&key);
    let mut labels = object.and_then(|object| object.metadata.labels.clone()).unwrap_or_default();
    labels.insert(NAMESPACE_NAME.to_owned(), namespace.to_owned());
    labels
}

/// meta/v1 LabelSelector: all labels and all expressions must hold; an empty one selects everything.
fn selects(selector: &LabelSelector, labels: &BTreeMap<String, String>) -> bool {
    let by_label = selector.match_labels.iter().flatten().all(|(key, value)| labels.get(key) == Some(value));
    let by_expression = selector.match_expressions.iter().flatten().all(|one| {
        let value = labels.get(&one.key);
        let is_in = || value.is_some_and(|value| one.values.iter().flatten().any(|other| other == value));
        match one.operator.as_str() {
            "In" => is_in(),
            // "NotIn" holds for objects without the label as well.
            "NotIn" => !is_in(),
            "Exists" => value.is_some(),
            _ => value.is_none(),
        }
    });
    by_label && by_expression
}
