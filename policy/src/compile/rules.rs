//! From the written policy to typed rules.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::contracts::{self, Contracts};
use super::encryption::{self, Encryption};
use super::exchanges::Exchanges;
use super::tls::Tls;
use super::{Bundle, Report, overlap, text};
use crate::Policy;
use crate::diagnostic::Severity;
use crate::file::{
    ActionFile, DestinationFile, EgressFile, ExchangeFile, IngressFile, ModeFile, PolicyFile,
    Written,
};
use crate::rule::{Action, Destination, Direction, Dns, EgressRule, IngressRule, Mode};
use crate::source::join;

/// The policy, or `None` when something that it cannot do without is broken and was reported.
pub(super) fn policy(file: &PolicyFile, bundle: &Bundle, report: &mut Report) -> Option<Policy> {
    let metadata = file.metadata.sound();
    for (key, text) in metadata.into_iter().flat_map(|m| {
        [
            ("name", &m.name),
            ("producer", &m.producer),
            ("consumer", &m.consumer),
        ]
    }) {
        if let Some(text) = text.sound() {
            text::name(text, &format!("/metadata/{key}"), report);
        }
    }
    let contracts = contracts::contracts(file, bundle, report);
    let dns = match file.dns.sound() {
        Some(dns) => text::dns(dns, report),
        None => Dns::default(),
    };
    let mut rules = Rules {
        contracts: &contracts,
        tls: Tls::new(bundle),
        strict: file.strict_schemas.sound() == Some(&true),
        report,
        used: BTreeSet::new(),
    };
    let egress = rules.egress(&file.egress);
    let ingress = rules.ingress(&file.ingress);
    let used = rules.used;
    unused_contracts(&contracts, &used, report);
    names_are_resolvable(file, &dns, report);
    overlap::egress(&egress, &dns, report);
    overlap::ingress(&ingress, report);
    encryption::one_server_for_each_port(&ingress, report);
    let encryption = Encryption::new(file, &dns, report);
    if let Some(encryption) = &encryption {
        encryption.egress(&egress, report);
        encryption.ingress(&ingress, report);
    }
    if file.egress.is_empty() && file.ingress.is_empty() {
        let message = "the policy has no rules: nothing can leave".to_owned();
        report.lack(
            &["/egress", "/ingress"],
            "",
            Severity::Warning,
            message,
            None,
        );
    }
    let mode = mode(file.mode.sound()?, report);
    let metadata = metadata?;
    let Encryption {
        required, internal, ..
    } = encryption?;
    Some(Policy {
        name: metadata.name.sound()?.as_str().into(),
        producer: metadata.producer.sound()?.as_str().into(),
        consumer: metadata.consumer.sound()?.as_str().into(),
        mode,
        digest: bundle.digest().into(),
        require_encryption: required,
        internal,
        dns,
        egress: egress.into_iter().flatten().map(Arc::new).collect(),
        ingress: ingress.into_iter().flatten().map(Arc::new).collect(),
        contracts: contracts
            .into_iter()
            .filter_map(|(name, contract)| Some((name.as_str().into(), contract?)))
            .collect(),
    })
}

fn mode(written: &ModeFile, report: &mut Report) -> Mode {
    match written {
        ModeFile::Enforce => Mode::Enforce,
        ModeFile::Observe => {
            let message = "`observe` records what is not allowed and lets it pass".to_owned();
            let help = Some("use `enforce`".into());
            report.at("/mode", Severity::Warning, message, help);
            Mode::Observe
        }
    }
}

struct Rules<'r> {
    contracts: &'r Contracts,
    tls: Tls<'r>,
    strict: bool,
    report: &'r mut Report,
    used: BTreeSet<String>,
}

impl Rules<'_> {
    /// `None` for a rule that is broken and has been reported.
    fn egress(&mut self, written: &Written<Vec<Written<EgressFile>>>) -> Vec<Option<EgressRule>> {
        let mut names = BTreeMap::new();
        let mut rules = Vec::new();
        for (i, rule) in written.items() {
            rules.push(rule.and_then(|rule| {
                let pointer = format!("/egress/{i}");
                let name = self.unique_name(&rule.name, i, &pointer, &mut names);
                let action = rule.action.sound().copied();
                let to = (rule.to.sound()).and_then(|to| self.destination(to, action, &pointer));
                let action = self.action(action, &rule.exchanges, &pointer, Direction::Egress);
                let tls = (self.tls).egress(rule, to.as_ref(), &pointer, self.report);
                let (tls, sni) = tls?;
                Some(EgressRule {
                    name: name?,
                    to: to?,
                    action: action?,
                    tls,
                    sni,
                })
            }));
        }
        rules
    }

    fn ingress(
        &mut self,
        written: &Written<Vec<Written<IngressFile>>>,
    ) -> Vec<Option<IngressRule>> {
        let mut names = BTreeMap::new();
        let mut rules = Vec::new();
        for (i, rule) in written.items() {
            rules.push(rule.and_then(|rule| {
                let pointer = format!("/ingress/{i}");
                let name = self.unique_name(&rule.name, i, &pointer, &mut names);
                let from = rule.from.sound().and_then(|from| {
                    text::cidrs(&from.cidrs, &format!("{pointer}/from/cidrs"), self.report)
                });
                let action = rule.action.sound().copied();
                let action = self.action(action, &rule.exchanges, &pointer, Direction::Ingress);
                let tls = self.tls.ingress(rule, &pointer, self.report);
                Some(IngressRule {
                    name: name?,
                    from: from?,
                    port: *rule.port.sound()?,
                    action: action?,
                    tls: tls?,
                })
            }));
        }
        rules
    }

    fn unique_name(
        &mut self,
        written: &Written<String>,
        index: usize,
        pointer: &str,
        names: &mut BTreeMap<String, usize>,
    ) -> Option<Arc<str>> {
        let text = written.sound()?;
        let pointer = format!("{pointer}/name");
        text::name(text, &pointer, self.report);
        match names.get(text) {
            Some(first) => {
                let message = format!("there is another rule `{text}` in this list");
                let help = format!("see rule {first}; names are unique, as records go by them");
                self.report.error(&pointer, message, Some(help));
            }
            None => drop(names.insert(text.clone(), index)),
        }
        Some(text.as_str().into())
    }

    fn destination(
        &mut self,
        to: &DestinationFile,
        action: Option<ActionFile>,
        pointer: &str,
    ) -> Option<Destination> {
        let pointer = format!("{pointer}/to");
        let networks = text::cidrs(&to.cidrs, &format!("{pointer}/cidrs"), self.report);
        let mut hosts = to.hosts.sound().map(|_| Vec::new());
        let mut seen = BTreeSet::new();
        for (i, text) in to.hosts.items() {
            let pointer = format!("{pointer}/hosts/{i}");
            let host = text.and_then(|text| text::host(text, &pointer, self.report));
            if host.as_ref().is_some_and(|host| !seen.insert(host.clone())) {
                let message = "this name stands here twice".to_owned();
                self.report.at(&pointer, Severity::Warning, message, None);
                continue;
            }
            match (host, &mut hosts) {
                (Some(host), Some(hosts)) => hosts.push(host),
                _ => hosts = None,
            }
        }
        let ports = text::distinct(&to.ports, &format!("{pointer}/ports"), self.report);
        if to.cidrs.is_empty() && to.hosts.is_empty() {
            let message = "the rule leads nowhere".to_owned();
            let help = Some("list `cidrs`, `hosts`, or both".into());
            let absent = [&*format!("{pointer}/cidrs"), &*format!("{pointer}/hosts")];
            self.report
                .lack(&absent, &pointer, Severity::Error, message, help);
            return None;
        }
        if action == Some(ActionFile::Direct) && to.hosts.items().next().is_some() {
            self.report.error(
                &format!("{pointer}/hosts"),
                "`direct` is the kernel's, which knows no names".into(),
                Some("list `cidrs`, or use `tunnel` or `inspect`".into()),
            );
            return None;
        }
        Some(Destination {
            cidrs: networks?,
            hosts: hosts?,
            ports: ports?,
        })
    }

    fn action(
        &mut self,
        action: Option<ActionFile>,
        written: &Written<Vec<Written<ExchangeFile>>>,
        rule: &str,
        direction: Direction,
    ) -> Option<Action> {
        let pointer = format!("{rule}/exchanges");
        // Without knowing the action, what is wrong with the exchanges is still worth knowing.
        let mut exchanges = Exchanges {
            contracts: self.contracts,
            strict: self.strict,
            report: self.report,
            used: &mut self.used,
            direction,
        };
        let compiled = exchanges.compile(written, &pointer);
        match action? {
            ActionFile::Inspect if written.is_empty() => {
                let message = "`inspect` without exchanges lets nothing pass".to_owned();
                let help = Some("list the request/response pairs that may pass".into());
                self.report
                    .lack(&[&pointer], &pointer, Severity::Error, message, help);
                None
            }
            ActionFile::Inspect => compiled.map(Action::Inspect),
            ActionFile::Direct | ActionFile::Tunnel if written.items().next().is_some() => {
                let message = "only `inspect` has exchanges".to_owned();
                self.report.error(&pointer, message, None);
                None
            }
            ActionFile::Direct => Some(Action::Direct),
            ActionFile::Tunnel => Some(Action::Tunnel),
        }
    }
}

fn unused_contracts(contracts: &Contracts, used: &BTreeSet<String>, report: &mut Report) {
    // What uses it may be in what is broken.
    if report.broken {
        return;
    }
    for contract in contracts.keys().filter(|c| !used.contains(*c)) {
        let message = format!("no exchange uses the contract `{contract}`");
        report.at(
            &join("/contracts", contract),
            Severity::Warning,
            message,
            None,
        );
    }
}

fn names_are_resolvable(file: &PolicyFile, dns: &Dns, report: &mut Report) {
    let resolvers_given = match file.dns.sound() {
        Some(dns) => !dns.resolvers.is_empty(),
        None => true,
    };
    if resolvers_given {
        return;
    }
    for (i, rule) in file.egress.items() {
        let to = rule.and_then(|rule| rule.to.sound());
        for (j, text) in to.into_iter().flat_map(|to| to.hosts.items()) {
            // What is no name has been reported as such.
            let Some(Ok(host)) = text.map(|text| text.parse()) else {
                continue;
            };
            if !dns.hosts.contains_key(&host) {
                report.lack(
                    &["/dns", "/dns/resolvers", "/dns/hosts"],
                    &format!("/egress/{i}/to/hosts/{j}"),
                    Severity::Error,
                    format!("`{host}` cannot be resolved"),
                    Some("give `dns.resolvers`, or its addresses under `dns.hosts`".into()),
                );
            }
        }
    }
}
