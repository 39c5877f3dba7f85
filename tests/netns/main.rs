//! The whole system through its real binaries: a pod, the consumer's home and a hospital as network
//! namespaces, real rules, real tools, and peers that keep every byte. Needs root and the programs
//! that `scripts/setup.sh test` installs.

#![allow(
    clippy::unwrap_used,
    unreachable_pub,
    reason = "these are the modules of one test program"
)]

#[path = "../common/mod.rs"]
mod common;

mod lab;
mod peers;
mod space;

mod callers;
mod calls;
mod intercepted;
mod leaks;
mod life;
mod live;
mod load;
mod passing;
mod refused;
mod sni;
