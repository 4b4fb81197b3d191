use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use serde::Serialize;

use crate::ObjectRef;

/// How bad a [`Diagnostic`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Served, but perhaps not as meant.
    Warning,
    /// The object, or the named part of it, is not served as written.
    Error,
}

/// Where in the input something stands: lines and columns count from 1.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Place {
    /// The file, as it was named to us.
    pub file: Arc<PathBuf>,
    /// The line, from 1.
    pub line: u32,
    /// The column, from 1; 0 where only the line is known.
    pub column: u32,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file.display(), self.line)?;
        if self.column > 0 { write!(f, ":{}", self.column) } else { Ok(()) }
    }
}

/// Why something is not served as written. The names are those of Gateway API conditions where it has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Reason {
    /// A file cannot be read.
    Unreadable,
    /// Not YAML, or not a Kubernetes object.
    Malformed,
    /// An apiVersion and kind that the gateway does not serve.
    UnknownKind,
    /// A field that the kind does not have, or a value that the field cannot hold.
    InvalidField,
    /// The same object stands in two places; the first is used.
    DuplicateObject,
    /// Two listeners want the same port, protocol and hostname; or two policies say the same of one object.
    Conflicted,
    /// A parentRef names no Gateway or listener of ours.
    NoMatchingParent,
    /// No hostname of the route can reach the listener.
    NoMatchingListenerHostname,
    /// The listener does not let routes of this namespace or kind attach.
    NotAllowedByListeners,
    /// A class is missing or belongs to another controller.
    UnknownClass,
    /// A Service, or the named port of it, does not exist.
    BackendNotFound,
    /// A reference of a kind that cannot be a backend.
    InvalidKind,
    /// A reference into another namespace without a ReferenceGrant.
    RefNotPermitted,
    /// A Secret is missing or holds no usable certificate.
    InvalidCertificateRef,
    /// The same of the certificate that is shown to endpoints.
    InvalidClientCertificateRef,
    /// A ConfigMap or Secret is missing or holds no certificates of authorities.
    #[serde(rename = "InvalidCACertificateRef")]
    InvalidCaCertificateRef,
    /// A kind that holds no certificates of authorities.
    #[serde(rename = "InvalidCACertificateKind")]
    InvalidCaCertificateKind,
    /// Not one of the references to authorities can be followed.
    #[serde(rename = "NoValidCACertificate")]
    NoValidCaCertificate,
    /// Endpoints are spoken to over TLS, and no policy says who they are.
    #[serde(rename = "NoTLSPolicy")]
    NoTlsPolicy,
    /// An address that settings do not allow as an endpoint.
    AddressNotAllowed,
    /// A Secret is missing or does not hold what a policy needs of it.
    InvalidSecretRef,
    /// A ConfigMap or Secret is missing or holds no usable set of keys.
    InvalidJwksRef,
    /// The object that a policy is for, or the part of it, does not exist.
    TargetNotFound,
    /// The API has it, this version of the gateway does not.
    Unsupported,
}

impl Reason {
    /// The name as it stands in logs, JSON and `rauta check`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unreadable => "Unreadable",
            Self::Malformed => "Malformed",
            Self::UnknownKind => "UnknownKind",
            Self::InvalidField => "InvalidField",
            Self::DuplicateObject => "DuplicateObject",
            Self::Conflicted => "Conflicted",
            Self::NoMatchingParent => "NoMatchingParent",
            Self::NoMatchingListenerHostname => "NoMatchingListenerHostname",
            Self::NotAllowedByListeners => "NotAllowedByListeners",
            Self::UnknownClass => "UnknownClass",
            Self::BackendNotFound => "BackendNotFound",
            Self::InvalidKind => "InvalidKind",
            Self::RefNotPermitted => "RefNotPermitted",
            Self::InvalidCertificateRef => "InvalidCertificateRef",
            Self::InvalidClientCertificateRef => "InvalidClientCertificateRef",
            Self::InvalidCaCertificateRef => "InvalidCACertificateRef",
            Self::InvalidCaCertificateKind => "InvalidCACertificateKind",
            Self::NoValidCaCertificate => "NoValidCACertificate",
            Self::NoTlsPolicy => "NoTLSPolicy",
            Self::AddressNotAllowed => "AddressNotAllowed",
            Self::InvalidSecretRef => "InvalidSecretRef",
            Self::InvalidJwksRef => "InvalidJWKSRef",
            Self::TargetNotFound => "TargetNotFound",
            Self::Unsupported => "Unsupported",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Something to tell the user about one object: what, where, why and what to do.
///
/// Printed as `file:line: error: HTTPRoute shop/web: spec.rules[0].backendRefs[0]: … (BackendNotFound)`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// Why, as one word.
    pub reason: Reason,
    /// The object, where one could be told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub object: Option<ObjectRef>,
    /// The path of the field within the object, as `spec.rules[0].matches[1].path.value`; empty for the whole object.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub field: String,
    /// The place in the input; none for objects of an API server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
    /// What is wrong, what happens instead and what to do, in one or two sentences without a full stop at the end.
    pub message: String,
}

impl Diagnostic {
    /// An error about `field` (empty: all) of `object`.
    pub fn error(
        reason: Reason,
        object: &ObjectRef,
        field: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        Self {
            severity: Severity::Error,
            reason,
            object: Some(object.clone()),
            field: field.into(),
            place: None,
            message: message.into(),
        }
    }

    /// A warning about `field` (empty: all) of `object`.
    pub fn warning(
        reason: Reason,
        object: &ObjectRef,
        field: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        Self { severity: Severity::Warning, ..Self::error(reason, object, field, message) }
    }

    /// The same at a place in the input.
    #[must_use]
    pub fn at(mut self, place: Place) -> Self {
        self.place = Some(place);
        self
    }
}

/// One line: control characters, which names and fields may bring along, are escaped, as they could forge lines of a log
/// or steer a terminal.
impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(&mut Printable(f))
    }
}

impl Diagnostic {
    fn write(&self, f: &mut impl fmt::Write) -> fmt::Result {
        if let Some(place) = &self.place {
            write!(f, "{place}: ")?;
        }
        f.write_str(match self.severity {
            Severity::Error => "error: ",
            Severity::Warning => "warning: ",
        })?;
        if let Some(object) = &self.object {
            write!(f, "{object}: ")?;
        }
        if !self.field.is_empty() {
            write!(f, "{}: ", self.field)?;
        }
        write!(f, "{} ({})", self.message, self.reason)
    }
}

/// Escapes control characters.
struct Printable<'a, 'f>(&'a mut fmt::Formatter<'f>);

impl fmt::Write for Printable<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for part in text.split_inclusive(char::is_control) {
            let plain = part.trim_end_matches(char::is_control);
            self.0.write_str(plain)?;
            write!(self.0, "{}", part[plain.len()..].escape_default())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ObjectKind;

    #[test]
    fn a_diagnostic_prints_place_severity_object_field_and_reason() {
        let object = ObjectRef::new(ObjectKind::HttpRoute, "shop", "web");
        let diagnostic = Diagnostic::error(
            Reason::BackendNotFound,
            &object,
            "spec.rules[0].backendRefs[1]",
            "no Service shop/cart",
        )
        .at(Place { file: Arc::new("routes.yaml".into()), line: 12, column: 7 });
        assert_eq!(
            diagnostic.to_string(),
            "routes.yaml:12:7: error: HTTPRoute shop/web: spec.rules[0].backendRefs[1]: no Service shop/cart \
             (BackendNotFound)"
        );
    }

    #[test]
    fn control_characters_do_not_get_out() {
        let object = ObjectRef::new(ObjectKind::HttpRoute, "a", "b\x1b[31m\r\nERROR forged");
        let diagnostic = Diagnostic::error(Reason::InvalidField, &object, "x\u{9b}", "é \n\n");
        assert_eq!(
            diagnostic.to_string(),
            "error: HTTPRoute a/b\\u{1b}[31m\\r\\nERROR forged: x\\u{9b}: é \\n\\n (InvalidField)"
        );
    }
}
