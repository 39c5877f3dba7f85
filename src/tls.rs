//! TLS on the four legs of the gateway: from the pod (`pod`), to a peer (`peer`), from a caller
//! (`caller`), to the app. Each leg ends here, so that nothing of one handshake is seen on another.

pub mod authority;
pub mod caller;
pub mod contexts;
pub mod facts;
pub mod hello;
pub mod keys;
pub mod peer;
pub mod pod;
pub mod publish;
pub mod verify;

pub use contexts::Contexts;
pub use facts::{Failed, Leg, PeerId, Session};
