//! The real binary in real network namespaces: what it does to the system, and what then still
//! gets out of a pod. Needs root, nft, iproute2, setpriv and python3.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(unreachable_pub, reason = "the modules of one test program")]

mod lab;

mod inbound;
mod leaks;
mod lifecycle;
mod outbound;
