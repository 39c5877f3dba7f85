//! Two namespaces, `pod` and `out`, joined by a veth, with the init container's real binary.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

pub const OUT4: &str = "10.77.0.1";
pub const OUT6: &str = "fd77::1";
pub const POD4: &str = "10.77.0.2";
pub const POD6: &str = "fd77::2";

/// Long enough for a loaded machine; only a failing test waits for it.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// Who does something.
#[derive(Clone, Copy, Debug)]
pub struct User {
    pub uid: u32,
    pub gid: u32,
    /// Also a member of the gateway's group.
    pub in_gateway_group: bool,
    pub net_raw: bool,
}

pub const GATEWAY: User = user(1337, 1338);
pub const APP: User = user(2000, 2000);
pub const ROOT: User = user(0, 0);

pub const fn user(uid: u32, gid: u32) -> User {
    User {
        uid,
        gid,
        in_gateway_group: false,
        net_raw: false,
    }
}

pub struct Lab {
    pod: String,
    out: String,
    policy: PathBuf,
    directory: tempfile::TempDir,
}

impl Lab {
    /// Nothing if this is not root, outside CI.
    pub fn new() -> Option<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let id = fs::read_to_string("/proc/self/status").unwrap();
        let is_root = id.lines().any(|l| l.starts_with("Uid:\t0\t0\t"));
        if !is_root {
            assert!(
                std::env::var_os("CI").is_none(),
                "these tests need root, and CI must have it"
            );
            eprintln!("not run: making network namespaces needs root");
            return None;
        }
        let (process, number) = (std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let directory = tempfile::tempdir().unwrap();
        let lab = Self {
            pod: format!("lz-pod-{process}-{number}"),
            out: format!("lz-out-{process}-{number}"),
            policy: directory.path().join("policy.yaml"),
            directory,
        };
        lab.set_policy("");
        lab.wire();
        Some(lab)
    }

    fn wire(&self) {
        let Self { pod, out, .. } = self;
        ip(&["netns", "add", pod]);
        ip(&["netns", "add", out]);
        let pair = [
            "netns", pod, "type", "veth", "peer", "name", "eth0", "netns", out,
        ];
        ip(&[&["link", "add", "eth0"][..], &pair[..]].concat());
        for (ns, v4, v6) in [(pod, POD4, POD6), (out, OUT4, OUT6)] {
            ip(&["-n", ns, "addr", "add", &format!("{v4}/24"), "dev", "eth0"]);
            ip(&[
                "-n",
                ns,
                "addr",
                "add",
                &format!("{v6}/64"),
                "dev",
                "eth0",
                "nodad",
            ]);
            ip(&["-n", ns, "link", "set", "lo", "up"]);
        }
        for ns in [pod, out] {
            ip(&["-n", ns, "link", "set", "eth0", "up"]);
        }
        ip(&["-n", pod, "route", "add", "default", "via", OUT4]);
        ip(&["-n", pod, "-6", "route", "add", "default", "via", OUT6]);
        self.sysctl("net.ipv4.ping_group_range=0 2147483647");
        // Until then the link-local address is not usable.
        self.until("no address is tentative", || {
            let addresses = run(&self.in_pod(ROOT, &["ip", "-6", "addr"])).stdout;
            !addresses.contains("tentative") && addresses.matches("inet6 f").count() == 2
        });
    }

    pub fn sysctl(&self, assignment: &str) {
        let done = run(&self.in_pod(ROOT, &["sysctl", "-qw", assignment]));
        assert!(done.status.success(), "{done:?}");
    }

    /// The rules of a policy, from `egress:` on.
    pub fn set_policy(&self, rules: &str) {
        let metadata = "{ name: test, producer: hospital, consumer: pharma }";
        let head = format!(
            "apiVersion: lazaret/v1\nkind: Policy\nmetadata: {metadata}\n\
             require_encryption: false\n"
        );
        fs::write(&self.policy, head + rules).unwrap();
    }

    pub fn in_pod(&self, user: User, command: &[&str]) -> Vec<String> {
        let mut words = vec!["ip", "netns", "exec", &self.pod, "setpriv"];
        let (uid, gid) = (user.uid.to_string(), user.gid.to_string());
        words.extend(["--reuid", &uid, "--regid", &gid]);
        let gateway_group = GATEWAY.gid.to_string();
        if user.in_gateway_group {
            words.extend(["--groups", &gateway_group]);
        } else {
            words.push("--clear-groups");
        }
        if user.net_raw {
            words.extend(["--inh-caps", "+net_raw", "--ambient-caps", "+net_raw"]);
        }
        words.push("--");
        words.extend(command);
        words.into_iter().map(str::to_owned).collect()
    }

    pub fn in_out(&self, command: &[&str]) -> Vec<String> {
        let words = ["ip", "netns", "exec", &self.out];
        words
            .iter()
            .chain(command)
            .map(|&word| word.to_owned())
            .collect()
    }

    /// The init container with its usual arguments.
    pub fn init(&self, command: &str, more: &[&str]) -> Done {
        self.init_as(ROOT, command, more)
    }

    pub fn init_as(&self, user: User, command: &str, more: &[&str]) -> Done {
        let (uid, gid) = (GATEWAY.uid.to_string(), GATEWAY.gid.to_string());
        // Where every user can read it.
        let policy = self.policy.to_str().unwrap();
        let mut words = vec![env!("CARGO_BIN_EXE_lazaret-init"), command];
        words.extend(["--policy", policy, "--uid", &uid, "--gid", &gid]);
        words.extend(more);
        run(&self.in_pod(user, &words))
    }

    pub fn apply(&self) {
        let done = self.init("apply", &[]);
        assert!(done.status.success(), "{done:?}");
    }

    pub fn ruleset(&self) -> String {
        run(&self.in_pod(ROOT, &["nft", "list", "ruleset"])).stdout
    }

    /// What the pod sends from now on.
    pub fn sniff(&self) -> Peer {
        let link = run(&self.in_pod(ROOT, &["cat", "/sys/class/net/eth0/address"])).stdout;
        self.out_peer(&["sniff", "eth0", link.trim()])
    }

    /// The frames that a sniffer saw. The last one is sent after all others, as the gateway.
    pub fn frames(&self, sniffer: &Peer) -> Vec<String> {
        assert_eq!(self.pod_run(GATEWAY, &["end"])["outcome"], "sent");
        let mut frames = Vec::new();
        loop {
            let line = sniffer.next();
            match line["frame"].as_str() {
                Some(frame) => frames.push(frame.to_owned()),
                None => return frames,
            }
        }
    }

    /// Runs a function of attack.py to its end.
    pub fn pod_run(&self, user: User, arguments: &[&str]) -> Value {
        answer(&self.in_pod(user, &script(arguments)))
    }

    pub fn out_run(&self, arguments: &[&str]) -> Value {
        answer(&self.in_out(&script(arguments)))
    }

    /// Starts a function of attack.py, and waits until it is ready.
    pub fn pod_peer(&self, user: User, arguments: &[&str]) -> Peer {
        Peer::ready(&self.in_pod(user, &script(arguments)))
    }

    pub fn out_peer(&self, arguments: &[&str]) -> Peer {
        Peer::ready(&self.in_out(&script(arguments)))
    }

    /// Starts the attacks, and returns what came of each once all are done.
    pub fn attack(&self, user: User) -> Vec<Value> {
        let which = if user.net_raw { "raw" } else { "plain" };
        let attacker = Peer::start(&self.in_pod(user, &script(&["attack", which])));
        let mut results = Vec::new();
        loop {
            let line = attacker.next();
            if line["done"] == true {
                return results;
            }
            results.push(line);
        }
    }

    #[allow(
        clippy::disallowed_methods,
        reason = "a condition is polled, with a deadline"
    )]
    pub fn until(&self, what: &str, condition: impl Fn() -> bool) {
        let started = Instant::now();
        while !condition() {
            assert!(started.elapsed() < DEADLINE, "never: {what}");
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// A path that a test may write to.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for ns in [&self.pod, &self.out] {
            let _ = Command::new("ip").args(["netns", "del", ns]).status();
        }
    }
}

/// A process that talks in JSON lines; killed when dropped.
pub struct Peer {
    child: Child,
    lines: Receiver<String>,
}

impl Peer {
    pub fn start(command: &[String]) -> Self {
        let mut child = Command::new(&command[0])
            .args(&command[1..])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = channel();
        thread::spawn(move || {
            out.lines()
                .map_while(Result::ok)
                .try_for_each(|l| sender.send(l))
        });
        Self { child, lines }
    }

    fn ready(command: &[String]) -> Self {
        let peer = Self::start(command);
        assert_eq!(peer.next()["ready"], true, "{command:?}");
        peer
    }

    pub fn next(&self) -> Value {
        let line = self.lines.recv_timeout(DEADLINE).expect("a line in time");
        serde_json::from_str(&line).unwrap()
    }

    /// Whether it has said nothing more so far.
    pub fn is_silent(&self) -> bool {
        self.lines.try_recv().is_err()
    }

    pub fn tell(&mut self, line: &str) {
        let stdin = self.child.stdin.as_mut().unwrap();
        writeln!(stdin, "{line}").unwrap();
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[derive(Debug)]
pub struct Done {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

pub fn run(command: &[String]) -> Done {
    let output = Command::new(&command[0])
        .args(&command[1..])
        .output()
        .unwrap();
    Done {
        status: output.status,
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

fn answer(command: &[String]) -> Value {
    let done = run(command);
    serde_json::from_str(&done.stdout).unwrap_or_else(|_| panic!("{command:?}: {done:?}"))
}

fn script<'a>(arguments: &[&'a str]) -> Vec<&'a str> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/attack.py");
    [&["/usr/bin/python3", path], arguments].concat()
}

fn ip(arguments: &[&str]) {
    let output = Command::new("ip").args(arguments).output().unwrap();
    assert!(output.status.success(), "ip {arguments:?}: {output:?}");
}
