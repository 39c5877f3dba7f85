//! One allowed request/response pair, and how a request head is matched and rebuilt.
//!
//! The head is payload: whatever the client may choose in it can carry data. So nothing of it is
//! passed on; the target that leaves is written anew from the policy and from parameter values
//! that the policy allows, each in its one spelling.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use crate::value::TextRule;
use crate::{Contract, Reason};

/// All but the unreserved characters of RFC 3986 §2.3: the canonical spelling of a value.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// One allowed request/response pair of an inspected rule.
#[derive(Debug)]
pub struct Exchange {
    /// Method and path template: how records and metrics name it.
    pub label: Arc<str>,
    /// The method, in capitals.
    pub method: Arc<str>,
    /// The path.
    pub path: PathTemplate,
    /// The query parameters that may be there.
    pub query: BTreeMap<Arc<str>, TextRule>,
    /// The request headers that pass, by lower-case name.
    pub request_headers: BTreeMap<Arc<str>, TextRule>,
    /// The contract of the request body; without one there must be no body.
    pub request_body: Option<Arc<Contract>>,
    /// What may be answered.
    pub response: ResponseRule,
}

/// What may be answered.
#[derive(Debug)]
pub struct ResponseRule {
    /// The status codes that pass; `None`: all.
    pub statuses: Option<Vec<u16>>,
    /// The response headers that pass, by lower-case name.
    pub headers: BTreeMap<Arc<str>, TextRule>,
    /// What the body of a 2xx response may be.
    pub body: ResponseBody,
}

/// What the body of a 2xx response may be.
#[derive(Debug)]
pub enum ResponseBody {
    /// Anything: only on egress, where the body comes into the pod.
    Any,
    /// There must be none.
    None,
    /// What the contract says.
    Contract(Arc<Contract>),
}

/// A path with parameters that each are a whole segment.
#[derive(Debug)]
pub struct PathTemplate {
    segments: Vec<Segment>,
}

#[derive(Debug)]
enum Segment {
    Literal(Arc<str>),
    Parameter(TextRule),
}

/// A part of a path template as written: `/literal` or `/{name}`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Part<'t> {
    Literal(&'t str),
    Parameter(&'t str),
}

impl Exchange {
    /// Whether the response may only hold what a contract allows or nothing at all, so that it
    /// has to be read whole before any of it passes.
    pub fn judges_response(&self) -> bool {
        !matches!(self.response.body, ResponseBody::Any)
    }

    /// The target for the other side, in origin form: written from the policy and the allowed
    /// values alone.
    ///
    /// # Errors
    /// [`Reason::ParameterInvalid`], [`Reason::QueryNotAllowed`] or [`Reason::QueryInvalid`].
    pub fn rebuild_target(&self, path: &str, query: Option<&str>) -> Result<String, Reason> {
        let mut target = self.path.rebuild(path)?;
        self.rebuild_query(query.unwrap_or(""), &mut target)?;
        Ok(target)
    }

    fn rebuild_query(&self, query: &str, target: &mut String) -> Result<(), Reason> {
        let mut given: BTreeMap<&str, String> = BTreeMap::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = decode(&name.replace('+', " ")).ok_or(Reason::QueryNotAllowed)?;
            let value = decode(&value.replace('+', " ")).ok_or(Reason::QueryInvalid)?;
            let (name, rule) = self
                .query
                .get_key_value(name.as_str())
                .ok_or(Reason::QueryNotAllowed)?;
            if !rule.allows(&value) {
                return Err(Reason::QueryInvalid);
            }
            if given.insert(name, value).is_some() {
                return Err(Reason::QueryNotAllowed);
            }
        }
        for (i, (name, value)) in given.into_iter().enumerate() {
            let mark = if i == 0 { '?' } else { '&' };
            let (name, value) = (encode(name), encode(&value));
            // Writing to a String cannot fail.
            let _ = write!(target, "{mark}{name}={value}");
        }
        Ok(())
    }
}

/// The exchange for a request.
///
/// # Errors
/// [`Reason::PathNotAllowed`] when no exchange has the path, [`Reason::MethodNotAllowed`] when one
/// has it, but for another method.
pub fn choose<'e>(
    exchanges: &'e [Exchange],
    method: &str,
    path: &str,
) -> Result<&'e Exchange, Reason> {
    let mut on_path = exchanges.iter().filter(|e| e.path.matches(path)).peekable();
    if on_path.peek().is_none() {
        return Err(Reason::PathNotAllowed);
    }
    on_path
        .find(|e| &*e.method == method)
        .ok_or(Reason::MethodNotAllowed)
}

impl PathTemplate {
    pub(crate) fn new(parts: impl IntoIterator<Item = (String, Option<TextRule>)>) -> Self {
        let segments = parts
            .into_iter()
            .map(|(text, rule)| match rule {
                Some(rule) => Segment::Parameter(rule),
                None => Segment::Literal(text.into()),
            })
            .collect();
        Self { segments }
    }

    /// What the parameters may hold, in the order of the path.
    pub(crate) fn parameters(&self) -> impl Iterator<Item = &TextRule> {
        self.segments.iter().filter_map(|segment| match segment {
            Segment::Literal(_) => None,
            Segment::Parameter(rule) => Some(rule),
        })
    }

    /// Splits a template as it is written in a policy.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn parts(template: &str) -> Result<Vec<Part<'_>>, String> {
        let Some(path) = template.strip_prefix('/') else {
            return Err("a path begins with `/`".into());
        };
        if path.is_empty() {
            return Ok(Vec::new());
        }
        path.split('/').map(part).collect()
    }

    /// Whether the path has this shape. Parameter values are not looked at yet, so that a wrong
    /// value is told apart from a wrong path.
    fn matches(&self, path: &str) -> bool {
        let mut given = segments(path);
        let fits = self.segments.iter().all(|segment| match given.next() {
            Some(text) => match segment {
                Segment::Literal(literal) => **literal == *text,
                Segment::Parameter(_) => !text.is_empty(),
            },
            None => false,
        });
        fits && given.next().is_none()
    }

    fn rebuild(&self, path: &str) -> Result<String, Reason> {
        let mut rebuilt = String::with_capacity(path.len());
        for (segment, given) in self.segments.iter().zip(segments(path)) {
            rebuilt.push('/');
            match segment {
                Segment::Literal(literal) => rebuilt.push_str(literal),
                Segment::Parameter(rule) => {
                    let value = decode(given).ok_or(Reason::ParameterInvalid)?;
                    // RFC 3986 §6.2.2.3: the next hop would take these for navigation.
                    if value == "." || value == ".." || !rule.allows(&value) {
                        return Err(Reason::ParameterInvalid);
                    }
                    rebuilt.push_str(&encode(&value));
                }
            }
        }
        if rebuilt.is_empty() {
            rebuilt.push('/');
        }
        Ok(rebuilt)
    }
}

fn segments(path: &str) -> impl Iterator<Item = &str> {
    let path = path.strip_prefix('/').unwrap_or(path);
    // "/" has no segments, not one empty one.
    path.split('/').skip(usize::from(path.is_empty()))
}

fn part(text: &str) -> Result<Part<'_>, String> {
    if let Some(name) = text.strip_prefix('{').and_then(|t| t.strip_suffix('}')) {
        let ok = !name.is_empty()
            && name
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
        return if ok {
            Ok(Part::Parameter(name))
        } else {
            Err(format!(
                "`{{{name}}}` is no parameter: a name is letters, digits, `-`, `_`"
            ))
        };
    }
    // pchar of RFC 3986 §3.3 without `%`: a literal has one spelling only.
    let ok = !text.is_empty()
        && text != "."
        && text != ".."
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@".contains(&b));
    if ok {
        Ok(Part::Literal(text))
    } else {
        Err(format!(
            "`{text}` is no path segment: it must be a whole `{{parameter}}`, or letters, digits \
             and -._~!$&'()*+,;=:@"
        ))
    }
}

fn decode(text: &str) -> Option<String> {
    // A `%` that is no escape would pass through the decoder as it is.
    let escapes_ok = text
        .split('%')
        .skip(1)
        .all(|rest| rest.len() >= 2 && rest.as_bytes()[..2].iter().all(u8::is_ascii_hexdigit));
    let decoded = percent_decode_str(text).decode_utf8().ok()?;
    (escapes_ok && !decoded.chars().any(char::is_control)).then(|| decoded.into_owned())
}

fn encode(text: &str) -> Cow<'_, str> {
    utf8_percent_encode(text, RESERVED).into()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::compile::text_rule_for_tests as rule;

    fn exchange(method: &str, parts: Vec<(String, Option<TextRule>)>) -> Exchange {
        Exchange {
            label: method.into(),
            method: method.into(),
            path: PathTemplate::new(parts),
            query: BTreeMap::from([
                (
                    "run".into(),
                    rule(json!({"type": "integer", "minimum": 1, "maximum": 99})),
                ),
                ("arm".into(), rule(json!({"enum": ["a b", "ü"]}))),
            ]),
            request_headers: BTreeMap::new(),
            request_body: None,
            response: ResponseRule {
                statuses: None,
                headers: BTreeMap::new(),
                body: ResponseBody::Any,
            },
        }
    }

    fn results() -> Exchange {
        exchange(
            "POST",
            vec![
                ("v1".into(), None),
                (
                    "c".into(),
                    Some(rule(json!({"enum": ["t2dm", "a/b", "."]}))),
                ),
            ],
        )
    }

    #[test]
    fn chooses_by_path_then_method() {
        let exchanges = [results(), exchange("GET", vec![])];
        let by = |method, path| choose(&exchanges, method, path).map(|e| &*e.label);
        assert_eq!(by("POST", "/v1/anything"), Ok("POST"));
        assert_eq!(by("GET", "/"), Ok("GET"));
        assert_eq!(by("GET", "/v1/x"), Err(Reason::MethodNotAllowed));
        for path in [
            "/v1", "/v1/", "/v1/a/b", "/V1/a", "/v1//a", "//v1/a", "/%761/a",
        ] {
            assert_eq!(by("POST", path), Err(Reason::PathNotAllowed), "{path}");
        }
    }

    #[test]
    fn emits_one_spelling() {
        let e = results();
        for (path, query, expected) in [
            ("/v1/t2dm", None, Ok("/v1/t2dm")),
            ("/v1/%742d%6D", Some(""), Ok("/v1/t2dm")),
            ("/v1/a%2fb", None, Ok("/v1/a%2Fb")),
            ("/v1/.", None, Err(Reason::ParameterInvalid)),
            ("/v1/%2e", None, Err(Reason::ParameterInvalid)),
            ("/v1/t1dm", None, Err(Reason::ParameterInvalid)),
            ("/v1/t2dm%00", None, Err(Reason::ParameterInvalid)),
            ("/v1/%zz", None, Err(Reason::ParameterInvalid)),
            ("/v1/%ff", None, Err(Reason::ParameterInvalid)),
            (
                "/v1/t2dm",
                Some("run=7&arm=a+b"),
                Ok("/v1/t2dm?arm=a%20b&run=7"),
            ),
            ("/v1/t2dm", Some("&arm=%C3%BC&&"), Ok("/v1/t2dm?arm=%C3%BC")),
            ("/v1/t2dm", Some("run=07"), Err(Reason::QueryInvalid)),
            ("/v1/t2dm", Some("run=7.0"), Err(Reason::QueryInvalid)),
            ("/v1/t2dm", Some("run=100"), Err(Reason::QueryInvalid)),
            (
                "/v1/t2dm",
                Some("run=7&run=7"),
                Err(Reason::QueryNotAllowed),
            ),
            ("/v1/t2dm", Some("patient=7"), Err(Reason::QueryNotAllowed)),
            ("/v1/t2dm", Some("patient"), Err(Reason::QueryNotAllowed)),
        ] {
            let target = e.rebuild_target(path, query);
            assert_eq!(
                target.as_deref().map_err(|r| *r),
                expected,
                "{path} {query:?}"
            );
        }
    }

    #[test]
    fn refuses_templates_with_two_readings() {
        for bad in [
            "x", "/a//b", "/a/", "/{", "/a{b}", "/{}", "/%41", "/a?b", "/..", "/a b",
        ] {
            assert!(PathTemplate::parts(bad).is_err(), "{bad}");
        }
        assert_eq!(PathTemplate::parts("/"), Ok(vec![]));
        assert_eq!(
            PathTemplate::parts("/a/{b}"),
            Ok(vec![Part::Literal("a"), Part::Parameter("b")])
        );
    }
}
