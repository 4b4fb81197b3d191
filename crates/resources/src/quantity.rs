use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

/// A number of bytes as a person writes it: `1048576`, `1Mi`, `10M` (Kubernetes' quantities without fractions).
#[derive(Serialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(transparent)]
pub struct ByteQuantity(pub String);

impl ByteQuantity {
    /// How many bytes that is; none: it is no such number, or over 2^63 - 1.
    pub fn bytes(&self) -> Option<u64> {
        let digits = self.0.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = self.0.split_at(digits);
        let scale: u64 = match unit {
            "" => 1,
            "k" => 1000,
            "M" => 1_000_000,
            "G" => 1_000_000_000,
            "Ki" => 1 << 10,
            "Mi" => 1 << 20,
            "Gi" => 1 << 30,
            _ => return None,
        };
        let bytes = number.parse::<u64>().ok()?.checked_mul(scale)?;
        (bytes <= i64::MAX.unsigned_abs()).then_some(bytes)
    }
}

impl<'de> Deserialize<'de> for ByteQuantity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextOrNumber)
    }
}

/// YAML reads `1048576` as a number and `1Mi` as text.
struct TextOrNumber;

impl Visitor<'_> for TextOrNumber {
    type Value = ByteQuantity;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number of bytes, such as 1048576 or 1Mi")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<ByteQuantity, E> {
        Ok(ByteQuantity(text.to_owned()))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<ByteQuantity, E> {
        Ok(ByteQuantity(number.to_string()))
    }
}

impl JsonSchema for ByteQuantity {
    fn schema_name() -> Cow<'static, str> {
        "ByteQuantity".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"x-kubernetes-int-or-string": true})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_bytes() {
        for (text, expected) in [
            ("0", Some(0)),
            ("1500", Some(1500)),
            ("2k", Some(2000)),
            ("1Ki", Some(1024)),
            ("10Mi", Some(10 << 20)),
            ("3M", Some(3_000_000)),
            ("1G", Some(1_000_000_000)),
            ("8Gi", Some(8 << 30)),
            ("9223372036854775807", Some(i64::MAX.unsigned_abs())),
            ("9223372036854775808", None),
            ("99999999999Gi", None),
            ("", None),
            ("Mi", None),
            ("-1", None),
            ("1.5Mi", None),
            ("1 Mi", None),
            ("1mi", None),
            ("1KB", None),
        ] {
            assert_eq!(ByteQuantity(text.into()).bytes(), expected, "{text:?}");
        }
    }
}
