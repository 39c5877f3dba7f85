//! What the parts are told to do, and what they answer: one line of JSON each.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::attempt::Attempt;

/// What a part is told to do.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Order {
    /// Be the hospital's data service.
    ServePatients { at: SocketAddr },
    /// Be the app.
    ServeApp { at: SocketAddr, network: Network },
    /// As the app: answer with this from now on.
    Behave(Behaviour),
    /// As the app: try to get something out.
    Try(Attempt),
    /// Be whoever receives: write down what comes, TCP and UDP.
    Record {
        tcp: Vec<SocketAddr>,
        udp: Vec<SocketAddr>,
    },
    /// As whoever receives: tell what has come since last time.
    Take,
    /// Ask for a page.
    Get { to: SocketAddr, path: String },
}

/// What a part answers.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Answer {
    /// It listens at these addresses.
    Listening(Vec<SocketAddr>),
    /// Done.
    Done,
    /// An answer over HTTP.
    Got(Got),
    /// The kernel did not let the attempt out, with this error.
    Stopped(String),
    /// What has been received.
    Taken(Taken),
    /// It could not be done.
    Failed(String),
}

/// An answer over HTTP.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Got {
    pub(super) status: u16,
    pub(super) media_type: String,
    pub(super) body: String,
    /// How large the body was that had been sent.
    pub(super) sent_bytes: usize,
}

/// What has been received, byte for byte.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Taken {
    pub(super) bytes: usize,
    /// Lossy, if it is no UTF-8; `bytes` is exact.
    pub(super) text: String,
}

/// How the app reaches others.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Network {
    /// Through an explicit proxy.
    Proxy(SocketAddr),
    /// As if there were no gateway.
    Plain,
}

/// What the app answers callers with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Behaviour {
    /// The aggregate.
    Aggregate,
    /// Records of patients.
    Records,
}
