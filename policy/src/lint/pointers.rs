//! Pointers of rules: each must lead, in the schema, to a member that is always there, or the rule
//! could find nothing to judge. And which numbers they put under a rule.

use serde_json::Value;

use super::places::Place;
use super::{Finding, Lint};
use crate::compile::flatten::Flat;
use crate::judge::sdc::Pointer;
use crate::openness::Covered;
use crate::source::join;

mod judged;
mod resolve;

use resolve::{Budget, resolve};

/// What a pointer does to the numbers that it leads to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Covers {
    /// The rule does not judge them.
    Nothing,
    /// The rule judges the number itself.
    Number,
    /// They are estimates of the model that the rule judges, if there are any.
    Estimate,
    /// They are points of the curve that the rule judges, if there are any.
    Share,
    /// The rule judges them in rows whose role is always one that it suppresses with its count.
    Linked,
}

impl Covers {
    /// Whether the pointer is not the contract's own, but where such numbers may stand.
    fn is_search(self) -> bool {
        matches!(self, Self::Estimate | Self::Share)
    }
}

/// A pointer within the value of a keyword.
struct Named {
    /// Where it stands, below the keyword.
    at: String,
    /// What it is below the place of the keyword.
    pointer: String,
    covers: Covers,
}

/// Reports pointers that lead nowhere, and gives the places that the others put under a rule.
pub(super) fn check(lint: &mut Lint<'_>, flat: &Flat, places: &[Place<'_>]) -> Covered {
    let mut covered = Covered::default();
    let mut budget = Budget::default();
    for place in places.iter().filter(|place| place.silent.is_none()) {
        // What a rule judges lies below the schemas around it, too.
        let start = around(&place.pointer);
        for (keyword, rule) in place.schema {
            let at = join(&place.pointer, keyword);
            for named in named(keyword, rule) {
                let at = format!("{at}{}", named.at);
                match follow(flat, start, &named, &mut budget) {
                    Ok(mut found) => {
                        found.retain(|at| judged::is(&flat.value, rule, named.covers, at));
                        covered.extend(found);
                    }
                    Err((message, help)) => {
                        lint.at_flat(flat, &at, Finding::error("sdc-pointer", message, help));
                    }
                }
            }
        }
    }
    covered
}

/// The outermost schema that holds at the same place together with this one.
pub(super) fn around(pointer: &str) -> &str {
    let mut start = pointer;
    while let Some((outer, last)) = start.rsplit_once('/')
        && last.bytes().all(|b| b.is_ascii_digit())
        && let Some(outer) = outer.strip_suffix("/allOf")
    {
        start = outer;
    }
    start
}

/// The places that a pointer leads to.
fn follow(
    flat: &Flat,
    start: &str,
    named: &Named,
    budget: &mut Budget,
) -> Result<Vec<String>, (String, String)> {
    let text = &named.pointer;
    let pointer = Pointer::parse(&Value::String(text.clone())).map_err(|why| {
        (
            format!("`{text}` is no pointer: {why}"),
            "a pointer such as `/n`".into(),
        )
    })?;
    let found = resolve(&flat.value, start, pointer.tokens(), budget).map_err(|_| {
        let message = "too many pointers to follow".to_owned();
        (message, "fewer rules, or fewer alternatives".to_owned())
    })?;
    let Some(found) = found else {
        if named.covers.is_search() {
            return Ok(Vec::new());
        }
        let message = format!("`{text}` leads to no member that the schema describes");
        return Err((
            message,
            "a pointer below the schema that the rule stands in".into(),
        ));
    };
    if !found.required && !pointer.optional && !named.covers.is_search() {
        let message = format!("`{text}` leads to a member that may be missing");
        let help = format!("list it under `required` (`minItems` for an item), or write `{text}?`");
        return Err((message, help));
    }
    Ok(found.places)
}

/// All pointers in the value of a keyword.
fn named(keyword: &str, rule: &Value) -> Vec<Named> {
    use Covers::{Estimate, Linked, Nothing, Number, Share};
    let mut names = Names {
        rule,
        found: Vec::new(),
    };
    let text = |key: &str| rule.get(key).and_then(Value::as_str).unwrap_or_default();
    let items = |key: &str| format!("{}/*", text(key).trim_end_matches('?'));
    match keyword {
        "sdcContributors" => names.all(&["/n", "/stats"], "", Number),
        "sdcRate" => {
            names.all(&["/rate"], "", Number);
            // Their own rule says how small they may be.
            names.all(&["/den", "/num"], "", Nothing);
        }
        "sdcModel" => {
            names.all(&["/n", "/df", "/minCategory"], "", Number);
            names.all(&["/params"], "", Number);
            names.search(&items("params"), Estimate);
            names.search(&format!("{}/*", items("params")), Estimate);
        }
        "sdcDominance" => {
            names.all(&["/total", "/top"], "", Number);
            names.all(&["/n"], "", Nothing);
        }
        "sdcQuantiles" => {
            names.all(&["/n"], "", Number);
            names.all(&["/items"], "", Nothing);
            names.all(&["/prob", "/value"], &items("items"), Number);
        }
        "sdcHistogram" => {
            names.all(&["/n"], "", Number);
            names.all(&["/bins"], "", Nothing);
            names.all(&["/lo", "/hi", "/count"], &items("bins"), Number);
        }
        "sdcSurvival" => {
            names.all(&["/time", "/atRisk", "/events"], "/*", Number);
            names.search("/*/*", Share);
        }
        "sdcRows" => {
            names.all(&["/key", "/linked/key", "/linked/role"], "/*", Nothing);
            names.all(&["/linked/value"], "/*", Linked);
            names.all(&["/density/n"], "", Nothing);
        }
        // Judges suppressed cells; how small a published one may be, its own rule says.
        "sdcTable" => {
            let members = ["/matrix", "/rowTotals", "/colTotals", "/total", "/nested"];
            names.all(&members, "", Nothing);
            let lines = rule.get("lines").and_then(Value::as_array);
            for i in 0..lines.map_or(0, Vec::len) {
                let line = |key: &str| format!("/lines/{i}/{key}");
                names.all(&[&line("total"), &line("parts")], "", Nothing);
            }
        }
        "sdcRelease" => {
            names.all(&["/cell", "/value", "/stats"], "", Nothing);
            names.all(&["/epsilon/claim"], "", Number);
        }
        _ => {}
    }
    names.found
}

/// The value of a keyword, and the pointers found in it.
struct Names<'v> {
    rule: &'v Value,
    found: Vec<Named>,
}

impl Names<'_> {
    /// Takes all pointers that stand at these places, alone or in lists. They begin below others.
    fn all(&mut self, places: &[&str], below: &str, covers: Covers) {
        for place in places {
            if let Some(value) = self.rule.pointer(place) {
                add(&mut self.found, place, value, below, covers);
            }
        }
    }

    /// Takes a pointer to where numbers may stand that no pointer of the rule names.
    fn search(&mut self, pointer: &str, covers: Covers) {
        self.found.push(Named {
            at: String::new(),
            pointer: pointer.to_owned(),
            covers,
        });
    }
}

fn add(found: &mut Vec<Named>, at: &str, value: &Value, below: &str, covers: Covers) {
    match value {
        Value::String(text) => found.push(Named {
            at: at.to_owned(),
            pointer: format!("{below}{text}"),
            covers,
        }),
        Value::Array(list) => {
            for (i, value) in list.iter().enumerate() {
                add(found, &join(at, i), value, below, covers);
            }
        }
        // Reported as a wrong value.
        _ => {}
    }
}
