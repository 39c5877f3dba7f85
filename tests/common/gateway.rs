//! The real binary as a child process.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Instant;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

use super::{DEADLINE, POLICY, WIDE_SCHEMA, eventually, raw, repository};

/// The address that callers are taken to come from.
pub const CALLER: &str = "10.200.0.9";

/// A gateway that is about to be started.
#[derive(Debug)]
pub struct Launch {
    dir: TempDir,
    prefix: Vec<String>,
    args: Vec<String>,
    outbound: Vec<String>,
    inbound: Vec<String>,
    admin: Vec<String>,
    standalone: bool,
    ready_by_log: bool,
    audit_to_file: bool,
}

/// A running gateway; killed when dropped.
#[derive(Debug)]
pub struct Gateway {
    child: Child,
    dir: TempDir,
    /// Where the pod's connections go.
    pub outbound: SocketAddr,
    /// Where callers from outside go.
    pub inbound: SocketAddr,
    /// `/metrics` and the probes.
    pub admin: SocketAddr,
}

/// A gateway that did not start.
#[derive(Debug)]
pub struct Failed {
    /// How it ended.
    pub status: ExitStatus,
    /// What it said.
    pub log: String,
}

impl Launch {
    /// With this policy and the schemas it may refer to beside it.
    pub fn new(policy: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("policy.yaml"), policy).unwrap();
        fs::write(dir.path().join("wide.schema.json"), WIDE_SCHEMA).unwrap();
        for schema in ["cohort-summary.schema.json", "common.schema.json"] {
            let from = repository("schemas").join(schema);
            fs::copy(from, dir.path().join(schema)).unwrap();
        }
        Self::again(dir)
    }

    /// With what an earlier gateway left behind.
    pub fn again(dir: TempDir) -> Self {
        Self {
            dir,
            prefix: Vec::new(),
            args: Vec::new(),
            outbound: Vec::new(),
            inbound: Vec::new(),
            admin: Vec::new(),
            standalone: true,
            ready_by_log: false,
            audit_to_file: true,
        }
    }

    /// More arguments of `lazaret run`.
    pub fn args<S: AsRef<str>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.args
            .extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// Leads `collector.example:80` to this address.
    pub fn collector(self, to: SocketAddr) -> Self {
        self.args([format!("--map=collector.example:80={to}")])
    }

    /// Leads the inbound address to this app, as port 8000.
    pub fn app(self, to: SocketAddr) -> Self {
        self.args([format!("--app=8000={to}"), format!("--caller={CALLER}")])
    }

    /// Started by another command, such as `ip netns exec POD setpriv …`, which must end in an
    /// `exec`, so that the process that is killed is the gateway.
    pub fn prefix<S: AsRef<str>>(mut self, prefix: impl IntoIterator<Item = S>) -> Self {
        let words = prefix.into_iter().map(|word| word.as_ref().to_owned());
        self.prefix.extend(words);
        self
    }

    /// Started by a shell that does this first.
    pub fn shell(self, first: &str) -> Self {
        let script = format!("{first} && exec \"$@\"");
        self.prefix(["sh", "-c", &script, "sh"])
    }

    /// With redirection by the kernel, on these addresses; there is no way in from here, so
    /// readiness is what the log says.
    pub fn captured(mut self, outbound: &[&str], inbound: &[&str], admin: &[&str]) -> Self {
        let owned = |all: &[&str]| all.iter().map(|one| (*one).to_owned()).collect();
        self.standalone = false;
        self.ready_by_log = true;
        self.outbound = owned(outbound);
        self.inbound = owned(inbound);
        self.admin = owned(admin);
        self
    }

    /// The test says itself where the records go.
    pub fn no_audit_file(mut self) -> Self {
        self.audit_to_file = false;
        self
    }

    /// Another file beside the policy.
    pub fn file(self, name: &str, content: &str) -> Self {
        fs::write(self.dir.path().join(name), content).unwrap();
        self
    }

    /// Gives the files, and a copy of the program, to another user, whom the gateway will be.
    pub fn owner(self, uid: u32, gid: u32) -> Self {
        use std::os::unix::fs::chown;
        // The program too: a checkout may be closed to all but its owner.
        let program = env!("CARGO_BIN_EXE_lazaret");
        fs::copy(program, self.dir.path().join("lazaret")).unwrap();
        chown(self.dir.path(), Some(uid), Some(gid)).unwrap();
        for entry in fs::read_dir(self.dir.path()).unwrap() {
            chown(entry.unwrap().path(), Some(uid), Some(gid)).unwrap();
        }
        self
    }

    /// Where the files are.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Starts it and waits until it is ready.
    #[track_caller]
    pub fn start(self) -> Gateway {
        match self.try_start() {
            Ok(gateway) => gateway,
            Err(failed) => panic!("did not start: {} {}", failed.status, failed.log),
        }
    }

    /// Starts it; says why if it ends instead of becoming ready.
    #[track_caller]
    pub fn try_start(mut self) -> Result<Gateway, Failed> {
        // Another test may take a port between our look and the gateway's.
        for _ in 0..20 {
            let mut gateway = self.spawn();
            let ready_by_log = self.ready_by_log;
            let started = eventually("readiness", || {
                if let Some(status) = gateway.child.try_wait().unwrap() {
                    return Some(Err(status));
                }
                let ready = if ready_by_log {
                    gateway.log().contains(" ready ")
                } else {
                    gateway.probe("/readyz").is_some_and(|r| r.status == 200)
                };
                ready.then_some(Ok(()))
            });
            match started {
                Ok(()) => return Ok(gateway),
                Err(status) => {
                    let log = gateway.log();
                    if self.standalone && log.contains("Address already in use") {
                        self.dir = gateway.into_dir();
                        continue;
                    }
                    return Err(Failed { status, log });
                }
            }
        }
        panic!("no free ports");
    }

    fn spawn(&mut self) -> Gateway {
        let mut words = self.prefix.clone();
        let copy = self.dir.path().join("lazaret");
        words.push(if copy.exists() {
            copy.display().to_string()
        } else {
            env!("CARGO_BIN_EXE_lazaret").into()
        });
        words.extend(["run".into(), "--policy".into()]);
        words.push(self.dir.path().join("policy.yaml").display().to_string());
        if self.audit_to_file {
            words.push("--audit".into());
            words.push(self.dir.path().join("audit.jsonl").display().to_string());
        }
        if self.standalone {
            words.push("--standalone".into());
            let fresh = || vec![free_address().to_string()];
            (self.outbound, self.inbound, self.admin) = (fresh(), fresh(), fresh());
        }
        for (flag, addresses) in [
            ("--outbound", &self.outbound),
            ("--inbound", &self.inbound),
            ("--admin", &self.admin),
        ] {
            words.push(format!("{flag}={}", addresses.join(",")));
        }
        if !self.args.iter().any(|arg| arg.starts_with("--policy-poll")) {
            words.push("--policy-poll=50ms".into());
        }
        words.extend(self.args.iter().cloned());
        let log = File::create(self.dir.path().join("stderr.log")).unwrap();
        let child = Command::new(&words[0])
            .args(&words[1..])
            .stdin(Stdio::null())
            .stdout(File::create(self.dir.path().join("stdout.log")).unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let first = |addresses: &[String]| addresses[0].parse().unwrap();
        Gateway {
            child,
            // The launch keeps what it needs to try again until the gateway owns the files.
            dir: std::mem::replace(&mut self.dir, tempfile::tempdir().unwrap()),
            outbound: first(&self.outbound),
            inbound: first(&self.inbound),
            admin: first(&self.admin),
        }
    }
}

impl Gateway {
    /// A gateway under this policy, with these arguments.
    #[track_caller]
    pub fn start<S: AsRef<str>>(policy: &str, args: impl IntoIterator<Item = S>) -> Self {
        Launch::new(policy).args(args).start()
    }

    /// A gateway under [`POLICY`] before this collector.
    #[track_caller]
    pub fn before(collector: SocketAddr) -> Self {
        Launch::new(POLICY).collector(collector).start()
    }

    /// A file of its directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.path("stderr.log")).unwrap()).into_owned()
    }

    /// The audit records so far.
    pub fn audit(&self) -> Vec<Value> {
        records(&fs::read(self.path("audit.jsonl")).unwrap())
    }

    /// The records with a verdict, or that tell what became of one, so far.
    pub fn verdicts(&self) -> Vec<Value> {
        let mut all = self.audit();
        all.retain(|record| {
            matches!(
                record["kind"].as_str().unwrap(),
                "exchange" | "connection" | "outcome" | "tunnel-end"
            )
        });
        all
    }

    /// Waits for this many records with a verdict; there must not be more.
    #[track_caller]
    pub fn wait_verdicts(&self, n: usize) -> Vec<Value> {
        let found = eventually(&format!("{n} verdicts"), || {
            let found = self.verdicts();
            (found.len() >= n).then_some(found)
        });
        assert_eq!(found.len(), n, "{found:#?}");
        found
    }

    /// All metrics.
    #[track_caller]
    pub fn metrics(&self) -> String {
        let response = self.probe("/metrics").expect("the admin address answers");
        assert_eq!(response.status, 200);
        String::from_utf8(response.body).unwrap()
    }

    /// The sum of a metric over all series that have these labels.
    #[track_caller]
    pub fn metric(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let has = |line: &str| {
            let rest = line.strip_prefix(name).unwrap_or("x");
            rest.starts_with([' ', '{'])
                && labels
                    .iter()
                    .all(|(name, value)| line.contains(&format!("{name}=\"{value}\"")))
        };
        self.metrics()
            .lines()
            .filter(|line| has(line))
            .map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap())
            .sum()
    }

    /// An answer of the admin address; `None` while it does not listen.
    pub fn probe(&self, path: &str) -> Option<raw::Response> {
        let mut client = raw::Client::try_connect(self.admin)?;
        client.send(format!(
            "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
        ));
        client.try_response()
    }

    /// Replaces the policy and waits until it is in force.
    #[track_caller]
    pub fn replace_policy(&self, policy: &str) {
        let count = |gateway: &Self| {
            gateway.metric("lazaret_policy_reloads_total", &[("result", "replaced")])
        };
        let before = count(self);
        self.write_policy(policy);
        eventually("the new policy", || (count(self) > before).then_some(()));
    }

    /// Replaces the policy file as a whole, as an editor does.
    pub fn write_policy(&self, policy: &str) {
        fs::write(self.path("policy.new"), policy).unwrap();
        fs::rename(self.path("policy.new"), self.path("policy.yaml")).unwrap();
    }

    /// The process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.pid()).unwrap());
        kill(pid, signal).unwrap();
    }

    /// Waits until it has ended by itself.
    #[track_caller]
    pub fn wait_exit(&mut self) -> ExitStatus {
        eventually("the end of the gateway", || self.child.try_wait().unwrap())
    }

    /// Whether it is running.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Ends it, so that its audit log is whole, and keeps its files.
    #[track_caller]
    pub fn stop(mut self) -> TempDir {
        self.signal(Signal::SIGTERM);
        let status = self.wait_exit();
        assert!(status.success(), "{status}: {}", self.log());
        self.into_dir()
    }

    /// Kills it, and keeps its files.
    pub fn kill(mut self) -> TempDir {
        self.child.kill().unwrap();
        self.wait_exit();
        self.into_dir()
    }

    fn into_dir(mut self) -> TempDir {
        let empty = tempfile::tempdir().unwrap();
        std::mem::replace(&mut self.dir, empty)
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // Fails only when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- log of the gateway\n{}", self.log());
        }
    }
}

/// The lines of an audit log that are whole.
pub fn records(log: &[u8]) -> Vec<Value> {
    let whole = log.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
    log[..whole]
        .split(|b| *b == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect()
}

/// Runs the binary to its end, with this on standard input.
#[track_caller]
pub fn lazaret<S: AsRef<std::ffi::OsStr>>(
    args: impl IntoIterator<Item = S>,
    input: &[u8],
) -> std::process::Output {
    use std::io::Write;
    let mut child = Command::new(env!("CARGO_BIN_EXE_lazaret"))
        .args(args)
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It may end without reading it.
    let _ = child.stdin.take().unwrap().write_all(input);
    child.wait_with_output().unwrap()
}

/// An address that nobody listens on. Below the ports that the kernel gives to clients, so that no
/// connection takes it meanwhile.
pub fn free_address() -> SocketAddr {
    const FIRST: u16 = 10_000;
    const COUNT: u16 = 20_000;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = (std::process::id().wrapping_mul(331) % u32::from(COUNT)) as u16;
    let until = Instant::now() + DEADLINE;
    while Instant::now() < until {
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = FIRST + (start + n % COUNT) % COUNT;
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
    panic!("no free port");
}
