//! From written exchanges to typed ones.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;

use super::Report;
use super::rules::Contracts;
use super::schemas::options;
use crate::diagnostic::Severity;
use crate::exchange::{Part, PathTemplate, ResponseBody, ResponseRule};
use crate::file::{ExchangeFile, RequestFile, ResponseFile};
use crate::rule::Direction;
use crate::source::join;
use crate::value::TextRule;
use crate::{Contract, Exchange};

/// Methods that a policy may list. CONNECT would open a tunnel, TRACE reflects what it is sent.
const METHODS: &[&str] = &["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

/// Header fields that frame or route a message. The gateway writes them itself.
const GATEWAYS_OWN: &[&str] = &[
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "date",
    "expect",
    "host",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

pub(super) struct Exchanges<'r> {
    pub(super) contracts: &'r Contracts,
    pub(super) report: &'r mut Report,
    pub(super) used: &'r mut BTreeSet<String>,
    pub(super) direction: Direction,
}

impl Exchanges<'_> {
    /// All of them, or `None` when one is broken and has been reported.
    pub(super) fn compile(
        &mut self,
        written: &[ExchangeFile],
        pointer: &str,
    ) -> Option<Vec<Exchange>> {
        let mut seen: BTreeMap<String, usize> = BTreeMap::new();
        let mut all = Some(Vec::new());
        for (i, exchange) in written.iter().enumerate() {
            let pointer = join(pointer, i);
            // Two templates that differ in parameter names only match the same requests.
            let shape = shape(&exchange.request);
            if let Some(first) = seen.get(&shape) {
                let message = format!("unreachable: exchange {first} has this method and path");
                self.report.error(&pointer, message, None);
            }
            seen.entry(shape).or_insert(i);
            match (self.exchange(exchange, &pointer), &mut all) {
                (Some(exchange), Some(all)) => all.push(exchange),
                _ => all = None,
            }
        }
        all
    }

    fn exchange(&mut self, written: &ExchangeFile, pointer: &str) -> Option<Exchange> {
        let request = &written.request;
        let at = format!("{pointer}/request");
        self.method(&request.method, &format!("{at}/method"));
        let path = self.path(request, &at);
        let query = self.rules(&request.query, &format!("{at}/query"));
        let headers = self.headers(&request.headers, &format!("{at}/headers"));
        let body = self.body(request.body.as_ref(), &format!("{at}/body"));
        let response = self.response(written.response.as_ref(), pointer);
        Some(Exchange {
            label: format!("{} {}", request.method, request.path).into(),
            method: request.method.as_str().into(),
            path: path?,
            query: query?,
            request_headers: headers?,
            request_body: body?,
            response: response?,
        })
    }

    fn method(&mut self, method: &str, pointer: &str) {
        if !METHODS.contains(&method) {
            let help = format!("one of {}", METHODS.join(", "));
            let message = format!("`{method}` is no method that can be allowed");
            self.report.error(pointer, message, Some(help));
        }
    }

    fn path(&mut self, request: &RequestFile, pointer: &str) -> Option<PathTemplate> {
        let mut rules = self.rules(&request.params, &format!("{pointer}/params"))?;
        let parts = match PathTemplate::parts(&request.path) {
            Ok(parts) => parts,
            Err(message) => {
                self.report.error(&format!("{pointer}/path"), message, None);
                return None;
            }
        };
        let mut ok = true;
        let mut segments = Vec::new();
        for part in parts {
            match part {
                Part::Literal(text) => segments.push((text.to_owned(), None)),
                Part::Parameter(name) => match rules.remove(name) {
                    Some(rule) => segments.push((name.to_owned(), Some(rule))),
                    None => {
                        ok = false;
                        self.report.error(
                            &format!("{pointer}/path"),
                            format!("the parameter `{name}` has no schema, or stands twice"),
                            Some(format!("add `params: {{ {name}: {{ enum: […] }} }}`")),
                        );
                    }
                },
            }
        }
        for name in rules.keys() {
            ok = false;
            let message = format!("the path has no parameter `{name}`");
            self.report
                .error(&join(&format!("{pointer}/params"), name), message, None);
        }
        ok.then(|| PathTemplate::new(segments))
    }

    fn response(&mut self, written: Option<&ResponseFile>, pointer: &str) -> Option<ResponseRule> {
        let at = format!("{pointer}/response");
        let Some(written) = written else {
            if self.direction == Direction::Ingress {
                self.report.error(
                    pointer,
                    "the response is what leaves here, and is not described".into(),
                    Some("add `response: { statuses: [200], body: CONTRACT }`".into()),
                );
                return None;
            }
            return Some(ResponseRule {
                statuses: None,
                headers: BTreeMap::new(),
                body: ResponseBody::Any,
            });
        };
        let headers = self.headers(&written.headers, &format!("{at}/headers"));
        let body = self.body(written.body.as_ref(), &format!("{at}/body"))?;
        Some(ResponseRule {
            statuses: Some(written.statuses.clone()),
            headers: headers?,
            body: match (body, self.direction) {
                (Some(contract), _) => ResponseBody::Contract(contract),
                (None, Direction::Ingress) => ResponseBody::None,
                (None, Direction::Egress) => ResponseBody::Any,
            },
        })
    }

    /// `Some(None)`: no body; `None`: broken and reported.
    fn body(&mut self, name: Option<&String>, pointer: &str) -> Option<Option<Arc<Contract>>> {
        let Some(name) = name else {
            return Some(None);
        };
        self.used.insert(name.clone());
        match self.contracts.get(name) {
            Some(contract) => contract.clone().map(Some),
            None => {
                let known: Vec<&str> = self.contracts.keys().map(String::as_str).collect();
                let help = if known.is_empty() {
                    "add it under `contracts`".to_owned()
                } else {
                    format!("the contracts are: {}", known.join(", "))
                };
                let message = format!("there is no contract `{name}`");
                self.report.error(pointer, message, Some(help));
                None
            }
        }
    }

    fn headers(
        &mut self,
        written: &BTreeMap<String, Value>,
        pointer: &str,
    ) -> Option<BTreeMap<Arc<str>, TextRule>> {
        let mut ok = true;
        for name in written.keys() {
            let pointer = join(pointer, name);
            // RFC 9110 §5.6.2; lower case is the one spelling that leaves, and HTTP/2's own.
            let is_token = !name.is_empty()
                && name.bytes().all(|b| {
                    b.is_ascii_lowercase() || b.is_ascii_digit() || b"!#$%&'*+-.^_`|~".contains(&b)
                });
            let problem = if !is_token {
                Some((
                    format!("`{name}` is no header name"),
                    "write it in lower case",
                ))
            } else if GATEWAYS_OWN.contains(&name.as_str()) {
                Some((format!("the gateway writes `{name}` itself"), "remove it"))
            } else {
                None
            };
            if let Some((message, help)) = problem {
                ok = false;
                self.report.error(&pointer, message, Some(help.into()));
            }
        }
        self.rules(written, pointer).filter(|_| ok)
    }

    fn rules(
        &mut self,
        written: &BTreeMap<String, Value>,
        pointer: &str,
    ) -> Option<BTreeMap<Arc<str>, TextRule>> {
        let mut rules = BTreeMap::new();
        let mut ok = true;
        for (name, schema) in written {
            let pointer = join(pointer, name);
            let built = options().build(schema);
            match built {
                Ok(validator) if schema.is_object() => {
                    if is_open(schema) {
                        let message = format!("`{name}` may hold any text");
                        let help = "give `enum`, `const`, bounds, or `pattern` and `maxLength`";
                        let help = Some(help.into());
                        self.report.at(&pointer, Severity::Warning, message, help);
                    }
                    rules.insert(name.as_str().into(), TextRule::new(validator));
                }
                Ok(_) => {
                    ok = false;
                    let message = format!("`{name}` needs a JSON Schema");
                    self.report
                        .error(&pointer, message, Some("`{ enum: [a, b] }`".into()));
                }
                Err(error) => {
                    ok = false;
                    let message = format!("not a usable JSON Schema: {error}");
                    self.report.error(&pointer, message, None);
                }
            }
        }
        ok.then_some(rules)
    }
}

/// Whether a schema for a short text sets no bound to it.
fn is_open(schema: &Value) -> bool {
    let has = |key| schema.get(key).is_some();
    let number = matches!(
        schema.get("type").and_then(Value::as_str),
        Some("integer" | "number")
    );
    let bounded_number = number
        && (has("minimum") || has("exclusiveMinimum"))
        && (has("maximum") || has("exclusiveMaximum"));
    let boolean = schema.get("type").and_then(Value::as_str) == Some("boolean");
    !(has("enum") || has("const") || has("maxLength") || bounded_number || boolean)
}

fn shape(request: &RequestFile) -> String {
    let segments: Vec<&str> = request
        .path
        .split('/')
        .map(|s| if s.starts_with('{') { "{}" } else { s })
        .collect();
    format!("{} {}", request.method, segments.join("/"))
}
