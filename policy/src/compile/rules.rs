//! From the written policy to typed rules.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;

use bytesize::ByteSize;
use ipnet::IpNet;

use super::exchanges::Exchanges;
use super::{Bundle, Report, Schemas, beside, overlap};
use crate::diagnostic::Severity;
use crate::file::{
    ActionFile, ContractFile, DestinationFile, DnsFile, EgressFile, IngressFile, ModeFile,
    PolicyFile, SizeFile,
};
use crate::rule::{Action, Destination, Direction, Dns, EgressRule, Host, IngressRule, Mode};
use crate::source::join;
use crate::{Contract, Policy};

/// No contract lets more than this out in one message, in bytes: a payload is held in memory
/// until it is judged.
const MAX_CONTRACT_BYTES: u64 = 64 * 1024 * 1024;

/// The longest name, in characters: names are metric labels.
const MAX_NAME: usize = 63;

pub(super) fn policy(file: &PolicyFile, bundle: &Bundle, report: &mut Report) -> Option<Policy> {
    for (key, text) in [
        ("name", &file.metadata.name),
        ("producer", &file.metadata.producer),
        ("consumer", &file.metadata.consumer),
    ] {
        name(text, &format!("/metadata/{key}"), report);
    }
    let contracts = contracts(file, bundle, report);
    let dns = dns(&file.dns, report);
    let mut rules = Rules {
        contracts: &contracts,
        report,
        used: BTreeSet::new(),
    };
    let egress = rules.egress(&file.egress);
    let ingress = rules.ingress(&file.ingress);
    let used = rules.used;
    for contract in file.contracts.keys().filter(|c| !used.contains(*c)) {
        let pointer = join("/contracts", contract);
        let message = format!("no exchange uses the contract `{contract}`");
        report.at(&pointer, Severity::Warning, message, None);
    }
    names_are_resolvable(&egress, &dns, report);
    overlap::egress(&egress, report);
    overlap::ingress(&ingress, report);
    if file.egress.is_empty() && file.ingress.is_empty() {
        let message = "the policy has no rules: nothing can leave".to_owned();
        report.at("", Severity::Warning, message, None);
    }
    let mode = match file.mode {
        ModeFile::Enforce => Mode::Enforce,
        ModeFile::Observe => {
            let message = "`observe` records what is not allowed and lets it pass".to_owned();
            report.at(
                "/mode",
                Severity::Warning,
                message,
                Some("use `enforce`".into()),
            );
            Mode::Observe
        }
    };
    Some(Policy {
        name: file.metadata.name.as_str().into(),
        producer: file.metadata.producer.as_str().into(),
        consumer: file.metadata.consumer.as_str().into(),
        mode,
        digest: bundle.digest().into(),
        dns,
        egress: egress.into_iter().flatten().map(Arc::new).collect(),
        ingress: ingress.into_iter().flatten().map(Arc::new).collect(),
        contracts: contracts
            .into_iter()
            .filter_map(|(name, contract)| Some((name.as_str().into(), contract?)))
            .collect(),
    })
}

/// Every contract by name; `None` for one that is broken and has been reported.
pub(super) type Contracts = BTreeMap<String, Option<Arc<Contract>>>;

fn contracts(file: &PolicyFile, bundle: &Bundle, report: &mut Report) -> Contracts {
    let schemas = Schemas::new(&bundle.files);
    file.contracts
        .iter()
        .map(|(key, written)| {
            let pointer = join("/contracts", key);
            name(key, &pointer, report);
            let contract = contract(key, written, &pointer, bundle, &schemas, file, report);
            (key.clone(), contract.map(Arc::new))
        })
        .collect()
}

fn contract(
    key: &str,
    written: &ContractFile,
    pointer: &str,
    bundle: &Bundle,
    schemas: &Schemas,
    file: &PolicyFile,
    report: &mut Report,
) -> Option<Contract> {
    let media_type = media_type(
        &written.media_type,
        &format!("{pointer}/media_type"),
        report,
    );
    let max_bytes = size(&written.max_bytes, &format!("{pointer}/max_bytes"), report);
    let local = !written.schema.contains(':') && !written.schema.starts_with('/');
    if !local || written.schema.is_empty() {
        report.error(
            &format!("{pointer}/schema"),
            "the schema must be a file beside the policy".into(),
            Some("write its path relative to the policy file".into()),
        );
        return None;
    }
    let path = beside(&bundle.path, &written.schema);
    let parts = schemas.contract(&path, report, file.strict_schemas);
    if parts.is_none() {
        let message = format!("the schema `{}` is not usable", written.schema);
        report.error(&format!("{pointer}/schema"), message, None);
    }
    let parts = parts?;
    Some(Contract {
        name: key.into(),
        media_type: media_type?.into(),
        max_bytes: max_bytes?,
        max_depth: written.max_depth,
        validator: parts.validator,
        known_names: parts.known_names,
    })
}

fn media_type(text: &str, pointer: &str, report: &mut Report) -> Option<String> {
    let lower = text.to_ascii_lowercase();
    // RFC 6838 §4.2 names; RFC 6839 §3.1 for the suffix.
    let is_token = |t: &str| {
        !t.is_empty()
            && t.bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&b))
    };
    let ok = lower.split_once('/').is_some_and(|(kind, subtype)| {
        is_token(kind) && is_token(subtype) && (subtype == "json" || subtype.ends_with("+json"))
    });
    if !ok {
        report.error(
            pointer,
            format!("`{text}` cannot be judged"),
            Some("`application/json`, or a type that ends in `+json`".into()),
        );
    }
    ok.then_some(lower)
}

fn size(written: &SizeFile, pointer: &str, report: &mut Report) -> Option<usize> {
    let bytes = match written {
        SizeFile::Bytes(bytes) => Some(*bytes),
        SizeFile::Text(text) => ByteSize::from_str(text).ok().map(|size| size.as_u64()),
    };
    match bytes {
        Some(bytes @ 1..=MAX_CONTRACT_BYTES) => usize::try_from(bytes).ok(),
        _ => {
            let help = format!(
                "from 1 byte to {}",
                ByteSize(MAX_CONTRACT_BYTES).display().iec()
            );
            report.error(pointer, "not a usable size".into(), Some(help));
            None
        }
    }
}

fn dns(file: &DnsFile, report: &mut Report) -> Dns {
    let mut dns = Dns::default();
    for (i, text) in file.resolvers.iter().enumerate() {
        let server = text.parse::<SocketAddr>().ok().or_else(|| {
            text.parse::<IpAddr>()
                .ok()
                .map(|ip| SocketAddr::new(ip, 53))
        });
        match server {
            Some(server) if server.port() != 0 => dns.resolvers.push(server),
            _ => report.error(
                &format!("/dns/resolvers/{i}"),
                format!("`{text}` is no address of a DNS server"),
                Some("`10.96.0.10`, `10.96.0.10:53` or `[fd00::a]:53`".into()),
            ),
        }
    }
    for (key, addresses) in &file.hosts {
        let pointer = join("/dns/hosts", key);
        let Some(host) = host(key, &pointer, report) else {
            continue;
        };
        let mut pinned = Vec::new();
        for (i, text) in addresses.iter().enumerate() {
            match text.parse::<IpAddr>() {
                Ok(ip) => pinned.push(ip.to_canonical()),
                Err(_) => {
                    report.error(
                        &join(&pointer, i),
                        format!("`{text}` is no IP address"),
                        None,
                    );
                }
            }
        }
        if addresses.is_empty() {
            report.error(&pointer, format!("`{key}` has no address"), None);
        }
        dns.hosts.insert(host, pinned);
    }
    dns
}

struct Rules<'r> {
    contracts: &'r Contracts,
    report: &'r mut Report,
    used: BTreeSet<String>,
}

impl Rules<'_> {
    fn egress(&mut self, written: &[EgressFile]) -> Vec<Option<EgressRule>> {
        let mut names = BTreeSet::new();
        let mut rules = Vec::new();
        for (i, rule) in written.iter().enumerate() {
            let pointer = format!("/egress/{i}");
            self.unique_name(&rule.name, &pointer, &mut names);
            let to = self.destination(&rule.to, rule.action, &pointer);
            let action = self.action(rule.action, &rule.exchanges, &pointer, Direction::Egress);
            rules.push(to.zip(action).map(|(to, action)| EgressRule {
                name: rule.name.as_str().into(),
                to,
                action,
            }));
        }
        rules
    }

    fn ingress(&mut self, written: &[IngressFile]) -> Vec<Option<IngressRule>> {
        let mut names = BTreeSet::new();
        let mut rules = Vec::new();
        for (i, rule) in written.iter().enumerate() {
            let pointer = format!("/ingress/{i}");
            self.unique_name(&rule.name, &pointer, &mut names);
            let from = cidrs(
                &rule.from.cidrs,
                &format!("{pointer}/from/cidrs"),
                self.report,
            );
            let action = self.action(rule.action, &rule.exchanges, &pointer, Direction::Ingress);
            rules.push(from.zip(action).map(|(from, action)| IngressRule {
                name: rule.name.as_str().into(),
                from,
                port: rule.port,
                action,
            }));
        }
        rules
    }

    fn unique_name(&mut self, text: &str, pointer: &str, names: &mut BTreeSet<String>) {
        let pointer = format!("{pointer}/name");
        name(text, &pointer, self.report);
        if !names.insert(text.to_owned()) {
            let message = format!("there is another rule `{text}` in this list");
            self.report.error(&pointer, message, None);
        }
    }

    fn destination(
        &mut self,
        to: &DestinationFile,
        action: ActionFile,
        pointer: &str,
    ) -> Option<Destination> {
        let networks = cidrs(&to.cidrs, &format!("{pointer}/to/cidrs"), self.report);
        let mut hosts = Vec::new();
        for (i, text) in to.hosts.iter().enumerate() {
            let pointer = format!("{pointer}/to/hosts/{i}");
            hosts.extend(host(text, &pointer, self.report));
        }
        if to.cidrs.is_empty() && to.hosts.is_empty() {
            self.report.error(
                &format!("{pointer}/to"),
                "the rule leads nowhere".into(),
                Some("list `cidrs`, `hosts`, or both".into()),
            );
            return None;
        }
        if action == ActionFile::Direct && !to.hosts.is_empty() {
            self.report.error(
                &format!("{pointer}/to/hosts"),
                "`direct` is the kernel's, which knows no names".into(),
                Some("list `cidrs`, or use `tunnel` or `inspect`".into()),
            );
            return None;
        }
        Some(Destination {
            cidrs: networks?,
            hosts,
            ports: to.ports.clone(),
        })
    }

    fn action(
        &mut self,
        action: ActionFile,
        written: &[crate::file::ExchangeFile],
        pointer: &str,
        direction: Direction,
    ) -> Option<Action> {
        let pointer = format!("{pointer}/exchanges");
        if action != ActionFile::Inspect {
            if !written.is_empty() {
                let message = "only `inspect` has exchanges".to_owned();
                self.report.error(&pointer, message, None);
            }
            return Some(match action {
                ActionFile::Tunnel => Action::Tunnel,
                ActionFile::Direct | ActionFile::Inspect => Action::Direct,
            });
        }
        if written.is_empty() {
            self.report.error(
                &pointer,
                "`inspect` without exchanges lets nothing pass".into(),
                Some("list the request/response pairs that may pass".into()),
            );
            return None;
        }
        let mut exchanges = Exchanges {
            contracts: self.contracts,
            report: self.report,
            used: &mut self.used,
            direction,
        };
        exchanges.compile(written, &pointer).map(Action::Inspect)
    }
}

fn names_are_resolvable(rules: &[Option<EgressRule>], dns: &Dns, report: &mut Report) {
    if !dns.resolvers.is_empty() {
        return;
    }
    for (i, rule) in rules.iter().enumerate() {
        for host in rule.iter().flat_map(|rule| &rule.to.hosts) {
            if !dns.hosts.contains_key(host) {
                report.error(
                    &format!("/egress/{i}/to/hosts"),
                    format!("`{host}` cannot be resolved"),
                    Some("give `dns.resolvers`, or its addresses under `dns.hosts`".into()),
                );
            }
        }
    }
}

fn name(text: &str, pointer: &str, report: &mut Report) {
    let ok = (1..=MAX_NAME).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
    if !ok {
        let help = format!("1 to {MAX_NAME} of letters, digits, `-`, `_` and `.`");
        report.error(pointer, format!("`{text}` is no name"), Some(help));
    }
}

fn host(text: &str, pointer: &str, report: &mut Report) -> Option<Host> {
    text.parse()
        .inspect_err(|error| {
            let message = format!("`{text}` is no host name: {error}");
            report.error(pointer, message, None);
        })
        .ok()
}

fn cidrs(texts: &[String], pointer: &str, report: &mut Report) -> Option<Vec<IpNet>> {
    let mut nets = Vec::new();
    let mut ok = true;
    for (i, text) in texts.iter().enumerate() {
        let pointer = join(pointer, i);
        let net = text
            .parse::<IpNet>()
            .ok()
            .or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from));
        match net {
            Some(net) if net != net.trunc() => {
                let help = format!("`{}`, or `{}`", net.trunc(), net.addr());
                let message = format!("`{text}` has bits behind its prefix");
                report.error(&pointer, message, Some(help));
                ok = false;
            }
            Some(net) => nets.push(net),
            None => {
                let message = format!("`{text}` is no network");
                report.error(
                    &pointer,
                    message,
                    Some("`10.96.0.0/16` or `fd00::/64`".into()),
                );
                ok = false;
            }
        }
    }
    ok.then_some(nets)
}
