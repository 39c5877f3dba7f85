//! `lazaret generate`: what is made from the source, for packagers, editors and readers.

use clap::{Command, Subcommand};
use clap_complete::Shell;

use super::{EX_SOFTWARE, complain, print};

/// Print what is generated from the source.
#[derive(Debug, Subcommand)]
pub(super) enum GenerateCommand {
    /// The JSON Schema of the policy file, for editors
    PolicySchema,
    /// The JSON Schema of the site policy, for editors
    SiteSchema,
    /// The meta-schema of contracts with disclosure rules, for editors
    ContractSchema,
    /// Every reason code with an example and what to do, in Markdown
    Reasons,
    /// Shell completions
    Completions {
        /// The shell
        shell: Shell,
    },
    /// The man page, in roff
    Man,
}

pub(super) fn run(command: &GenerateCommand, mut cli: Command) -> u8 {
    let mut out = Vec::new();
    match command {
        GenerateCommand::PolicySchema => {
            let schema = lazaret_policy::compile::policy_schema();
            out.extend(format!("{schema:#}\n").into_bytes());
        }
        GenerateCommand::SiteSchema => {
            let schema = lazaret_policy::compile::site_schema();
            out.extend(format!("{schema:#}\n").into_bytes());
        }
        GenerateCommand::ContractSchema => out.extend(lazaret_policy::lint::META.as_bytes()),
        GenerateCommand::Reasons => out.extend(lazaret_policy::reason::reasons_markdown().bytes()),
        GenerateCommand::Completions { shell } => {
            clap_complete::generate(*shell, &mut cli, "lazaret", &mut out);
        }
        GenerateCommand::Man => {
            if let Err(error) = clap_mangen::Man::new(cli).render(&mut out) {
                complain(&format!("lazaret: {error}"));
                return EX_SOFTWARE;
            }
        }
    }
    print(&String::from_utf8_lossy(&out));
    0
}
