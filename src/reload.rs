//! The policy in force, and its replacement while the gateway runs.
//!
//! A change is compiled aside and swapped in whole; what does not compile is reported and changes
//! nothing. The files are read again and compared by digest instead of being watched, since a
//! ConfigMap is swapped by symlink, and a missed event would keep a revoked policy in force.

use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::{ArcSwap, Cache};
use lazaret_policy::{Bundle, Diagnostic, Diagnostics, Policy, Severity};
use tokio::sync::watch;

/// The policy in force. Every request is judged by the snapshot of its moment.
#[derive(Clone, Debug)]
pub struct PolicyCell {
    current: Arc<ArcSwap<Policy>>,
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
}

/// Replaces the policy in a [`PolicyCell`].
#[derive(Debug)]
pub struct Reloader {
    sources: Sources,
    cell: Arc<ArcSwap<Policy>>,
    generation: watch::Sender<u64>,
    /// Digest of the files as last looked at, good or bad: a bad one is reported once.
    seen: String,
}

/// What a look at the files came to.
#[derive(Debug)]
pub enum Reload {
    /// Nothing changed.
    Unchanged,
    /// After something else, the files are again the policy in force.
    Restored,
    /// The new policy is in force.
    Replaced(Arc<Policy>, Diagnostics),
    /// The new files are not a policy; the last good one stays in force.
    Kept(Diagnostics),
}

impl PolicyCell {
    /// The policy in force.
    pub fn load(&self) -> Arc<Policy> {
        self.current.load_full()
    }

    /// For a thread of its own: loads without touching what other threads write.
    pub fn cache(&self) -> Cache<Arc<ArcSwap<Policy>>, Arc<Policy>> {
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
        let cell = Arc::new(ArcSwap::from_pointee(policy));
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
        };
        Ok((reloader, policies, warnings))
    }

    /// Looks at the files and replaces the policy if they changed. `even_if_seen` tries again
    /// what was found bad before (SIGHUP).
    pub fn look(&mut self, even_if_seen: bool) -> Reload {
        let bundle = self.sources.read();
        let digest = bundle.digest();
        if digest == self.seen && !even_if_seen {
            return Reload::Unchanged;
        }
        self.seen = digest;
        match self.sources.compile(&bundle) {
            Ok((policy, _)) if policy.digest == self.cell.load().digest => Reload::Restored,
            Ok((policy, warnings)) => {
                let policy = Arc::new(policy);
                self.cell.store(Arc::clone(&policy));
                self.generation.send_modify(|n| *n += 1);
                Reload::Replaced(policy, warnings)
            }
            Err(errors) => Reload::Kept(errors),
        }
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
