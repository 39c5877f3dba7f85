//! From written exchanges to typed ones.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;

use super::contracts::Contracts;
use super::{Report, schemas, text};
use crate::diagnostic::Severity;
use crate::exchange::{Part, PathTemplate, ResponseBody, ResponseRule};
use crate::file::{ExchangeFile, RequestFile, ResponseFile, Written};
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
    pub(super) strict: bool,
    pub(super) report: &'r mut Report,
    pub(super) used: &'r mut BTreeSet<String>,
    pub(super) direction: Direction,
}

impl Exchanges<'_> {
    /// All of them, or `None` when one is broken and has been reported.
    pub(super) fn compile(
        &mut self,
        written: &Written<Vec<Written<ExchangeFile>>>,
        pointer: &str,
    ) -> Option<Vec<Exchange>> {
        let mut all = written.sound().map(|_| Vec::new());
        for (i, exchange) in written.items() {
            let exchange = exchange.and_then(|e| self.exchange(e, &join(pointer, i)));
            match (exchange, &mut all) {
                (Some(exchange), Some(all)) => all.push(exchange),
                _ => all = None,
            }
        }
        self.overlaps(written, pointer);
        all
    }

    /// The first exchange that has the path and the method decides, whatever its parameters allow.
    fn overlaps(&mut self, written: &Written<Vec<Written<ExchangeFile>>>, pointer: &str) {
        let mut earlier: Vec<(usize, &str, Vec<Part<'_>>)> = Vec::new();
        for (i, exchange) in written.items() {
            let request = exchange.and_then(|e| e.request.sound());
            let Some((method, path)) =
                request.and_then(|r| Some((r.method.sound()?, r.path.sound()?)))
            else {
                continue;
            };
            let Ok(parts) = PathTemplate::parts(path) else {
                continue;
            };
            for (first, _, before) in earlier.iter().filter(|(_, m, _)| m == method) {
                let Some((severity, message)) = overlap(before, &parts) else {
                    continue;
                };
                let help = Some(format!(
                    "see exchange {first}; the first that has the path decides"
                ));
                let pointer = join(pointer, i);
                self.report.at(&pointer, severity, message.to_owned(), help);
            }
            earlier.push((i, method, parts));
        }
    }

    fn exchange(&mut self, written: &ExchangeFile, pointer: &str) -> Option<Exchange> {
        let at = format!("{pointer}/request");
        let request = written.request.sound();
        let head = request.map(|request| {
            let method = self.method(&request.method, &format!("{at}/method"));
            let path = self.path(request, &at);
            let query = self.rules(&request.query, &format!("{at}/query"));
            let headers = self.headers(&request.headers, &format!("{at}/headers"));
            let body = self.body(&request.body, &format!("{at}/body"));
            (method, path, query, headers, body)
        });
        let response = (written.response.sound())
            .and_then(|response| self.response(response.as_ref(), pointer));
        let (method, path, query, headers, body) = head?;
        let (method, path) = (method?, path?);
        let template = request?.path.sound()?;
        Some(Exchange {
            label: format!("{method} {template}").into(),
            method,
            path,
            query: query?,
            request_headers: headers?,
            request_body: body?,
            response: response?,
        })
    }

    fn method(&mut self, written: &Written<String>, pointer: &str) -> Option<Arc<str>> {
        let method = written.sound()?.as_str();
        if METHODS.contains(&method) {
            return Some(method.into());
        }
        let help = format!("one of {}", METHODS.join(", "));
        let message = format!("`{method}` is no method that can be allowed");
        self.report.error(pointer, message, Some(help));
        None
    }

    fn path(&mut self, request: &RequestFile, pointer: &str) -> Option<PathTemplate> {
        let at = format!("{pointer}/path");
        let rules = self.rules(&request.params, &format!("{pointer}/params"));
        let parts = match PathTemplate::parts(request.path.sound()?) {
            Ok(parts) => parts,
            Err(message) => {
                self.report.error(&at, message, None);
                return None;
            }
        };
        let written = request.params.sound()?;
        let mut unused: BTreeSet<&str> = written.keys().map(String::as_str).collect();
        let mut seen = BTreeSet::new();
        let mut ok = true;
        for part in &parts {
            let Part::Parameter(name) = *part else {
                continue;
            };
            unused.remove(name);
            if !seen.insert(name) {
                ok = false;
                let message = format!("the parameter `{name}` stands twice in the path");
                let help = Some("give each its own name".into());
                self.report.error(&at, message, help);
            } else if !written.contains_key(name) {
                ok = false;
                let message = format!("the parameter `{name}` has no schema");
                let help = format!("add `params: {{ {name}: {{ enum: […] }} }}`");
                let params = format!("{pointer}/params");
                self.report
                    .lack(&[&params], &at, Severity::Error, message, Some(help));
            }
        }
        for name in unused {
            ok = false;
            let message = format!("the path has no parameter `{name}`");
            self.report
                .error(&join(&format!("{pointer}/params"), name), message, None);
        }
        let mut rules = rules?;
        let segments: Option<Vec<_>> = parts
            .iter()
            .map(|part| match part {
                Part::Literal(text) => Some(((*text).to_owned(), None)),
                Part::Parameter(name) => rules
                    .remove(*name)
                    .map(|rule| ((*name).to_owned(), Some(rule))),
            })
            .collect();
        segments.filter(|_| ok).map(PathTemplate::new)
    }

    fn response(&mut self, written: Option<&ResponseFile>, pointer: &str) -> Option<ResponseRule> {
        let at = format!("{pointer}/response");
        let Some(written) = written else {
            if self.direction == Direction::Ingress {
                self.report.lack(
                    &[&at],
                    pointer,
                    Severity::Error,
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
        let statuses = text::distinct(&written.statuses, &format!("{at}/statuses"), self.report);
        let headers = self.headers(&written.headers, &format!("{at}/headers"));
        let body = self.body(&written.body, &format!("{at}/body"))?;
        Some(ResponseRule {
            statuses: Some(statuses?),
            headers: headers?,
            body: match (body, self.direction) {
                (Some(contract), _) => ResponseBody::Contract(contract),
                (None, Direction::Ingress) => ResponseBody::None,
                (None, Direction::Egress) => ResponseBody::Any,
            },
        })
    }

    /// `Some(None)`: no body; `None`: broken and reported.
    fn body(
        &mut self,
        written: &Written<Option<String>>,
        pointer: &str,
    ) -> Option<Option<Arc<Contract>>> {
        let Some(name) = written.sound()? else {
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
                self.report.lack(
                    &["/contracts"],
                    pointer,
                    Severity::Error,
                    message,
                    Some(help),
                );
                None
            }
        }
    }

    fn headers(
        &mut self,
        written: &Written<BTreeMap<String, Value>>,
        pointer: &str,
    ) -> Option<BTreeMap<Arc<str>, TextRule>> {
        let mut ok = true;
        for name in written.sound().into_iter().flat_map(BTreeMap::keys) {
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
        written: &Written<BTreeMap<String, Value>>,
        pointer: &str,
    ) -> Option<BTreeMap<Arc<str>, TextRule>> {
        let mut rules = BTreeMap::new();
        let mut ok = true;
        for (name, schema) in written.sound()? {
            let pointer = join(pointer, name);
            match schemas::text_rule(name, schema, &pointer, self.strict, self.report) {
                Some(rule) => drop(rules.insert(name.as_str().into(), rule)),
                None => ok = false,
            }
        }
        ok.then_some(rules)
    }
}

/// What of the later template the earlier one takes.
fn overlap(earlier: &[Part<'_>], later: &[Part<'_>]) -> Option<(Severity, &'static str)> {
    if earlier.len() != later.len() {
        return None;
    }
    let mut covers = true;
    let mut covered = true;
    for pair in earlier.iter().zip(later) {
        match pair {
            (Part::Parameter(_), Part::Parameter(_)) => {}
            (Part::Literal(a), Part::Literal(b)) if a == b => {}
            (Part::Literal(_), Part::Literal(_)) => return None,
            (Part::Parameter(_), Part::Literal(_)) => covered = false,
            (Part::Literal(_), Part::Parameter(_)) => covers = false,
        }
    }
    match (covers, covered) {
        (true, _) => Some((
            Severity::Error,
            "unreachable: an earlier exchange has this method and path",
        )),
        // The special case before the general one is how it is meant to be.
        (false, true) => None,
        (false, false) => Some((
            Severity::Warning,
            "an earlier exchange has this method and some of these paths",
        )),
    }
}
