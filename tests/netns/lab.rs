//! Three sites on one bridge, each a network namespace: the pod with the real binaries in it, the
//! consumer's home, and the hospital.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::atomic::{AtomicU32, Ordering};

use nix::unistd::Uid;

use crate::common::raw::Client;
use crate::common::{Gateway, Launch, eventually};
use crate::peers::Peer;
use crate::space::{APP, GATEWAY, Space, at, run};

/// Each site has an address in both families.
pub type Addresses = [&'static str; 2];

/// The attacks of `lazaret-init`'s own tests aim here.
pub const HOME: Addresses = ["10.77.0.1", "fd77::1"];
pub const POD: Addresses = ["10.77.0.2", "fd77::2"];
pub const HOSPITAL: Addresses = ["10.77.0.3", "fd77::3"];

/// Where the pod has a route to, and nobody is.
pub const NOWHERE: Addresses = ["198.51.100.7", "2001:db8::7"];

/// One rule of every kind. The app may talk to the hospital, and report to home.
///
/// | port | at | action |
/// |---|---|---|
/// | 9001 | hospital | direct |
/// | 9002 | hospital | tunnel |
/// | 9003 | `broker4`, `broker6` | tunnel |
/// | 8081, 8082 | home | inspect |
/// | 80 | `collector4`, `collector6` | inspect |
/// | 7001 | pod, for home | direct |
/// | 7002 | pod, for home | tunnel |
/// | 8000, 8001 | pod, for home | inspect |
pub const POLICY: &str = r#"
apiVersion: lazaret/v1
kind: Policy
metadata: { name: lab, producer: hospital-a, consumer: pharma-x }
require_encryption: false
dns: { resolvers: [10.77.0.3] }
egress:
  - { name: data, to: { cidrs: [10.77.0.3, "fd77::3"], ports: [9001] }, action: direct }
  - { name: broker, to: { cidrs: [10.77.0.3, "fd77::3"], ports: [9002] }, action: tunnel }
  - name: named-broker
    to: { hosts: [broker4.hospital.example, broker6.hospital.example], ports: [9003] }
    action: tunnel
  - name: home
    to: { cidrs: [10.77.0.1, "fd77::1"], ports: [8081, 8082] }
    action: inspect
    exchanges:
      - request: { method: GET, path: /v1/task }
      - request: { method: POST, path: /v1/results/t2dm, body: summary }
  - name: collector
    to: { hosts: [collector4.pharma.example, collector6.pharma.example], ports: [80] }
    action: inspect
    exchanges:
      - request: { method: GET, path: /v1/task }
      - request: { method: POST, path: /v1/results/t2dm, body: summary }
ingress:
  - { name: readers, from: { cidrs: [10.77.0.1, "fd77::1"] }, port: 7001, action: direct }
  - { name: shell, from: { cidrs: [10.77.0.1, "fd77::1"] }, port: 7002, action: tunnel }
  - name: results
    from: { cidrs: [10.77.0.1, "fd77::1"] }
    port: 8000
    action: inspect
    exchanges:
      - request: { method: GET, path: /summary }
        response: { statuses: [200], body: summary }
  - name: results-h2
    from: { cidrs: [10.77.0.1, "fd77::1"] }
    port: 8001
    action: inspect
    exchanges:
      - request: { method: GET, path: /summary }
        response: { statuses: [200], body: summary }
contracts:
  summary: { schema: cohort-summary.schema.json, max_bytes: 4KiB, max_depth: 3 }
"#;

/// Declared before what runs in it, so that it is dropped after.
#[derive(Debug)]
pub struct Lab {
    pub pod: Space,
    pub home: Space,
    pub hospital: Space,
    /// The bridge, where all can be seen.
    wire: Space,
}

impl Lab {
    /// Nothing if this is not root, outside CI.
    pub fn new() -> Option<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        if !Uid::effective().is_root() {
            assert!(
                std::env::var_os("CI").is_none(),
                "these tests need root, and CI must have it"
            );
            eprintln!("not run: making network namespaces needs root");
            return None;
        }
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let space =
            |site: &str| Space::new(format!("lazaret-{}-{number}-{site}", std::process::id()));
        let lab = Self {
            pod: space("pod"),
            home: space("home"),
            hospital: space("hosp"),
            wire: space("wire"),
        };
        lab.wire();
        Some(lab)
    }

    fn wire(&self) {
        self.wire
            .ip("link add br0 type bridge stp_state 0 mcast_snooping 0\nlink set br0 up");
        let sites = [
            (&self.pod, "pod0", POD),
            (&self.home, "home0", HOME),
            (&self.hospital, "hosp0", HOSPITAL),
        ];
        for (space, port, [v4, v6]) in sites {
            self.wire.ip(&format!(
                "link add {port} type veth peer name eth0 netns {}\n\
                 link set {port} master br0 up",
                space.name
            ));
            space.ip(&format!(
                "link set lo up\n\
                 address add {v4}/24 dev eth0\n\
                 address add {v6}/64 dev eth0 nodad\n\
                 link set eth0 up"
            ));
        }
        // What leads nowhere leads home, where a leak would be seen.
        self.pod.ip(&format!(
            "route add 0.0.0.0/0 via {}\nroute add ::/0 via {}",
            HOME[0], HOME[1]
        ));
        self.pod.sysctl("net.ipv4.ping_group_range=0 2147483647");
        // Until then link-local addresses are not usable.
        eventually("no address is tentative", || {
            let mut sites = [&self.pod, &self.home, &self.hospital].into_iter();
            let usable = |space: &Space| {
                let addresses = space.command_as_root(&["ip", "-6", "addr"]);
                let text = String::from_utf8(run(&addresses).stdout).unwrap();
                !text.contains("tentative") && text.matches("inet6 f").count() == 2
            };
            sites.all(usable).then_some(())
        });
    }

    /// A gateway that may be started in the pod, as its own user and without a capability.
    pub fn launch(&self, policy: &str) -> Launch {
        self.in_pod(Launch::new(policy).owner(GATEWAY.id, GATEWAY.id), &[])
    }

    /// The same, under another command.
    pub fn in_pod(&self, launch: Launch, outer: &[&str]) -> Launch {
        launch
            .prefix(outer)
            .prefix(self.pod.command(GATEWAY, &[]))
            .captured(
                &["127.0.0.1:15001", "[::1]:15001"],
                &["0.0.0.0:15006", "[::]:15006"],
                &["0.0.0.0:15020", "[::]:15020"],
            )
    }

    /// Rules, then the gateway.
    pub fn start(&self, policy: &str) -> Gateway {
        let launch = self.launch(policy);
        self.apply(launch.path(), &[]);
        launch.start()
    }

    /// The rules of the policy in this directory.
    #[track_caller]
    pub fn apply(&self, directory: &Path, more: &[&str]) {
        let done = self.init("apply", directory, more);
        assert!(done.status.success(), "{done:?}");
    }

    /// The init container.
    pub fn init(&self, command: &str, directory: &Path, more: &[&str]) -> Output {
        let policy = directory.join("policy.yaml");
        let (init, id) = (init_binary(), GATEWAY.id.to_string());
        let mut words = vec![init.to_str().unwrap(), command];
        words.extend(["--policy", policy.to_str().unwrap()]);
        words.extend(["--uid", &id, "--gid", &id]);
        words.extend(more);
        run(&self.pod.command_as_root(&words))
    }

    /// What the pod sends from now on, to whomever.
    pub fn sniff(&self) -> Peer {
        let address = self
            .pod
            .command_as_root(&["cat", "/sys/class/net/eth0/address"]);
        let address = String::from_utf8(run(&address).stdout).unwrap();
        Peer::ready(
            &self.wire.command_as_root(&[]),
            &["sniff", "pod0", address.trim()],
        )
    }

    /// The frames that a sniffer saw. The last one is sent after all others, as the gateway.
    #[track_caller]
    pub fn frames(&self, sniffer: &Peer) -> Vec<Vec<u8>> {
        Peer::run(&self.pod.command(GATEWAY, &[]), &["end"]);
        let mut frames = Vec::new();
        loop {
            let line = sniffer.next();
            let Some(hex) = line["frame"].as_str() else {
                return frames;
            };
            let byte = |pair: &[u8]| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap();
            frames.push(hex.as_bytes().chunks(2).map(byte).collect());
        }
    }

    /// The pod has sent nothing at all.
    #[track_caller]
    pub fn assert_silent(&self, sniffer: &Peer) {
        let frames = self.frames(sniffer);
        assert!(frames.is_empty(), "{frames:02x?}");
    }

    /// Does something as the app.
    pub fn app<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        self.pod.enter(Some(APP), work)
    }

    /// A connection of the app.
    #[track_caller]
    pub fn dial(&self, ip: &str, port: u16) -> Client {
        self.app(|| Client::connect(at(ip, port)))
    }

    /// What the gateway's user is told on the admin port: all but the gateway are refused there.
    pub fn metric(&self, gateway: &Gateway, name: &str, labels: &[(&str, &str)]) -> f64 {
        (self.pod).enter(Some(GATEWAY), || gateway.metric(name, labels))
    }
}

/// It belongs to another crate, so cargo does not say where it is; `--workspace` puts it beside
/// ours.
fn init_binary() -> PathBuf {
    let path = Path::new(env!("CARGO_BIN_EXE_lazaret")).with_file_name("lazaret-init");
    assert!(
        path.exists(),
        "{} is not there; build it with: cargo build --workspace --bins",
        path.display()
    );
    path
}

/// The directory of the attacks that `lazaret-init` is tested with.
pub fn attacks() -> &'static Path {
    static COPY: std::sync::OnceLock<tempfile::TempDir> = std::sync::OnceLock::new();
    // Copied to where the app may read.
    let directory = COPY.get_or_init(|| {
        use std::os::unix::fs::PermissionsExt as _;
        let directory = tempfile::tempdir().unwrap();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let script = crate::common::repository("init/tests/attack.py");
        fs::copy(script, directory.path().join("attack.py")).unwrap();
        directory
    });
    directory.path()
}
