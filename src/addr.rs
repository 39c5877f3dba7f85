//! Addresses that must not be mixed up.

use std::fmt;
use std::net::SocketAddr;

/// Who opened a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClientAddr(SocketAddr);

/// Where a connection was meant to go before it was redirected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct OrigDst(SocketAddr);

/// Where the gateway connects to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct UpstreamAddr(SocketAddr);

macro_rules! address {
    ($name:ident) => {
        impl $name {
            /// The address, with IPv4 written as IPv4 (RFC 4291 §2.5.5.2), so that rules for the
            /// one family cannot be passed by in the other.
            pub fn new(addr: SocketAddr) -> Self {
                Self(SocketAddr::new(addr.ip().to_canonical(), addr.port()))
            }

            /// The plain address.
            pub fn get(self) -> SocketAddr {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

address!(ClientAddr);
address!(OrigDst);
address!(UpstreamAddr);
