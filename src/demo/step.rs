//! What is tried, in this order, and how each attempt must end.

use lazaret_policy::{Direction, Reason};

use super::attempt::Attempt;
use super::orders::Behaviour;

/// One attempt.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    /// What is tried.
    pub(super) tried: &'static str,
    /// Who does what.
    pub(super) act: Act,
    /// How it must end.
    pub(super) expected: Expected,
}

/// Who does what.
#[derive(Clone, Copy, Debug)]
pub(super) enum Act {
    /// The app sends something.
    Send(Attempt),
    /// A caller asks for a page, and the app answers.
    Ask(&'static str, Behaviour),
}

/// How an attempt must end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expected {
    /// The gateway lets it pass, in canonical form.
    Released,
    /// The gateway refuses.
    Refused(Reason),
    /// The kernel refuses.
    Stopped,
}

impl Act {
    /// Which way the connection is opened.
    pub(super) const fn direction(self) -> Direction {
        match self {
            Self::Send(_) => Direction::Egress,
            Self::Ask(..) => Direction::Ingress,
        }
    }
}

/// The attempts.
pub(super) fn steps(transparent: bool) -> impl Iterator<Item = &'static Step> {
    let more: &[Step] = if transparent { &TRANSPARENT } else { &[] };
    STEPS.iter().chain(more)
}

const fn send(tried: &'static str, attempt: Attempt, expected: Expected) -> Step {
    Step {
        tried,
        act: Act::Send(attempt),
        expected,
    }
}

const fn ask(
    tried: &'static str,
    path: &'static str,
    behaviour: Behaviour,
    expected: Expected,
) -> Step {
    Step {
        tried,
        act: Act::Ask(path, behaviour),
        expected,
    }
}

use Expected::{Refused, Released, Stopped};

const STEPS: [Step; 14] = [
    ask(
        "a caller asks for the summary",
        "/summary",
        Behaviour::Aggregate,
        Released,
    ),
    send(
        "the aggregate, to the collector",
        Attempt::Aggregate,
        Released,
    ),
    send(
        "the same, a secret in an unlisted header",
        Attempt::UnlistedHeader,
        Released,
    ),
    send(
        "the same, a secret in a listed header",
        Attempt::ListedHeader,
        Refused(Reason::HeaderInvalid),
    ),
    send(
        "the same, a secret in the query",
        Attempt::Query,
        Refused(Reason::QueryNotAllowed),
    ),
    send(
        "the same, a secret in the path",
        Attempt::Path,
        Refused(Reason::ParameterInvalid),
    ),
    send(
        "records of patients instead of groups",
        Attempt::Records,
        Refused(Reason::SchemaMismatch),
    ),
    send(
        "the aggregate, one patient id more",
        Attempt::ExtraField,
        Refused(Reason::SchemaMismatch),
    ),
    send(
        "the aggregate, a key twice",
        Attempt::DuplicateKey,
        Refused(Reason::JsonDuplicateKey),
    ),
    send(
        "the aggregate, compressed",
        Attempt::Compressed,
        Refused(Reason::ContentEncoding),
    ),
    send(
        "the aggregate, small groups left in",
        Attempt::SmallGroups,
        Refused(Reason::SdcMinCount),
    ),
    send(
        "the aggregate, to another host",
        Attempt::OtherHost,
        Refused(Reason::HostNotAllowed),
    ),
    ask(
        "the app answers a caller with records",
        "/summary",
        Behaviour::Records,
        Refused(Reason::SchemaMismatch),
    ),
    ask(
        "a caller asks for the patients",
        "/patients",
        Behaviour::Aggregate,
        Refused(Reason::PathNotAllowed),
    ),
];

/// What an explicit proxy would not even see.
const TRANSPARENT: [Step; 2] = [
    send(
        "straight to an address on the internet",
        Attempt::OtherAddress,
        Refused(Reason::DestinationNotAllowed),
    ),
    send("a secret in a UDP datagram", Attempt::Datagram, Stopped),
];
