//! Three network namespaces on one wire: a pod, the hospital that it runs in, and the world
//! outside.
//!
//! ```text
//!  pod 10.77.0.2 ══╤══ 10.77.0.1 hospital: 10.96.0.20 the data service
//!                  └── 10.77.0.3 home: 10.200.0.9 the caller
//!                                      203.0.113.20 the collector
//!                                      198.51.100.66 a stranger
//! ```

use std::path::PathBuf;

use tokio::process::Command;

use super::app::HOSPITAL;
use super::attempt::{COLLECTOR, STRANGER};
use super::driver;
use super::error::DemoError;

/// The caller, as the policy knows it.
pub(super) const CALLER: &str = "10.200.0.9";

/// The pod's address.
pub(super) const POD: [u8; 4] = [10, 77, 0, 2];

/// The hospital's address towards the pod: who may ask for the metrics.
pub(super) const PLATFORM: &str = "10.77.0.1";

/// The way out of the pod.
const OUTSIDE: &str = "10.77.0.3";

/// The user and group of the gateway, which the capture rules let through.
pub(super) const GATEWAY_ID: u32 = 1337;

/// The user and group of the app.
pub(super) const APP_ID: u32 = 2000;

/// Where a process runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Pod,
    Hospital,
    Home,
}

impl Place {
    const ALL: [Self; 3] = [Self::Pod, Self::Hospital, Self::Home];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Pod => "pod",
            Self::Hospital => "hosp",
            Self::Home => "home",
        }
    }
}

/// The namespaces; they go when this is dropped.
#[derive(Debug)]
pub(super) struct Namespaces {
    prefix: String,
    ip: PathBuf,
    setpriv: PathBuf,
}

impl Namespaces {
    /// Makes and joins them.
    pub(super) async fn make() -> Result<Self, DemoError> {
        let namespaces = Self {
            prefix: format!("lazaret-demo-{}", std::process::id()),
            ip: driver::find("ip", None, "install iproute2")?,
            setpriv: driver::find("setpriv", None, "install util-linux")?,
        };
        for line in namespaces.script().lines() {
            let mut command = Command::new(&namespaces.ip);
            command.args(line.split_whitespace());
            driver::output(command).await?;
        }
        Ok(namespaces)
    }

    /// The name of a namespace.
    pub(super) fn name(&self, place: Place) -> String {
        format!("{}-{}", self.prefix, place.as_str())
    }

    /// What runs a program there, as root, or as an ordinary user without any privilege.
    pub(super) fn inside(&self, place: Place, id: Option<u32>) -> Command {
        let mut command = Command::new(&self.ip);
        command.args(["netns", "exec", &self.name(place)]);
        if let Some(id) = id {
            let id = id.to_string();
            command.arg(&self.setpriv).args([
                "--reuid",
                &id,
                "--regid",
                &id,
                "--clear-groups",
                "--no-new-privs",
                "--bounding-set=-all",
                "--inh-caps=-all",
            ]);
        }
        command
    }

    fn script(&self) -> String {
        let [pod, hosp, home] = Place::ALL.map(|place| self.name(place));
        let own = std::net::Ipv4Addr::from(POD);
        let (hospital, collector, stranger) = (HOSPITAL.ip(), COLLECTOR.1, STRANGER.1);
        format!(
            "netns add {pod}
             netns add {hosp}
             netns add {home}
             -n {hosp} link add wire type bridge
             -n {hosp} link add pod0 type veth peer name eth0 netns {pod}
             -n {hosp} link add home0 type veth peer name eth0 netns {home}
             -n {hosp} link set pod0 master wire up
             -n {hosp} link set home0 master wire up
             -n {hosp} link set wire up
             -n {hosp} link set lo up
             -n {hosp} address add {PLATFORM}/24 dev wire
             -n {hosp} address add {hospital}/32 dev lo
             -n {pod} link set lo up
             -n {pod} link set eth0 up
             -n {pod} address add {own}/24 dev eth0
             -n {pod} route add 10.96.0.0/16 via {PLATFORM}
             -n {pod} route add default via {OUTSIDE}
             -n {home} link set lo up
             -n {home} link set eth0 up
             -n {home} address add {OUTSIDE}/24 dev eth0
             -n {home} address add {CALLER}/32 dev lo
             -n {home} address add {collector}/32 dev lo
             -n {home} address add {stranger}/32 dev lo
             -n {home} route replace 10.77.0.0/24 dev eth0 src {CALLER}"
        )
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        for place in Place::ALL {
            // One that was never made cannot be deleted, and that is well.
            let _ = std::process::Command::new(&self.ip)
                .args(["netns", "delete", &self.name(place)])
                .stdin(std::process::Stdio::null())
                .stdout(std::process::Stdio::null())
                .stderr(std::process::Stdio::null())
                .status();
        }
    }
}
