//! The leg from the pod: the gateway stands in for the peer, with a certificate of its own making.
//!
//! Every name that the policy intercepts has its certificate before the policy is in force, and a
//! configuration of its own: what was judged by one name can be neither answered nor resumed under
//! another.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use lazaret_policy::{Host, Reason};
use rcgen::KeyPair;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::{CertifiedKey, SigningKey};
use rustls::{AlertDescription, ServerConfig, version};
use rustls_pki_types::PrivateKeyDer;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use zeroize::Zeroizing;

use super::authority::{Authority, AuthorityError, now};
use super::publish::Publisher;
use super::{Failed, Session};
use crate::prefixed::Prefixed;
use crate::settings::AuthorityArgs;

/// How long after a failure the certificate is published again, in seconds.
const PUBLISH_AGAIN: i64 = 30;

/// Certificates are not made again more often than this, in seconds, however near the end of
/// their authority is.
const MIN_RENEWAL: i64 = 60;

/// Whom the app believes to speak to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PodName {
    /// The name in its ClientHello.
    Host(Host),
    /// The original destination, when it named nobody.
    Address(IpAddr),
}

/// Ends the TLS of the pod.
#[derive(Debug)]
pub struct Minter {
    authority: Arc<Authority>,
    provider: Arc<CryptoProvider>,
    key: Arc<LeafKey>,
    acceptors: HashMap<PodName, Acceptor>,
    /// When certificates are made again, in seconds since 1970.
    renew_at: i64,
    publisher: Option<Arc<Publisher>>,
    /// When the certificate of the authority is to be published, in seconds since 1970.
    publish_at: AtomicI64,
}

/// One key for all certificates: they are all ours, and show nothing else.
struct LeafKey {
    pair: Zeroizing<KeyPair>,
    signer: Arc<dyn SigningKey>,
}

#[derive(Clone)]
struct Acceptor(TlsAcceptor);

/// The certificate of one name, for clients that ask for this name.
#[derive(Debug)]
struct Exactly {
    /// What the ClientHello must name; `None`: nobody.
    sni: Option<Host>,
    key: Arc<CertifiedKey>,
}

/// Why the pod's TLS cannot be ended.
#[derive(Debug, thiserror::Error)]
pub enum MinterError {
    /// The authority.
    #[error("the authority for the pod: {0}")]
    Authority(#[from] AuthorityError),
    /// A key or configuration.
    #[error("TLS for the pod: {0}")]
    Tls(#[from] rustls::Error),
    /// Its certificate cannot be published.
    #[error("cannot publish the authority for the pod to {}: {source}", path.display())]
    Publish {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
}

impl Minter {
    /// Ends TLS under these names, with the given authority or one of its own. What was there
    /// before is kept if it covers the names.
    ///
    /// # Errors
    /// The authority cannot be read, made or published.
    pub fn new(
        args: &AuthorityArgs,
        names: &[PodName],
        before: Option<&Arc<Self>>,
    ) -> Result<Arc<Self>, MinterError> {
        let names: BTreeSet<PodName> = names.iter().map(PodName::canonical).collect();
        let same = before.filter(|before| before.authority.is_good_for(&names));
        let fresh = same.filter(|before| now() < before.renew_at);
        if let Some(before) = fresh
            && before.acceptors.len() == names.len()
            && names.iter().all(|name| before.acceptors.contains_key(name))
        {
            return Ok(Arc::clone(before));
        }
        let provider = before.map_or_else(provider, |before| Arc::clone(&before.provider));
        let authority = match same {
            Some(before) => Arc::clone(&before.authority),
            None => Arc::new(Authority::new(args, &names, &provider)?),
        };
        let mut minter = Self {
            key: match fresh {
                Some(before) => Arc::clone(&before.key),
                None => Arc::new(LeafKey::generate()?),
            },
            renew_at: fresh.map_or(i64::MAX, |before| before.renew_at),
            acceptors: HashMap::with_capacity(names.len()),
            publisher: match before {
                Some(before) => before.publisher.clone(),
                None => publisher(args)?,
            },
            publish_at: AtomicI64::new(match same {
                Some(before) => before.publish_at.load(Ordering::Relaxed),
                None => 0,
            }),
            authority,
            provider,
        };
        for name in names {
            let known = fresh.and_then(|before| before.acceptors.get(&name).cloned());
            let acceptor = match known {
                Some(known) => known,
                None => minter.mint(&name)?,
            };
            minter.acceptors.insert(name, acceptor);
        }
        Ok(Arc::new(minter))
    }

    /// Writes the certificate of the authority to where the app reads it, if it is not there yet.
    ///
    /// # Errors
    /// It cannot be written; it is tried again some time later.
    pub fn publish(&self) -> Result<(), MinterError> {
        let (at, now) = (self.publish_at.load(Ordering::Relaxed), now());
        let Some(publisher) = self.publisher.as_ref().filter(|_| at <= now) else {
            return Ok(());
        };
        let mut unique = [0; 8];
        let random = self.provider.secure_random.fill(&mut unique);
        random.map_err(|_| AuthorityError::Random)?;
        let published =
            publisher.publish(self.authority.pem().as_bytes(), u64::from_be_bytes(unique));
        let next = match published {
            Ok(()) => i64::MAX,
            Err(_) => now + PUBLISH_AGAIN,
        };
        self.publish_at.store(next, Ordering::Relaxed);
        let path = publisher.path();
        published.map_err(|source| MinterError::Publish {
            path: path.into(),
            source,
        })?;
        tracing::info!(
            path = %path.display(),
            "authority for the pod published: apps that have read another one must read it again"
        );
        Ok(())
    }

    /// Whether the files of the authority have changed, or its certificates must be made or
    /// published again.
    pub fn is_stale(&self) -> bool {
        let now = now();
        let unpublished =
            self.publisher.is_some() && self.publish_at.load(Ordering::Relaxed) <= now;
        unpublished || now >= self.renew_at || self.authority.is_stale()
    }

    /// When the authority ends, in seconds since 1970.
    pub fn not_after(&self) -> i64 {
        self.authority.not_after()
    }

    /// Answers the ClientHello that `stream` begins with, as `name`.
    ///
    /// # Errors
    /// [`Reason::TlsHandshake`] or [`Reason::TlsPinned`]; [`Reason::PolicyChanged`] for a name
    /// that the policy no longer intercepts.
    pub async fn accept(
        &self,
        name: &PodName,
        stream: Prefixed<TcpStream>,
    ) -> Result<(TlsStream<Prefixed<TcpStream>>, Session), Failed> {
        let acceptor = self.acceptors.get(name).ok_or(Reason::PolicyChanged)?;
        let accepted = acceptor.0.accept(stream).await;
        let stream = accepted.map_err(|error| Failed::from(failure(&error)))?;
        let session = Session::of(stream.get_ref().1);
        Ok((stream, session))
    }

    fn mint(&mut self, name: &PodName) -> Result<Acceptor, MinterError> {
        let leaf = (self.authority).sign(name, &*self.key.pair, &self.provider)?;
        let now = now();
        // With a third of its time left.
        let due = now + ((leaf.not_after - now) / 3 * 2).max(MIN_RENEWAL);
        self.renew_at = self.renew_at.min(due);
        let exactly = Exactly {
            sni: match name {
                PodName::Host(host) => Some(host.clone()),
                PodName::Address(_) => None,
            },
            key: Arc::new(CertifiedKey::new(leaf.chain, Arc::clone(&self.key.signer))),
        };
        // An app may be old, and this leg never leaves the pod.
        let mut config = ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&version::TLS13, &version::TLS12])?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(exactly));
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        // Tickets instead of a store: what an app does not come back for costs nothing. The key of
        // the tickets is this name's alone.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.ticketer = aws_lc_rs::Ticketer::new()?;
        // What is sent before the handshake has ended can be replayed (RFC 8446 §8).
        config.max_early_data_size = 0;
        Ok(Acceptor(TlsAcceptor::from(Arc::new(config))))
    }
}

impl LeafKey {
    fn generate() -> Result<Self, MinterError> {
        let pair = KeyPair::generate().map_err(AuthorityError::from)?;
        let pair = Zeroizing::new(pair);
        let der = Zeroizing::new(PrivateKeyDer::Pkcs8(pair.serialize_der().into()));
        Ok(Self {
            signer: aws_lc_rs::sign::any_supported_type(&der)?,
            pair,
        })
    }
}

impl fmt::Debug for LeafKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LeafKey").finish_non_exhaustive()
    }
}

impl fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Acceptor").finish_non_exhaustive()
    }
}

impl ResolvesServerCert for Exactly {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        // The library reads the name a second time. Should it ever read another one than was
        // judged, there is no certificate for that.
        let is_same = hello.server_name() == self.sni.as_ref().map(Host::as_str);
        is_same.then(|| Arc::clone(&self.key))
    }
}

impl PodName {
    /// Addresses are compared as the kernel reports them.
    fn canonical(&self) -> Self {
        match self {
            Self::Host(host) => Self::Host(host.clone()),
            Self::Address(ip) => Self::Address(ip.to_canonical()),
        }
    }
}

impl fmt::Display for PodName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host(host) => host.fmt(f),
            Self::Address(ip) => ip.fmt(f),
        }
    }
}

/// Nothing of this leg leaves the pod for anybody to keep, so that a key exchange that is safe from
/// quantum computers only costs; who offers nothing else still gets it.
fn provider() -> Arc<CryptoProvider> {
    let mut provider = aws_lc_rs::default_provider();
    provider.kx_groups = vec![
        aws_lc_rs::kx_group::X25519,
        aws_lc_rs::kx_group::SECP256R1,
        aws_lc_rs::kx_group::SECP384R1,
        aws_lc_rs::kx_group::X25519MLKEM768,
    ];
    Arc::new(provider)
}

fn publisher(args: &AuthorityArgs) -> Result<Option<Arc<Publisher>>, MinterError> {
    let Some(path) = &args.ca_publish else {
        if args.ca_cert.is_none() {
            tracing::warn!(
                "no app can trust the authority that the gateway makes: give `--ca-publish`"
            );
        }
        return Ok(None);
    };
    match Publisher::open(path) {
        Ok(publisher) => Ok(Some(Arc::new(publisher))),
        Err(source) => Err(MinterError::Publish {
            path: path.clone(),
            source,
        }),
    }
}

/// Why a handshake came to nothing. The ClientHello was there before it began: a client that leaves
/// without a word, as Node does, leaves because of what it was shown.
fn failure(error: &std::io::Error) -> Reason {
    use AlertDescription as Alert;
    let inner = error.get_ref();
    match inner.and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        // RFC 8446 §6.2: what a client says that does not accept a certificate.
        Some(rustls::Error::AlertReceived(
            Alert::BadCertificate
            | Alert::UnsupportedCertificate
            | Alert::CertificateRevoked
            | Alert::CertificateExpired
            | Alert::CertificateUnknown
            | Alert::UnknownCA
            | Alert::AccessDenied
            | Alert::BadCertificateStatusResponse
            | Alert::BadCertificateHashValue,
        ))
        | None => Reason::TlsPinned,
        Some(_) => Reason::TlsHandshake,
    }
}
