//! Which release of the Gateway API the definitions in the API server are of; no I/O.

use resources::gateway::BUNDLE_VERSION;
use serde_json::Value;

use crate::event::News;

/// The definition that is looked at: whoever installs a release installs it.
pub(crate) const DEFINITION: &str = "gatewayclasses.gateway.networking.k8s.io";

/// Says the release (Gateway API, "Versioning").
const ANNOTATION: &str = "gateway.networking.k8s.io/bundle-version";

/// What the definition says of its release.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) enum Bundle {
    /// It was not read, or is not there.
    #[default]
    Unread,
    /// Nothing.
    Unsaid,
    /// As it is written: `v1.6.1`.
    Version(String),
}

/// Whether this release is one that the gateway is made for; none: that cannot be told. And why.
pub(crate) type Support = (Option<bool>, String);

impl Bundle {
    /// Takes in what was heard of the definition; whether it says something else now.
    pub(crate) fn take(&mut self, news: &News) -> bool {
        let Some(definition) = news.of_one() else { return false };
        let now = definition.map_or(Self::Unread, Self::of);
        let is_new = *self != now;
        *self = now;
        is_new
    }

    fn of(definition: &Value) -> Self {
        let said = definition["metadata"]["annotations"][ANNOTATION].as_str();
        said.map_or(Self::Unsaid, |version| Self::Version(version.to_owned()))
    }

    /// Releases that differ in the patch alone have the same API (Gateway API, "Versioning").
    pub(crate) fn support(&self) -> Support {
        let (minor, _) = BUNDLE_VERSION.rsplit_once('.').unwrap_or_default();
        let made_for = format!("this gateway is made for {minor} ({BUNDLE_VERSION})");
        match self {
            Self::Unread => {
                let how =
                    "allow list and watch of customresourcedefinitions in API group \"apiextensions.k8s.io\"";
                (
                    None,
                    format!("the definition {DEFINITION} could not be read: {how}, by this name; {made_for}"),
                )
            }
            Self::Unsaid => {
                let text = format!(
                    "the definition {DEFINITION} does not say its release (annotation {ANNOTATION}), and is used as far as it \
                     goes; {made_for}"
                );
                (Some(false), text)
            }
            Self::Version(version) => {
                let patch = version.strip_prefix(minor).and_then(|rest| rest.strip_prefix('.'));
                let is_it = patch.is_some_and(|patch| patch.parse::<u32>().is_ok());
                let outcome = if is_it { "" } else { ", and is used as far as it goes" };
                (Some(is_it), format!("the Gateway API is installed in {version}{outcome}; {made_for}"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn definition(annotations: &Value) -> Value {
        json!({"metadata": {"name": DEFINITION, "annotations": annotations}})
    }

    fn version(text: &str) -> Value {
        definition(&json!({ANNOTATION: text}))
    }

    #[test]
    fn patches_of_the_release_are_supported_and_others_are_not() {
        let support = |object: Value| {
            let mut bundle = Bundle::default();
            assert!(bundle.take(&News::Listed(vec![object])));
            bundle.support()
        };
        for (text, is_it) in [
            (BUNDLE_VERSION, true),
            ("v1.6.0", true),
            ("v1.6.12", true),
            ("v1.5.1", false),
            ("v1.60.0", false),
            ("v1.6.0-rc.1", false),
            ("v1.6", false),
            ("v1.6.", false),
            ("v2.6.1", false),
            ("main", false),
        ] {
            let (found, message) = support(version(text));
            assert_eq!(found, Some(is_it), "{text}");
            assert!(message.contains(text) && message.contains(BUNDLE_VERSION), "{message}");
        }
        assert_eq!(support(definition(&Value::Null)).0, Some(false));
    }

    #[test]
    fn what_was_read_stays_until_it_is_another() {
        let mut bundle = Bundle::default();
        assert_eq!(bundle.support().0, None);
        assert!(!bundle.take(&News::Listed(Vec::new())), "nothing is new");
        assert!(bundle.take(&News::Applied(version("v1.5.0"))));
        assert!(!bundle.take(&News::Applied(version("v1.5.0"))) && !bundle.take(&News::Resumed));
        assert_eq!(bundle.support().0, Some(false));
        assert!(bundle.take(&News::Applied(version(BUNDLE_VERSION))));
        assert_eq!(bundle.support().0, Some(true));
        assert!(bundle.take(&News::Deleted(version(BUNDLE_VERSION))));
        assert_eq!(bundle.support().0, None);
    }
}
