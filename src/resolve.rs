//! Names to addresses, as the policy says: pinned, or asked of the policy's resolvers. The pod's
//! `/etc/resolv.conf` and `/etc/hosts` are the consumer's and are never read.

use std::cell::RefCell;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolveHosts, ResolverConfig,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::Name;
use lazaret_policy::rule::{Destination, Dns};
use lazaret_policy::{Host, Reason};

use crate::addr::UpstreamAddr;
use crate::allow;
use crate::settings::Mapping;

/// How long a name may take to become addresses, with every server and both protocols tried.
const DEADLINE: Duration = Duration::from_secs(5);

/// How long one server may take to answer, so that there is time for another.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// Resolves the names of one thread; answers are kept for as long as they say.
#[derive(Debug, Default)]
pub struct Resolver {
    current: RefCell<Option<(Dns, Rc<TokioResolver>)>>,
    map: Vec<Mapping>,
}

impl Resolver {
    /// `map` overrules the policy, for standalone mode.
    pub fn new(map: Vec<Mapping>) -> Self {
        Self {
            current: RefCell::default(),
            map,
        }
    }

    /// Where to dial an allowed name: addresses that the rule allows, at least one.
    ///
    /// # Errors
    /// [`Reason::UpstreamUnresolved`] or [`Reason::UpstreamAddressNotAllowed`].
    pub async fn name(
        &self,
        dns: &Dns,
        to: &Destination,
        host: &Host,
        port: u16,
    ) -> Result<Vec<UpstreamAddr>, Reason> {
        if let Some(address) = self.mapped(host.as_str(), port) {
            return Ok(vec![address]);
        }
        let pinned = dns.hosts.get(host);
        let resolved = match pinned {
            Some(pinned) => pinned.clone(),
            None => Box::pin(self.ask(dns, host)).await?,
        };
        let allowed = allow::dialable(to, pinned.is_some(), &resolved);
        if allowed.is_empty() {
            return Err(Reason::UpstreamAddressNotAllowed);
        }
        let upstream = |ip| UpstreamAddr::new(SocketAddr::new(ip, port));
        Ok(allowed.into_iter().map(upstream).collect())
    }

    /// Whether the policy still lets a name lead to where it once led. What the policy's resolvers
    /// answer by now ends nothing.
    pub fn still_leads(
        &self,
        dns: &Dns,
        to: &Destination,
        host: &Host,
        port: u16,
        upstream: UpstreamAddr,
    ) -> bool {
        if let Some(address) = self.mapped(host.as_str(), port) {
            return address == upstream;
        }
        let pinned = dns.hosts.get(host);
        let ip = upstream.get().ip();
        let is_it = |all: &Vec<IpAddr>| all.iter().any(|pin| pin.to_canonical() == ip);
        pinned.is_none_or(is_it) && !allow::dialable(to, pinned.is_some(), &[ip]).is_empty()
    }

    /// Where to dial an allowed address: itself, unless standalone mode maps it.
    pub fn address(&self, to: SocketAddr) -> UpstreamAddr {
        if self.map.is_empty() {
            return UpstreamAddr::new(to);
        }
        self.mapped(&to.ip().to_string(), to.port())
            .unwrap_or_else(|| UpstreamAddr::new(to))
    }

    fn mapped(&self, host: &str, port: u16) -> Option<UpstreamAddr> {
        let is_it = |map: &&Mapping| {
            (map.authority.rsplit_once(':')).is_some_and(|(mapped_host, mapped_port)| {
                mapped_host.trim_matches(['[', ']']) == host && mapped_port.parse() == Ok(port)
            })
        };
        let map = self.map.iter().find(is_it)?;
        Some(UpstreamAddr::new(map.address))
    }

    async fn ask(&self, dns: &Dns, host: &Host) -> Result<Vec<IpAddr>, Reason> {
        let resolver = self.resolver(dns).ok_or(Reason::UpstreamUnresolved)?;
        // A trailing dot: the name as it is, without search domains.
        let name = Name::from_ascii(format!("{host}.")).map_err(|_| Reason::UpstreamUnresolved)?;
        let answer = tokio::time::timeout(DEADLINE, resolver.lookup_ip(name)).await;
        let error: &dyn std::fmt::Display = match &answer {
            Ok(Ok(answer)) => return Ok(answer.iter().collect()),
            Ok(Err(error)) => error,
            Err(elapsed) => elapsed,
        };
        tracing::warn!(%host, %error, "name not resolved");
        Err(Reason::UpstreamUnresolved)
    }

    /// The resolver for these settings; made anew when a reload changes them.
    fn resolver(&self, dns: &Dns) -> Option<Rc<TokioResolver>> {
        let mut current = self.current.borrow_mut();
        if let Some((settings, resolver)) = &*current
            && settings.resolvers == dns.resolvers
        {
            return Some(Rc::clone(resolver));
        }
        if dns.resolvers.is_empty() {
            return None;
        }
        let servers = dns.resolvers.iter().map(|server| {
            let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()]
                .into_iter()
                .map(|mut connection| {
                    connection.port = server.port();
                    connection
                })
                .collect();
            NameServerConfig::new(server.ip(), true, connections)
        });
        let config = ResolverConfig::from_parts(None, Vec::new(), servers.collect());
        let provider = TokioRuntimeProvider::default();
        let mut builder = TokioResolver::builder_with_config(config, provider);
        let options = builder.options_mut();
        options.use_hosts_file = ResolveHosts::Never;
        options.timeout = ANSWER_TIMEOUT;
        options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
        let resolver = match builder.build() {
            Ok(resolver) => Rc::new(resolver),
            Err(error) => {
                tracing::error!(%error, "the resolvers of the policy cannot be used");
                return None;
            }
        };
        *current = Some((dns.clone(), Rc::clone(&resolver)));
        Some(resolver)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_leads_no_longer_to_what_a_new_policy_does_not_allow() {
        let host: Host = "svc.hospital.example".parse().unwrap();
        let there = UpstreamAddr::new("203.0.113.20:443".parse().unwrap());
        // What is pinned, the networks of the rule.
        for (pins, nets, expected) in [
            (&[][..], &[][..], true),
            (&["203.0.113.20"], &[], true),
            (&["203.0.113.21", "::ffff:203.0.113.20"], &[], true),
            (&["203.0.113.21"], &[], false),
            (&[], &["203.0.113.0/24"], true),
            (&[], &["203.0.113.21/32"], false),
            (&["203.0.113.20"], &["203.0.113.21/32"], false),
        ] {
            let mut dns = Dns::default();
            if !pins.is_empty() {
                let pins = pins.iter().map(|pin| pin.parse().unwrap()).collect();
                dns.hosts.insert(host.clone(), pins);
            }
            let to = Destination {
                cidrs: nets.iter().map(|net| net.parse().unwrap()).collect(),
                hosts: vec![host.clone()],
                ports: vec![443],
            };
            let leads = Resolver::default().still_leads(&dns, &to, &host, 443, there);
            assert_eq!(leads, expected, "{pins:?} {nets:?}");
        }
    }
}
