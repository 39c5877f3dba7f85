//! HTTP inside an inspected connection, in the order of an exchange: [`serve`] the connection,
//! [`gate`] the head, read the [`body`], judge what leaves ([`egress`], [`ingress`]), [`forward`] it,
//! [`respond`] with what came back or with the refusal, the [`last`] answer together with the end of
//! the connection. [`case`] keeps the record of it all.

pub mod body;
pub mod case;
pub mod egress;
pub mod forward;
pub mod gate;
pub mod ingress;
pub mod last;
pub mod outgoing;
pub mod payload;
pub mod respond;
pub mod serve;
