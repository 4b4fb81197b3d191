//! Decoding that forgives nothing: unknown fields are errors, with their paths.
//!
//! serde's `deny_unknown_fields` cannot be switched on for types of others (k8s-openapi, generated ones). This
//! deserializer sees the list of fields that each struct announces to `deserialize_struct` and compares. It goes on
//! after an unknown field, so that one run reports all of them.

use std::cell::RefCell;
use std::fmt;

use serde::de::value::StrDeserializer;
use serde::de::{self, DeserializeOwned, DeserializeSeed, IntoDeserializer, Visitor};
use serde_json::Value;

use crate::FieldPath;

/// What is wrong with one field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldError {
    /// The field's path; empty for the object itself.
    pub path: String,
    /// What is wrong with it.
    pub problem: Problem,
}

/// What may be wrong with a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// The type has no such field.
    Unknown {
        /// The field of the type that comes closest.
        meant: Option<&'static str>,
    },
    /// A value that the field cannot hold, or a missing field; in serde's words.
    Invalid(String),
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown { meant: Some(meant) } => write!(f, "no such field; did you mean {meant:?}?"),
            Self::Unknown { meant: None } => f.write_str("no such field"),
            Self::Invalid(text) => f.write_str(text),
        }
    }
}

/// Reads a `T` from `value`.
///
/// # Errors
/// Every unknown field, and the first value that does not fit, in the order of the input.
pub fn decode<T: DeserializeOwned>(value: &Value) -> Result<T, Vec<FieldError>> {
    match decode_known(value) {
        Ok((object, unknown)) if unknown.is_empty() => Ok(object),
        Ok((_, errors)) | Err(errors) => Err(errors),
    }
}

/// Reads what is known of a `T` from `value`, and says the fields that are not: an API server may be newer than these types.
///
/// # Errors
/// Every unknown field, and the first value that does not fit, in the order of the input.
pub fn decode_known<T: DeserializeOwned>(value: &Value) -> Result<(T, Vec<FieldError>), Vec<FieldError>> {
    let errors = RefCell::new(Vec::new());
    let root = Decoder { value, path: FieldPath::Root, errors: &errors };
    let decoded = T::deserialize(root);
    let errors = errors.into_inner();
    let is_unknown = |error: &FieldError| matches!(error.problem, Problem::Unknown { .. });
    match decoded {
        Ok(object) if errors.iter().all(is_unknown) => Ok((object, errors)),
        _ => Err(errors),
    }
}

#[derive(Clone, Copy)]
struct Decoder<'a> {
    value: &'a Value,
    path: FieldPath<'a>,
    errors: &'a RefCell<Vec<FieldError>>,
}

/// Carries serde's text from where it arises to the innermost decoder, which knows the path.
#[derive(Debug)]
enum Error {
    Text(String),
    Reported,
}

impl std::error::Error for Error {}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Reported => f.write_str("reported"),
        }
    }
}

impl de::Error for Error {
    fn custom<T: fmt::Display>(text: T) -> Self {
        Self::Text(text.to_string())
    }
}

impl<'a> Decoder<'a> {
    /// Gives an error that comes from here this decoder's path; one from further in has one already.
    fn report<T>(&self, result: Result<T, Error>) -> Result<T, Error> {
        if let Err(Error::Text(text)) = result {
            self.errors
                .borrow_mut()
                .push(FieldError { path: self.path.to_string(), problem: Problem::Invalid(text) });
            return Err(Error::Reported);
        }
        result
    }

    fn visit<'de, V: Visitor<'de>>(
        self,
        visitor: V,
        fields: Option<&'static [&'static str]>,
    ) -> Result<V::Value, Error> {
        let result = match self.value {
            Value::Null => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(*value),
            Value::String(value) => visitor.visit_str(value),
            Value::Number(number) => match (number.as_u64(), number.as_i64(), number.as_f64()) {
                (Some(value), _, _) => visitor.visit_u64(value),
                (_, Some(value), _) => visitor.visit_i64(value),
                (_, _, value) => visitor.visit_f64(value.unwrap_or(f64::NAN)),
            },
            Value::Array(items) => visitor.visit_seq(Items { decoder: self, items, next: 0 }),
            Value::Object(map) => {
                visitor.visit_map(Entries { decoder: self, entries: map.iter(), value: None, fields })
            }
        };
        self.report(result)
    }
}

impl<'de> de::Deserializer<'de> for Decoder<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.visit(visitor, None)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        if self.value.is_array() {
            // serde would take the fields in order; Kubernetes does not.
            return self.report(Err(de::Error::invalid_type(de::Unexpected::Seq, &visitor)));
        }
        self.visit(visitor, Some(fields))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.value.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let result = match self.value {
            Value::String(name) => {
                let name: StrDeserializer<'_, Error> = name.as_str().into_deserializer();
                visitor.visit_enum(name)
            }
            Value::Number(number) => {
                Err(de::Error::custom(format!("invalid value: {number}, expected text")))
            }
            _ => Err(de::Error::custom("invalid type: expected text")),
        };
        self.report(result)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct
        seq tuple tuple_struct map identifier
    }
}

struct Items<'a> {
    decoder: Decoder<'a>,
    items: &'a [Value],
    next: usize,
}

impl<'de> de::SeqAccess<'de> for Items<'_> {
    type Error = Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Error> {
        let Some(value) = self.items.get(self.next) else { return Ok(None) };
        let path = FieldPath::Index(&self.decoder.path, self.next);
        self.next += 1;
        seed.deserialize(Decoder { value, path, errors: self.decoder.errors }).map(Some)
    }

    /// Lists are made as long as they are: objects stay in memory, and most of their lists have one element, where room for four would be
    /// made.
    fn size_hint(&self) -> Option<usize> {
        Some(self.items.len().saturating_sub(self.next))
    }
}

struct Entries<'a> {
    decoder: Decoder<'a>,
    entries: serde_json::map::Iter<'a>,
    value: Option<(&'a str, &'a Value)>,
    fields: Option<&'static [&'static str]>,
}

impl<'de> de::MapAccess<'de> for Entries<'_> {
    type Error = Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Error> {
        // Objects of kube's derive do not announce their apiVersion and kind.
        let is_root = matches!(self.decoder.path, FieldPath::Root);
        for (key, value) in self.entries.by_ref() {
            if let Some(fields) = self.fields
                && !fields.contains(&key.as_str())
                && !(is_root && matches!(key.as_str(), "apiVersion" | "kind"))
            {
                let path = FieldPath::Field(&self.decoder.path, key).to_string();
                let problem = Problem::Unknown { meant: closest(key, fields) };
                self.decoder.errors.borrow_mut().push(FieldError { path, problem });
                continue;
            }
            self.value = Some((key, value));
            let key: StrDeserializer<'_, Error> = key.as_str().into_deserializer();
            return seed.deserialize(key).map(Some);
        }
        Ok(None)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Error> {
        let Some((key, value)) = self.value.take() else {
            return Err(de::Error::custom("a value was asked for before its key"));
        };
        let path = FieldPath::Field(&self.decoder.path, key);
        seed.deserialize(Decoder { value, path, errors: self.decoder.errors })
    }
}

/// The field that a person most likely meant: at most a third of the letters differ, or only their case.
fn closest(key: &str, fields: &'static [&'static str]) -> Option<&'static str> {
    let lower = key.to_ascii_lowercase();
    fields
        .iter()
        .map(|field| (distance(&lower, &field.to_ascii_lowercase()), *field))
        .filter(|(distance, field)| *distance <= field.len().max(key.len()) / 3)
        .min()
        .map(|(_, field)| field)
}

/// Levenshtein distance in bytes, by the two-row table.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.bytes().enumerate() {
            let replaced = diagonal + usize::from(from != to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::core::{EndpointSlice, Secret, Service};
    use crate::gateway::HttpRoute;

    fn problems<T: DeserializeOwned + fmt::Debug>(value: &Value) -> Vec<String> {
        decode::<T>(value).unwrap_err().iter().map(|e| format!("{}: {}", e.path, e.problem)).collect()
    }

    fn route(rule: Value) -> Value {
        json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
               "metadata": {"name": "a"}, "spec": {"rules": [rule]}})
    }

    #[test]
    fn a_misspelt_field_of_a_foreign_type_is_an_error_with_path_and_suggestion() {
        let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a", "lables": {}},
                             "spec": {"ports": [{"port": 80, "targetport": 8080}]}});
        assert_eq!(
            problems::<Service>(&service),
            [
                "metadata.lables: no such field; did you mean \"labels\"?",
                "spec.ports[0].targetport: no such field; did you mean \"targetPort\"?",
            ]
        );
    }

    #[test]
    fn a_misspelt_field_of_a_generated_type_is_an_error() {
        let value = route(json!({"backendRef": [{"name": "web", "port": 80}]}));
        assert_eq!(
            problems::<HttpRoute>(&value),
            ["spec.rules[0].backendRef: no such field; did you mean \"backendRefs\"?"]
        );
    }

    #[test]
    fn values_that_do_not_fit_are_errors_at_their_path() {
        let cases = [
            (
                json!({"backendRefs": [{"name": "web", "port": "http"}]}),
                "spec.rules[0].backendRefs[0].port: ",
            ),
            (json!({"backendRefs": [{"port": 80}]}), "spec.rules[0].backendRefs[0]: missing field `name`"),
            (
                json!({"matches": [{"method": "get"}]}),
                "spec.rules[0].matches[0].method: unknown variant `get`",
            ),
            (json!({"matches": {}}), "spec.rules[0].matches: invalid type: map"),
            (
                json!({"matches": [{"path": ["Exact", "/a"]}]}),
                "spec.rules[0].matches[0].path: invalid type: seq",
            ),
        ];
        for (rule, expected) in cases {
            let found = problems::<HttpRoute>(&route(rule));
            assert!(found[0].starts_with(expected), "{found:?} does not start with {expected:?}");
        }
    }

    #[test]
    fn free_keys_and_encoded_bytes_pass() {
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "data": {"any.key": "aGk="},
                            "metadata": {"name": "a", "annotations": {"x/y": "z"}}});
        let secret: Secret = decode(&secret).unwrap();
        assert_eq!(secret.data.unwrap()["any.key"].0, b"hi");
        let slice = json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
                           "metadata": {"name": "a", "creationTimestamp": "2026-01-01T00:00:00Z"},
                           "endpoints": [{"addresses": ["10.0.0.1"], "conditions": {"ready": null}}]});
        assert!(decode::<EndpointSlice>(&slice).is_ok());
    }
}
