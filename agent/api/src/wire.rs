//! Decoding of JSON that was written for Go: key case does not matter, `snake_case` names the same
//! field as `PascalCase`, `null` is the zero value, and unknown keys are reported by name.
//!
//! One [`serde::Deserializer`] over a parsed [`Value`] serves HTTP bodies and configuration files
//! alike: it asks each struct for its field names and maps every key onto them, so that no struct
//! lists its aliases by hand. COMPAT: Go's encoding/json, and Consul's key translation.
//!
//! It deliberately does not support `#[serde(flatten)]`, which hides a struct's field names.

use serde::{
    Deserialize,
    de::{
        self, DeserializeOwned, DeserializeSeed, EnumAccess, IntoDeserializer, MapAccess,
        SeqAccess, VariantAccess, Visitor,
    },
};
use serde_json::Value;

/// Why a document was not decoded. The text is what Consul's clients read after
/// `Request decode failed: `.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The document is not JSON.
    #[error("{0}")]
    Syntax(String),
    /// A key that the target does not have, as it was written.
    #[error("json: unknown field {0:?}")]
    UnknownField(String),
    /// A value of the wrong type or out of bounds.
    #[error("{0}")]
    Invalid(String),
}

impl de::Error for DecodeError {
    fn custom<T: std::fmt::Display>(message: T) -> Self {
        Self::Invalid(message.to_string())
    }
}

/// Decodes an HTTP body; an unknown key is an error.
///
/// # Errors
/// [`DecodeError`] names the first problem; nothing is decoded.
pub fn from_slice<T: DeserializeOwned>(body: &[u8]) -> Result<T, DecodeError> {
    let value = serde_json::from_slice(body).map_err(|e| DecodeError::Syntax(e.to_string()))?;
    from_value(value)
}

/// Decodes a parsed document; an unknown key is an error.
///
/// # Errors
/// [`DecodeError`] names the first problem.
pub fn from_value<T: DeserializeOwned>(value: Value) -> Result<T, DecodeError> {
    let mut unknown = Vec::new();
    let decoded = from_value_collecting(value, &mut unknown)?;
    match unknown.into_iter().next() {
        Some(key) => {
            Err(DecodeError::UnknownField(key.rsplit('.').next().unwrap_or_default().to_owned()))
        }
        None => Ok(decoded),
    }
}

/// Decodes a parsed document and collects unknown keys (with their path, `a.b.key`) instead of
/// failing, so that a configuration file's reader can name them all.
///
/// # Errors
/// [`DecodeError::Invalid`] for a value of the wrong type.
pub fn from_value_collecting<T: DeserializeOwned>(
    value: Value,
    unknown: &mut Vec<String>,
) -> Result<T, DecodeError> {
    T::deserialize(Decoder { value, path: String::new(), unknown })
}

/// Returns whether two keys name the same field: case and underscores do not count.
pub fn same_key(a: &str, b: &str) -> bool {
    letters(a).eq(letters(b))
}

/// Returns what counts in a key, without a copy: this runs for every key and every field.
fn letters(key: &str) -> impl Iterator<Item = u8> {
    key.bytes().filter(|c| *c != b'_').map(|c| c.to_ascii_lowercase())
}

struct Decoder<'a> {
    value: Value,
    path: String,
    unknown: &'a mut Vec<String>,
}

impl Decoder<'_> {
    fn wrong_type(&self, expected: &str) -> DecodeError {
        let found = match &self.value {
            Value::Null => "null",
            Value::Bool(_) => "bool",
            Value::Number(_) => "number",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
        };
        let place = if self.path.is_empty() { "value" } else { &self.path };
        DecodeError::Invalid(format!(
            "json: cannot unmarshal {found} into {place} of type {expected}"
        ))
    }

    /// Adds the key's path to what a scalar's visitor reports, which knows no path.
    fn at(path: &str, error: DecodeError) -> DecodeError {
        match error {
            DecodeError::Invalid(text) if !path.is_empty() => {
                DecodeError::Invalid(format!("{path}: {text}"))
            }
            other => other,
        }
    }
}

macro_rules! scalar {
    ($($method:ident => $expected:literal, $zero:ident($value:expr), $pattern:pat,)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
            let result = match self.value {
                Value::Null => visitor.$zero::<DecodeError>($value),
                $pattern => self.value.into_deserializer_any(visitor),
                _ => return Err(self.wrong_type($expected)),
            };
            result.map_err(|error| Self::at(&self.path, error))
        })*
    };
}

trait IntoDeserializerAny {
    fn into_deserializer_any<'de, V: Visitor<'de>>(
        self,
        visitor: V,
    ) -> Result<V::Value, DecodeError>;
}

impl IntoDeserializerAny for Value {
    fn into_deserializer_any<'de, V: Visitor<'de>>(
        self,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        de::Deserializer::deserialize_any(self, visitor)
            .map_err(|error| DecodeError::Invalid(error.to_string()))
    }
}

impl<'de> de::Deserializer<'de> for Decoder<'_> {
    type Error = DecodeError;

    scalar! {
        deserialize_bool => "bool", visit_bool(false), Value::Bool(_),
        deserialize_i8 => "int8", visit_i64(0), Value::Number(_),
        deserialize_i16 => "int16", visit_i64(0), Value::Number(_),
        deserialize_i32 => "int32", visit_i64(0), Value::Number(_),
        deserialize_i64 => "int64", visit_i64(0), Value::Number(_),
        deserialize_u8 => "uint8", visit_u64(0), Value::Number(_),
        deserialize_u16 => "uint16", visit_u64(0), Value::Number(_),
        deserialize_u32 => "uint32", visit_u64(0), Value::Number(_),
        deserialize_u64 => "uint64", visit_u64(0), Value::Number(_),
        deserialize_f32 => "float32", visit_f64(0.0), Value::Number(_),
        deserialize_f64 => "float64", visit_f64(0.0), Value::Number(_),
        deserialize_str => "string", visit_str(""), Value::String(_),
        deserialize_string => "string", visit_str(""), Value::String(_),
        deserialize_char => "string", visit_str(""), Value::String(_),
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match self.value {
            Value::Array(_) => self.deserialize_seq(visitor),
            Value::Object(_) => self.deserialize_map(visitor),
            scalar => {
                scalar.into_deserializer_any(visitor).map_err(|error| Self::at(&self.path, error))
            }
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        if self.value.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        let items = match self.value {
            Value::Null => Vec::new(),
            Value::Array(items) => items,
            _ => return Err(self.wrong_type("array")),
        };
        visitor.visit_seq(Items {
            items: items.into_iter(),
            path: self.path,
            unknown: self.unknown,
        })
    }

    fn deserialize_tuple<V: Visitor<'de>>(
        self,
        _len: usize,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _len: usize,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        self.object("object", None, visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        self.object("object", Some(fields), visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        let text = match &self.value {
            Value::Null => String::new(),
            Value::String(text) => text.clone(),
            _ => return Err(self.wrong_type("string")),
        };
        visitor.visit_enum(UnitVariant(text)).map_err(|error| Self::at(&self.path, error))
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        visitor.visit_unit()
    }

    serde::forward_to_deserialize_any! { i128 u128 bytes byte_buf unit unit_struct identifier }
}

impl Decoder<'_> {
    /// `fields` are a struct's own names; without them (a map) every key is kept as written.
    fn object<'de, V: Visitor<'de>>(
        self,
        expected: &str,
        fields: Option<&'static [&'static str]>,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        let members = match self.value {
            Value::Null => serde_json::Map::new(),
            Value::Object(members) => members,
            _ => return Err(self.wrong_type(expected)),
        };
        let mut entries: Vec<(String, String, Value)> = Vec::with_capacity(members.len());
        for (written, value) in members {
            let path = if self.path.is_empty() {
                written.clone()
            } else {
                format!("{}.{written}", self.path)
            };
            let Some(fields) = fields else {
                entries.push((written, path, value));
                continue;
            };
            let Some(field) = fields.iter().find(|field| same_key(field, &written)) else {
                self.unknown.push(path);
                continue;
            };
            // A later spelling of the same field wins, as in Go.
            match entries.iter_mut().find(|(name, _, _)| name == field) {
                Some((_, written, earlier)) => (*written, *earlier) = (path, value),
                None => entries.push(((*field).to_owned(), path, value)),
            }
        }
        visitor.visit_map(Members {
            entries: entries.into_iter(),
            next: None,
            unknown: self.unknown,
        })
    }
}

struct Items<'a> {
    items: std::vec::IntoIter<Value>,
    path: String,
    unknown: &'a mut Vec<String>,
}

impl<'de> SeqAccess<'de> for Items<'_> {
    type Error = DecodeError;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, DecodeError> {
        let Some(value) = self.items.next() else { return Ok(None) };
        let decoder = Decoder { value, path: self.path.clone(), unknown: &mut *self.unknown };
        seed.deserialize(decoder).map(Some)
    }
}

struct Members<'a> {
    entries: std::vec::IntoIter<(String, String, Value)>,
    next: Option<(String, Value)>,
    unknown: &'a mut Vec<String>,
}

impl<'de> MapAccess<'de> for Members<'_> {
    type Error = DecodeError;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, DecodeError> {
        let Some((field, path, value)) = self.entries.next() else { return Ok(None) };
        self.next = Some((path, value));
        seed.deserialize(field.into_deserializer()).map(Some)
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<T::Value, DecodeError> {
        let (path, value) =
            self.next.take().ok_or_else(|| DecodeError::Invalid("value without a key".into()))?;
        seed.deserialize(Decoder { value, path, unknown: &mut *self.unknown })
    }
}

/// An enum written as its name.
struct UnitVariant(String);

impl<'de> EnumAccess<'de> for UnitVariant {
    type Error = DecodeError;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(
        self,
        seed: V,
    ) -> Result<(V::Value, Self), DecodeError> {
        let variant = seed.deserialize(self.0.clone().into_deserializer())?;
        Ok((variant, self))
    }
}

impl<'de> VariantAccess<'de> for UnitVariant {
    type Error = DecodeError;

    fn unit_variant(self) -> Result<(), DecodeError> {
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(
        self,
        _seed: T,
    ) -> Result<T::Value, DecodeError> {
        Err(DecodeError::Invalid(format!("{:?} takes no value", self.0)))
    }

    fn tuple_variant<V: Visitor<'de>>(
        self,
        _len: usize,
        _visitor: V,
    ) -> Result<V::Value, DecodeError> {
        Err(DecodeError::Invalid(format!("{:?} takes no value", self.0)))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _fields: &'static [&'static str],
        _visitor: V,
    ) -> Result<V::Value, DecodeError> {
        Err(DecodeError::Invalid(format!("{:?} takes no value", self.0)))
    }
}

/// A list that may be written as a single item (`"x"` for `["x"]`).
///
/// # Errors
/// Whatever the item's own decoding reports.
pub fn one_or_many<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: de::Deserializer<'de>,
    T: DeserializeOwned,
{
    let value = Value::deserialize(deserializer)?;
    let list = match value {
        Value::Null => return Ok(Vec::new()),
        Value::Array(items) => items,
        single => vec![single],
    };
    list.into_iter().map(|item| from_value(item).map_err(de::Error::custom)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{agent::ServiceDefinition, catalog::RegisterRequest};

    fn service(json: &str) -> Result<ServiceDefinition, DecodeError> {
        from_slice(json.as_bytes())
    }

    #[test]
    fn keys_match_whatever_their_case_and_underscores() {
        let decoded = service(
            r#"{"name":"web","PORT":80,"enable_tag_override":true,"Check":{"http":"http://x","tls_skip_verify":true,"CheckID":"c"},
                "connect":{"sidecar_service":{"proxy":{"upstreams":[{"destination_name":"db","local_bind_port":9191}]}}}}"#,
        )
        .unwrap();
        assert_eq!((decoded.name.as_str(), decoded.port), ("web", 80));
        let check = decoded.check.unwrap();
        assert!(decoded.enable_tag_override && check.tls_skip_verify);
        assert_eq!(check.id, "c");
        let sidecar = decoded.connect.unwrap().sidecar_service.unwrap();
        assert_eq!(sidecar.proxy.unwrap().upstreams[0].local_bind_port, 9191);
    }

    #[test]
    fn an_unknown_key_is_named_as_it_was_written() {
        assert_eq!(
            service(r#"{"Name":"web","Prot":80}"#).unwrap_err().to_string(),
            "json: unknown field \"Prot\""
        );
        let mut unknown = Vec::new();
        let value = serde_json::json!({"name": "a", "x": 1, "check": {"y": 2}});
        from_value_collecting::<ServiceDefinition>(value, &mut unknown).unwrap();
        assert_eq!(unknown, ["x", "check.y"]);
    }

    #[test]
    fn null_is_the_zero_value_everywhere() {
        let decoded = service(
            r#"{"Name":null,"Tags":null,"Port":null,"Check":null,"Meta":null,"Kind":null}"#,
        )
        .unwrap();
        assert_eq!(decoded, ServiceDefinition::default());
    }

    #[test]
    fn a_wrong_type_names_the_key() {
        let error = service(r#"{"Name":"web","Port":"eighty"}"#).unwrap_err().to_string();
        assert!(error.contains("Port") && error.contains("string"), "{error}");
        let error = service(r#"{"Name":"web","Port":70000}"#).unwrap_err().to_string();
        assert!(error.contains("Port") && error.contains("70000"), "{error}");
        let error = from_slice::<RegisterRequest>(br#"{"Check":{"Status":"bad"}}"#).unwrap_err();
        assert!(error.to_string().contains("Invalid check status: 'bad'"), "{error}");
    }

    #[test]
    fn a_bad_value_that_spells_its_key_still_gets_the_path() {
        #[derive(Debug, Deserialize)]
        struct Row {
            #[serde(rename = "u16")]
            _number: u16,
        }
        let error = from_slice::<Row>(br#"{"U16":70000}"#).unwrap_err().to_string();
        assert!(error.starts_with("U16: "), "{error}");
        let error = from_slice::<Row>(br#"{"u16":70000}"#).unwrap_err().to_string();
        assert!(error.starts_with("u16: "), "{error}");
    }

    #[test]
    fn the_last_spelling_of_a_field_wins() {
        let decoded = service(r#"{"Name":"a","NAME":"b","n_a_m_e":"c","Port":1}"#).unwrap();
        assert_eq!((decoded.name.as_str(), decoded.port), ("c", 1));
    }

    #[test]
    fn map_keys_and_free_values_are_kept_as_written() {
        let decoded =
            service(r#"{"Name":"a","Meta":{"Some_Key":"v"},"proxy":{"config":{"Bind_Port":1,"deep":{"A_b":[1]}}}}"#).unwrap();
        assert_eq!(decoded.meta["Some_Key"], "v");
        let config = decoded.proxy.unwrap().config;
        assert_eq!(config["Bind_Port"], 1);
        assert_eq!(config["deep"], serde_json::json!({"A_b": [1]}));
    }

    #[test]
    fn durations_are_text_or_nanoseconds() {
        let decoded =
            service(r#"{"Name":"a","Check":{"Interval":"10s","Timeout":1500000000}}"#).unwrap();
        let check = decoded.check.unwrap();
        assert_eq!(
            (check.interval.to_string(), check.timeout.to_string()),
            ("10s".into(), "1.5s".into())
        );
    }
}
