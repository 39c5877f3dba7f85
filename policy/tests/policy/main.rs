//! The policy language and the judge, from outside: what loads, what is reported and where, what
//! is released and refused, and what a hostile payload or a careless policy can do to us.

#![allow(clippy::unwrap_used, reason = "what cannot be set up cannot be tested")]

mod encryption;
mod examples;
mod exchange;
mod flatten;
mod hostile;
mod judging;
mod lint;
mod loading;
mod openness;
mod reasons;
mod site;
mod support;
