//! Pointers of the vocabulary: RFC 6901 from the place of a keyword on, with `*` for every element
//! of an array or every member of an object, and `?` at the end of one that may lead nowhere.

use serde_json::Value;

use crate::source::join;

/// A pointer of the vocabulary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pointer {
    tokens: Vec<Token>,
    /// What it leads to may be missing.
    pub(crate) optional: bool,
}

/// One step of a [`Pointer`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Token {
    /// A member, or the element with this index.
    Name(String),
    /// Every element or member.
    Every,
}

impl Pointer {
    /// Reads a pointer.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn parse(value: &Value) -> Result<Self, String> {
        let text = value
            .as_str()
            .ok_or("a pointer is a string such as \"/n\"")?;
        let (text, optional) = match text.strip_suffix('?') {
            Some(text) => (text, true),
            None => (text, false),
        };
        if !text.is_empty() && !text.starts_with('/') {
            return Err("a pointer begins with `/`".into());
        }
        let tokens = text.split('/').skip(1).map(|token| match token {
            "*" => Token::Every,
            name => Token::Name(name.replace("~1", "/").replace("~0", "~")),
        });
        Ok(Self {
            tokens: tokens.collect(),
            optional,
        })
    }

    /// Its steps.
    pub(crate) fn tokens(&self) -> &[Token] {
        &self.tokens
    }

    /// Whether it can lead to more than one place.
    pub(crate) fn is_plural(&self) -> bool {
        self.tokens.contains(&Token::Every)
    }

    /// The one value that it leads to; `None` when there is none, or it is plural.
    pub(crate) fn one<'v>(&self, value: &'v Value) -> Option<&'v Value> {
        self.tokens
            .iter()
            .try_fold(value, |value, token| match token {
                Token::Every => None,
                Token::Name(name) => step(value, name),
            })
    }

    /// Every value that it leads to, in the order of the payload, with its pointer.
    pub(crate) fn all<'v>(&self, value: &'v Value) -> Vec<(String, &'v Value)> {
        let mut here = vec![(String::new(), value)];
        for token in &self.tokens {
            let mut next = Vec::new();
            for (pointer, value) in here {
                match (token, value) {
                    (Token::Every, Value::Array(items)) => next.extend(
                        (items.iter().enumerate()).map(|(i, item)| (join(&pointer, i), item)),
                    ),
                    (Token::Every, Value::Object(members)) => next.extend(
                        (members.iter()).map(|(name, member)| (join(&pointer, name), member)),
                    ),
                    (Token::Every, _) => {}
                    (Token::Name(name), _) => {
                        next.extend(step(value, name).map(|v| (join(&pointer, name), v)));
                    }
                }
            }
            here = next;
        }
        here
    }
}

pub(crate) fn step<'v>(value: &'v Value, name: &str) -> Option<&'v Value> {
    match value {
        Value::Array(items) => items.get(name.parse::<usize>().ok()?),
        value => value.get(name),
    }
}

impl std::fmt::Display for Pointer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for token in &self.tokens {
            match token {
                Token::Every => f.write_str("/*")?,
                Token::Name(name) => {
                    write!(f, "/{}", name.replace('~', "~0").replace('/', "~1"))?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn leads_to_members_elements_and_all_of_them() {
        let value = json!({"rows": [{"n": 1}, {"m": 2}, {"n": 3}], "a/b": {"~": 4}});
        let pointer = |text: &str| Pointer::parse(&json!(text)).unwrap();
        assert_eq!(pointer("/a~1b/~0").one(&value), Some(&json!(4)));
        assert_eq!(pointer("/rows/2/n").one(&value), Some(&json!(3)));
        assert_eq!(pointer("/rows/*/n").one(&value), None);
        assert_eq!(
            pointer("/rows/*/n").all(&value),
            [
                ("/rows/0/n".into(), &json!(1)),
                ("/rows/2/n".into(), &json!(3))
            ]
        );
        assert_eq!(pointer("").all(&value), [(String::new(), &value)]);
        assert!(pointer("/x?").optional && !pointer("/x").optional);
        assert_eq!(pointer("/rows/*/n").to_string(), "/rows/*/n");
        assert!(Pointer::parse(&json!("rows")).is_err() && Pointer::parse(&json!(1)).is_err());
    }
}
