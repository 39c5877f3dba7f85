//! A judged body, and what the ledger is asked before it leaves.

use std::sync::Arc;

use bytes::Bytes;
use lazaret_policy::Contract;
use lazaret_policy::judge::Cleared;
use lazaret_policy::release::ReleaseFacts;

/// A judged body on its way out.
pub struct Outgoing {
    /// Its canonical bytes.
    pub bytes: Bytes,
    /// What the ledger is asked, if the contract has a rule about releases.
    pub claim: Option<Box<Claim>>,
}

/// What a payload would add to what has been released.
pub struct Claim {
    /// The contract that cleared it.
    pub contract: Arc<Contract>,
    /// What the ledger must know of it.
    pub facts: ReleaseFacts,
}

impl Outgoing {
    /// No body.
    pub const EMPTY: Self = Self {
        bytes: Bytes::new(),
        claim: None,
    };

    /// What the contract has cleared.
    pub fn new(contract: &Arc<Contract>, cleared: Cleared) -> Self {
        let claim = cleared.facts.map(|facts| {
            Box::new(Claim {
                contract: Arc::clone(contract),
                facts: *facts,
            })
        });
        Self {
            bytes: cleared.bytes.into(),
            claim,
        }
    }
}
