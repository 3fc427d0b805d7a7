//! Filter expressions (`?filter=`): parsed once, checked against the shape of the rows, then
//! evaluated on each row as it would be written in JSON.
//!
//! COMPAT: the grammar, operators and selectors of HashiCorp's go-bexpr. A selector that the rows
//! do not have is an error, not an empty answer. Unlike go-bexpr, `matches` on a missing map key is
//! false.

mod evaluate;
mod parse;
mod shape;

use serde::{Serialize, de::DeserializeOwned};

use super::{HttpError, Request};
use evaluate::Check;
use parse::Expression;
use shape::Shape;

/// Why an expression cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// Not in the grammar.
    #[error("1:{} ({offset}): no match found", offset + 1)]
    Syntax {
        /// Bytes before what was not understood.
        offset: usize,
    },
    /// Parentheses or negations beyond [`parse::MAX_DEPTH`].
    #[error("expression nested deeper than {} levels", parse::MAX_DEPTH)]
    TooDeep,
    /// The rows have no such field.
    #[error("Selector {0:?} is not valid")]
    Selector(String),
    /// The field's type does not have this operator.
    #[error("Invalid match operator {operator:?} for selector {selector:?}")]
    Operator {
        /// The operator.
        operator: &'static str,
        /// The selector.
        selector: String,
    },
    /// The value is not of the field's type.
    #[error("failed to coerce value {value:?} for selector {selector:?}")]
    Value {
        /// The value.
        value: String,
        /// The selector.
        selector: String,
    },
    /// Not a regular expression.
    #[error("error parsing regexp: {0}")]
    Regex(String),
    /// The rows cannot be described; a defect.
    #[error("describing the rows: {0}")]
    Shape(String),
}

/// An expression over rows of one type; without one, every row passes.
pub struct Filter {
    compiled: Option<(Shape, Check)>,
}

impl Filter {
    /// Reads an expression over rows of type `T`. The empty expression passes every row.
    ///
    /// # Errors
    /// [`FilterError`] names the position, selector, operator or value.
    pub fn parse<T: DeserializeOwned>(text: &str) -> Result<Self, FilterError> {
        if text.trim().is_empty() {
            return Ok(Self { compiled: None });
        }
        let shape = Shape::of::<T>()?;
        let check = Check::compile(&Expression::parse(text)?, &shape)?;
        Ok(Self { compiled: Some((shape, check)) })
    }

    /// Whether every row passes, so that none needs to be looked at.
    pub fn is_empty(&self) -> bool {
        self.compiled.is_none()
    }

    /// Whether a row passes.
    ///
    /// # Errors
    /// [`HttpError::Encode`] for a row that JSON cannot express.
    pub fn passes<T: Serialize>(&self, row: &T) -> Result<bool, HttpError> {
        let Some((shape, check)) = &self.compiled else { return Ok(true) };
        let row = serde_json::to_value(row).map_err(HttpError::Encode)?;
        Ok(check.passes(&row, shape))
    }

    /// The rows that pass.
    ///
    /// # Errors
    /// As [`Filter::passes`].
    pub fn apply<T: Serialize>(&self, rows: Vec<T>) -> Result<Vec<T>, HttpError> {
        if self.is_empty() {
            return Ok(rows);
        }
        let mut passed = Vec::with_capacity(rows.len());
        for row in rows {
            if self.passes(&row)? {
                passed.push(row);
            }
        }
        Ok(passed)
    }
}

impl Request {
    /// The filter over rows of type `T`; passes everything when the client gave none.
    ///
    /// # Errors
    /// [`HttpError::Filter`].
    pub fn filter<T: DeserializeOwned>(&self) -> Result<Filter, HttpError> {
        Ok(Filter::parse::<T>(self.param("filter").unwrap_or_default())?)
    }
}

#[cfg(test)]
mod tests;
