//! Puts a pod's network namespace under capture, and proves that it is.
//!
//! This is the only privileged part of Lazaret. It runs once, before the pod's application, and
//! links neither an HTTP stack nor TLS nor a runtime. The files read in the order in which they
//! work: the command line ([`args`]) and the policy become one plain description ([`capture`]),
//! that becomes the text of one nft transaction ([`ruleset`]), which is loaded ([`apply`]) and then
//! attacked ([`probe`]).

pub mod apply;
pub mod args;
pub mod capture;
pub mod probe;
pub mod ruleset;
