//! The accept loops of one thread.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use lazaret_policy::{Direction, Reason};
use tokio::net::{TcpListener, TcpStream};

use crate::addr::ClientAddr;
use crate::connection;
use crate::metrics::OpenConnections;
use crate::socket;
use crate::worker::{Sockets, Worker};

/// After an error that concerns the process and not one peer (no file descriptors, no memory),
/// accepting again at once would spin.
const BACK_OFF: Duration = Duration::from_millis(100);

/// Starts the accept loops.
///
/// # Errors
/// A socket cannot be registered with the runtime.
pub fn serve(worker: &Rc<Worker>, sockets: Sockets) -> io::Result<()> {
    let directions = [
        (Direction::Egress, sockets.outbound),
        (Direction::Ingress, sockets.inbound),
    ];
    for (direction, listeners) in directions {
        for listener in listeners {
            let listener = socket::into_tokio(listener)?;
            let at = listener.local_addr()?;
            tokio::task::spawn_local(accept(Rc::clone(worker), listener, at, direction));
        }
    }
    Ok(())
}

async fn accept(worker: Rc<Worker>, listener: TcpListener, at: SocketAddr, direction: Direction) {
    let mut drain = worker.shared.drain.clone();
    let mut draining = pin!(drain.wait());
    let connections = worker.shared.metrics.connections_open(direction);
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut draining => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, client)) => {
                let client = ClientAddr::new(client);
                start(&worker, &connections, stream, client, at, direction);
            }
            Err(error) if is_about_one_peer(&error) => {}
            Err(error) => {
                worker.shared.metrics.accept_error(direction);
                tracing::warn!(%error, direction = direction.as_str(), "cannot accept");
                tokio::time::sleep(BACK_OFF).await;
            }
        }
    }
}

fn start(
    worker: &Rc<Worker>,
    connections: &OpenConnections,
    stream: TcpStream,
    client: ClientAddr,
    at: SocketAddr,
    direction: Direction,
) {
    let tracked = worker.tracker.track();
    let slot = worker.shared.connections.take();
    let worker = Rc::clone(worker);
    let connections = connections.clone();
    tokio::task::spawn_local(async move {
        let _tracked = tracked;
        let Some(_slot) = slot else {
            let reason = Reason::ConnectionLimit;
            connection::drop_refused(&worker, stream, client, direction, reason).await;
            return;
        };
        let _open = connections.open();
        connection::run(worker, stream, client, at, direction).await;
    });
}

/// Errors of a connection that ended before it was accepted (accept(2)).
fn is_about_one_peer(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}
