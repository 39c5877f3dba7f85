//! The policy in force, and its replacement while the gateway runs.
//!
//! A change is compiled aside and swapped in whole; what does not compile is reported and changes
//! nothing. The files are read again and compared by digest instead of being watched, since a
//! ConfigMap is swapped by symlink, and a missed event would keep a revoked policy in force.

use std::ops::Deref;
use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::{ArcSwap, Cache};
use lazaret_policy::{Bundle, Diagnostic, Diagnostics, Policy, Severity};
use tokio::sync::watch;

use crate::settings::AuthorityArgs;
use crate::tls::Contexts;

/// The policy in force, and the TLS that it asks for: one is never there without the other.
#[derive(Debug)]
pub struct InForce {
    policy: Arc<Policy>,
    /// The keys, roots and sessions.
    pub tls: Contexts,
}

/// The policy in force. Every request is judged by the snapshot of its moment.
#[derive(Clone, Debug)]
pub struct PolicyCell {
    current: Arc<ArcSwap<InForce>>,
    changes: watch::Receiver<u64>,
}

/// Where the policy comes from, and what it can count on.
#[derive(Clone, Debug)]
pub struct Sources {
    /// The policy file.
    pub policy: PathBuf,
    /// The site policy that contracts hold to.
    pub site: Option<PathBuf>,
    /// Whether releases can be remembered.
    pub has_ledger: bool,
    /// The authority for the pod.
    pub authority: AuthorityArgs,
}

/// Replaces the policy in a [`PolicyCell`].
#[derive(Debug)]
pub struct Reloader {
    sources: Sources,
    cell: Arc<ArcSwap<InForce>>,
    generation: watch::Sender<u64>,
    /// Digest of the files as last looked at, good or bad: a bad one is reported once.
    seen: String,
    /// New keys were found bad and reported.
    bad_keys: bool,
}

/// What a look at the files came to.
#[derive(Debug)]
pub enum Reload {
    /// Nothing changed.
    Unchanged,
    /// After something else, the files are again the policy in force.
    Restored,
    /// The policy is the same, and its certificates and keys are new.
    Rekeyed(Arc<InForce>),
    /// The new policy is in force.
    Replaced(Arc<InForce>, Diagnostics),
    /// The new files are not a policy; the last good one stays in force.
    Kept(Diagnostics),
}

impl Deref for InForce {
    type Target = Policy;

    fn deref(&self) -> &Policy {
        &self.policy
    }
}

impl PolicyCell {
    /// The policy in force.
    pub fn load(&self) -> Arc<InForce> {
        self.current.load_full()
    }

    /// For a thread of its own: loads without touching what other threads write.
    pub fn cache(&self) -> Cache<Arc<ArcSwap<InForce>>, Arc<InForce>> {
        Cache::new(Arc::clone(&self.current))
    }

    /// Tells when the policy is replaced from now on.
    pub fn changes(&self) -> watch::Receiver<u64> {
        let mut changes = self.changes.clone();
        changes.mark_unchanged();
        changes
    }

    /// How often the policy was replaced so far.
    pub fn generation(&self) -> u64 {
        *self.changes.borrow()
    }
}

impl Sources {
    fn read(&self) -> Bundle {
        Bundle::read_with_site(&self.policy, self.site.as_deref())
    }

    fn tls(&self, policy: &Policy, before: Option<&Contexts>) -> Result<Contexts, Diagnostics> {
        Contexts::build(policy, &self.authority, before).map_err(|errors| {
            let mut all = Diagnostics::default();
            for message in errors {
                all.push(Diagnostic {
                    severity: Severity::Error,
                    file: self.policy.clone(),
                    line: 0,
                    column: 0,
                    pointer: String::new(),
                    code: None,
                    message,
                    help: None,
                });
            }
            all
        })
    }

    fn is_mended(&self, current: &InForce) -> bool {
        self.tls(&current.policy, Some(&current.tls)).is_ok()
    }

    fn compile(&self, bundle: &Bundle) -> Result<(Policy, Diagnostics), Diagnostics> {
        let (policy, mut findings) = bundle.compile()?;
        let remembering = policy.contracts.values().filter(|c| c.release.is_some());
        if !self.has_ledger {
            for contract in remembering {
                findings.push(Diagnostic {
                    severity: Severity::Error,
                    file: self.policy.clone(),
                    line: 0,
                    column: 0,
                    pointer: format!("/contracts/{}", contract.name),
                    code: None,
                    message: format!(
                        "the contract `{}` has `sdcRelease`, and there is no ledger to remember \
                         its releases",
                        contract.name
                    ),
                    help: Some("start the gateway with `--ledger FILE|URL`".into()),
                });
            }
        }
        if findings.has_errors() {
            return Err(findings);
        }
        Ok((policy, findings))
    }
}

impl Reloader {
    /// Loads the policy for the first time. The findings are warnings.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn start(sources: Sources) -> Result<(Self, PolicyCell, Diagnostics), Diagnostics> {
        let bundle = sources.read();
        let (policy, warnings) = sources.compile(&bundle)?;
        let tls = sources.tls(&policy, None)?;
        let cell = Arc::new(ArcSwap::from_pointee(InForce {
            policy: Arc::new(policy),
            tls,
        }));
        let (generation, changes) = watch::channel(0);
        let policies = PolicyCell {
            current: Arc::clone(&cell),
            changes,
        };
        let reloader = Self {
            sources,
            cell,
            generation,
            seen: bundle.digest(),
            bad_keys: false,
        };
        Ok((reloader, policies, warnings))
    }

    /// Looks at the files and replaces the policy if they changed. `even_if_seen` tries again
    /// what was found bad before (SIGHUP).
    pub fn look(&mut self, even_if_seen: bool) -> Reload {
        let bundle = self.sources.read();
        let digest = bundle.digest();
        if digest == self.seen && !even_if_seen {
            return self.rekey(false);
        }
        self.seen = digest;
        match self.sources.compile(&bundle) {
            Ok((policy, _)) if policy.digest == self.cell.load().digest => {
                match self.rekey(even_if_seen) {
                    Reload::Unchanged => Reload::Restored,
                    other => other,
                }
            }
            Ok((policy, warnings)) => {
                let tls = match self.sources.tls(&policy, Some(&self.cell.load().tls)) {
                    Ok(tls) => tls,
                    Err(errors) => return Reload::Kept(errors),
                };
                let policy = Arc::new(InForce {
                    policy: Arc::new(policy),
                    tls,
                });
                self.put(&policy);
                Reload::Replaced(policy, warnings)
            }
            Err(errors) => Reload::Kept(errors),
        }
    }

    /// Reads keys and certificates again if their files have changed.
    fn rekey(&mut self, even_if_seen: bool) -> Reload {
        let current = self.cell.load_full();
        if !current.tls.is_stale() {
            // Bad ones that are gone again.
            let mended = std::mem::take(&mut self.bad_keys);
            return if mended {
                Reload::Restored
            } else {
                Reload::Unchanged
            };
        }
        if self.bad_keys && !even_if_seen && !self.sources.is_mended(&current) {
            return Reload::Unchanged;
        }
        match self.sources.tls(&current.policy, Some(&current.tls)) {
            Ok(tls) => {
                self.bad_keys = false;
                let policy = Arc::clone(&current.policy);
                let renewed = Arc::new(InForce { policy, tls });
                self.put(&renewed);
                Reload::Rekeyed(renewed)
            }
            Err(errors) => {
                self.bad_keys = true;
                Reload::Kept(errors)
            }
        }
    }

    fn put(&self, policy: &Arc<InForce>) {
        self.cell.store(Arc::clone(policy));
        self.generation.send_modify(|n| *n += 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: &str = "apiVersion: lazaret/v1\nkind: Policy\n\
        metadata: {name: a, producer: h, consumer: p}\n";

    fn sources(path: &std::path::Path) -> Sources {
        Sources {
            policy: path.into(),
            site: None,
            has_ledger: false,
            authority: AuthorityArgs::default(),
        }
    }

    #[test]
    fn keeps_the_last_good_policy() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("policy.yaml");
        std::fs::write(&path, POLICY).unwrap();
        let (mut reloader, cell, _) = Reloader::start(sources(&path)).unwrap();
        let changes = cell.changes();
        assert!(matches!(reloader.look(false), Reload::Unchanged));

        std::fs::write(&path, "nonsense: true\n").unwrap();
        assert!(matches!(reloader.look(false), Reload::Kept(_)));
        assert!(matches!(reloader.look(false), Reload::Unchanged));
        assert!(matches!(reloader.look(true), Reload::Kept(_)));
        assert_eq!(&*cell.load().name, "a");
        assert!(!changes.has_changed().unwrap());

        std::fs::remove_file(&path).unwrap();
        assert!(matches!(reloader.look(false), Reload::Kept(_)));
        assert_eq!(&*cell.load().name, "a");

        std::fs::write(&path, POLICY.replace("name: a", "name: b")).unwrap();
        assert!(matches!(reloader.look(false), Reload::Replaced(..)));
        assert_eq!(&*cell.load().name, "b");
        assert!(changes.has_changed().unwrap());
    }

    #[test]
    fn follows_a_config_map_swapped_by_symlink() {
        let dir = tempfile::tempdir().unwrap();
        let version = |name: &str| {
            let version = dir.path().join(name);
            std::fs::create_dir(&version).unwrap();
            let text = POLICY.replace("name: a", &format!("name: {name}"));
            std::fs::write(version.join("policy.yaml"), text).unwrap();
            let link = dir.path().join("..next");
            std::os::unix::fs::symlink(name, &link).unwrap();
            std::fs::rename(&link, dir.path().join("..data")).unwrap();
        };
        version("one");
        let path = dir.path().join("policy.yaml");
        std::os::unix::fs::symlink("..data/policy.yaml", &path).unwrap();
        let (mut reloader, cell, _) = Reloader::start(sources(&path)).unwrap();
        assert_eq!(&*cell.load().name, "one");
        version("two");
        assert!(matches!(reloader.look(false), Reload::Replaced(..)));
        assert_eq!(&*cell.load().name, "two");
    }

    #[test]
    fn follows_the_site_policy() {
        let dir = tempfile::tempdir().unwrap();
        let (path, site) = (dir.path().join("policy.yaml"), dir.path().join("site.yaml"));
        std::fs::write(&path, POLICY).unwrap();
        std::fs::write(&site, "apiVersion: lazaret/v1\nkind: Site\n").unwrap();
        let (mut reloader, _cell, _) = Reloader::start(Sources {
            site: Some(site.clone()),
            ..sources(&path)
        })
        .unwrap();
        assert!(matches!(reloader.look(false), Reload::Unchanged));
        std::fs::write(&site, "apiVersion: lazaret/v1\nkind: Site\nk: 20\n").unwrap();
        assert!(matches!(reloader.look(false), Reload::Replaced(..)));
        std::fs::write(&site, "apiVersion: lazaret/v1\nkind: Site\nk: 2\n").unwrap();
        assert!(matches!(reloader.look(false), Reload::Kept(_)));
        std::fs::remove_file(&site).unwrap();
        assert!(matches!(reloader.look(false), Reload::Kept(_)));
    }
}
