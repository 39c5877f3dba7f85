//! Host names. Depends on nothing else of this crate, so that readers of names can be fuzzed alone.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

/// A DNS host name: lower case, no trailing dot, never an address literal.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Host(Arc<str>);

/// Why a text is no [`Host`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    /// Empty, or longer than the 253 characters of RFC 1035 §2.3.4.
    #[error("a host name has 1 to 253 characters")]
    Length,
    /// A label is empty, longer than 63 characters, or has a character outside a-z, 0-9, `-`, `_`.
    #[error("each label of a host name is 1 to 63 of a-z, 0-9, '-' and '_'")]
    Label,
    /// An IP address; those belong in `cidrs`.
    #[error("an IP address is not a host name; list it under `cidrs`")]
    Address,
}

impl Host {
    /// The name in lower case, without a trailing dot.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Host {
    type Err = HostError;

    fn from_str(text: &str) -> Result<Self, HostError> {
        let name = text.strip_suffix('.').unwrap_or(text);
        if name.is_empty() || name.len() > 253 {
            return Err(HostError::Length);
        }
        let last_label_is_number = name
            .rsplit('.')
            .next()
            .is_some_and(|label| label.bytes().all(|b| b.is_ascii_digit()));
        if name.parse::<IpAddr>().is_ok() || last_label_is_number {
            return Err(HostError::Address);
        }
        let label_ok = |label: &str| {
            (1..=63).contains(&label.len())
                && label
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        };
        if !name.split('.').all(label_ok) {
            return Err(HostError::Label);
        }
        Ok(Self(name.to_ascii_lowercase().into()))
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
