//! `lazaret demo`: a hospital, an app that tries to get patient data out, a consumer, and the
//! gateway between them, each a process of its own. Every outcome is compared with what it must
//! be, so that the demonstration is also a test.

use std::io::IsTerminal;

use clap::{Args, ValueEnum};
use tokio::runtime::Builder;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::cli::{EX_SOFTWARE, EX_USAGE, Output, complain, print, print_json};

mod agent;
mod app;
mod attempt;
mod data;
mod driver;
mod error;
mod http;
mod namespaces;
mod orders;
mod outcome;
mod play;
mod recorder;
mod report;
mod stage;
mod step;

use error::DemoError;
use stage::Stage;

/// Arguments of `lazaret demo`.
#[derive(Args, Debug)]
pub struct DemoArgs {
    /// Use real network namespaces and the capture rules of lazaret-init, as in a cluster, instead
    /// of an explicit proxy; needs root
    #[arg(long)]
    transparent: bool,

    /// Leave everything running until Ctrl-C, to go on by hand
    #[arg(long)]
    keep: bool,

    /// For people or for scripts
    #[arg(long, value_enum, default_value_t)]
    output: Output,

    /// Play this part, by orders on standard input
    #[arg(long, hide = true, value_enum)]
    role: Option<Role>,
}

/// The parts besides the gateway. They differ in the orders that they are given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Role {
    Hospital,
    App,
    Collector,
    Consumer,
}

impl Role {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Hospital => "hospital",
            Self::App => "app",
            Self::Collector => "collector",
            Self::Consumer => "consumer",
        }
    }
}

/// Runs it. 0: every attempt ended as the policy says.
pub fn run(args: &DemoArgs) -> u8 {
    let runtime = match Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            complain(&format!("lazaret: demo: {error}"));
            return EX_SOFTWARE;
        }
    };
    if args.role.is_some() {
        return runtime.block_on(agent::run());
    }
    match runtime.block_on(perform(args)) {
        Ok(true) => 0,
        Ok(false) => EX_SOFTWARE,
        Err(error) => {
            complain(&format!("lazaret: demo: {error}"));
            if error.is_usage() {
                EX_USAGE
            } else {
                EX_SOFTWARE
            }
        }
    }
}

/// Whether everything ended as it must.
async fn perform(args: &DemoArgs) -> Result<bool, DemoError> {
    // Before anything is started, so that nothing can be left behind.
    let mut interrupts = Interrupts::new()?;
    // What is dropped half-way takes its processes and namespaces with it.
    let mut stage = tokio::select! {
        stage = Stage::set(args.transparent) => stage?,
        () = interrupts.wait() => return Err(DemoError::Interrupted),
    };
    let told = tokio::select! {
        told = play::play(&mut stage) => told?,
        () = interrupts.wait() => return Err(DemoError::Interrupted),
    };
    match args.output {
        Output::Json => print_json(&told),
        Output::Text => {
            let plain = std::env::var_os("NO_COLOR").is_some() || !std::io::stdout().is_terminal();
            print(&report::text(&told, &stage, args.keep, !plain));
        }
    }
    if args.keep {
        interrupts.wait().await;
    }
    stage.strike().await?;
    Ok(told.ok)
}

/// Whatever asks this process to end.
struct Interrupts([Signal; 3]);

impl Interrupts {
    fn new() -> Result<Self, DemoError> {
        let on = |kind| signal(kind).map_err(DemoError::io("signals"));
        Ok(Self([
            on(SignalKind::interrupt())?,
            on(SignalKind::terminate())?,
            on(SignalKind::hangup())?,
        ]))
    }

    async fn wait(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}
