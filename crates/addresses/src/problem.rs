use std::fmt;

/// What a Gateway asks for and does not get.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where it is asked for: `spec.addresses[1].value`.
    pub field: String,
    /// The API's word for it.
    pub reason: ProblemReason,
    /// What is wrong, why, and what to do: a sentence behind the field's name.
    pub message: String,
}

/// Reasons of a Gateway's conditions, the weightiest first.
///
/// Source: Gateway API v1.6.1, `apis/v1/gateway_types.go`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ProblemReason {
    /// An address of a type that is not served: the Gateway is not Accepted.
    UnsupportedAddress,
    /// An address that was asked for cannot be used: the Gateway is not Programmed.
    AddressNotUsable,
    /// There is no address to give, or not yet: the Gateway is not Programmed.
    AddressNotAssigned,
}

impl Problem {
    /// Of entry `i`: a value that is no address.
    pub(crate) fn unreadable(i: usize, text: &str) -> Self {
        Self {
            field: format!("spec.addresses[{i}].value"),
            reason: ProblemReason::AddressNotUsable,
            message: format!("{text:?} is no IP address: write one, or leave value out to be given any"),
        }
    }

    /// Of entry `i`: a type other than those that are `served`.
    pub(crate) fn other_type(i: usize, kind: &str, served: &str) -> Self {
        Self {
            field: format!("spec.addresses[{i}].type"),
            reason: ProblemReason::UnsupportedAddress,
            message: format!("{kind:?} is not served: write {served}"),
        }
    }
}

impl ProblemReason {
    /// The reason as the API writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::UnsupportedAddress => "UnsupportedAddress",
            Self::AddressNotUsable => "AddressNotUsable",
            Self::AddressNotAssigned => "AddressNotAssigned",
        }
    }

    /// The type of the condition that is False for this reason.
    pub fn condition(self) -> &'static str {
        if self == Self::UnsupportedAddress { "Accepted" } else { "Programmed" }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.message)
    }
}
