//! The policy language of Lazaret and its judge.
//!
//! Everything here is pure: no sockets, no clock, no runtime. The gateway, the init container,
//! the command line and other bindings share it, so that all of them decide alike.
//!
//! The files read in the order in which a policy and then a payload meet them:
//! a file ([`source`], [`mod@file`]) is compiled ([`compile`]) into a typed [`Policy`] ([`rule`],
//! [`exchange`], [`contract`]); a payload is judged by its contract ([`judge`]), which ends in a
//! release or in violations with exactly one [`Reason`] each.

pub mod capacity;
pub mod compile;
pub mod contract;
pub mod diagnostic;
pub mod exchange;
pub mod file;
mod host;
pub mod judge;
pub mod lint;
mod openness;
pub mod reason;
pub mod release;
pub mod rule;
pub mod site;
pub mod source;
pub mod tls;
pub mod value;

pub use compile::{Bundle, load, load_with_site};
pub use contract::Contract;
pub use diagnostic::{Diagnostic, Diagnostics, Severity};
pub use exchange::Exchange;
pub use reason::Reason;
pub use rule::{Action, Direction, EgressRule, Host, IngressRule, Mode, Policy};
pub use site::Site;
pub use tls::{
    AppTls, ClientTls, EgressTls, Identity, IngressTls, KeyPair, PeerTls, Pin, PodTls, Roots,
    TlsVersion,
};
