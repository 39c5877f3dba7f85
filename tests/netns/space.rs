//! A network namespace, and what is done in it and by whom.

use std::fs::File;
use std::io::{ErrorKind, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use nix::sched::{CloneFlags, setns};
use nix::unistd::{Gid, Uid, setfsgid, setfsuid};

use crate::common::raw::Client;

/// Who does something.
#[derive(Clone, Copy, Debug)]
pub struct User {
    pub id: u32,
    net_raw: bool,
}

pub const APP: User = User {
    id: 2000,
    net_raw: false,
};
pub const APP_WITH_NET_RAW: User = User {
    net_raw: true,
    ..APP
};
pub const GATEWAY: User = User {
    id: 1337,
    net_raw: false,
};

/// A network namespace.
#[derive(Debug)]
pub struct Space {
    pub name: String,
    file: File,
}

impl Space {
    pub fn new(name: String) -> Self {
        let done = run(&["ip", "netns", "add", &name].map(str::to_owned));
        assert!(done.status.success(), "{done:?}");
        let file = File::open(Path::new("/run/netns").join(&name)).unwrap();
        Self { name, file }
    }

    pub fn ip(&self, batch: &str) {
        let mut child = Command::new("ip")
            .args(["-n", &self.name, "-batch", "-"])
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(batch.as_bytes()).unwrap();
        drop(stdin);
        let done = child.wait_with_output().unwrap();
        assert!(done.status.success(), "{batch}: {done:?}");
    }

    pub fn sysctl(&self, assignment: &str) {
        let done = run(&self.command_as_root(&["sysctl", "-qw", assignment]));
        assert!(done.status.success(), "{done:?}");
    }

    /// A command line that becomes this command in here, with all privileges.
    pub fn command_as_root(&self, command: &[&str]) -> Vec<String> {
        let words = ["ip", "netns", "exec", &self.name].into_iter();
        words
            .chain(command.iter().copied())
            .map(str::to_owned)
            .collect()
    }

    /// A command line that becomes this command in here, as this user.
    pub fn command(&self, user: User, command: &[&str]) -> Vec<String> {
        let id = user.id.to_string();
        let mut words = vec!["setpriv", "--reuid", &id, "--regid", &id, "--clear-groups"];
        if user.net_raw {
            words.extend(["--inh-caps", "+net_raw", "--ambient-caps", "+net_raw"]);
        } else {
            words.extend(["--bounding-set=-all", "--inh-caps=-all"]);
        }
        words.push("--");
        words.extend(command);
        self.command_as_root(&words)
    }

    /// Runs a program to its end, as a user of no importance.
    pub fn tool(&self, command: &[&str]) -> Output {
        let limited = [&["timeout", "90"], command].concat();
        run(&self.command(APP, &limited))
    }

    /// Does something on a thread in here, whose sockets are those of this user. A socket stays in
    /// the namespace in which it was made.
    pub fn enter<T: Send>(&self, user: Option<User>, work: impl FnOnce() -> T + Send) -> T {
        let inside = || {
            setns(&self.file, CloneFlags::CLONE_NEWNET).unwrap();
            if let Some(user) = user {
                setfsgid(Gid::from_raw(user.id));
                setfsuid(Uid::from_raw(user.id));
            }
            work()
        };
        match std::thread::scope(|scope| scope.spawn(inside).join()) {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }

    /// Listens on this port in both families, as a user of no importance.
    #[track_caller]
    pub fn listen(&self, port: u16) -> TcpListener {
        self.listen_at("::", port)
    }

    /// Listens on one address.
    #[track_caller]
    pub fn listen_at(&self, ip: &str, port: u16) -> TcpListener {
        self.enter(Some(APP), || TcpListener::bind(at(ip, port)).unwrap())
    }

    /// A connection of a user of no importance.
    #[track_caller]
    pub fn dial(&self, ip: &str, port: u16) -> Client {
        self.enter(Some(APP), || Client::connect(at(ip, port)))
    }

    /// How an attempt to connect ends, without insisting: `None` if it works.
    pub fn try_dial(&self, ip: &str, port: u16, at_most: Duration) -> Option<ErrorKind> {
        let dialled = || TcpStream::connect_timeout(&at(ip, port), at_most);
        self.enter(Some(APP), dialled)
            .err()
            .map(|error| error.kind())
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        let _ = Command::new("ip")
            .args(["netns", "del", &self.name])
            .status();
    }
}

/// Runs a command line to its end.
pub fn run(command: &[String]) -> Output {
    let output = Command::new(&command[0]).args(&command[1..]).output();
    output.unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

/// What a program said on its standard output.
#[track_caller]
pub fn said(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// An address of a site.
pub fn at(ip: &str, port: u16) -> SocketAddr {
    SocketAddr::new(ip.parse().unwrap(), port)
}
