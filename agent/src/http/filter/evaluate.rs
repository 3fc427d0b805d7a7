//! A filter checked against the shape of its rows, and its evaluation.
//!
//! A selector that passes through a list asks whether any item fits. A field that a row leaves out
//! has its zero value; a missing map key equals nothing and contains nothing.

use lictor_api::go::parse_bool;
use regex::Regex;
use serde_json::Value;

use super::{
    FilterError,
    parse::{Expression, Operator, Selector},
    shape::Shape,
};

/// A checked expression.
pub(super) enum Check {
    All(Vec<Check>),
    Any(Vec<Check>),
    Not(Box<Check>),
    Match { path: Vec<String>, test: Test, negated: bool },
}

/// What a field is compared with, of the field's type.
pub(super) enum Test {
    Equal(Value),
    /// Is part of a text, an item of a list, or a key of a map.
    Contains(Value),
    Matches(Regex),
    Empty,
}

impl Check {
    /// Checks selectors, operators and values against the rows' shape.
    pub(super) fn compile(expression: &Expression, shape: &Shape) -> Result<Self, FilterError> {
        let all = |parts: &[Expression]| {
            parts.iter().map(|part| Self::compile(part, shape)).collect::<Result<Vec<_>, _>>()
        };
        Ok(match expression {
            Expression::All(parts) => Self::All(all(parts)?),
            Expression::Any(parts) => Self::Any(all(parts)?),
            Expression::Not(inner) => Self::Not(Box::new(Self::compile(inner, shape)?)),
            Expression::Match { selector, operator, negated, value } => Self::Match {
                path: selector.path.clone(),
                test: Test::new(*operator, value, resolve(selector, shape)?, selector)?,
                negated: *negated,
            },
        })
    }

    /// Whether a row passes.
    pub(super) fn passes(&self, row: &Value, shape: &Shape) -> bool {
        match self {
            Self::All(parts) => parts.iter().all(|part| part.passes(row, shape)),
            Self::Any(parts) => parts.iter().any(|part| part.passes(row, shape)),
            Self::Not(inner) => !inner.passes(row, shape),
            Self::Match { path, test, negated } => descend(path, Some(row), shape, test, *negated),
        }
    }
}

/// The shape that a selector leads to.
fn resolve<'a>(selector: &Selector, shape: &'a Shape) -> Result<&'a Shape, FilterError> {
    let invalid = || FilterError::Selector(selector.text.clone());
    let mut shape = shape;
    for step in &selector.path {
        while let Shape::List(item) = shape {
            shape = item;
        }
        shape = match shape {
            Shape::Struct(fields) => {
                &fields.iter().find(|(name, _)| name == step).ok_or_else(invalid)?.1
            }
            Shape::Map(value) => value,
            _ => return Err(invalid()),
        };
    }
    match shape {
        Shape::Free | Shape::Struct(_) => Err(invalid()),
        shape => Ok(shape),
    }
}

impl Test {
    fn new(
        operator: Operator,
        value: &str,
        shape: &Shape,
        selector: &Selector,
    ) -> Result<Self, FilterError> {
        let refuse = |operator| FilterError::Operator { operator, selector: selector.text.clone() };
        let coerce = |shape: &Shape| {
            coerce(value, shape).ok_or_else(|| FilterError::Value {
                value: value.to_owned(),
                selector: selector.text.clone(),
            })
        };
        match (operator, shape) {
            (Operator::Equal, Shape::Text | Shape::Bool | Shape::Number) => {
                Ok(Self::Equal(coerce(shape)?))
            }
            (Operator::In, Shape::Text | Shape::Map(_)) => Ok(Self::Contains(value.into())),
            (Operator::In, Shape::List(item)) if !matches!(**item, Shape::Struct(_)) => {
                Ok(Self::Contains(coerce(item)?))
            }
            (Operator::Matches, Shape::Text) => match Regex::new(value) {
                Ok(regex) => Ok(Self::Matches(regex)),
                Err(error) => Err(FilterError::Regex(error.to_string())),
            },
            (Operator::IsEmpty, Shape::List(_) | Shape::Map(_)) => Ok(Self::Empty),
            (Operator::Equal, _) => Err(refuse("Equal")),
            (Operator::In, _) => Err(refuse("In")),
            (Operator::Matches, _) => Err(refuse("Matches")),
            (Operator::IsEmpty, _) => Err(refuse("Is Empty")),
        }
    }

    fn holds(&self, value: Option<&Value>, shape: &Shape) -> bool {
        let value = value.filter(|value| !value.is_null());
        match self {
            Self::Equal(expected) => match value {
                Some(value) => value == expected,
                None => coerce_zero(shape) == *expected,
            },
            Self::Contains(part) => match (value, part) {
                (Some(Value::Array(items)), part) => items.contains(part),
                (Some(Value::Object(entries)), Value::String(key)) => entries.contains_key(key),
                (Some(Value::String(text)), Value::String(part)) => text.contains(part.as_str()),
                _ => false,
            },
            Self::Matches(regex) => {
                regex.is_match(value.and_then(Value::as_str).unwrap_or_default())
            }
            Self::Empty => match value {
                Some(Value::Array(items)) => items.is_empty(),
                Some(Value::Object(entries)) => entries.is_empty(),
                _ => true,
            },
        }
    }
}

fn descend(
    path: &[String],
    value: Option<&Value>,
    shape: &Shape,
    test: &Test,
    negated: bool,
) -> bool {
    let Some((step, rest)) = path.split_first() else { return test.holds(value, shape) != negated };
    match shape {
        Shape::List(item) => value
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .any(|value| descend(path, Some(value), item, test, negated)),
        Shape::Struct(fields) => {
            let field = fields.iter().find(|(name, _)| name == step);
            let value = value.and_then(|value| value.get(step));
            field.is_some_and(|(_, shape)| descend(rest, value, shape, test, negated))
        }
        Shape::Map(item) => match value.and_then(|value| value.get(step)) {
            Some(value) => descend(rest, Some(value), item, test, negated),
            None => negated != matches!(test, Test::Empty),
        },
        _ => false,
    }
}

fn coerce(value: &str, shape: &Shape) -> Option<Value> {
    match shape {
        Shape::Number => value.parse::<i64>().ok().map(Value::from),
        Shape::Bool => parse_bool(value).map(Value::from),
        _ => Some(value.into()),
    }
}

fn coerce_zero(shape: &Shape) -> Value {
    match shape {
        Shape::Number => 0.into(),
        Shape::Bool => false.into(),
        _ => "".into(),
    }
}
