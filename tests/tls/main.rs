//! TLS on all four legs, through the real binary, with real clients and peers.

#![allow(
    clippy::unwrap_used,
    unreachable_pub,
    dead_code,
    reason = "these are the modules of one test program"
)]

#[path = "../common/mod.rs"]
mod common;

mod alike;
mod caller;
mod caller_app;
mod hello;
mod peer;
mod pki;
mod pod;
mod servers;
mod site;
