//! A PostgreSQL server of the test's own: in a temporary directory, on a Unix socket alone, as an
//! unprivileged user when the test is root, since the server refuses root.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, User, chown, geteuid};
use tempfile::TempDir;

/// How long the server may take to start or stop.
const DEADLINE: Duration = Duration::from_secs(60);

/// A running server; stopped and removed when dropped.
#[derive(Debug)]
pub struct Server {
    dir: TempDir,
    child: Option<Child>,
    options: Vec<String>,
}

impl Server {
    /// Makes a server and starts it. `durable` makes it wait for the disk, as a real one does.
    pub fn start(durable: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        if let Some(user) = user() {
            chown(dir.path(), Some(user.uid), Some(user.gid)).unwrap();
        }
        let fsync = if durable { "fsync=on" } else { "fsync=off" };
        let mut server = Self {
            dir,
            child: None,
            options: vec!["-c".into(), fsync.into()],
        };
        let made = server
            .program("initdb")
            .args([
                "--auth=trust",
                "--username=lazaret",
                "--no-sync",
                "-E",
                "UTF8",
                "-D",
            ])
            .arg(server.data())
            .output()
            .unwrap();
        assert!(made.status.success(), "initdb: {made:?}");
        server.run();
        server
    }

    /// Starts it, or starts it again.
    pub fn run(&mut self) {
        let log = File::create(self.dir.path().join("log")).unwrap();
        let child = self
            .program("postgres")
            .args(["-c", "listen_addresses=", "-c", "shared_buffers=64MB"])
            .args(["-c", "max_connections=40"])
            .args(&self.options)
            .arg("-D")
            .arg(self.data())
            .arg("-k")
            .arg(self.dir.path())
            .stderr(log)
            .spawn()
            .unwrap();
        self.child = Some(child);
        let until = Instant::now() + DEADLINE;
        let answers = || self.psql("postgres", "SELECT 1");
        while answers().is_none_or(|out| out.trim() != "1") {
            let log = || fs::read_to_string(self.dir.path().join("log"));
            assert!(Instant::now() < until, "no server: {:?}", log());
            pause();
        }
    }

    /// Stops it at once, as a crash does.
    pub fn stop(&mut self) {
        let Some(mut child) = self.child.take() else {
            return;
        };
        // Immediate shutdown: no session is waited for, nothing is written.
        let _ = kill(Pid::from_raw(child.id() as i32), Signal::SIGQUIT);
        let until = Instant::now() + DEADLINE;
        while child.try_wait().is_ok_and(|status| status.is_none()) {
            if Instant::now() > until {
                let _ = child.kill();
            }
            pause();
        }
    }

    /// A new database on it, as its address.
    pub fn database(&self, name: &str) -> String {
        self.psql("postgres", &format!("CREATE DATABASE {name}"))
            .expect("a database");
        self.url(name)
    }

    /// The address of a database.
    pub fn url(&self, name: &str) -> String {
        let socket = self.dir.path().display();
        format!("postgresql:///{name}?user=lazaret&host={socket}")
    }

    /// Runs statements; `None` if they failed.
    pub fn psql(&self, database: &str, sql: &str) -> Option<String> {
        let output = self
            .program("psql")
            .args([
                "-X",
                "-q",
                "-A",
                "-t",
                "-v",
                "ON_ERROR_STOP=1",
                "-U",
                "lazaret",
            ])
            .arg("-h")
            .arg(self.dir.path())
            .args(["-d", database, "-c", sql])
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        output.status.success().then_some(text)
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    fn program(&self, name: &str) -> Command {
        let mut command = Command::new(programs().join(name));
        if let Some(user) = user() {
            command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
        }
        command
            .current_dir(self.dir.path())
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("LC_ALL", "C.UTF-8")
            .stdin(Stdio::null());
        // The server must not outlive a test that is killed, nor get its terminal's signals.
        command.process_group(0);
        command
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Who runs the server: nobody else than the test, unless that is root.
fn user() -> Option<User> {
    if !geteuid().is_root() {
        return None;
    }
    let by_name = |name| User::from_name(name).ok().flatten();
    Some(
        by_name("postgres")
            .or_else(|| by_name("nobody"))
            .expect("a user"),
    )
}

/// Where the newest server is installed.
fn programs() -> PathBuf {
    let installed = fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    let mut found: Vec<PathBuf> = installed
        .filter_map(|version| Some(version.ok()?.path().join("bin")))
        .filter(|bin| bin.join("initdb").exists())
        .collect();
    let number = |bin: &Path| -> Option<u32> {
        bin.parent()?
            .file_name()
            .and_then(OsStr::to_str)?
            .parse()
            .ok()
    };
    found.sort_by_key(|bin| number(bin));
    let in_path = || {
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path).find(|dir| dir.join("initdb").exists())
    };
    found
        .pop()
        .or_else(in_path)
        .expect("no PostgreSQL server is installed; run scripts/setup.sh test")
}

#[allow(
    clippy::disallowed_methods,
    reason = "a poll pauses between two looks, with a deadline"
)]
fn pause() {
    std::thread::sleep(Duration::from_millis(10));
}
