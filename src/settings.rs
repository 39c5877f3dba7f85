//! Settings of the process: the platform engineer's, not the producer's. Nothing in here can let
//! anything out that the policy does not allow, except `--standalone`, which is for a laptop.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, ValueEnum};
use humantime::parse_duration;

use crate::ledger::Location;

/// Settings of `lazaret run`, each also as a variable `LAZARET_…`.
#[derive(Args, Clone, Debug)]
pub struct Settings {
    /// The policy file
    #[arg(long, env = "LAZARET_POLICY", value_name = "FILE")]
    pub policy: PathBuf,

    /// The site policy: what every contract must hold to, whatever the policy says
    #[arg(long, env = "LAZARET_SITE", value_name = "FILE")]
    pub site: Option<PathBuf>,

    /// Where connections of the pod are redirected to; give it once per address family
    #[arg(long, env = "LAZARET_OUTBOUND", value_name = "ADDR", value_delimiter = ',',
          default_values = ["127.0.0.1:15001", "[::1]:15001"])]
    pub outbound: Vec<SocketAddr>,

    /// Where connections to the pod are redirected to; give it once per address family
    #[arg(long, env = "LAZARET_INBOUND", value_name = "ADDR", value_delimiter = ',',
          default_values = ["0.0.0.0:15006", "[::]:15006"])]
    pub inbound: Vec<SocketAddr>,

    /// Where /metrics, /livez and /readyz are served; give it once per address family
    #[arg(long, env = "LAZARET_ADMIN", value_name = "ADDR", value_delimiter = ',',
          default_values = ["0.0.0.0:15020", "[::]:15020"])]
    pub admin: Vec<SocketAddr>,

    /// How many threads carry traffic; 0: one per processor
    #[arg(long, env = "LAZARET_THREADS", value_name = "N", default_value_t = 0)]
    pub threads: usize,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub standalone: Standalone,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub limits: Limits,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub audit: AuditArgs,

    /// What has been released, kept to judge the next release: a file, or postgres://… for all
    /// replicas of one consumer's pods. Needed if a contract has `sdcRelease`
    #[arg(
        long,
        env = "LAZARET_LEDGER",
        value_name = "FILE|URL",
        hide_env_values = true
    )]
    pub ledger: Option<Location>,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub authority: AuthorityArgs,

    /// How often the policy files are looked at for changes
    #[arg(long, env = "LAZARET_POLICY_POLL", value_name = "TIME", default_value = "500ms",
          value_parser = parse_duration)]
    pub policy_poll: Duration,

    /// How long open exchanges and tunnels may go on after SIGTERM
    #[arg(long, env = "LAZARET_DRAIN_TIMEOUT", value_name = "TIME", default_value = "25s",
          value_parser = parse_duration)]
    pub drain_timeout: Duration,

    /// What is logged: error, warn, info, debug, trace, or a filter
    #[arg(
        long,
        env = "LAZARET_LOG",
        value_name = "LEVEL",
        default_value = "info"
    )]
    pub log: String,

    /// How it is logged, to standard error
    #[arg(long, env = "LAZARET_LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
}

/// Local testing without namespaces: an explicit proxy instead of redirection.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Standalone mode")]
pub struct Standalone {
    /// Serve as explicit forward proxy (`http_proxy`) on the outbound address and as reverse
    /// proxy for one app on the inbound address, without redirection. For a laptop: nothing
    /// forces an app to use it
    #[arg(long, env = "LAZARET_STANDALONE")]
    pub standalone: bool,

    /// The app that the inbound address leads to; PORT is the port that the ingress rules name,
    /// by default the one of ADDR
    #[arg(
        long,
        env = "LAZARET_APP",
        value_name = "[PORT=]ADDR",
        requires = "standalone"
    )]
    pub app: Option<AppAddress>,

    /// The address that callers are taken to come from, by default their own
    #[arg(
        long,
        env = "LAZARET_CALLER",
        value_name = "IP",
        requires = "standalone"
    )]
    pub caller: Option<IpAddr>,

    /// Dial ADDR where the policy would have HOST:PORT dialled
    #[arg(
        long,
        env = "LAZARET_MAP",
        value_name = "HOST:PORT=ADDR",
        value_delimiter = ',',
        requires = "standalone"
    )]
    pub map: Vec<Mapping>,
}

/// The authority whose certificates the pod is shown where its TLS ends at the gateway.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "TLS of the pod")]
pub struct AuthorityArgs {
    /// The certificate of an authority that the operator gives (PEM). Left out: the gateway makes
    /// one at start and keeps its key in memory
    #[arg(
        long,
        env = "LAZARET_CA_CERT",
        value_name = "FILE",
        requires = "ca_key"
    )]
    pub ca_cert: Option<PathBuf>,

    /// The key of that authority (PEM)
    #[arg(
        long,
        env = "LAZARET_CA_KEY",
        value_name = "FILE",
        requires = "ca_cert"
    )]
    pub ca_key: Option<PathBuf>,

    /// Where to write the certificate of the authority (PEM), for the app to trust
    #[arg(long, env = "LAZARET_CA_PUBLISH", value_name = "FILE")]
    pub ca_publish: Option<PathBuf>,
}

/// Bounds in number, size and time.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Limits")]
pub struct Limits {
    /// The most connections at a time; more are refused
    #[arg(
        long,
        env = "LAZARET_MAX_CONNECTIONS",
        value_name = "N",
        default_value_t = 16_384
    )]
    pub max_connections: usize,

    /// The largest head of a message, in bytes
    #[arg(long, env = "LAZARET_MAX_HEAD_BYTES", value_name = "BYTES", default_value_t = 16_384,
          value_parser = clap::value_parser!(u32).range(8_192..=1_048_576))]
    pub max_head_bytes: u32,

    /// The most header fields of a message
    #[arg(
        long,
        env = "LAZARET_MAX_HEADERS",
        value_name = "N",
        default_value_t = 100
    )]
    pub max_headers: usize,

    /// The largest body that is held to be judged, in bytes, whatever the contract says
    #[arg(long, env = "LAZARET_MAX_BODY_BYTES", value_name = "BYTES", default_value_t = 16 << 20)]
    pub max_body_bytes: usize,

    /// How long a client may take to say what protocol it speaks
    #[arg(long, env = "LAZARET_DETECT_TIMEOUT", value_name = "TIME", default_value = "10s",
          value_parser = parse_duration)]
    pub detect_timeout: Duration,

    /// How long a head may take to arrive; also how long a connection may stay idle between
    /// requests
    #[arg(long, env = "LAZARET_HEAD_TIMEOUT", value_name = "TIME", default_value = "30s",
          value_parser = parse_duration)]
    pub head_timeout: Duration,

    /// How long a body may take to arrive
    #[arg(long, env = "LAZARET_BODY_TIMEOUT", value_name = "TIME", default_value = "30s",
          value_parser = parse_duration)]
    pub body_timeout: Duration,

    /// How long connecting to a destination may take
    #[arg(long, env = "LAZARET_CONNECT_TIMEOUT", value_name = "TIME", default_value = "5s",
          value_parser = parse_duration)]
    pub connect_timeout: Duration,

    /// How long a destination may take to answer
    #[arg(long, env = "LAZARET_RESPONSE_TIMEOUT", value_name = "TIME", default_value = "60s",
          value_parser = parse_duration)]
    pub response_timeout: Duration,

    /// How long an unused connection to a destination is kept for the next exchange
    #[arg(long, env = "LAZARET_POOL_IDLE", value_name = "TIME", default_value = "30s",
          value_parser = parse_duration)]
    pub pool_idle: Duration,

    /// How many unused connections to one destination are kept, per thread
    #[arg(
        long,
        env = "LAZARET_POOL_SIZE",
        value_name = "N",
        default_value_t = 128
    )]
    pub pool_size: usize,

    /// How long a tunnel may carry nothing
    #[arg(long, env = "LAZARET_TUNNEL_IDLE", value_name = "TIME", default_value = "1h",
          value_parser = parse_duration)]
    pub tunnel_idle: Duration,
}

/// The audit log.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Audit")]
pub struct AuditArgs {
    /// Where the audit records go: a file, or `-` for standard output
    #[arg(long, env = "LAZARET_AUDIT", value_name = "FILE", default_value = "-")]
    pub audit: PathBuf,

    /// What a record must have reached before a payload leaves: `none` the queue, `flush` the
    /// operating system, `fsync` the disk
    #[arg(long, env = "LAZARET_AUDIT_DURABILITY", value_enum, default_value_t = Durability::Flush)]
    pub audit_durability: Durability,

    /// How long records may wait for company before one fsync for all of them
    #[arg(long, env = "LAZARET_AUDIT_GROUP_WINDOW", value_name = "TIME", default_value = "0s",
          value_parser = parse_duration)]
    pub audit_group_window: Duration,

    /// Begin a new file when this size is reached, in bytes; 0: never
    #[arg(long, env = "LAZARET_AUDIT_MAX_BYTES", value_name = "BYTES", default_value_t = 256 << 20)]
    pub audit_max_bytes: u64,

    /// How many full files are kept; 0: all
    #[arg(
        long,
        env = "LAZARET_AUDIT_KEEP",
        value_name = "N",
        default_value_t = 0
    )]
    pub audit_keep: usize,
}

/// See `--audit-durability`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Durability {
    /// In the queue of the writer.
    None,
    /// Written to the operating system.
    Flush,
    /// On the disk.
    Fsync,
}

/// See `--log-format`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

/// The app behind the inbound address in standalone mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AppAddress {
    /// The port that ingress rules name.
    pub port: u16,
    /// Where the app listens.
    pub address: SocketAddr,
}

/// A destination that is dialled elsewhere in standalone mode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// `host:port` as the policy has it, in lower case.
    pub authority: String,
    /// Where it is dialled.
    pub address: SocketAddr,
}

impl Settings {
    /// The number of worker threads.
    pub fn worker_count(&self) -> usize {
        match self.threads {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            n => n,
        }
    }
}

impl FromStr for AppAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (port, address) = match text.split_once('=') {
            Some((port, address)) => (Some(port), address),
            None => (None, text),
        };
        let address: SocketAddr = address
            .parse()
            .map_err(|_| format!("`{address}` is no address such as 127.0.0.1:8000"))?;
        let port = match port {
            Some(port) => port.parse().map_err(|_| format!("`{port}` is no port"))?,
            None => address.port(),
        };
        Ok(Self { port, address })
    }
}

impl FromStr for Mapping {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (authority, address) = text
            .split_once('=')
            .ok_or("expected HOST:PORT=ADDR, for instance db.example:80=127.0.0.1:9000")?;
        let has_port = authority
            .rsplit_once(':')
            .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok());
        if !has_port {
            return Err(format!("`{authority}` is no HOST:PORT"));
        }
        let address = address
            .parse()
            .map_err(|_| format!("`{address}` is no address such as 127.0.0.1:9000"))?;
        Ok(Self {
            authority: authority.to_ascii_lowercase(),
            address,
        })
    }
}
