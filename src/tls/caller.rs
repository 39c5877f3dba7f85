//! The leg from a caller: the gateway serves with the producer's certificate, and judges the
//! caller's if the policy asks for one.
//!
//! A session that may be resumed belongs to one [`Server`], and another one is made when anything
//! has changed: nobody resumes what was granted under other demands. What a caller showed is judged
//! anew when it resumes, since it may have ended or been revoked in the meantime. In TLS 1.3 a
//! caller believes that it is let in before its certificate is judged (RFC 8446 §4.4.2.4); so a
//! stream leaves here only behind that.

use std::io;
use std::sync::Arc;

use lazaret_policy::{ClientTls, IngressTls, KeyPair, Reason, TlsVersion};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::{ServerSessionMemoryCache, VerifierBuilderError};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{CertificateError, Error, HandshakeKind, ServerConfig, ServerConnection};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::keys::{self, KeyError, Seen};
use super::{Failed, Session};
use crate::prefixed::Prefixed;

use verifier::{NotAccepted, Verifier};

mod verifier;

/// Sessions of one server that may be resumed; each holds what its caller showed. The oldest give
/// way.
const SESSIONS: usize = 1024;

/// What callers of one ingress rule are served with.
pub struct Server {
    pair: KeyPair,
    seen: Seen,
    not_after: i64,
    demands: Arc<Demands>,
    acceptor: TlsAcceptor,
}

/// What is asked of callers.
struct Demands {
    min: TlsVersion,
    client: Option<ClientTls>,
    verifier: Option<Arc<Verifier>>,
}

/// Why callers cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The certificate or key cannot be read.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A root or revocation list.
    #[error(
        "`tls.client` cannot be used: {0}; its roots are certificate authorities, and its lists are \
         complete ones (RFC 5280 §5), neither delta nor indirect"
    )]
    Client(#[from] VerifierBuilderError),
    /// The library has no such version. It cannot happen, and must not be passed over.
    #[error("TLS cannot be set up: {0}")]
    Library(Error),
}

impl Server {
    /// Serves callers as the policy says. What was there before is kept if nothing changed.
    ///
    /// # Errors
    /// The certificate or key cannot be used, or a root or revocation list of `tls.client`.
    pub fn new(spec: &IngressTls, before: Option<&Arc<Self>>) -> Result<Arc<Self>, ServerError> {
        let loaded = keys::load(&spec.pair)?;
        let (seen, not_after) = (loaded.seen, loaded.not_after);
        let provider = Arc::new(aws_lc_rs::default_provider());
        let demands = match before.filter(|before| before.demands.are_of(spec)) {
            Some(before) if before.pair == spec.pair && before.seen == seen => {
                return Ok(Arc::clone(before));
            }
            Some(before) => Arc::clone(&before.demands),
            None => Arc::new(Demands::new(spec, &provider)?),
        };
        let key = loaded.certified(&spec.pair)?;
        Ok(Arc::new(Self {
            pair: spec.pair.clone(),
            seen,
            not_after,
            acceptor: Arc::new(config(key, &demands, provider)?).into(),
            demands,
        }))
    }

    /// Whether certificate or key have changed.
    pub fn is_stale(&self) -> bool {
        keys::seen(&self.pair) != Some(self.seen)
    }

    /// When the certificate ends, in seconds since 1970.
    pub fn not_after(&self) -> i64 {
        self.not_after
    }

    /// Whether callers must show the same here as there; the certificate that they are shown may
    /// be another.
    pub fn demands_like(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.demands, &other.demands) || self.demands.are_like(&other.demands)
    }

    /// Answers a caller. Also says until when what it showed counts, in seconds since 1970.
    ///
    /// # Errors
    /// [`Reason::TlsHandshake`] or [`Reason::TlsClientCertificate`].
    pub async fn accept(
        &self,
        stream: Prefixed<TcpStream>,
    ) -> Result<(TlsStream<Prefixed<TcpStream>>, Session, Option<i64>), Failed> {
        let accepted = self.acceptor.accept(stream).await;
        let stream = accepted.map_err(|error| failed(&error))?;
        let connection = stream.get_ref().1;
        let session = Session::of(connection);
        let until = self.demands.judge(connection, &session)?;
        Ok((stream, session, until))
    }
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server")
            .field("pair", &self.pair)
            .finish_non_exhaustive()
    }
}

impl Demands {
    fn new(spec: &IngressTls, provider: &Arc<CryptoProvider>) -> Result<Self, ServerError> {
        let verifier = |client| Verifier::new(client, Arc::clone(provider)).map(Arc::new);
        Ok(Self {
            min: spec.min,
            client: spec.client.clone(),
            verifier: spec.client.as_ref().map(verifier).transpose()?,
        })
    }

    fn are_of(&self, spec: &IngressTls) -> bool {
        self.min == spec.min && self.client == spec.client
    }

    fn are_like(&self, other: &Self) -> bool {
        self.min == other.min && self.client == other.client
    }

    /// Judges what no handshake has judged: a session that was resumed, and one whose certificate
    /// cannot be put on record. Says until when what was shown counts.
    fn judge(
        &self,
        connection: &ServerConnection,
        session: &Session,
    ) -> Result<Option<i64>, Failed> {
        let Some(verifier) = &self.verifier else {
            return Ok(None);
        };
        let refused = || Failed {
            reason: Reason::TlsClientCertificate,
            peer: session.peer.clone(),
        };
        if session.peer.is_none() {
            return Err(refused());
        }
        let chain = connection.peer_certificates().unwrap_or_default();
        let is_fresh = matches!(
            connection.handshake_kind(),
            Some(HandshakeKind::Full | HandshakeKind::FullWithHelloRetryRequest)
        );
        if !is_fresh {
            verifier.judge_again(chain).map_err(|_| refused())?;
        }
        verifier.until(chain).map(Some).ok_or_else(refused)
    }
}

fn config(
    key: CertifiedKey,
    demands: &Demands,
    provider: Arc<CryptoProvider>,
) -> Result<ServerConfig, ServerError> {
    let versions: &[_] = match demands.min {
        TlsVersion::V12 => &[&rustls::version::TLS13, &rustls::version::TLS12],
        TlsVersion::V13 => &[&rustls::version::TLS13],
    };
    let builder = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .map_err(ServerError::Library)?;
    let builder = match &demands.verifier {
        Some(verifier) => builder.with_client_cert_verifier(Arc::clone(verifier) as _),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(key)));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config.session_storage = ServerSessionMemoryCache::new(SESSIONS);
    // What comes before the handshake has ended can be sent again by others (RFC 8446 §8).
    config.max_early_data_size = 0;
    config.send_half_rtt_data = false;
    // Without it a session of TLS 1.2 is not bound to its handshake (RFC 7627 §1).
    config.require_ems = true;
    Ok(config)
}

/// Why a handshake failed: over what the caller showed, or otherwise.
fn failed(error: &io::Error) -> Failed {
    let error = error.get_ref().and_then(|e| e.downcast_ref::<Error>());
    tracing::debug!(?error, "no handshake with a caller");
    let other = match error {
        Some(Error::NoCertificatesPresented) => return Reason::TlsClientCertificate.into(),
        Some(Error::InvalidCertificate(CertificateError::Other(other))) => other,
        _ => return Reason::TlsHandshake.into(),
    };
    Failed {
        reason: Reason::TlsClientCertificate,
        peer: (other.0.downcast_ref::<NotAccepted>()).and_then(|refused| refused.peer.clone()),
    }
}
