//! The processes as the demonstration holds them: it gives orders to the parts, starts and ends
//! programs, and leaves none behind.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use super::Role;
use super::error::DemoError;
use super::orders::{Answer, Got, Order, Taken};

/// Longer than anything that a part does.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(40);

/// How long a process may take to end when it is asked to.
const END_TIMEOUT: Duration = Duration::from_secs(5);

/// A part that obeys orders.
#[derive(Debug)]
pub(super) struct Part {
    role: Role,
    child: Child,
    orders: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Part {
    /// Starts it; `command` runs this program.
    pub(super) fn start(role: Role, mut command: Command) -> Result<Self, DemoError> {
        command
            .args(["demo", "--role", role.as_str()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = spawn(command).map_err(DemoError::io(role.as_str()))?;
        let (Some(orders), Some(answers)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(DemoError::Role {
                role: role.as_str(),
                why: "it has no standard input or output".to_owned(),
            });
        };
        Ok(Self {
            role,
            child,
            orders,
            answers: BufReader::new(answers).lines(),
        })
    }

    /// Gives an order and waits for the answer.
    pub(super) async fn ask(&mut self, order: &Order) -> Result<Answer, DemoError> {
        let answer = tokio::time::timeout(ANSWER_TIMEOUT, self.exchange(order)).await;
        match answer.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
            Ok(Answer::Failed(why)) => Err(self.failed(why)),
            Ok(answer) => Ok(answer),
            Err(error) => Err(self.failed(error.to_string())),
        }
    }

    /// Has it listen.
    pub(super) async fn listen(
        &mut self,
        order: &Order,
    ) -> Result<Vec<std::net::SocketAddr>, DemoError> {
        match self.ask(order).await? {
            Answer::Listening(addresses) => Ok(addresses),
            other => Err(self.failed(format!("unexpected answer {other:?}"))),
        }
    }

    /// Has it ask for a page.
    pub(super) async fn get(
        &mut self,
        to: std::net::SocketAddr,
        path: &str,
    ) -> Result<Got, DemoError> {
        let path = path.to_owned();
        match self.ask(&Order::Get { to, path }).await? {
            Answer::Got(got) => Ok(got),
            other => Err(self.failed(format!("unexpected answer {other:?}"))),
        }
    }

    /// What it has received since last time.
    pub(super) async fn take(&mut self) -> Result<Taken, DemoError> {
        match self.ask(&Order::Take).await? {
            Answer::Taken(taken) => Ok(taken),
            other => Err(self.failed(format!("unexpected answer {other:?}"))),
        }
    }

    /// Ends it.
    pub(super) async fn end(self) -> Result<(), DemoError> {
        let Self {
            role,
            mut child,
            orders,
            ..
        } = self;
        // No more orders.
        drop(orders);
        finish(&mut child)
            .await
            .map_err(DemoError::io(role.as_str()))?;
        Ok(())
    }

    async fn exchange(&mut self, order: &Order) -> io::Result<Answer> {
        let mut line = serde_json::to_vec(order)?;
        line.push(b'\n');
        self.orders.write_all(&line).await?;
        match self.answers.next_line().await? {
            Some(line) => Ok(serde_json::from_str(&line)?),
            None => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    fn failed(&self, why: String) -> DemoError {
        DemoError::Role {
            role: self.role.as_str(),
            why,
        }
    }
}

/// Starts a process that ends with us. Ctrl-C reaches only us, so that we can end all the others
/// in order.
pub(super) fn spawn(mut command: Command) -> io::Result<Child> {
    command.process_group(0).kill_on_drop(true).spawn()
}

/// Ends a process as an orchestrator would.
pub(super) async fn terminate(child: &mut Child) -> io::Result<ExitStatus> {
    let pid = child.id().and_then(|id| i32::try_from(id).ok());
    if let Some(pid) = pid {
        kill(Pid::from_raw(pid), Signal::SIGTERM)?;
    }
    finish(child).await
}

/// Runs a program to its end; gives what it printed.
pub(super) async fn output(mut command: Command) -> Result<String, DemoError> {
    let text = format!("{:?}", command.as_std());
    let output = command
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .map_err(DemoError::io("cannot run a program"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let both = [output.stdout, output.stderr].concat();
    Err(DemoError::Command {
        command: text,
        stderr: String::from_utf8_lossy(&both).trim().to_owned(),
    })
}

/// Looks for a program where it is likely to be.
pub(super) fn find(
    program: &'static str,
    first: Option<&Path>,
    remedy: &'static str,
) -> Result<PathBuf, DemoError> {
    // Programs for administrators are not in everybody's PATH.
    let path = std::env::var_os("PATH").unwrap_or_default();
    let usual = ["/usr/sbin", "/sbin", "/usr/bin", "/bin"].map(PathBuf::from);
    first
        .map(Path::to_owned)
        .into_iter()
        .chain(std::env::split_paths(&path))
        .chain(usual)
        .map(|directory| directory.join(program))
        .find(|file| file.is_file())
        .ok_or(DemoError::NoProgram { program, remedy })
}

/// Takes away what would change a program's settings behind our back.
pub(super) fn without_settings(mut command: Command) -> Command {
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("LAZARET_") {
            command.env_remove(name);
        }
    }
    command
}

async fn finish(child: &mut Child) -> io::Result<ExitStatus> {
    if let Ok(ended) = tokio::time::timeout(END_TIMEOUT, child.wait()).await {
        return ended;
    }
    child.start_kill()?;
    child.wait().await
}
