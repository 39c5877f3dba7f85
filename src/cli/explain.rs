//! `lazaret explain`: what a reason means, for who meets its code.

use clap::Args;
use lazaret_policy::Reason;
use serde::Serialize;

use super::{EX_USAGE, Output, complain, print, print_json};

/// How like a code must be to be meant by a mistyped one, from 0 to 1 (Jaro-Winkler).
const LIKE: f64 = 0.8;

/// How many are suggested.
const MAX_SUGGESTIONS: usize = 3;

/// Arguments of `lazaret explain`.
#[derive(Args, Debug)]
pub(super) struct ExplainArgs {
    /// The code of a reason, such as `sdc-min-count`; all are listed without it
    #[arg(value_name = "REASON")]
    reason: Option<String>,

    /// For people or for scripts
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

/// All that there is to say of a reason.
#[derive(Debug, Serialize)]
struct Explanation {
    code: &'static str,
    title: &'static str,
    example: &'static str,
    fix: &'static str,
    /// Towards the sender of a refused request.
    status: u16,
    /// Towards the caller, when a response is refused.
    response_status: u16,
}

pub(super) fn explain(args: &ExplainArgs) -> u8 {
    match &args.reason {
        Some(code) => one(code, args.output),
        None => all(args.output),
    }
}

/// Explains the reason with this code.
pub(super) fn one(code: &str, output: Output) -> u8 {
    let Some(reason) = Reason::from_code(code) else {
        complain(&unknown(code));
        return EX_USAGE;
    };
    let explanation = explanation(reason);
    match output {
        Output::Json => print_json(&explanation),
        Output::Text => print(&text(&explanation)),
    }
    0
}

fn all(output: Output) -> u8 {
    let all: Vec<Explanation> = Reason::ALL.iter().copied().map(explanation).collect();
    match output {
        Output::Json => print_json(&all),
        Output::Text => {
            let width = all.iter().map(|e| e.code.len()).max().unwrap_or(0);
            let lines = all.iter();
            let lines = lines.map(|e| format!("{:width$}  {}\n", e.code, e.title));
            print(&lines.collect::<String>());
        }
    }
    0
}

fn explanation(reason: Reason) -> Explanation {
    Explanation {
        code: reason.code(),
        title: reason.text(),
        example: reason.example(),
        fix: reason.fix(),
        status: reason.status(),
        response_status: reason.response_status(),
    }
}

fn text(explanation: &Explanation) -> String {
    let Explanation {
        code,
        title,
        example,
        fix,
        status,
        response_status,
    } = explanation;
    format!(
        "{code}\n  {title}\n\n\
         example\n  {example}\n\n\
         to do\n  {fix}\n\n\
         HTTP status\n  {status} to who sent a refused request, {response_status} in place of a \
         refused response\n"
    )
}

fn unknown(code: &str) -> String {
    let like = suggestions(code);
    if like.is_empty() {
        return format!("lazaret: there is no reason `{code}`; `lazaret explain` lists all");
    }
    let like: Vec<_> = like.iter().map(|code| format!("`{code}`")).collect();
    format!(
        "lazaret: there is no reason `{code}`; did you mean {}?",
        like.join(" or ")
    )
}

/// The codes that are meant, likeliest first.
fn suggestions(code: &str) -> Vec<&'static str> {
    let code = code.to_ascii_lowercase().replace(['.', '_', ' '], "-");
    let mut like: Vec<(f64, &str)> = (Reason::ALL.iter().map(|reason| reason.code()))
        .map(|known| {
            let whole = strsim::jaro_winkler(known, &code);
            // `differencing` for `sdc-differencing`, `sdc-minCount` for `sdc-min-count`.
            let bare = strsim::jaro_winkler(&joined(known), &joined(&code));
            (whole.max(bare), known)
        })
        .filter(|(likeness, _)| *likeness >= LIKE)
        .collect();
    like.sort_by(|a, b| b.0.total_cmp(&a.0));
    let like = like.into_iter().map(|(_, known)| known);
    like.take(MAX_SUGGESTIONS).collect()
}

/// The words of a code alone, without the prefix that many share.
fn joined(code: &str) -> String {
    code.strip_prefix("sdc-").unwrap_or(code).replace('-', "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistyped_code_is_recognised() {
        for (typed, meant) in [
            ("sdc-min-cuont", "sdc-min-count"),
            ("sdc.minCount", "sdc-min-count"),
            ("differencing", "sdc-differencing"),
            ("SDC_ROWS_SORTED", "sdc-rows-sorted"),
            ("json-sintax", "json-syntax"),
            ("body-to-large", "body-too-large"),
        ] {
            let found = suggestions(typed);
            assert_eq!(found.first(), Some(&meant), "{typed}: {found:?}");
            assert!(found.len() <= MAX_SUGGESTIONS);
        }
        for typed in ["", "xyzzy", "\u{1f600}", &"q".repeat(10_000)] {
            assert_eq!(suggestions(typed), Vec::<&str>::new(), "{typed}");
        }
    }
}
