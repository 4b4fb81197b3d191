//! Why objects cannot be read, in the words of the API server, and what to do about it.

use std::collections::BTreeMap;

use kube::core::Status;
use model::{Diagnostic, ObjectKind, Reason, Severity};

use crate::scope::Scope;

/// Why a scope cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Trouble {
    pub(crate) cause: Cause,
    /// How often in a row it was tried in vain.
    pub(crate) attempts: u32,
}

/// What kind of trouble it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// The API server does not answer: why.
    Unreachable(String),
    /// It does not know the kind: the versions of its group that it serves.
    NotServed(Vec<String>),
    /// 401: what it says.
    Unauthorized(String),
    /// 403: what it says.
    Forbidden(String),
    /// Anything else: what it says.
    Refused(String),
}

/// Answers may be wrong while an API server starts: these many in a row are believed.
const BELIEVED_ATTEMPTS: u32 = 4;

/// The same where objects that are served go by it: some ten seconds.
const DELETED_ATTEMPTS: u32 = 7;

impl Trouble {
    /// Whether it is certain that there are no objects of `scope`: their definition was taken away. Kinds of Kubernetes itself have none;
    /// a 404 for them comes from something in front of the API server.
    pub(crate) fn is_deleted(&self, scope: &Scope) -> bool {
        let is_defined = matches!(group(scope), "gateway.networking.k8s.io" | "rauta.io");
        is_defined && matches!(self.cause, Cause::NotServed(_)) && self.attempts >= DELETED_ATTEMPTS
    }

    /// Whether the scope of this kind is taken for unreadable for now, so that nobody waits for it.
    ///
    /// A server that does not answer is waited for, one that knows nobody, too, and one that `has_read` says has given nothing yet: what it
    /// would say may be anything. Kinds that protect are waited for as long as they exist: without them routes would be open.
    /// A single object that may not be read holds nobody up: whoever names one could have all others wait.
    pub(crate) fn is_settled(&self, scope: &Scope, has_read: bool) -> bool {
        let protects = matches!(scope.kind(), Some(ObjectKind::RoutePolicy | ObjectKind::BackendTlsPolicy));
        let is_one = matches!(scope, Scope::One(_)) || scope.is_dispensable();
        match self.cause {
            Cause::Unreachable(_) | Cause::Unauthorized(_) => false,
            _ if !has_read => false,
            Cause::NotServed(_) => self.attempts >= 2,
            _ if protects => false,
            Cause::Forbidden(_) if is_one => true,
            Cause::Forbidden(_) => self.attempts >= BELIEVED_ATTEMPTS,
            Cause::Refused(_) if scope.is_dispensable() => true,
            Cause::Refused(_) => self.attempts >= DELETED_ATTEMPTS,
        }
    }
}

impl From<&kube::Error> for Cause {
    fn from(error: &kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => {
                // Without a body in its form there is but a code.
                let message = match status.message.as_str() {
                    "" => format!("{} {}", status.code, status.reason),
                    message => message.to_owned(),
                };
                match status.code {
                    401 => Self::Unauthorized(message),
                    403 => Self::Forbidden(message),
                    404 => Self::NotServed(Vec::new()),
                    _ => Self::Refused(message),
                }
            }
            other => Self::Unreachable(chain(other)),
        }
    }
}

/// Why a request failed, in the words of the API server or of the system.
pub(crate) fn words(error: &kube::Error) -> String {
    match Cause::from(error) {
        Cause::NotServed(_) => "not found".to_owned(),
        Cause::Unreachable(why) | Cause::Unauthorized(why) | Cause::Forbidden(why) | Cause::Refused(why) => {
            why
        }
    }
}

/// The code of an answer; 0: there was none.
pub(crate) fn code(error: &kube::Error) -> u16 {
    match error {
        kube::Error::Api(status) => status.code,
        _ => 0,
    }
}

/// Whether something new was refused because its namespace is being deleted.
pub(crate) fn is_terminating(status: &Status) -> bool {
    let mut causes = status.details.iter().flat_map(|details| &details.causes);
    status.code == 403 && causes.any(|cause| cause.reason == "NamespaceTerminating")
}

/// The innermost causes say most, the outer ones name libraries.
fn chain(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

/// Says what cannot be read; what is the same for several scopes, once.
pub(crate) fn diagnostics(troubles: &BTreeMap<Scope, Trouble>, url: &str) -> Vec<Diagnostic> {
    let mut found: Vec<_> = troubles.iter().map(|(scope, trouble)| say(scope, &trouble.cause, url)).collect();
    found.sort();
    found.dedup();
    found
}

fn say(scope: &Scope, cause: &Cause, url: &str) -> Diagnostic {
    let kept = "what was read of it stays in force";
    let refused = if scope.is_dispensable() { Severity::Warning } else { Severity::Error };
    let (severity, message) = match cause {
        Cause::Unreachable(why) => {
            let text =
                format!("cannot reach the API server at {url}: {why}; all that was read stays in force");
            (Severity::Error, text)
        }
        Cause::NotServed(versions) if versions.is_empty() => {
            let text = format!("the API server does not know {scope}: install its CRD to use it");
            (Severity::Warning, text)
        }
        Cause::NotServed(versions) => {
            let text = format!(
                "the API server does not know {scope}, only {}: install the CRDs of a release that has it",
                versions.join(" and ")
            );
            (Severity::Warning, text)
        }
        Cause::Unauthorized(why) => {
            let text = format!(
                "the API server at {url} does not accept the credentials: {why}; all that was read stays in force; check \
                 the service account's token or the kubeconfig"
            );
            (Severity::Error, text)
        }
        Cause::Forbidden(why) => {
            let (group, plural) = (group(scope), scope.plural());
            let text = format!(
                "may not read {scope}: {why}; {kept}; allow list and watch of {plural} in API group {group:?}"
            );
            (refused, text)
        }
        Cause::Refused(why) => (refused, format!("cannot read {scope}: {why}; {kept}")),
    };
    let object = match scope {
        Scope::One(key) if !matches!(cause, Cause::Unreachable(_) | Cause::Unauthorized(_)) => {
            Some(key.clone())
        }
        _ => None,
    };
    Diagnostic { severity, reason: Reason::Unreadable, object, field: String::new(), place: None, message }
}

/// The API group of a scope's kind; empty: the core group.
pub(crate) fn group(scope: &Scope) -> &'static str {
    scope.api_version().rsplit_once('/').map_or("", |(group, _)| group)
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::ObjectRef;

    fn said(troubles: &[(Scope, Cause)]) -> Vec<String> {
        let troubles = troubles
            .iter()
            .map(|(scope, cause)| (scope.clone(), Trouble { cause: cause.clone(), attempts: 1 }));
        diagnostics(&troubles.collect(), "https://a:6443/").iter().map(ToString::to_string).collect()
    }

    #[test]
    fn each_trouble_says_what_why_and_what_to_do() {
        let gateways = Scope::All(ObjectKind::Gateway);
        let secret = Scope::One(ObjectRef::new(ObjectKind::Secret, "shop", "tls"));
        let forbidden = || Cause::Forbidden("User \"x\" cannot".to_owned());
        assert_eq!(
            said(&[(gateways.clone(), forbidden())]),
            [
                "error: may not read Gateway (gateway.networking.k8s.io/v1): User \"x\" cannot; what was read of it stays in \
              force; allow list and watch of gateways in API group \"gateway.networking.k8s.io\" (Unreadable)"
            ]
        );
        assert_eq!(
            said(&[(secret, forbidden())]),
            [
                "error: Secret shop/tls: may not read Secret shop/tls: User \"x\" cannot; what was read of it stays in \
              force; allow list and watch of secrets in API group \"\" (Unreadable)"
            ]
        );
        assert_eq!(
            said(&[(
                gateways.clone(),
                Cause::NotServed(vec!["gateway.networking.k8s.io/v1beta1".to_owned()])
            )]),
            ["warning: the API server does not know Gateway (gateway.networking.k8s.io/v1), only \
              gateway.networking.k8s.io/v1beta1: install the CRDs of a release that has it (Unreadable)"]
        );
        let [definition] = &said(&[(Scope::Definition, forbidden())])[..] else { panic!("one line") };
        assert!(definition.starts_with("warning: may not read CustomResourceDefinition gatewayclasses."));
        let missing = said(&[(gateways, Cause::NotServed(Vec::new()))]);
        assert!(missing[0].contains("install its CRD"), "{missing:?}");
    }

    #[test]
    fn a_server_that_does_not_answer_is_said_once() {
        let scopes = [ObjectKind::Gateway, ObjectKind::Service].map(Scope::All);
        let troubles = scopes.map(|scope| (scope, Cause::Unreachable("connection refused".to_owned())));
        assert_eq!(
            said(&troubles),
            [
                "error: cannot reach the API server at https://a:6443/: connection refused; all that was read stays in force \
              (Unreadable)"
            ]
        );
    }

    #[test]
    fn nobody_waits_for_what_is_not_there_but_for_a_server_that_does_not_answer() {
        let settled = |cause: Cause, attempts| {
            let trouble = Trouble { cause, attempts };
            [ObjectKind::HttpRoute, ObjectKind::RoutePolicy, ObjectKind::BackendTlsPolicy]
                .map(Scope::All)
                .map(|scope| (trouble.is_settled(&scope, true), trouble.is_settled(&scope, false)))
        };
        let (no, yes) = ((false, false), (true, false));
        assert_eq!(settled(Cause::NotServed(Vec::new()), 2), [yes; 3]);
        assert_eq!(settled(Cause::NotServed(Vec::new()), 1), [no; 3]);
        // Routes are not opened because what protects them cannot be read.
        assert_eq!(settled(Cause::Forbidden(String::new()), 4), [yes, no, no]);
        assert_eq!(settled(Cause::Forbidden(String::new()), 3), [no; 3]);
        assert_eq!(settled(Cause::Refused(String::new()), 7), [yes, no, no]);
        assert_eq!(settled(Cause::Refused(String::new()), 6), [no; 3]);
        assert_eq!(settled(Cause::Unauthorized(String::new()), 1_000), [no; 3]);
        assert_eq!(settled(Cause::Unreachable(String::new()), 1_000), [no; 3]);
        let secret = Scope::One(ObjectRef::new(ObjectKind::Secret, "shop", "tls"));
        let forbidden = Trouble { cause: Cause::Forbidden(String::new()), attempts: 1 };
        assert!(forbidden.is_settled(&secret, true) && !forbidden.is_settled(&secret, false));
        let refused = Trouble { cause: Cause::Refused(String::new()), attempts: 1 };
        for scope in [Scope::Definition, Scope::OwnNode("a".into())] {
            assert!([&forbidden, &refused].iter().all(|one| one.is_settled(&scope, true)));
        }
    }

    #[test]
    fn a_namespace_that_ends_is_no_missing_right() {
        let refusal = |details: &str| {
            let message = "unable to create new content in namespace shop because it is being terminated";
            let text = format!(
                r#"{{"status": "Failure", "code": 403, "reason": "Forbidden", "message": "{message}", "details": {details}}}"#
            );
            serde_json::from_str::<Status>(&text).unwrap()
        };
        let cause = r#"{"reason": "NamespaceTerminating", "message": "namespace shop is being terminated"}"#;
        assert!(is_terminating(&refusal(&format!(r#"{{"name": "web", "causes": [{cause}]}}"#))));
        assert!(!is_terminating(&refusal(r#"{"name": "web"}"#)));
    }

    #[test]
    fn only_kinds_with_a_definition_can_lose_it() {
        let gone = |kind, attempts| {
            Trouble { cause: Cause::NotServed(Vec::new()), attempts }.is_deleted(&Scope::All(kind))
        };
        assert!(gone(ObjectKind::Gateway, 7) && gone(ObjectKind::RoutePolicy, 7));
        assert!(!gone(ObjectKind::Gateway, 6));
        assert!(!gone(ObjectKind::Service, 1_000) && !gone(ObjectKind::Ingress, 1_000));
    }
}
