//! Everything that runs during the demonstration, and where.

use std::fs::{self, Permissions};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::process::{Child, Command};

use super::Role;
use super::app::HOSPITAL;
use super::attempt::{COLLECTOR, STRANGER, STRANGER_UDP};
use super::data::{self, MIN_PEOPLE};
use super::driver::{self, Part};
use super::error::DemoError;
use super::namespaces::{APP_ID, CALLER, GATEWAY_ID, Namespaces, PLATFORM, POD, Place};
use super::orders::{Network, Order};

/// The policy of the demonstration and its schemas, in the places in which they find each other.
const FILES: [(&str, &str); 3] = [
    ("config/demo.yaml", include_str!("../../config/demo.yaml")),
    (
        "schemas/cohort-summary.schema.json",
        include_str!("../../schemas/cohort-summary.schema.json"),
    ),
    (
        "schemas/common.schema.json",
        include_str!("../../schemas/common.schema.json"),
    ),
];

/// How long the gateway may take to start.
const READY_TIMEOUT: Duration = Duration::from_secs(20);

/// How often it is looked whether it has.
const READY_POLL: Duration = Duration::from_millis(50);

/// The port of the app that the policy opens.
const APP_PORT: u16 = 8000;

/// All that runs. What is dropped is dropped in this order: the processes first.
#[derive(Debug)]
pub(super) struct Stage {
    pub(super) hospital: Part,
    pub(super) app: Part,
    pub(super) collector: Part,
    pub(super) consumer: Part,
    gateway: Child,
    pub(super) at: Addresses,
    /// What the init container says, if there is one.
    pub(super) capture: Option<String>,
    pub(super) namespaces: Option<Namespaces>,
    pub(super) files: Files,
}

/// Where things are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Addresses {
    /// Where callers reach the app.
    pub(super) app: SocketAddr,
    /// Metrics and health of the gateway.
    pub(super) admin: SocketAddr,
    /// The gateway as an explicit proxy.
    pub(super) proxy: Option<SocketAddr>,
}

/// The files of the demonstration, in a directory that goes when this is dropped.
#[derive(Debug)]
pub(super) struct Files {
    directory: TempDir,
}

impl Stage {
    /// Starts everything and waits until the gateway is ready.
    pub(super) async fn set(transparent: bool) -> Result<Self, DemoError> {
        let mut stage = if transparent {
            Self::transparent().await?
        } else {
            Self::standalone().await?
        };
        stage.ready().await?;
        Ok(stage)
    }

    /// Ends everything, the gateway first.
    pub(super) async fn strike(self) -> Result<(), DemoError> {
        let mut gateway = self.gateway;
        driver::terminate(&mut gateway)
            .await
            .map_err(DemoError::io("gateway"))?;
        for part in [self.app, self.hospital, self.collector, self.consumer] {
            part.end().await?;
        }
        drop(self.namespaces);
        let removed = self.files.directory.close();
        removed.map_err(DemoError::io("cannot remove the files"))
    }

    async fn standalone() -> Result<Self, DemoError> {
        let files = Files::write()?;
        let program = std::env::current_exe().map_err(DemoError::io("own program"))?;
        let part = |role| Part::start(role, Command::new(&program));
        let (mut hospital, mut app) = (part(Role::Hospital)?, part(Role::App)?);
        let (mut collector, consumer) = (part(Role::Collector)?, part(Role::Consumer)?);

        let [outbound, inbound, admin] = free_ports()?;
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let data = hospital.listen(&Order::ServePatients { at: any }).await?;
        let network = Network::Proxy(outbound);
        let served = app.listen(&Order::ServeApp { at: any, network }).await?;
        let record = Order::Record {
            tcp: vec![any; 3],
            udp: Vec::new(),
        };
        let recorded = collector.listen(&record).await?;
        let ([data], [served], [collected, stranger, stranger_tls]) =
            (&data[..], &served[..], &recorded[..])
        else {
            return Err(DemoError::Role {
                role: "collector",
                why: "it does not listen where it should".to_owned(),
            });
        };

        let mut command = files.gateway(Command::new(&program));
        command
            .arg("--standalone")
            .args(["--outbound", &outbound.to_string()])
            .args(["--inbound", &inbound.to_string()])
            .args(["--admin", &admin.to_string()])
            .args(["--app", &format!("{APP_PORT}={served}")])
            .args(["--caller", CALLER])
            .args(["--map", &format!("{}:80={collected}", COLLECTOR.0)])
            // The gateway could reach the stranger: that it does not is its own doing.
            .args(["--map", &format!("{}:80={stranger}", STRANGER.0)])
            .args(["--map", &format!("{}:443={stranger_tls}", STRANGER.1)])
            .args(["--map", &format!("{HOSPITAL}={data}")]);
        Ok(Self {
            hospital,
            app,
            collector,
            consumer,
            gateway: driver::spawn(command).map_err(DemoError::io("gateway"))?,
            at: Addresses {
                app: inbound,
                admin,
                proxy: Some(outbound),
            },
            capture: None,
            namespaces: None,
            files,
        })
    }

    async fn transparent() -> Result<Self, DemoError> {
        if !nix::unistd::geteuid().is_root() {
            return Err(DemoError::NotRoot);
        }
        let own = std::env::current_exe().map_err(DemoError::io("own program"))?;
        let remedy = "build it with `cargo build --package lazaret-init`, or put it into the PATH";
        let init = driver::find("lazaret-init", own.parent(), remedy)?;
        let nft = driver::find("nft", None, "install nftables")?;
        // In this order, so that an error on the way takes the namespaces down again.
        let namespaces = Namespaces::make().await?;
        let files = Files::write()?;
        let program = files.for_others(&own)?;

        let id = GATEWAY_ID.to_string();
        let mut apply = driver::without_settings(namespaces.inside(Place::Pod, None));
        apply
            .arg(init)
            .arg("apply")
            .arg("--policy")
            .arg(files.policy())
            .args(["--uid", &id, "--gid", &id, "--admin-from", PLATFORM])
            .arg("--nft")
            .arg(nft);
        let capture = driver::output(apply).await?;
        let mut command = namespaces.inside(Place::Pod, Some(GATEWAY_ID));
        command.arg(&program);
        let gateway = driver::spawn(files.gateway(command)).map_err(DemoError::io("gateway"))?;

        let part = |role, place, id| {
            let mut command = namespaces.inside(place, id);
            command.arg(&program);
            Part::start(role, command)
        };
        let mut hospital = part(Role::Hospital, Place::Hospital, None)?;
        let mut app = part(Role::App, Place::Pod, Some(APP_ID))?;
        let mut collector = part(Role::Collector, Place::Home, None)?;
        let consumer = part(Role::Consumer, Place::Home, None)?;
        hospital
            .listen(&Order::ServePatients { at: HOSPITAL })
            .await?;
        let app_order = Order::ServeApp {
            at: SocketAddr::from((Ipv4Addr::UNSPECIFIED, APP_PORT)),
            network: Network::Plain,
        };
        app.listen(&app_order).await?;
        let record = Order::Record {
            tcp: [(COLLECTOR.1, 80), (STRANGER.1, 80), (STRANGER.1, 443)]
                .map(SocketAddr::from)
                .to_vec(),
            udp: vec![STRANGER_UDP],
        };
        collector.listen(&record).await?;
        Ok(Self {
            hospital,
            app,
            collector,
            consumer,
            gateway,
            at: Addresses {
                app: SocketAddr::from((POD, APP_PORT)),
                admin: SocketAddr::from((POD, 15020)),
                proxy: None,
            },
            capture: Some(capture),
            namespaces: Some(namespaces),
            files,
        })
    }

    /// The hospital's platform asks, as in a cluster.
    async fn ready(&mut self) -> Result<(), DemoError> {
        let started = Instant::now();
        loop {
            let ended = self.gateway.try_wait().map_err(DemoError::io("gateway"))?;
            let asked = self.hospital.get(self.at.admin, "/readyz").await;
            if asked.is_ok_and(|got| got.status == 200) {
                return Ok(());
            }
            if ended.is_some() || started.elapsed() > READY_TIMEOUT {
                return Err(DemoError::NotReady {
                    timeout: READY_TIMEOUT,
                    log: fs::read_to_string(self.files.log()).unwrap_or_default(),
                });
            }
            tokio::time::sleep(READY_POLL).await;
        }
    }
}

impl Files {
    /// The policy.
    pub(super) fn policy(&self) -> PathBuf {
        self.path("config/demo.yaml")
    }

    /// The gateway's audit log.
    pub(super) fn audit(&self) -> PathBuf {
        self.path("gateway/audit.jsonl")
    }

    /// The gateway's own log.
    pub(super) fn log(&self) -> PathBuf {
        self.path("gateway.log")
    }

    /// An aggregate, to go on by hand.
    pub(super) fn aggregate(&self) -> PathBuf {
        self.path("aggregate.json")
    }

    /// Records of patients, to go on by hand.
    pub(super) fn records(&self) -> PathBuf {
        self.path("records.json")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn write() -> Result<Self, DemoError> {
        Self::try_write().map_err(DemoError::io("cannot write the files of the demonstration"))
    }

    fn try_write() -> std::io::Result<Self> {
        let directory = tempfile::Builder::new().prefix("lazaret-demo-").tempdir()?;
        let files = Self { directory };
        // The gateway and the app may run as other users; there is no secret here.
        let shown = |path: &Path, mode| fs::set_permissions(path, Permissions::from_mode(mode));
        shown(files.directory.path(), 0o755)?;
        for name in ["config", "schemas", "gateway"] {
            fs::create_dir(files.path(name))?;
            shown(&files.path(name), 0o755)?;
        }
        let patients = data::patients();
        let aggregate = format!("{:#}\n", data::summary(&patients, MIN_PEOPLE));
        let records = format!("{:#}\n", data::records(&patients));
        let own = [("aggregate.json", &*aggregate), ("records.json", &*records)];
        for (name, text) in FILES.into_iter().chain(own) {
            fs::write(files.path(name), text)?;
            shown(&files.path(name), 0o644)?;
        }
        Ok(files)
    }

    /// Lets the other users have what is theirs: a copy of this program, which may be in a
    /// directory that they cannot enter, and the place of the audit log.
    fn for_others(&self, program: &Path) -> Result<PathBuf, DemoError> {
        let copy = self.path("lazaret");
        let shared = || {
            fs::copy(program, &copy)?;
            fs::set_permissions(&copy, Permissions::from_mode(0o755))?;
            chown(self.path("gateway"), Some(GATEWAY_ID), Some(GATEWAY_ID))
        };
        shared().map_err(DemoError::io("cannot copy this program"))?;
        Ok(copy)
    }

    /// The gateway; `command` runs this program.
    fn gateway(&self, command: Command) -> Command {
        let mut command = driver::without_settings(command);
        command
            .arg("run")
            .arg("--policy")
            .arg(self.policy())
            .arg("--audit")
            .arg(self.audit())
            .args(["--drain-timeout", "2s"])
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        // Without a place for its log the demonstration goes on; only an error would say less.
        let log = fs::File::create(self.log()).map_or_else(|_| Stdio::null(), Stdio::from);
        command.stderr(log);
        command
    }
}

/// Ports that nobody listens on: all are held until all are found.
fn free_ports() -> Result<[SocketAddr; 3], DemoError> {
    let hold = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(DemoError::io("free port"));
    let held = [hold()?, hold()?, hold()?];
    let [a, b, c] = held.map(|listener| listener.local_addr());
    let at = |address: std::io::Result<_>| address.map_err(DemoError::io("free port"));
    Ok([at(a)?, at(b)?, at(c)?])
}
