//! The grammar of filter expressions (go-bexpr's): text to syntax tree.
//!
//! ```text
//! or     : and ("or" and)*            and : unary ("and" unary)*
//! unary  : "not" unary | "(" or ")" | match
//! match  : selector ("==" | "!=" | ["not"] "contains" | ["not"] "matches") value
//!        | selector "is" ["not"] "empty" | value ["not"] "in" selector
//! selector : name ("." name | "[" string "]")*
//! value  : name ("." name)* | number | "quoted" | `raw`
//! ```
//!
//! INVARIANT: total on any text; nesting is bounded by [`MAX_DEPTH`].

use winnow::{
    LocatingSlice, ModalResult, Parser, Stateful,
    ascii::multispace0,
    combinator::{alt, delimited, not, opt, preceded, repeat, terminated},
    error::{ContextError, ErrMode},
    stream::Location,
    token::{any, none_of, one_of, take_while},
};

use super::FilterError;

/// How deep parentheses and negations may nest.
pub(super) const MAX_DEPTH: usize = 64;

type Input<'a> = Stateful<LocatingSlice<&'a str>, Progress>;

#[derive(Debug, Default)]
struct Progress {
    depth: usize,
    too_deep: bool,
    /// The end of the furthest part understood; alternatives that failed rewind the input.
    furthest: usize,
}

/// A syntax tree.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Expression {
    All(Vec<Expression>),
    Any(Vec<Expression>),
    Not(Box<Expression>),
    Match { selector: Selector, operator: Operator, negated: bool, value: String },
}

/// `A.B["k"]`.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Selector {
    pub(super) text: String,
    pub(super) path: Vec<String>,
}

/// What is asked of a field; each has a negation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operator {
    Equal,
    In,
    Matches,
    IsEmpty,
}

impl Expression {
    /// Parses a whole text.
    pub(super) fn parse(text: &str) -> Result<Self, FilterError> {
        let mut input = Input { input: LocatingSlice::new(text), state: Progress::default() };
        let parsed = delimited(multispace0, any_of, multispace0).parse_next(&mut input);
        match parsed {
            _ if input.state.too_deep => Err(FilterError::TooDeep),
            Ok(expression) if input.input.is_empty() => Ok(expression),
            _ => {
                let offset = input.state.furthest.max(input.input.current_token_start());
                Err(FilterError::Syntax { offset })
            }
        }
    }
}

fn any_of(input: &mut Input<'_>) -> ModalResult<Expression> {
    let mut parts = vec![all_of(input)?];
    let rest: Vec<_> = repeat(0.., preceded(keyword("or"), all_of)).parse_next(input)?;
    parts.extend(rest);
    Ok(if parts.len() == 1 { parts.remove(0) } else { Expression::Any(parts) })
}

fn all_of(input: &mut Input<'_>) -> ModalResult<Expression> {
    let mut parts = vec![unary(input)?];
    let rest: Vec<_> = repeat(0.., preceded(keyword("and"), unary)).parse_next(input)?;
    parts.extend(rest);
    Ok(if parts.len() == 1 { parts.remove(0) } else { Expression::All(parts) })
}

fn unary(input: &mut Input<'_>) -> ModalResult<Expression> {
    input.state.depth += 1;
    if input.state.depth > MAX_DEPTH {
        input.state.too_deep = true;
        return Err(ErrMode::Cut(ContextError::new()));
    }
    let negation = preceded(keyword("not"), unary).map(|e| Expression::Not(Box::new(e)));
    let group = delimited(('(', multispace0), any_of, (multispace0, ')'));
    let parsed = preceded(multispace0, alt((group, matching, negation))).parse_next(input);
    input.state.depth -= 1;
    parsed
}

fn matching(input: &mut Input<'_>) -> ModalResult<Expression> {
    alt((selector_first, value_first)).parse_next(input)
}

fn selector_first(input: &mut Input<'_>) -> ModalResult<Expression> {
    let selector = selector(input)?;
    let emptiness = preceded(keyword("is"), terminated(opt(keyword("not")), keyword("empty")))
        .map(|negated| (Operator::IsEmpty, negated.is_some()));
    let (operator, negated) = alt((
        preceded(multispace0, "==").value((Operator::Equal, false)),
        preceded(multispace0, "!=").value((Operator::Equal, true)),
        negatable("contains", Operator::In),
        negatable("matches", Operator::Matches),
        emptiness,
    ))
    .parse_next(input)?;
    reach(input);
    let value = match operator {
        Operator::IsEmpty => String::new(),
        _ => preceded(multispace0, value).parse_next(input)?,
    };
    reach(input);
    Ok(Expression::Match { selector, operator, negated, value })
}

fn value_first(input: &mut Input<'_>) -> ModalResult<Expression> {
    let (value, (operator, negated), selector) =
        (value, negatable("in", Operator::In), selector).parse_next(input)?;
    Ok(Expression::Match { selector, operator, negated, value })
}

/// The operator `name`, or `not name`.
fn negatable<'a>(
    name: &'static str,
    operator: Operator,
) -> impl Parser<Input<'a>, (Operator, bool), ErrMode<ContextError>> {
    terminated(opt(keyword("not")), keyword(name)).map(move |negated| (operator, negated.is_some()))
}

/// A word that ends where it ends, with the space around it.
fn keyword<'a>(word: &'static str) -> impl Parser<Input<'a>, (), ErrMode<ContextError>> {
    delimited(multispace0, word, (not(one_of(is_name_char)), multispace0)).void()
}

fn selector(input: &mut Input<'_>) -> ModalResult<Selector> {
    let quoted = delimited(("[", multispace0), text, (multispace0, "]"));
    let step = alt((preceded('.', name.map(str::to_owned)), quoted));
    let ((first, rest), text): ((&str, Vec<String>), &str) =
        (name, repeat(0.., step)).with_taken().parse_next(input)?;
    let path = std::iter::once(first.to_owned()).chain(rest).collect();
    reach(input);
    Ok(Selector { text: text.to_owned(), path })
}

fn reach(input: &mut Input<'_>) {
    input.state.furthest = input.state.furthest.max(input.input.current_token_start());
}

fn value(input: &mut Input<'_>) -> ModalResult<String> {
    let dotted = (name, repeat::<_, _, (), _, _>(0.., preceded('.', name))).take();
    let digits = |input: &mut Input<'_>| -> ModalResult<()> {
        take_while(1.., |c: char| c.is_ascii_digit()).void().parse_next(input)
    };
    let number = (opt('-'), digits, opt(('.', digits))).take();
    let bare = alt((dotted, number)).map(|bare: &str| bare.to_owned());
    alt((text, terminated(bare, not(one_of(is_name_char))))).parse_next(input)
}

fn text(input: &mut Input<'_>) -> ModalResult<String> {
    let escaped = ('\\', any).void();
    let plain = none_of(['"', '\\', '\n']).void();
    let quoted = ('"', repeat::<_, _, (), _, _>(0.., alt((escaped, plain))), '"')
        .take()
        .verify_map(|quoted: &str| serde_json::from_str::<String>(quoted).ok());
    let raw = delimited('`', take_while(0.., |c| c != '`'), '`').map(|raw: &str| raw.to_owned());
    alt((quoted, raw)).parse_next(input)
}

fn name<'a>(input: &mut Input<'a>) -> ModalResult<&'a str> {
    (one_of(|c: char| c.is_ascii_alphabetic()), take_while(0.., is_name_char))
        .take()
        .parse_next(input)
}

fn is_name_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == '/'
}
