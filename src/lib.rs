//! Lazaret: the gateway. The modules stand in the order in which a connection meets them.

pub mod settings;

pub mod app;
pub mod recheck;
pub mod reload;
pub mod worker;

pub mod addr;
pub mod listen;
pub mod socket;

pub mod allow;
pub mod connection;
pub mod detect;
pub mod prefixed;
pub mod resolve;
pub mod sniff;
pub mod tls;
pub mod tunnel;

pub mod http;

pub mod admin;
pub mod audit;
pub mod drain;
pub mod ledger;
pub mod metrics;

pub mod cli;
pub mod demo;
