//! What rules about several members share: reading their arguments, and the cells that they name.
//!
//! A cell that is missing or that holds neither a number nor a declared marker is reported here, so
//! that no rule passes because there was nothing to look at.

use std::fmt::Display;

use serde_json::{Map, Value};

use super::params::{integer, members};
use super::pointer::{Token, step};
use super::{CellRule, CellValue, Decimal, Findings, Pointer};
use crate::Reason;
use crate::source::join;

/// The most decimals of a ratio in a contract; it keeps products within an `i128`.
const MAX_RATIO_DECIMALS: u32 = 6;
const RATIO_SCALE: i128 = 10_i128.pow(MAX_RATIO_DECIMALS);

/// The most decimals of a number of which a rule makes sums or products; it keeps these within an
/// `i128` for all numbers that the wire allows.
pub(super) const MAX_DECIMALS: u32 = 15;

/// The value of a keyword, and the schema in which it stands.
pub(super) struct Arguments<'v> {
    keyword: &'static str,
    members: &'v Map<String, Value>,
    schema: &'v Map<String, Value>,
}

/// Cells that a rule looks at.
#[derive(Debug)]
pub(super) struct Cell {
    /// Where they are, from the object or row on to which they belong.
    pub(super) pointer: Pointer,
    /// What they may hold.
    pub(super) rule: CellRule,
}

/// What a cell holds.
#[derive(Clone, Copy, Debug)]
pub(super) enum Seen {
    /// Nothing: it is optional, and not there.
    Absent,
    Number(Decimal),
    /// A declared marker.
    Marker,
}

/// A ratio above 0 and up to 1, exactly.
#[derive(Clone, Debug)]
pub(super) struct Ratio {
    digits: i128,
    /// As the contract has it.
    pub(super) text: String,
}

impl<'v> Arguments<'v> {
    /// Reads an object with all of `required` and nothing but those and `optional`.
    pub(super) fn read(
        keyword: &'static str,
        value: &'v Value,
        schema: &'v Map<String, Value>,
        required: &[&str],
        optional: &[&str],
    ) -> Result<Self, String> {
        let members = members(keyword, value, required, optional)?;
        Ok(Self {
            keyword,
            members,
            schema,
        })
    }

    /// A member, if it is there.
    pub(super) fn get(&self, name: &str) -> Option<&'v Value> {
        self.members.get(name)
    }

    /// A member that may be left out of the keyword's value.
    pub(super) fn optional<T>(
        &self,
        name: &str,
        read: impl FnOnce(&Self, &str) -> Result<T, String>,
    ) -> Result<Option<T>, String> {
        let given = self.get(name).is_some();
        given.then(|| read(self, name)).transpose()
    }

    /// What is wrong with a member.
    pub(super) fn wrong(&self, name: &str, what: impl Display) -> String {
        format!("`{name}` of `{}` {what}", self.keyword)
    }

    /// A whole number from `least` on.
    pub(super) fn integer(&self, name: &str, least: i64) -> Result<i64, String> {
        let value = integer(self.keyword, name, &self.members[name])?;
        if value < least {
            return Err(self.wrong(name, format_args!("must be at least {least}")));
        }
        Ok(value)
    }

    /// A ratio.
    pub(super) fn ratio(&self, name: &str) -> Result<Ratio, String> {
        Ratio::new(&self.members[name]).map_err(|what| self.wrong(name, what))
    }

    /// A pointer to one value, which must be there.
    pub(super) fn pointer(&self, name: &str) -> Result<Pointer, String> {
        let pointer = self.loose_pointer(name, &self.members[name])?;
        if pointer.optional {
            return Err(self.wrong(name, "must not end in `?`: the rule needs what it names"));
        }
        Ok(pointer)
    }

    /// A pointer to one value, which may be missing if the pointer says so.
    fn loose_pointer(&self, name: &str, value: &Value) -> Result<Pointer, String> {
        let pointer = self.any_pointer(name, value)?;
        if pointer.is_plural() {
            return Err(self.wrong(name, "must name one value, so it cannot hold `*`"));
        }
        Ok(pointer)
    }

    fn any_pointer(&self, name: &str, value: &Value) -> Result<Pointer, String> {
        Pointer::parse(value).map_err(|why| self.wrong(name, format_args!("is no pointer: {why}")))
    }

    /// Pointers, each to one value; at least one.
    pub(super) fn pointers(&self, name: &str) -> Result<Vec<Pointer>, String> {
        let list = self.list(name)?.iter();
        list.map(|value| self.loose_pointer(name, value)).collect()
    }

    /// A list that is not empty.
    pub(super) fn list(&self, name: &str) -> Result<&'v Vec<Value>, String> {
        let list = self.members[name].as_array();
        list.filter(|list| !list.is_empty())
            .ok_or_else(|| self.wrong(name, "must be a list that is not empty"))
    }

    /// The cell of the pointer `name`, which must be there.
    pub(super) fn cell(&self, name: &str) -> Result<Cell, String> {
        let pointer = self.pointer(name)?;
        self.cell_at(name, pointer, None)
    }

    /// The cell of the pointer `name`, which may be missing if the pointer says so.
    pub(super) fn loose_cell(&self, name: &str) -> Result<Cell, String> {
        let pointer = self.loose_pointer(name, &self.members[name])?;
        self.cell_at(name, pointer, None)
    }

    /// The cells of a list of pointers, which may name many and may lead nowhere if they say so.
    pub(super) fn cells(&self, name: &str) -> Result<Vec<Cell>, String> {
        let cell = |value| self.cell_at(name, self.any_pointer(name, value)?, None);
        self.list(name)?.iter().map(cell).collect()
    }

    /// The cell that the pointer `name` leads to from every item of the array at `array`.
    pub(super) fn item_cell(&self, array: &str, name: &str) -> Result<Cell, String> {
        let pointer = self.pointer(name)?;
        self.cell_at(name, pointer, Some(array))
    }

    fn cell_at(&self, name: &str, pointer: Pointer, array: Option<&str>) -> Result<Cell, String> {
        let rule = match array {
            None => CellRule::at(self.schema, &pointer),
            Some(array) => {
                // The `?` keeps one that ends a name from being taken for ours.
                let way = Value::from(format!("{array}/*{pointer}?"));
                CellRule::at(self.schema, &Pointer::parse(&way)?)
            }
        };
        let rule = rule.map_err(|why| self.wrong(name, format_args!("is unusable: {why}")))?;
        Ok(Cell { pointer, rule })
    }
}

impl Cell {
    /// What the cell of `owner` holds; `None` if that was reported. `at` is the place of `owner`.
    pub(super) fn read(
        &self,
        owner: &Value,
        at: impl Display,
        found: &mut Findings,
    ) -> Option<Seen> {
        match self.pointer.one(owner) {
            Some(value) => self.seen(value, || format!("{at}{}", self.pointer), found),
            None if self.pointer.optional => Some(Seen::Absent),
            None => {
                missing(&self.pointer, at, found);
                None
            }
        }
    }

    /// Whether the one value that it names is there if it must be, and a number or a marker. `false`
    /// for many: those are looked at one by one.
    pub(super) fn is_in_order(&self, owner: &Value) -> bool {
        match self.pointer.one(owner) {
            Some(value) => !matches!(self.rule.read(value), CellValue::Invalid),
            None => self.pointer.optional && !self.pointer.is_plural(),
        }
    }

    /// What a value in the place of the cell is; `None` if that was reported.
    pub(super) fn seen(
        &self,
        value: &Value,
        place: impl FnOnce() -> String,
        found: &mut Findings,
    ) -> Option<Seen> {
        match self.rule.read(value) {
            CellValue::Number(number) => Some(Seen::Number(number)),
            CellValue::Marker { .. } => Some(Seen::Marker),
            CellValue::Invalid => {
                found.push(Reason::SdcCell, place(), || {
                    let form = if self.rule.text { " as a text" } else { "" };
                    format!("a number{form}{}", self.rule.or_markers())
                });
                None
            }
        }
    }

    /// The whole number, from 0 on, that the cell of `owner` holds; `None`, once it is reported with
    /// this reason, if it holds anything else.
    pub(super) fn count(
        &self,
        owner: &Value,
        at: impl Display + Copy,
        reason: Reason,
        found: &mut Findings,
    ) -> Option<i64> {
        let count = match self.read(owner, at, found)? {
            Seen::Number(number) => number.as_integer().filter(|count| *count >= 0),
            Seen::Absent | Seen::Marker => None,
        };
        if count.is_none() {
            let message = || "a whole number from 0 on: this rule cannot do without it";
            found.push(reason, format!("{at}{}", self.pointer), message);
        }
        count
    }
}

/// Reports that what a pointer names is not there.
pub(super) fn missing(pointer: &Pointer, at: impl Display, found: &mut Findings) {
    found.push(Reason::SdcPointer, at.to_string(), || {
        format!("`{pointer}` must be there: a disclosure rule needs it")
    });
}

/// All that a pointer names, with its place. What is missing on the way is reported, unless it may
/// be.
pub(super) fn every<'v>(
    pointer: &Pointer,
    owner: &'v Value,
    found: &mut Findings,
) -> Vec<(String, &'v Value)> {
    let mut gap = |place| {
        if !pointer.optional && !found.enough() {
            missing(pointer, place, found);
        }
    };
    let mut here: Vec<(String, _)> = vec![(String::new(), owner)];
    for token in pointer.tokens() {
        let mut next = Vec::with_capacity(here.len());
        for (place, value) in here {
            match (token, value) {
                (Token::Every, Value::Array(items)) => {
                    next.extend((items.iter().enumerate()).map(|(i, v)| (join(&place, i), v)));
                }
                (Token::Every, Value::Object(members)) => {
                    next.extend(members.iter().map(|(name, v)| (join(&place, name), v)));
                }
                (Token::Name(name), _) => match step(value, name) {
                    Some(value) => next.push((join(&place, name), value)),
                    None => gap(place),
                },
                (Token::Every, _) => gap(place),
            }
        }
        here = next;
    }
    here
}

/// The items of the array that a pointer names; `None`, once it is reported, if there is none.
pub(super) fn items<'v>(
    pointer: &Pointer,
    owner: &'v Value,
    reason: Reason,
    found: &mut Findings,
) -> Option<&'v Vec<Value>> {
    match pointer.one(owner) {
        Some(Value::Array(items)) => Some(items),
        Some(_) => {
            found.push(reason, pointer.to_string(), || "an array");
            None
        }
        None => {
            missing(pointer, "", found);
            None
        }
    }
}

/// A JSON number, exactly; `None` for what is none, and for one that the wire does not allow.
pub(super) fn number(value: &Value) -> Option<Decimal> {
    match value {
        Value::Number(number) => Decimal::from_number(number).filter(|number| number.is_safe()),
        _ => None,
    }
}

impl Ratio {
    /// Reads a ratio.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn new(value: &Value) -> Result<Self, String> {
        let what = || {
            format!(
                "must be a number above 0 and up to 1, of at most {MAX_RATIO_DECIMALS} decimals"
            )
        };
        let digits = number(value).and_then(|number| number.scaled(MAX_RATIO_DECIMALS));
        let digits = digits.filter(|digits| (1..=RATIO_SCALE).contains(digits));
        Ok(Self {
            digits: digits.ok_or_else(what)?,
            text: value.to_string(),
        })
    }

    /// Compares `part / whole` with the ratio, for a whole above 0 or a part of 0; `None` if that is
    /// out of reach.
    pub(super) fn cmp_part(&self, part: i128, whole: i128) -> Option<std::cmp::Ordering> {
        let part = part.checked_mul(RATIO_SCALE)?;
        Some(part.cmp(&whole.checked_mul(self.digits)?))
    }

    /// Whether `part` is at most this ratio of `whole`.
    pub(super) fn allows(&self, part: usize, whole: i64) -> bool {
        let part = i128::try_from(part).ok();
        let order = part.and_then(|part| self.cmp_part(part, whole.into()));
        order.is_some_and(std::cmp::Ordering::is_le)
    }
}
