//! The pure readers of a connection's first bytes, compiled without the gateway around them, so
//! that the fuzzer is built in seconds.

// What the readers import from the policy crate is here.
extern crate self as lazaret_policy;

#[path = "../../src/detect.rs"]
pub mod detect;
#[path = "../../src/tls/hello.rs"]
pub mod hello;
#[path = "../../policy/src/host.rs"]
mod host;

pub use host::{Host, HostError};
