//! Where the parts of a flattened schema came from.
//!
//! Kept as trees that share what they have in common: a pointer of its own for each part would cost
//! the product of how many parts there are and how deep they are.

use std::collections::BTreeMap;
use std::path::Path;
use std::rc::Rc;

use super::{Unflat, Why};
use crate::source::join;

/// A place in a schema file.
#[derive(Clone, Debug)]
pub(crate) struct Spot(Rc<Step>);

#[derive(Debug)]
struct Step {
    file: Rc<Path>,
    depth: usize,
    /// `None` for the root of the file.
    last: Option<(Spot, String)>,
}

impl Spot {
    pub(super) fn root(file: &Path) -> Self {
        let file = Rc::from(file);
        Self(Rc::new(Step {
            file,
            depth: 0,
            last: None,
        }))
    }

    /// The place with this RFC 6901 pointer.
    pub(super) fn new(file: &Path, pointer: &str) -> Self {
        let tokens = pointer.split('/').skip(1);
        tokens.fold(Self::root(file), |spot, token| {
            spot.below(&token.replace("~1", "/").replace("~0", "~"))
        })
    }

    pub(super) fn below(&self, token: &str) -> Self {
        Self(Rc::new(Step {
            file: Rc::clone(&self.0.file),
            depth: self.0.depth + 1,
            last: Some((self.clone(), token.to_owned())),
        }))
    }

    pub(super) fn is_root(&self) -> bool {
        self.0.last.is_none()
    }

    pub(super) fn depth(&self) -> usize {
        self.0.depth
    }

    pub(super) fn shared_file(&self) -> Rc<Path> {
        Rc::clone(&self.0.file)
    }

    pub(crate) fn file(&self) -> &Path {
        &self.0.file
    }

    /// Its RFC 6901 pointer.
    pub(crate) fn pointer(&self) -> String {
        let mut tokens = Vec::new();
        let mut at = self;
        while let Some((up, token)) = &at.0.last {
            tokens.push(token);
            at = up;
        }
        (tokens.iter().rev()).fold(String::new(), |pointer, token| join(&pointer, token))
    }

    pub(super) fn refuse(&self, why: Why) -> Unflat {
        Unflat {
            file: self.file().to_owned(),
            pointer: self.pointer(),
            why,
        }
    }
}

/// Where a part of a flattened schema came from, and the parts within it.
#[derive(Debug)]
pub(crate) struct Origins {
    spot: Spot,
    below: BTreeMap<String, Origins>,
}

impl Origins {
    pub(super) fn at(spot: &Spot) -> Self {
        let below = BTreeMap::new();
        let spot = spot.clone();
        Self { spot, below }
    }

    pub(super) fn add(&mut self, token: &str, part: Self) {
        self.below.insert(token.to_owned(), part);
    }

    /// Takes over the parts of another schema.
    pub(super) fn adopt(&mut self, other: Self) {
        for (token, part) in other.below {
            self.below.entry(token).or_insert(part);
        }
    }

    /// The part with this name; made with its parent's place if there is none.
    pub(super) fn entry(&mut self, token: &str) -> &mut Self {
        let spot = self.spot.clone();
        let make = || Self::at(&spot);
        self.below.entry(token.to_owned()).or_insert_with(make)
    }

    /// Where what has this RFC 6901 pointer in the flattened schema came from.
    pub(crate) fn find(&self, pointer: &str) -> Spot {
        let mut tokens = pointer.split('/').skip(1);
        let mut at = self;
        for token in tokens.by_ref() {
            let token = token.replace("~1", "/").replace("~0", "~");
            match at.below.get(&token) {
                Some(part) => at = part,
                None => {
                    return tokens.fold(at.spot.below(&token), |spot, t| {
                        spot.below(&t.replace("~1", "/").replace("~0", "~"))
                    });
                }
            }
        }
        at.spot.clone()
    }
}
