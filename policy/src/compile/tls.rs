//! From the written `tls` of a rule to the typed one, and whether it fits the rule.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::pem::{self, Kind};
use super::{Bundle, Report, beside, is_local};
use crate::diagnostic::Severity;
use crate::file::{
    ActionFile, AppTlsFile, ClientTlsFile, EgressFile, EgressTlsFile, EndedFile, IngressFile,
    PeerTlsFile, PodTlsFile, TlsVersionFile, Written,
};
use crate::rule::Destination;
use crate::source::{Place, join};
use crate::tls::{
    AppTls, ClientTls, EgressTls, Identity, IngressTls, KeyPair, PeerTls, Pin, PodTls, Roots,
    TlsVersion, parse_pin,
};

/// The word for the roots of the system.
const SYSTEM: &str = "system";

/// The names of all files that `tls` keys make part of a policy: roots and revocation lists.
pub(super) fn named(policy: &Value) -> Vec<&str> {
    let rules = |key: &str, side: &'static str| {
        let rules = policy.get(key).and_then(Value::as_array);
        let rules = rules.into_iter().flatten();
        rules.filter_map(move |rule| rule.get("tls")?.get(side))
    };
    let mut names = Vec::new();
    for tls in rules("egress", "peer").chain(rules("ingress", "client")) {
        let roots = tls.get("roots").and_then(Value::as_str);
        names.extend(roots.filter(|name| *name != SYSTEM));
        let lists = tls.get("crls").and_then(Value::as_array);
        names.extend(lists.into_iter().flatten().filter_map(Value::as_str));
    }
    names.retain(|name| is_local(name));
    names
}

/// Compiles `tls` keys. What is wrong with a file is reported once, however many rules name it.
pub(super) struct Tls<'b> {
    bundle: &'b Bundle,
    read: BTreeMap<(PathBuf, Kind), Option<Vec<Vec<u8>>>>,
}

impl<'b> Tls<'b> {
    pub(super) fn new(bundle: &'b Bundle) -> Self {
        Self {
            bundle,
            read: BTreeMap::new(),
        }
    }

    /// The TLS of an egress rule, and whether it is a tunnel that takes nothing else.
    pub(super) fn egress(
        &mut self,
        rule: &EgressFile,
        to: Option<&Destination>,
        pointer: &str,
        report: &mut Report,
    ) -> Option<(EgressTls, bool)> {
        let at = join(pointer, "tls");
        match rule.tls.sound()? {
            None => Some((EgressTls::default(), false)),
            Some(EgressTlsFile::Sni(_)) => {
                sni_fits(rule, pointer, report).then(|| (EgressTls::default(), true))
            }
            Some(EgressTlsFile::Ended(file)) => {
                let help = "`tls: sni` on a `tunnel` lets TLS pass unopened";
                let fits = is_inspected(&rule.action, help, &at, report);
                let tls = self.ended(file, &at, report)?;
                let fits = fits && (tls.pod == PodTls::None || can_intercept(to?, &at, report));
                fits.then_some((tls, false))
            }
        }
    }

    /// The TLS of an ingress rule.
    pub(super) fn ingress(
        &mut self,
        rule: &IngressFile,
        pointer: &str,
        report: &mut Report,
    ) -> Option<Option<IngressTls>> {
        let at = join(pointer, "tls");
        let Some(file) = rule.tls.sound()? else {
            return Some(None);
        };
        let help = "remove it: what the gateway does not open is the app's own TLS";
        let fits = is_inspected(&rule.action, help, &at, report);
        let pair = self.pair(&file.cert, &file.key, &at, report);
        let client = match file.client.sound() {
            Some(Some(client)) => self.client(client, &join(&at, "client"), report).map(Some),
            Some(None) => Some(None),
            None => None,
        };
        let tls = IngressTls {
            pair: pair?,
            min: version(&file.min)?,
            client: client?,
            app: match file.app.sound()? {
                AppTlsFile::Plain => AppTls::Plain,
                AppTlsFile::Tls => AppTls::Tls,
            },
        };
        fits.then_some(Some(tls))
    }

    fn ended(&mut self, file: &EndedFile, at: &str, report: &mut Report) -> Option<EgressTls> {
        let peer = match file.peer.sound() {
            Some(Some(peer)) => self.peer(peer, &join(at, "peer"), report).map(Some),
            Some(None) => Some(None),
            None => None,
        };
        let pod = match file.pod.sound()? {
            PodTlsFile::None => PodTls::None,
            PodTlsFile::Intercept => PodTls::Intercept,
        };
        Some(EgressTls { pod, peer: peer? })
    }

    fn peer(&mut self, file: &PeerTlsFile, at: &str, report: &mut Report) -> Option<PeerTls> {
        let roots = match file.roots.sound().map(String::as_str) {
            Some(SYSTEM) => Some(Roots::System),
            Some(name) => {
                let all = self.file(name, Kind::Roots, &join(at, "roots"), report);
                all.map(Roots::Given)
            }
            None => None,
        };
        let pins = each(&file.spki, &join(at, "spki"), report, pin);
        let names = each(&file.identities, &join(at, "identities"), report, identity);
        let client = match file.client.sound() {
            Some(Some(client)) => {
                let at = join(at, "client");
                self.pair(&client.cert, &client.key, &at, report).map(Some)
            }
            Some(None) => Some(None),
            None => None,
        };
        let crls = self.crls(&file.crls, at, report);
        Some(PeerTls {
            min: version(&file.min)?,
            roots: roots?,
            pins: pins?,
            identities: names?,
            client: client?,
            crls: crls?,
        })
    }

    fn client(&mut self, file: &ClientTlsFile, at: &str, report: &mut Report) -> Option<ClientTls> {
        let pointer = join(at, "roots");
        let roots = match file.roots.sound().map(String::as_str) {
            Some(SYSTEM) => {
                let message = "the system's authorities vouch for anyone's certificate".to_owned();
                let help = "name the PEM file of the consumer's authority";
                report.error(&pointer, message, Some(help.into()));
                None
            }
            Some(name) => self.file(name, Kind::Roots, &pointer, report),
            None => None,
        };
        let names = each(&file.identities, &join(at, "identities"), report, identity);
        let crls = self.crls(&file.crls, at, report);
        Some(ClientTls {
            roots: roots?,
            identities: names?,
            crls: crls?,
        })
    }

    fn crls(
        &mut self,
        written: &Written<Vec<Written<String>>>,
        at: &str,
        report: &mut Report,
    ) -> Option<Vec<Vec<u8>>> {
        let lists = each(written, &join(at, "crls"), report, |name, at, report| {
            self.file(name, Kind::Crls, at, report)
        })?;
        Some(lists.into_iter().flatten().collect())
    }

    /// What a file of the policy holds, in DER.
    fn file(
        &mut self,
        name: &str,
        kind: Kind,
        at: &str,
        report: &mut Report,
    ) -> Option<Vec<Vec<u8>>> {
        if !is_local(name) {
            let message = format!("`{name}` is no path relative to the policy file");
            report.error(at, message, Some("`roots/NAME.pem`".into()));
            return None;
        }
        let path = beside(&self.bundle.path, name);
        let read = &self.bundle.pems;
        let parsed = self.read.entry((path, kind)).or_insert_with_key(|key| {
            let (path, kind) = key;
            let why = match read.get(path) {
                Some(Ok(text)) => return parse(path, text, *kind, report),
                Some(Err(why)) => why,
                None => "was not read",
            };
            let help = Some("a PEM file beside the policy".to_owned());
            report.error(at, format!("`{name}` {why}"), help);
            None
        });
        parsed.clone()
    }

    fn pair(
        &self,
        cert: &Written<String>,
        key: &Written<String>,
        at: &str,
        report: &mut Report,
    ) -> Option<KeyPair> {
        let mut path = |written: &Written<String>, which| {
            let name = written.sound()?;
            if name.is_empty() || name.contains('\0') {
                let help = Some("relative to the policy file, or absolute".into());
                report.error(&join(at, which), "this is no path".into(), help);
                return None;
            }
            Some(beside(&self.bundle.path, name))
        };
        let (cert, key) = (path(cert, "cert"), path(key, "key"));
        Some(KeyPair {
            cert: cert?,
            key: key?,
        })
    }
}

fn parse(path: &Path, text: &str, kind: Kind, report: &mut Report) -> Option<Vec<Vec<u8>>> {
    let defects = match pem::parse(text, kind) {
        Ok(all) => return Some(all),
        Err(defects) => defects,
    };
    for defect in defects {
        let place = Place {
            line: defect.line,
            column: 1,
        };
        let (message, help) = (defect.message, Some(defect.help));
        report.at_place(path.to_owned(), place, "", Severity::Error, message, help);
    }
    None
}

/// All of the values, or `None` when one is broken and has been reported.
fn each<T>(
    written: &Written<Vec<Written<String>>>,
    pointer: &str,
    report: &mut Report,
    mut read: impl FnMut(&str, &str, &mut Report) -> Option<T>,
) -> Option<Vec<T>> {
    let mut all = written.sound().map(|_| Vec::new());
    for (i, text) in written.items() {
        let value = text.and_then(|text| read(text, &join(pointer, i), report));
        match (value, &mut all) {
            (Some(value), Some(all)) => all.push(value),
            _ => all = None,
        }
    }
    all
}

fn pin(text: &str, pointer: &str, report: &mut Report) -> Option<Pin> {
    let pin = parse_pin(text);
    if pin.is_none() {
        let message = format!("`{text}` is no pin");
        let help = "`sha256/` and the Base64 of 32 bytes, 44 characters with its `=`";
        report.error(pointer, message, Some(help.into()));
    }
    pin
}

fn identity(text: &str, pointer: &str, report: &mut Report) -> Option<Identity> {
    text.parse()
        .inspect_err(|error| {
            let message = format!("`{text}` is no name of a certificate: {error}");
            let help = "`dns:collector.example` or `spiffe://example/collector`";
            report.error(pointer, message, Some(help.into()));
        })
        .ok()
}

fn version(written: &Written<TlsVersionFile>) -> Option<TlsVersion> {
    Some(match written.sound()? {
        TlsVersionFile::V12 => TlsVersion::V12,
        TlsVersionFile::V13 => TlsVersion::V13,
    })
}

/// Only what is inspected is opened.
fn is_inspected(action: &Written<ActionFile>, help: &str, at: &str, report: &mut Report) -> bool {
    let action = action.sound();
    if matches!(action, Some(ActionFile::Direct | ActionFile::Tunnel)) {
        let message = "the gateway speaks TLS itself only with `inspect`".to_owned();
        report.error(at, message, Some(help.into()));
    }
    action == Some(&ActionFile::Inspect)
}

fn sni_fits(rule: &EgressFile, pointer: &str, report: &mut Report) -> bool {
    let at = join(pointer, "tls");
    let (message, help) = match rule.action.sound() {
        Some(ActionFile::Tunnel) => {
            let to = rule.to.sound();
            if !to.is_some_and(|to| to.hosts.is_empty()) {
                return to.is_some();
            }
            let message = "`sni` needs names to compare the server name with".to_owned();
            let help = Some("list `hosts` under `to`".into());
            let absent = format!("{pointer}/to/hosts");
            report.lack(&[&absent], &at, Severity::Error, message, help);
            return false;
        }
        Some(ActionFile::Inspect) => (
            "`sni` lets TLS pass unopened, and `inspect` looks into it",
            "`{ pod: intercept, peer: {} }`, or the action `tunnel`",
        ),
        Some(ActionFile::Direct) => (
            "`direct` is the kernel's, which knows no server names",
            "use `tunnel`, with `hosts`",
        ),
        None => return false,
    };
    report.error(&at, message.into(), Some(help.into()));
    false
}

/// Whether the gateway knows what names to make certificates for.
fn can_intercept(to: &Destination, at: &str, report: &mut Report) -> bool {
    let single = |net: &ipnet::IpNet| net.prefix_len() == net.max_prefix_len();
    let known = !to.hosts.is_empty() || to.cidrs.iter().all(single);
    if !known {
        let message = "`intercept` needs names or addresses to make certificates for".to_owned();
        let help = "list `hosts`, or single addresses in `cidrs`";
        report.error(&join(at, "pod"), message, Some(help.into()));
    }
    known
}
