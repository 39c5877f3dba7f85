//! The leg to a peer: a handshake of our own, made from the policy alone. Nothing of what came
//! from the pod is an input here, so nothing of it can be seen on the other side.
//!
//! Sessions are kept in memory, by one [`Peer`] alone, and a [`Peer`] is made anew whenever policy
//! or keys change: what one policy accepted is never resumed under another. A resumed session shows
//! no certificate again (RFC 8446 §2.2), so the one it began with is verified again in full: an
//! expired or outdated one is not carried on by its tickets.

mod encrypted;
mod verifier;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use lazaret_policy::{PeerTls, Reason, Roots, TlsVersion};
use rustls::client::danger::ServerCertVerifier;
use rustls::client::{ClientSessionMemoryCache, ClientSessionStore, Resumption};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, HandshakeKind, RootCertStore};
use rustls_pki_types::{ServerName, UnixTime};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

pub use encrypted::Encrypted;
use verifier::{AnyApp, Refused, Verifier};

use super::facts::cut;
use super::keys::{self, KeyError, Seen};
use super::{Failed, Session};
use crate::addr::UpstreamAddr;
use crate::socket;

/// Names of peers whose sessions are kept, times the eight tickets of each.
const MAX_SESSIONS: usize = 64 * 8;

/// What we speak, whoever asks, in the order of our choice (RFC 7301).
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// How the peers of one rule are spoken to.
#[derive(Debug)]
pub struct Peer {
    /// Tells configurations apart: connections of one are never used for another.
    pub id: u64,
    /// `None`: the app.
    spec: Option<PeerTls>,
    client: Option<Client>,
    config: Arc<ClientConfig>,
    verifier: Arc<dyn ServerCertVerifier>,
    sessions: Arc<ClientSessionMemoryCache>,
    /// When a revocation list must have been renewed, in seconds since 1970.
    lists_end: Option<i64>,
}

/// What is known of our own certificate.
#[derive(Debug)]
struct Client {
    seen: Seen,
    not_after: i64,
}

/// Why peers cannot be spoken to.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    /// The client certificate or key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A root cannot be used.
    #[error("a root certificate cannot be used: {0}")]
    Root(rustls::Error),
    /// The roots of the system cannot be read.
    #[error("the roots of the system cannot be read: {0}")]
    SystemRoots(rustls_native_certs::Error),
    /// The system has no roots.
    #[error("the system has no root certificates; give `roots: FILE`, or install them")]
    NoRoots,
    /// A revocation list cannot be used.
    #[error("a certificate revocation list cannot be used: {0}")]
    List(String),
    /// The library refuses the settings.
    #[error("TLS to the peer cannot be set up: {0}")]
    Settings(rustls::Error),
}

impl Peer {
    /// Speaks to peers as the policy says. What was there before is kept if nothing changed.
    /// Roots of the system are read once for each new policy.
    ///
    /// # Errors
    /// A root, list or key cannot be used.
    pub fn new(spec: &PeerTls, before: Option<&Arc<Self>>) -> Result<Arc<Self>, PeerError> {
        let loaded = spec.client.as_ref().map(keys::load).transpose()?;
        let before = before.filter(|before| {
            before.spec.as_ref() == Some(spec)
                && before.client.as_ref().map(|client| client.seen)
                    == loaded.as_ref().map(|loaded| loaded.seen)
        });
        if let Some(before) = before {
            return Ok(Arc::clone(before));
        }
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier = Verifier::new(spec, roots(&spec.roots)?, &provider)?;
        let lists_end = verifier.lists_end();
        let client = (loaded.as_ref()).map(|loaded| Client {
            seen: loaded.seen,
            not_after: loaded.not_after,
        });
        let verifier: Arc<dyn ServerCertVerifier> = Arc::new(verifier);
        let key = match (loaded, &spec.client) {
            (Some(loaded), Some(pair)) => Some(loaded.certified(pair)?),
            _ => None,
        };
        let (config, sessions) = configure(provider, spec.min, &verifier, key)?;
        Ok(Arc::new(Self {
            spec: Some(spec.clone()),
            client,
            lists_end,
            ..Self::with(config, verifier, sessions)
        }))
    }

    /// Speaks to the app, whoever it says that it is: it is in the pod, where any program could
    /// show any certificate, so none says anything. What it sends is judged as if it were plain.
    pub fn app() -> Arc<Self> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier: Arc<dyn ServerCertVerifier> = Arc::new(AnyApp::new(&provider));
        let (config, sessions) = configure(provider, TlsVersion::V12, &verifier, None)
            .expect("the library accepts its own suites without a certificate of ours");
        Arc::new(Self::with(config, verifier, sessions))
    }

    fn with(
        config: ClientConfig,
        verifier: Arc<dyn ServerCertVerifier>,
        sessions: Arc<ClientSessionMemoryCache>,
    ) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            spec: None,
            client: None,
            config: Arc::new(config),
            verifier,
            sessions,
            lists_end: None,
        }
    }

    /// Whether the client certificate or key have changed.
    pub fn is_stale(&self) -> bool {
        let pair = self.spec.as_ref().and_then(|spec| spec.client.as_ref());
        match (pair, &self.client) {
            (Some(pair), Some(client)) => keys::seen(pair) != Some(client.seen),
            _ => false,
        }
    }

    /// When the client certificate ends, in seconds since 1970.
    pub fn not_after(&self) -> Option<i64> {
        self.client.as_ref().map(|client| client.not_after)
    }

    /// Makes a connection an encrypted one.
    ///
    /// # Errors
    /// [`Reason::UpstreamTls`], [`Reason::UpstreamCertificate`], [`Reason::UpstreamRevoked`] or
    /// [`Reason::UpstreamIdentity`].
    pub async fn connect(
        self: &Arc<Self>,
        name: ServerName<'static>,
        stream: TcpStream,
    ) -> Result<(Encrypted, Session), Failed> {
        let to = stream.peer_addr();
        let shaken = shake(&self.config, name.clone(), stream).await?;
        if self.is_as_good_as_new(&name, &shaken) {
            return Ok(self.secured(shaken));
        }
        drop(shaken);
        // The peer may have another certificate by now, so it is asked for it.
        self.forget(&name);
        let to = to.map_err(|_| Reason::UpstreamUnreachable)?;
        let stream = socket::connect(UpstreamAddr::new(to)).await;
        let stream = stream.map_err(|_| Reason::UpstreamUnreachable)?;
        let mut fresh = ClientConfig::clone(&self.config);
        fresh.resumption = Resumption::disabled();
        Ok(self.secured(shake(&Arc::new(fresh), name, stream).await?))
    }

    /// Whether the certificate of a resumed session would be accepted today.
    fn is_as_good_as_new(&self, name: &ServerName<'_>, stream: &TlsStream<TcpStream>) -> bool {
        let (_, connection) = stream.get_ref();
        if connection.handshake_kind() != Some(HandshakeKind::Resumed) {
            return true;
        }
        let Some([first, rest @ ..]) = connection.peer_certificates() else {
            return false;
        };
        let verified = (self.verifier).verify_server_cert(first, rest, name, &[], UnixTime::now());
        let refused = verified.as_ref().err().and_then(Refused::in_error);
        if let Some(refused) = refused {
            tracing::info!(%refused, "a session is not carried on");
        }
        verified.is_ok()
    }

    fn forget(&self, name: &ServerName<'static>) {
        self.sessions.remove_tls12_session(name);
        while self.sessions.take_tls13_ticket(name).is_some() {}
    }

    fn secured(&self, stream: TlsStream<TcpStream>) -> (Encrypted, Session) {
        let (_, connection) = stream.get_ref();
        let session = Session::of(connection);
        let first = connection.peer_certificates().and_then(<[_]>::first);
        // The app's certificate says nothing, and so has no end either.
        let ends = (self.spec.as_ref().zip(first))
            .and_then(|(_, cert)| keys::not_after(cert))
            .into_iter()
            .chain(self.lists_end)
            .min();
        (Encrypted::new(stream, ends.map(since_1970)), session)
    }
}

async fn shake(
    config: &Arc<ClientConfig>,
    name: ServerName<'static>,
    stream: TcpStream,
) -> Result<TlsStream<TcpStream>, Failed> {
    let connector = TlsConnector::from(Arc::clone(config));
    connector.connect(name, stream).await.map_err(|error| {
        let refused = (error.get_ref())
            .and_then(|error| error.downcast_ref())
            .and_then(Refused::in_error);
        match refused {
            Some(refused) => {
                tracing::info!(%refused, "no TLS with the destination");
                refused.failed()
            }
            None => {
                tracing::info!(
                    error = cut(&error.to_string()),
                    "no TLS with the destination"
                );
                Reason::UpstreamTls.into()
            }
        }
    })
}

fn configure(
    provider: Arc<CryptoProvider>,
    min: TlsVersion,
    verifier: &Arc<dyn ServerCertVerifier>,
    client: Option<CertifiedKey>,
) -> Result<(ClientConfig, Arc<ClientSessionMemoryCache>), PeerError> {
    let versions = match min {
        TlsVersion::V13 => &[&TLS13][..],
        // The library has no other suites of 1.2 than ECDHE with AEAD (RFC 9325 §4.2).
        TlsVersion::V12 => &[&TLS13, &TLS12][..],
    };
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .map_err(PeerError::Settings)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::clone(verifier));
    let mut config = match client {
        Some(key) => builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(key))),
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = PROTOCOLS.map(<[_]>::to_vec).into();
    // Sessions of 1.2 are bound to their handshake (RFC 7627).
    config.require_ems = true;
    // Said although they are the defaults: nothing is sent before the peer is known (RFC 8446 §8),
    // and no environment variable gets at the keys.
    config.enable_early_data = false;
    config.key_log = Arc::new(rustls::NoKeyLog);
    config.cert_decompressors = Vec::new();
    config.cert_compressors = Vec::new();
    let sessions = Arc::new(ClientSessionMemoryCache::new(MAX_SESSIONS));
    config.resumption = Resumption::store(Arc::clone(&sessions) as Arc<dyn ClientSessionStore>);
    Ok((config, sessions))
}

fn roots(roots: &Roots) -> Result<RootCertStore, PeerError> {
    let mut store = RootCertStore::empty();
    match roots {
        Roots::Given(all) => {
            for root in all {
                store.add(root.clone().into()).map_err(PeerError::Root)?;
            }
        }
        Roots::System => {
            let mut found = rustls_native_certs::load_native_certs();
            if let Some(error) = found.errors.pop() {
                return Err(PeerError::SystemRoots(error));
            }
            // What cannot be read is not trusted; distributions carry a few such.
            store.add_parsable_certificates(found.certs);
        }
    }
    if store.is_empty() {
        return Err(PeerError::NoRoots);
    }
    Ok(store)
}

fn since_1970(seconds: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds.try_into().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
    use rustls::ServerConfig;
    use rustls_pki_types::PrivateKeyDer;
    use tokio::io::AsyncReadExt;
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;

    const NAME: &str = "a.example";

    struct Authority(Issuer<'static, KeyPair>, Vec<u8>);

    fn authority() -> Authority {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let root = params.self_signed(&key).unwrap().der().to_vec();
        Authority(Issuer::new(params, key), root)
    }

    fn spec(authority: &Authority) -> PeerTls {
        PeerTls {
            min: TlsVersion::V12,
            roots: Roots::Given(vec![authority.1.clone()]),
            pins: Vec::new(),
            identities: Vec::new(),
            client: None,
            crls: Vec::new(),
        }
    }

    /// A server with a certificate that ends in this many seconds.
    fn server(authority: &Authority, version: TlsVersion, seconds: u64) -> ServerConfig {
        let mut params = CertificateParams::new(vec![NAME.to_owned()]).unwrap();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let ends = Duration::from_secs(now.as_secs() + seconds);
        params.not_after = rcgen::date_time_ymd(1970, 1, 1) + ends;
        let key = KeyPair::generate().unwrap();
        let cert = params.signed_by(&key, &authority.0).unwrap();
        let versions = match version {
            TlsVersion::V12 => &[&TLS12],
            TlsVersion::V13 => &[&TLS13],
        };
        ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(versions)
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![cert.der().clone()],
                PrivateKeyDer::Pkcs8(key.serialize_der().into()),
            )
            .unwrap()
    }

    /// Connects once; whether the session was resumed.
    async fn connect(
        peer: &Arc<Peer>,
        listener: &TcpListener,
        server: &Arc<ServerConfig>,
    ) -> Result<bool, Failed> {
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await;
        let acceptor = TlsAcceptor::from(Arc::clone(server));
        let serving = async {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                if let Ok(mut stream) = acceptor.accept(stream).await {
                    use tokio::io::AsyncWriteExt;
                    // Tickets come before it.
                    let _ = stream.write_all(b"x").await;
                }
            }
        };
        let name = ServerName::try_from(NAME).unwrap();
        let asking = async {
            let (mut stream, _) = peer.connect(name, stream.unwrap()).await?;
            stream.read_exact(&mut [0]).await.unwrap();
            Ok(stream.is_resumed())
        };
        tokio::select! {
            result = asking => result,
            () = serving => unreachable!("it goes on"),
        }
    }

    #[tokio::test]
    async fn a_session_is_resumed_only_while_its_certificate_is_good() {
        for version in [TlsVersion::V12, TlsVersion::V13] {
            let authority = authority();
            let peer = Peer::new(&spec(&authority), None).unwrap();
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let before = Instant::now();
            let mut short = server(&authority, version, 3);
            let mut renewed = server(&authority, version, 3600);
            let tickets = aws_lc_rs::Ticketer::new().unwrap();
            (short.ticketer, renewed.ticketer) = (Arc::clone(&tickets), tickets);
            let (short, renewed) = (Arc::new(short), Arc::new(renewed));
            assert!(!connect(&peer, &listener, &short).await.unwrap());
            assert!(connect(&peer, &listener, &short).await.unwrap());
            // The server has another certificate, and does not mind the old session.
            assert!(connect(&peer, &listener, &renewed).await.unwrap());
            while connect(&peer, &listener, &renewed).await.unwrap() {
                assert!(before.elapsed() < Duration::from_secs(20));
            }
            // The handshake that replaced it left no session; the next one does.
            assert!(!connect(&peer, &listener, &renewed).await.unwrap());
            assert!(connect(&peer, &listener, &renewed).await.unwrap());
            // Another policy has no part in it.
            let mut other = spec(&authority);
            other.pins.push([0; 32]);
            let other = Peer::new(&other, Some(&peer)).unwrap();
            assert_ne!(other.id, peer.id);
            let failed = connect(&other, &listener, &renewed).await.unwrap_err();
            assert_eq!(failed.reason, Reason::UpstreamIdentity);
            let shown = serde_json::to_value(failed.peer).unwrap();
            assert_eq!(shown["identity"], "dns:a.example");
        }
    }

    #[test]
    fn what_has_not_changed_is_kept() {
        let authority = authority();
        let spec = spec(&authority);
        let peer = Peer::new(&spec, None).unwrap();
        assert!(Arc::ptr_eq(&peer, &Peer::new(&spec, Some(&peer)).unwrap()));
        assert!(!peer.is_stale());
        assert_eq!(peer.not_after(), None);
        assert_ne!(Peer::app().id, Peer::app().id);
    }

    #[test]
    fn what_cannot_be_used_is_refused() {
        let authority = authority();
        let good = spec(&authority);
        let no_root = PeerTls {
            roots: Roots::Given(vec![b"no".to_vec()]),
            ..good.clone()
        };
        assert!(matches!(Peer::new(&no_root, None), Err(PeerError::Root(_))));
        let no_list = PeerTls {
            crls: vec![b"no".to_vec()],
            ..good
        };
        assert!(matches!(Peer::new(&no_list, None), Err(PeerError::List(_))));
    }
}
