//! What a policy's TLS settings become: built aside and swapped in with the policy, so that a
//! policy in force never lacks a key or a root. What has not changed is taken over, with its
//! sessions.

use std::collections::BTreeMap;
use std::sync::Arc;

use lazaret_policy::{Action, AppTls, EgressRule, PodTls, Policy};

use super::caller::Server;
use super::peer::Peer;
use super::pod::{Minter, PodName};
use crate::settings::AuthorityArgs;

/// TLS of one policy.
#[derive(Debug, Default)]
pub struct Contexts {
    peers: BTreeMap<Arc<str>, Arc<Peer>>,
    servers: BTreeMap<Arc<str>, Arc<Server>>,
    app: Option<Arc<Peer>>,
    minter: Option<Arc<Minter>>,
}

impl Contexts {
    /// Reads the keys and makes what the policy needs.
    ///
    /// # Errors
    /// All that is missing or wrong, as sentences.
    pub fn build(
        policy: &Policy,
        authority: &AuthorityArgs,
        before: Option<&Self>,
    ) -> Result<Self, Vec<String>> {
        let mut built = Self::default();
        let mut errors = built.legs(policy, before);
        let names: Vec<PodName> = policy.egress.iter().flat_map(|rule| minted(rule)).collect();
        if !names.is_empty() {
            let minter = Minter::new(authority, &names, before.and_then(Self::minter));
            match minter {
                Ok(minter) => built.minter = Some(minter),
                Err(error) => errors.push(error.to_string()),
            }
        }
        // Last: what is published is what will be in force.
        let published = match &built.minter {
            Some(minter) if errors.is_empty() => minter.publish(),
            _ => Ok(()),
        };
        match published {
            Err(error) if before.is_none() => errors.push(error.to_string()),
            // Whoever can hinder this must not keep a policy in force that way. An app that does
            // not know the authority is refused, and it is tried again.
            Err(error) => tracing::error!("{error}"),
            Ok(()) => {}
        }
        if errors.is_empty() {
            Ok(built)
        } else {
            Err(errors)
        }
    }

    /// What could not be used here of the files that the policy only names, as sentences.
    pub fn unusable(policy: &Policy) -> Vec<String> {
        Self::default().legs(policy, None)
    }

    /// Makes what rules ask for; says what is missing or wrong.
    fn legs(&mut self, policy: &Policy, before: Option<&Self>) -> Vec<String> {
        let mut errors = Vec::new();
        for rule in &policy.egress {
            let Some(spec) = &rule.tls.peer else { continue };
            let before = before.and_then(|before| before.peer(&rule.name));
            match Peer::new(spec, before) {
                Ok(peer) => _ = self.peers.insert(Arc::clone(&rule.name), peer),
                Err(error) => errors.push(format!("egress rule `{}`: {error}", rule.name)),
            }
        }
        for rule in &policy.ingress {
            let Some(spec) = &rule.tls else { continue };
            let served = before.and_then(|before| before.server(&rule.name));
            match Server::new(spec, served) {
                Ok(server) => _ = self.servers.insert(Arc::clone(&rule.name), server),
                Err(error) => errors.push(format!("ingress rule `{}`: {error}", rule.name)),
            }
            if spec.app == AppTls::Tls && self.app.is_none() {
                let before = before.and_then(Self::app).cloned();
                self.app = Some(before.unwrap_or_else(Peer::app));
            }
        }
        errors
    }

    /// Whether files that were read have changed since.
    pub fn is_stale(&self) -> bool {
        self.peers.values().any(|peer| peer.is_stale())
            || self.servers.values().any(|server| server.is_stale())
            || self.minter.as_ref().is_some_and(|minter| minter.is_stale())
    }

    /// When the certificates that the gateway shows end, in seconds since 1970, with what each is
    /// used for.
    pub fn ends(&self) -> Vec<(String, i64)> {
        let peers = (self.peers.iter())
            .filter_map(|(rule, peer)| Some((format!("peer:{rule}"), peer.not_after()?)));
        let servers = (self.servers.iter())
            .map(|(rule, server)| (format!("caller:{rule}"), server.not_after()));
        let minter =
            (self.minter.iter()).map(|minter| ("authority".to_owned(), minter.not_after()));
        peers.chain(servers).chain(minter).collect()
    }

    /// Each way in which others are spoken to, by [`Peer::id`].
    pub fn ids(&self) -> impl Iterator<Item = u64> {
        self.peers.values().chain(&self.app).map(|peer| peer.id)
    }

    /// How the peers of this egress rule are spoken to.
    pub fn peer(&self, rule: &str) -> Option<&Arc<Peer>> {
        self.peers.get(rule)
    }

    /// What callers of this ingress rule are served with.
    pub fn server(&self, rule: &str) -> Option<&Arc<Server>> {
        self.servers.get(rule)
    }

    /// How an app that speaks TLS is spoken to.
    pub fn app(&self) -> Option<&Arc<Peer>> {
        self.app.as_ref()
    }

    /// Who ends the TLS of the pod.
    pub fn minter(&self) -> Option<&Arc<Minter>> {
        self.minter.as_ref()
    }
}

/// For whom certificates are made under this rule.
fn minted(rule: &EgressRule) -> Vec<PodName> {
    if rule.tls.pod != PodTls::Intercept || !matches!(rule.action, Action::Inspect(_)) {
        return Vec::new();
    }
    if rule.to.hosts.is_empty() {
        let addresses = rule.to.cidrs.iter().map(|net| PodName::Address(net.addr()));
        return addresses.collect();
    }
    rule.to.hosts.iter().cloned().map(PodName::Host).collect()
}
