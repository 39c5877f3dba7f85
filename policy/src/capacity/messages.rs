//! How much a whole policy can carry: what leaves in one message of each exchange, head and body.
//!
//! On egress a request leaves: parameters, headers and body are the pod's choice, and so is which
//! exchange at which destination it is, so their numbers add up. On ingress a response leaves: the
//! status, headers and body; the other side has chosen the exchange, so the largest counts. How
//! many messages there are, when, and how long they take is not counted.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde_json::Value;

use super::count::Count;
use super::window::window;
use super::{count, texts};
use crate::exchange::ResponseBody;
use crate::rule::Destination;
use crate::value::TextRule;
use crate::{Action, Contract, Direction, Exchange, Policy};

/// The status codes of HTTP with three digits, 100 to 999 (RFC 9110 §15), that are not 2xx.
const OTHER_STATUSES: u64 = 800;

/// Those that are.
const SUCCESSES: u64 = 100;

/// What one message of an exchange can carry.
#[derive(Clone, Debug)]
pub struct ExchangeCapacity {
    /// Method and path template.
    pub label: Arc<str>,
    /// How many distinct messages there are at most.
    pub n: Count,
    /// What of the message is free, in the order of the message.
    pub parts: Vec<Part>,
    /// How many bits a day, if the contract's `sdcRelease` bounds how often.
    pub bits_per_day: Option<f64>,
}

/// A part of a message.
#[derive(Clone, Debug)]
pub struct Part {
    /// Such as `query run` or `body weekly-cases`.
    pub name: String,
    /// In how many ways it can be, absence among them.
    pub n: Count,
}

/// What one message under a rule can carry.
#[derive(Clone, Debug)]
pub struct RuleCapacity {
    /// Its name.
    pub name: Arc<str>,
    /// Which way the connection is opened.
    pub direction: Direction,
    /// What the rule lets happen.
    pub action: &'static str,
    /// How many destinations there are to choose from.
    pub destinations: Count,
    /// How many distinct messages there are at most.
    pub n: Count,
    /// How many bits a day, if all exchanges have a bound.
    pub bits_per_day: Option<f64>,
    /// Its exchanges; none if it does not look into messages.
    pub exchanges: Vec<ExchangeCapacity>,
}

/// What one message under a policy can carry.
#[derive(Clone, Debug)]
pub struct PolicyCapacity {
    /// All rules, egress first, in file order.
    pub rules: Vec<RuleCapacity>,
    /// How many distinct requests can leave by inspected egress rules.
    pub requests: Count,
    /// How many distinct answers one request by an inspected ingress rule can get.
    pub answers: Count,
}

/// Counts each contract once.
#[derive(Default)]
struct Bodies(HashMap<*const Contract, Count>);

impl Bodies {
    fn count(&mut self, contract: &Contract) -> Count {
        let known = self.0.entry(std::ptr::from_ref(contract));
        known
            .or_insert_with(|| count(&contract.flat, Some(contract.max_bytes)).n)
            .clone()
    }
}

/// Counts the messages of an exchange that leave.
pub fn exchange(exchange: &Exchange, direction: Direction) -> ExchangeCapacity {
    capacity_of(exchange, direction, &mut Bodies::default())
}

/// Counts the messages under a policy that leave.
pub fn policy(policy: &Policy) -> PolicyCapacity {
    let mut bodies = Bodies::default();
    let egress = policy.egress.iter().map(|rule| {
        let to = destinations(&rule.to);
        rule_capacity(&rule.name, Direction::Egress, &rule.action, to, &mut bodies)
    });
    let mut rules: Vec<_> = egress.collect();
    rules.extend(policy.ingress.iter().map(|rule| {
        rule_capacity(
            &rule.name,
            Direction::Ingress,
            &rule.action,
            Count::one(),
            &mut bodies,
        )
    }));
    let inspected = |direction| {
        let all = rules
            .iter()
            .filter(move |r: &&RuleCapacity| r.direction == direction);
        all.filter(|rule| !rule.exchanges.is_empty())
            .map(|rule| &rule.n)
    };
    PolicyCapacity {
        requests: inspected(Direction::Egress).fold(Count::zero(), |sum, n| sum.add(n)),
        answers: inspected(Direction::Ingress).fold(Count::zero(), |most, n| most.max(n.clone())),
        rules,
    }
}

fn rule_capacity(
    name: &Arc<str>,
    direction: Direction,
    action: &Action,
    destinations: Count,
    bodies: &mut Bodies,
) -> RuleCapacity {
    let exchanges: Vec<_> = match action {
        Action::Inspect(all) => all
            .iter()
            .map(|e| capacity_of(e, direction, bodies))
            .collect(),
        Action::Direct | Action::Tunnel => Vec::new(),
    };
    let all = exchanges.iter().map(|exchange| &exchange.n);
    let n = match (action, direction) {
        (Action::Direct | Action::Tunnel, _) => Count::Infinite,
        (_, Direction::Egress) => all
            .fold(Count::zero(), |sum, n| sum.add(n))
            .mul(&destinations),
        (_, Direction::Ingress) => all.fold(Count::zero(), |most, n| most.max(n.clone())),
    };
    let daily = exchanges.iter().map(|exchange| exchange.bits_per_day);
    let daily: Option<Vec<f64>> = daily.collect();
    RuleCapacity {
        name: name.clone(),
        direction,
        action: action.as_str(),
        destinations,
        n,
        bits_per_day: daily
            .filter(|all| !all.is_empty())
            .map(|all| all.iter().sum()),
        exchanges,
    }
}

fn capacity_of(exchange: &Exchange, direction: Direction, bodies: &mut Bodies) -> ExchangeCapacity {
    let (parts, contract) = match direction {
        Direction::Egress => request(exchange, bodies),
        Direction::Ingress => response(exchange, bodies),
    };
    let n = parts
        .iter()
        .fold(Count::one(), |product, part| product.mul(&part.n));
    let body = contract.map(|contract| (&contract.flat, bodies.count(contract).bits()));
    ExchangeCapacity {
        label: exchange.label.clone(),
        bits_per_day: body.and_then(|(schema, bits)| per_day(schema, bits, n.log2())),
        n,
        parts,
    }
}

#[expect(clippy::cast_precision_loss, reason = "for display")]
fn per_day(schema: &Value, body: Option<u64>, bits: f64) -> Option<f64> {
    let window = window(schema, body)?;
    Some(bits * window.releases as f64 / window.days).filter(|bits| bits.is_finite())
}

fn request<'e>(exchange: &'e Exchange, bodies: &mut Bodies) -> (Vec<Part>, Option<&'e Contract>) {
    let parameters = exchange
        .path
        .parameters()
        .enumerate()
        .map(|(i, rule)| Part {
            name: format!("path parameter {}", i + 1),
            n: texts(&rule.flat),
        });
    let mut parts: Vec<Part> = parameters.collect();
    parts.extend(optional("query", &exchange.query));
    parts.extend(optional("header", &exchange.request_headers));
    let contract = exchange.request_body.as_deref();
    parts.extend(contract.map(|contract| body(contract, bodies.count(contract))));
    (parts, contract)
}

fn response<'e>(exchange: &'e Exchange, bodies: &mut Bodies) -> (Vec<Part>, Option<&'e Contract>) {
    let rule = &exchange.response;
    let (successes, others) = match &rule.statuses {
        None => (SUCCESSES, OTHER_STATUSES),
        Some(all) => {
            let successes = all
                .iter()
                .filter(|status| (200..300).contains(*status))
                .count();
            (successes as u64, (all.len() - successes) as u64)
        }
    };
    let (n, contract) = match &rule.body {
        ResponseBody::Any => (Count::Infinite, None),
        ResponseBody::None => (Count::one(), None),
        // Some successes have no body, so that there is always one answer.
        ResponseBody::Contract(one) => (bodies.count(one).max(Count::one()), Some(&**one)),
    };
    let name = contract.map_or("status".to_owned(), |one| {
        format!("status and body {}", one.name)
    });
    let n = Count::from(successes).mul(&n).add(&Count::from(others));
    let mut parts = vec![Part { name, n }];
    parts.extend(optional("header", &rule.headers));
    (parts, contract)
}

fn body(contract: &Contract, n: Count) -> Part {
    let name = format!("body {}", contract.name);
    Part { name, n }
}

/// Each may be absent.
fn optional(kind: &str, rules: &BTreeMap<Arc<str>, TextRule>) -> Vec<Part> {
    let part = |(name, rule): (&Arc<str>, &TextRule)| Part {
        name: format!("{kind} {name}"),
        n: texts(&rule.flat).add(&Count::one()),
    };
    rules.iter().map(part).collect()
}

/// Where a request can go. Names are resolved by the gateway: the pod chooses a name, no address.
fn destinations(to: &Destination) -> Count {
    let places = if to.hosts.is_empty() {
        let addresses = to.cidrs.iter().map(|net| {
            let bits = net.max_prefix_len() - net.prefix_len();
            Count::power_of_two(bits.into())
        });
        addresses.fold(Count::zero(), |sum, n| sum.add(&n))
    } else {
        Count::from(to.hosts.len())
    };
    places.mul(&Count::from(to.ports.len()))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use serde_json::json;

    use super::super::{policy_json, policy_table};
    use super::*;

    const POLICY: &str = r#"
apiVersion: lazaret/v1
kind: Policy
metadata: { name: n, producer: p, consumer: c }
mode: enforce
require_encryption: false
strict_schemas: true
dns: { resolvers: [10.0.0.9] }
egress:
  - name: warehouse
    to: { cidrs: [10.0.0.0/28], ports: [5432] }
    action: direct
  - name: coordinator
    to: { hosts: [a.example, b.example], cidrs: [198.51.100.0/24], ports: [80] }
    action: inspect
    exchanges:
      - request:
          method: GET
          path: /rounds/{round}
          params: { round: { type: integer, minimum: 1, maximum: 50 } }
          query: { arm: { enum: [x, y, 7] } }
          headers: { x-run: { const: one } }
      - request: { method: POST, path: /results, body: flag }
ingress:
  - name: api
    from: { cidrs: [10.0.0.0/8] }
    port: 80
    action: inspect
    exchanges:
      - request: { method: GET, path: /flag }
        response: { statuses: [200, 404, 500], body: flag, headers: { etag: { enum: [u, v] } } }
      - request: { method: GET, path: /health }
        response: { statuses: [200, 503] }
contracts:
  flag: { media_type: application/json, schema: flag.schema.json, max_bytes: 1KiB, max_depth: 2 }
"#;

    #[test]
    fn adds_up_what_leaves_under_a_policy() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let mut file = std::fs::File::create(folder.path().join(name)).unwrap();
            file.write_all(text.as_bytes()).unwrap();
        };
        let schema = json!({
            "enum": [1, 2, 3, 4], "sdcCapacity": {"maxBits": 2},
            "sdcRelease": {"cell": [""], "window": "P2D", "maxReleases": 3}
        });
        write("flag.schema.json", &schema.to_string());
        write("policy.yaml", POLICY);
        let (loaded, _) =
            crate::load(&folder.path().join("policy.yaml")).unwrap_or_else(|e| panic!("{e}"));
        let capacity = policy(&loaded);
        let found: Vec<_> = (capacity.rules.iter())
            .map(|rule| (&*rule.name, rule.n.small(), rule.bits_per_day))
            .collect();
        // One of two hosts, and of it: 50 rounds, 4 times the arm and twice the header, or 4 flags.
        // An answer: 4 flags or two other statuses, with three times the tag.
        assert_eq!(
            found,
            [
                ("warehouse", None, None),
                ("coordinator", Some(2 * (50 * 4 * 2 + 4)), None),
                ("api", Some((4 + 2) * 3), None)
            ]
        );
        assert_eq!(capacity.requests, Count::from(808u64));
        assert_eq!(capacity.answers, Count::from(18u64));
        // 3 releases of 2 bits in 2 days.
        assert_eq!(capacity.rules[1].exchanges[1].bits_per_day, Some(3.0));
        let text = policy_table(&capacity);
        assert!(
            text.contains("at most 9.66 bits in one request\nat most 4.17 bits in one answer"),
            "{text}"
        );
        let report = policy_json(&capacity);
        assert_eq!(report["requestBits"], 10);
        assert_eq!(report["rules"][0]["bits"], Value::Null);
        assert_eq!(report["rules"][1]["exchanges"][1]["bitsPerDay"], 3.0);
    }
}
