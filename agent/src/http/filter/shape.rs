//! What a row type looks like, fields that are left out of its JSON included.
//!
//! Learned by deserializing the type from nothing: it asks for its fields by name, and each field
//! for what it is. So no type lists its filterable fields by hand.

use serde::{
    Deserializer,
    de::{
        DeserializeOwned, DeserializeSeed, IntoDeserializer, MapAccess, SeqAccess, Visitor,
        value::Error,
    },
};

use super::FilterError;

/// The type of a field.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) enum Shape {
    Text,
    Bool,
    Number,
    List(Box<Shape>),
    Map(Box<Shape>),
    Struct(Vec<(&'static str, Shape)>),
    /// Free JSON; cannot be selected.
    #[default]
    Free,
}

impl Shape {
    /// Describes `T`.
    pub(super) fn of<T: DeserializeOwned>() -> Result<Self, FilterError> {
        let mut shape = Self::Free;
        T::deserialize(Tracer(&mut shape)).map_err(|e| FilterError::Shape(e.to_string()))?;
        Ok(shape)
    }
}

struct Tracer<'a>(&'a mut Shape);

macro_rules! scalars {
    ($($shape:ident $visit:ident($zero:expr): $($method:ident)+;)+) => {
        $($(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            *self.0 = Shape::$shape;
            visitor.$visit($zero)
        })+)+
    };
}

impl<'de> Deserializer<'de> for Tracer<'_> {
    type Error = Error;

    scalars! {
        Text visit_str(""): deserialize_str deserialize_string;
        Bool visit_bool(false): deserialize_bool;
        Number visit_u8(0): deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64
            deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64;
        Number visit_f64(0.0): deserialize_f32 deserialize_f64;
        Free visit_str(""): deserialize_any;
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let mut item = Shape::Free;
        let result = visitor.visit_seq(OneItem(Some(&mut item)));
        *self.0 = Shape::List(Box::new(item));
        result
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let mut entries = vec![("", Shape::Free)];
        let result = visitor.visit_map(Entries { entries: &mut entries, next: 0 });
        *self.0 = Shape::Map(Box::new(entries.pop().map(|(_, shape)| shape).unwrap_or_default()));
        result
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let mut entries: Vec<_> = fields.iter().map(|name| (*name, Shape::Free)).collect();
        let result = visitor.visit_map(Entries { entries: &mut entries, next: 0 });
        *self.0 = Shape::Struct(entries);
        result
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        *self.0 = Shape::Text;
        let variant = variants.first().copied().unwrap_or_default();
        visitor.visit_enum(IntoDeserializer::<Error>::into_deserializer(variant))
    }

    serde::forward_to_deserialize_any! {
        char bytes byte_buf unit unit_struct tuple tuple_struct identifier ignored_any
    }
}

struct OneItem<'a>(Option<&'a mut Shape>);

impl<'de> SeqAccess<'de> for OneItem<'_> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Error> {
        self.0.take().map(|shape| seed.deserialize(Tracer(shape))).transpose()
    }
}

struct Entries<'a> {
    entries: &'a mut [(&'static str, Shape)],
    next: usize,
}

impl<'de> MapAccess<'de> for Entries<'_> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Error> {
        let Some((name, _)) = self.entries.get(self.next) else { return Ok(None) };
        seed.deserialize(IntoDeserializer::<Error>::into_deserializer(*name)).map(Some)
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, Error> {
        let shape = &mut self.entries[self.next].1;
        self.next += 1;
        seed.deserialize(Tracer(shape))
    }
}
