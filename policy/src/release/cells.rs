//! From a payload to its cells: which figures there are, and by what they are known.

use serde_json::Value as Json;
use sha2::{Digest, Sha256};

use super::interval::Figure;
use super::{Cell, KEYWORD, Key, MAX_CELLS, ReleaseFacts, ReleaseRule};
use crate::Reason;
use crate::judge::Violation;
use crate::judge::canonical::{canonical, write_canonical};
use crate::judge::sdc::pointer::Token;
use crate::judge::sdc::{CellRule, Pointer};

use super::epsilon::Epsilon;

/// A member whose figures are held against earlier ones.
#[derive(Clone, Debug)]
pub(super) struct Value {
    pub(super) pointer: Pointer,
    pub(super) rule: CellRule,
    /// Its figures are told apart by where they stand, since no label says which they are.
    pub(super) by_place: bool,
}

impl ReleaseRule {
    /// What the ledger must know of a payload that has passed its contract: the value, and the
    /// canonical bytes that it is read from.
    ///
    /// # Errors
    /// What keeps the payload from being told apart from others, and so from leaving.
    pub fn facts(&self, payload: &Json, bytes: &[u8]) -> Result<ReleaseFacts, Vec<Violation>> {
        let epsilon = self.claim(payload).map_err(|v| vec![v])?;
        let cells = self.cells(payload).map_err(|v| vec![v])?;
        let lines = self.lines.of(payload, &cells).map_err(|v| vec![v])?;
        Ok(ReleaseFacts {
            payload: Sha256::digest(bytes).into(),
            bytes: bytes.len() as u64,
            epsilon,
            scope: self.scope(payload).map_err(|v| vec![v])?,
            cells,
            lines,
        })
    }

    fn claim(&self, payload: &Json) -> Result<Option<Epsilon>, Violation> {
        let Some(rule) = &self.epsilon else {
            return Ok(None);
        };
        let claim = rule.claim.one(payload).and_then(Epsilon::read);
        claim.map(Some).ok_or_else(|| {
            let message = format!("the claimed privacy loss is {}", Epsilon::WANTED);
            violation(Reason::SdcEpsilon, rule.claim.to_string(), message)
        })
    }

    /// The labels that hold for all of a payload.
    fn scope(&self, payload: &Json) -> Result<Key, Violation> {
        let mut labels = Labels::default();
        for pointer in self.cell.iter().filter(|p| !p.is_plural()) {
            labels.add(pointer, pointer.one(payload))?;
        }
        Ok(labels.key())
    }

    fn cells(&self, payload: &Json) -> Result<Vec<Cell>, Violation> {
        let mut cells = Vec::new();
        for (index, value) in self.values.iter().enumerate() {
            let found = value.pointer.all(payload);
            if found.is_empty() && !value.pointer.optional && !value.by_place {
                return Err(missing(&value.pointer));
            }
            if found.len() > MAX_CELLS - cells.len() {
                let message = format!("at most {MAX_CELLS} figures in one release");
                return Err(violation(Reason::SdcRows, String::new(), message));
            }
            for (place, figure) in found {
                cells.push(self.cell(index, value, place, figure, payload)?);
            }
        }
        distinct(&cells)?;
        Ok(cells)
    }

    fn cell(
        &self,
        index: usize,
        value: &Value,
        place: String,
        figure: &Json,
        payload: &Json,
    ) -> Result<Cell, Violation> {
        let mut labels = Labels::default();
        // Values of one contract are numbered, not named: renaming one must not lose its past.
        labels.text(&index.to_be_bytes());
        if value.by_place {
            labels.text(place.as_bytes());
        }
        let at = Bound::new(&value.pointer, &place, payload);
        for name in at.names() {
            labels.text(name.as_bytes());
        }
        for pointer in &self.cell {
            labels.add(pointer, at.follow(pointer))?;
        }
        let mut stats = Labels::default();
        for pointer in &self.stats {
            stats.add(pointer, at.follow(pointer))?;
        }
        let read = if self.noisy {
            Figure::read_noisy
        } else {
            Figure::read
        };
        let figure_read = read(&value.rule, figure).ok_or_else(|| {
            let message = "a figure that is held against earlier ones is a whole number or a \
                           marker that the contract declares";
            violation(Reason::SdcCell, place.clone(), message.into())
        })?;
        Ok(Cell {
            key: labels.key(),
            interval: figure_read.interval,
            suppressed: figure_read.suppressed,
            value: digest(&canonical(figure)),
            stats: stats.key(),
            pointer: place,
        })
    }
}

/// Two figures with the same labels are one figure twice, and their difference would leave too.
fn distinct(cells: &[Cell]) -> Result<(), Violation> {
    let mut keys: Vec<_> = cells.iter().map(|cell| (cell.key, &cell.pointer)).collect();
    keys.sort_unstable();
    match keys.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        None => Ok(()),
        Some(pair) => {
            let message = "a release holds each figure once: the labels that `cell` names must \
                           tell any two apart";
            Err(violation(
                Reason::SdcRows,
                pair[1].1.clone(),
                message.into(),
            ))
        }
    }
}

/// A place that a pointer leads to, from which others with the same `*` are followed.
struct Bound<'p> {
    pointer: &'p Pointer,
    /// The concrete token for each token of `pointer`.
    tokens: Vec<String>,
    payload: &'p Json,
}

impl<'p> Bound<'p> {
    fn new(pointer: &'p Pointer, place: &str, payload: &'p Json) -> Self {
        let tokens = place.split('/').skip(1);
        let tokens = tokens.map(|t| t.replace("~1", "/").replace("~0", "~"));
        Self {
            pointer,
            tokens: tokens.collect(),
            payload,
        }
    }

    /// Where another pointer leads when each `*` that it shares with this one is the same.
    fn follow(&self, other: &Pointer) -> Option<&'p Json> {
        let mut value = self.payload;
        for (i, token) in other.tokens().iter().enumerate() {
            let name = match token {
                Token::Name(name) => name,
                Token::Every => self.tokens.get(i)?,
            };
            value = match value {
                Json::Array(items) => items.get(name.parse::<usize>().ok()?)?,
                value => value.get(name)?,
            };
        }
        Some(value)
    }

    /// The member names among what `*` stands for: they are labels too. Indices are not: rows may
    /// move.
    fn names(&self) -> Vec<&str> {
        let mut names = Vec::new();
        let mut value = Some(self.payload);
        for (token, concrete) in self.pointer.tokens().iter().zip(&self.tokens) {
            if *token == Token::Every && value.is_some_and(Json::is_object) {
                names.push(concrete.as_str());
            }
            value = match value {
                Some(Json::Array(items)) => concrete.parse().ok().and_then(|i: usize| items.get(i)),
                value => value.and_then(|v| v.get(concrete)),
            };
        }
        names
    }
}

/// Texts that are put together so that no two lists of texts give the same digest.
#[derive(Default)]
struct Labels(Sha256);

impl Labels {
    fn text(&mut self, text: &[u8]) {
        self.0.update((text.len() as u64).to_be_bytes());
        self.0.update(text);
    }

    fn add(&mut self, pointer: &Pointer, value: Option<&Json>) -> Result<(), Violation> {
        match value {
            Some(value) => {
                let mut text = Vec::new();
                write_canonical(value, &mut text);
                self.text(&text);
            }
            // No canonical text is empty.
            None if pointer.optional => self.text(b""),
            None => return Err(missing(pointer)),
        }
        Ok(())
    }

    fn key(self) -> Key {
        cut(self.0)
    }
}

fn digest(text: &[u8]) -> Key {
    cut(Sha256::new_with_prefix(text))
}

fn cut(sha: Sha256) -> Key {
    let mut key = Key::default();
    key.copy_from_slice(&sha.finalize()[..size_of::<Key>()]);
    key
}

fn missing(pointer: &Pointer) -> Violation {
    let message = format!("the member `{pointer}` is needed to know which release this is");
    violation(Reason::SdcPointer, pointer.to_string(), message)
}

pub(super) fn violation(reason: Reason, pointer: String, message: String) -> Violation {
    Violation {
        reason,
        pointer,
        keyword: Some(KEYWORD.into()),
        message,
    }
}
