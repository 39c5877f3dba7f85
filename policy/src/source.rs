//! A YAML or JSON document as a JSON value that remembers where each member stood.
//!
//! Only what a policy needs: the core schema of YAML 1.2, one document, no aliases, no tags, no
//! duplicate or non-string keys. An alias could hide a rule from a reader, so it is refused.

use std::collections::BTreeMap;

use saphyr_parser::{Event, Parser, ScalarStyle, Span};
use serde_json::{Map, Number, Value};

/// How deep a document may be nested: far beyond any policy, well below the stack.
const MAX_DEPTH: usize = 64;

/// 2^53: up to here a double holds every whole number.
const MAX_EXACT: f64 = 9_007_199_254_740_992.0;

/// The longest key, in bytes. Pointers are made of keys.
const MAX_KEY: usize = 512;

/// A parsed document.
#[derive(Clone, Debug, Default)]
pub struct Document {
    /// The document as JSON.
    pub value: Value,
    places: Places,
}

/// Where a value and what is in it stood.
#[derive(Clone, Debug, Default)]
struct Places {
    place: Place,
    items: Vec<Places>,
    members: BTreeMap<String, Places>,
}

/// A place in a text; both from 1, the column in characters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Line.
    pub line: usize,
    /// Column.
    pub column: usize,
}

/// Why a text is no document.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct SourceError {
    /// Where.
    pub place: Place,
    /// What is wrong.
    pub message: String,
}

impl Document {
    /// Reads one YAML (or JSON) document.
    ///
    /// # Errors
    /// The first thing that is not a plain YAML 1.2 document of the kind described above.
    pub fn parse(text: &str) -> Result<Self, SourceError> {
        Builder {
            parser: Parser::new_from_str(text),
        }
        .document()
    }

    /// Where the member with this RFC 6901 pointer stands: its key in an object, itself in an
    /// array. The nearest parent's place when there is no such member.
    pub fn place(&self, pointer: &str) -> Place {
        let mut at = &self.places;
        for token in pointer.split('/').skip(1) {
            let name = token.replace("~1", "/").replace("~0", "~");
            let index = name.parse::<usize>().ok();
            let next = at.members.get(&name);
            match next.or_else(|| at.items.get(index?)) {
                Some(next) => at = next,
                None => break,
            }
        }
        at.place
    }
}

/// A value without a text that it was read from.
impl From<Value> for Document {
    fn from(value: Value) -> Self {
        let places = Places::default();
        Self { value, places }
    }
}

/// Appends a member name to a pointer (RFC 6901 §3).
pub fn join(pointer: &str, token: impl std::fmt::Display) -> String {
    let token = token.to_string().replace('~', "~0").replace('/', "~1");
    format!("{pointer}/{token}")
}

struct Builder<'t> {
    parser: Parser<'t, saphyr_parser::StrInput<'t>>,
}

impl<'t> Builder<'t> {
    fn document(mut self) -> Result<Document, SourceError> {
        let mut document = None;
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::StreamEnd => break,
                Event::StreamStart | Event::DocumentEnd | Event::Nothing => {}
                Event::DocumentStart(_) if document.is_some() => {
                    return Err(error(span, "only one document per file"));
                }
                Event::DocumentStart(_) => {
                    let (event, span) = self.next()?;
                    let (value, places) = self.node(event, span, 0)?;
                    document = Some(Document { value, places });
                }
                _ => return Err(error(span, "unexpected content")),
            }
        }
        document.ok_or_else(|| SourceError {
            place: Place { line: 1, column: 1 },
            message: "the file is empty".into(),
        })
    }

    fn next(&mut self) -> Result<(Event<'t>, Span), SourceError> {
        match self.parser.next() {
            Some(Ok(next)) => Ok(next),
            Some(Err(scan)) => Err(SourceError {
                place: Place {
                    line: scan.marker().line(),
                    column: scan.marker().col() + 1,
                },
                message: format!("not well-formed YAML: {}", scan.info()),
            }),
            None => Err(SourceError {
                place: Place::default(),
                message: "the document ends early".into(),
            }),
        }
    }

    fn node(
        &mut self,
        event: Event<'t>,
        span: Span,
        depth: usize,
    ) -> Result<(Value, Places), SourceError> {
        if depth > MAX_DEPTH {
            return Err(error(span, "nested too deeply"));
        }
        let mut places = Places {
            place: place(span),
            ..Places::default()
        };
        let value = match event {
            Event::Scalar(text, style, anchor, tag) => {
                plain(span, anchor, tag.is_some())?;
                scalar(&text, style)
            }
            Event::SequenceStart(anchor, tag) => {
                plain(span, anchor, tag.is_some())?;
                let mut items = Vec::new();
                loop {
                    let (event, span) = self.next()?;
                    if matches!(event, Event::SequenceEnd) {
                        break Value::Array(items);
                    }
                    let (item, at) = self.node(event, span, depth + 1)?;
                    items.push(item);
                    places.items.push(at);
                }
            }
            Event::MappingStart(anchor, tag) => {
                plain(span, anchor, tag.is_some())?;
                self.mapping(&mut places, depth)?
            }
            Event::Alias(_) => return Err(error(span, "aliases are not allowed: write it out")),
            _ => return Err(error(span, "unexpected content")),
        };
        Ok((value, places))
    }

    fn mapping(&mut self, places: &mut Places, depth: usize) -> Result<Value, SourceError> {
        let mut members = Map::new();
        loop {
            let (event, key_span) = self.next()?;
            let key = match event {
                Event::MappingEnd => return Ok(Value::Object(members)),
                Event::Scalar(text, style, anchor, tag) => {
                    plain(key_span, anchor, tag.is_some())?;
                    match scalar(&text, style) {
                        Value::String(key) => key,
                        _ => return Err(error(key_span, "a key must be a string: quote it")),
                    }
                }
                _ => return Err(error(key_span, "a key must be a string")),
            };
            if key.len() > MAX_KEY {
                let message = format!("a key has at most {MAX_KEY} bytes");
                return Err(error(key_span, &message));
            }
            if key == "<<" {
                return Err(error(key_span, "merge keys are not allowed: write it out"));
            }
            if members.contains_key(&key) {
                return Err(error(
                    key_span,
                    &format!("the key `{key}` stands here twice"),
                ));
            }
            let (event, span) = self.next()?;
            let (value, mut at) = self.node(event, span, depth + 1)?;
            at.place = place(key_span);
            places.members.insert(key.clone(), at);
            members.insert(key, value);
        }
    }
}

fn plain(span: Span, anchor: usize, tagged: bool) -> Result<(), SourceError> {
    if anchor != 0 {
        return Err(error(span, "anchors are not allowed: write it out"));
    }
    if tagged {
        return Err(error(span, "tags are not allowed"));
    }
    Ok(())
}

/// The core schema of YAML 1.2.2 §10.3, but for `.inf` and `.nan`, which JSON cannot say and which
/// therefore stay strings.
fn scalar(text: &str, style: ScalarStyle) -> Value {
    if style != ScalarStyle::Plain {
        return Value::String(text.to_owned());
    }
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" => return Value::Bool(true),
        "false" | "False" | "FALSE" => return Value::Bool(false),
        _ => {}
    }
    number(text).map_or_else(|| Value::String(text.to_owned()), Value::Number)
}

fn number(text: &str) -> Option<Number> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if let Some(hex) = text.strip_prefix("0x") {
        return u64::from_str_radix(hex, 16).ok().map(Number::from);
    }
    if let Some(octal) = text.strip_prefix("0o") {
        return u64::from_str_radix(octal, 8).ok().map(Number::from);
    }
    let starts_like_number = digits
        .strip_prefix('.')
        .unwrap_or(digits)
        .starts_with(|c: char| c.is_ascii_digit());
    if !starts_like_number {
        return None;
    }
    if digits.bytes().all(|b| b.is_ascii_digit()) {
        let text = text.strip_prefix('+').unwrap_or(text);
        return text
            .parse::<u64>()
            .map(Number::from)
            .or_else(|_| text.parse::<i64>().map(Number::from))
            .ok();
    }
    let float_like = digits
        .bytes()
        .all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'+' | b'-'));
    if !float_like {
        return None;
    }
    let number = text.parse::<f64>().ok()?;
    // JSON Schema takes 80.0 for an integer, so it is one.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "it is whole and within 53 bits"
    )]
    if number.fract() == 0.0 && number.abs() <= MAX_EXACT {
        return Some(Number::from(number as i64));
    }
    Number::from_f64(number)
}

fn place(span: Span) -> Place {
    Place {
        line: span.start.line(),
        column: span.start.col() + 1,
    }
}

fn error(span: Span, message: &str) -> SourceError {
    SourceError {
        place: place(span),
        message: message.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn reads_the_core_schema() {
        let doc = Document::parse(
            "a: 1\nb: [x, 'y', true, no, ~, 1.5, 0x1f, -3, 1e3, 10.0.0.0/8]\nc: {d: \"1\"}\n",
        )
        .unwrap();
        assert_eq!(
            doc.value,
            json!({
                "a": 1,
                "b": ["x", "y", true, "no", null, 1.5, 31, -3, 1000, "10.0.0.0/8"],
                "c": {"d": "1"}
            })
        );
    }

    #[test]
    fn knows_where_things_stand() {
        let doc = Document::parse("a: 1\nb:\n  - x\n  - k: v\n").unwrap();
        assert_eq!(doc.place("/a"), Place { line: 1, column: 1 });
        assert_eq!(doc.place("/b/1/k"), Place { line: 4, column: 5 });
        assert_eq!(doc.place("/b/1/none"), doc.place("/b/1"));
    }

    #[test]
    fn refuses_what_could_hide_a_rule() {
        for (text, what) in [
            ("a: 1\na: 2\n", "twice"),
            ("a: &x 1\nb: *x\n", "anchors"),
            ("a: *x\n", "anchor"),
            ("<<: {a: 1}\n", "merge"),
            ("a: !!str 1\n", "tags"),
            ("a: 1\n---\nb: 2\n", "one document"),
            ("", "empty"),
            ("1: x\n", "string"),
            ("a: [1\n", "YAML"),
        ] {
            let message = Document::parse(text).unwrap_err().message;
            assert!(message.contains(what), "{text:?}: {message}");
        }
        let deep = "[".repeat(100);
        assert!(Document::parse(&deep).is_err());
    }
}
