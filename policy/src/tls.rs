//! Encryption as a policy demands it: who ends which TLS, and what the other side must show.
//!
//! What others must be (roots, pins, identities, revocation lists) is policy and stands here as it
//! was read. What the gateway itself shows (its certificates and keys) is only named: a policy
//! compiles where those are not, and is the same policy when they are renewed.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::Host;
use crate::rule::HostError;

/// The longest SPIFFE ID, in bytes (SPIFFE-ID §2.3).
const MAX_SPIFFE_ID: usize = 2048;

/// The longest name of a trust domain, in bytes (SPIFFE-ID §2.3).
const MAX_TRUST_DOMAIN: usize = 255;

/// The lowest version of TLS that may be spoken. The greater one is the stricter one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    /// 1.2 (RFC 5246).
    V12,
    /// 1.3 (RFC 8446).
    V13,
}

/// Which certificate authorities are trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Roots {
    /// Those of the system that the gateway runs on.
    System,
    /// These certificates, in DER; never empty. Each can be read as a trust anchor.
    Given(Vec<Vec<u8>>),
}

/// SHA-256 over the `SubjectPublicKeyInfo` (RFC 5280 §4.1) of an end-entity certificate, in DER.
pub type Pin = [u8; 32];

/// A name in the `subjectAltName` of a certificate (RFC 5280 §4.2.1.6); never a wildcard.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Identity {
    /// `dNSName`.
    Dns(Host),
    /// `uniformResourceIdentifier`: a SPIFFE ID with a path, to be compared byte by byte.
    Uri(Arc<str>),
}

/// Why a text is no [`Identity`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// It begins with neither scheme.
    #[error("it begins with `dns:` or `spiffe://`")]
    Scheme,
    /// What follows `dns:` is no host name.
    #[error("{0}")]
    Host(#[from] HostError),
    /// Longer than 2048 bytes (SPIFFE-ID §2.3).
    #[error("a SPIFFE ID has at most 2048 bytes")]
    Length,
    /// Not the name of a trust domain (SPIFFE-ID §2.1).
    #[error("a trust domain is 1 to 255 of a-z, 0-9, '.', '-' and '_', without user or port")]
    TrustDomain,
    /// The path is missing, or is none (SPIFFE-ID §2.2).
    #[error(
        "the path of a SPIFFE ID has one segment or more, none of them empty, `.` or `..`, \
         each of a-z, A-Z, 0-9, '.', '-' and '_'"
    )]
    Path,
}

/// The files of a certificate chain and its private key, both PEM. The policy only names them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyPair {
    /// The chain, the end-entity certificate first.
    pub cert: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

/// TLS from the gateway to the peer of an egress rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerTls {
    /// The lowest version.
    pub min: TlsVersion,
    /// Who may have issued the peer's certificate.
    pub roots: Roots,
    /// The key of the peer's certificate is one of these; empty: any key.
    pub pins: Vec<Pin>,
    /// The peer's certificate has one of these names; empty: any. The name (or, without one, the
    /// address) that is dialled must be in it besides, unless one of these is a URI.
    pub identities: Vec<Identity>,
    /// What the gateway shows when it is asked for a certificate.
    pub client: Option<KeyPair>,
    /// Certificate revocation lists (RFC 5280 §5), in DER.
    pub crls: Vec<Vec<u8>>,
}

/// What becomes of the TLS of an app in the pod.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PodTls {
    /// The app speaks plain HTTP; TLS is refused.
    #[default]
    None,
    /// The gateway ends it, with a certificate that it makes for the name that the app asks for.
    Intercept,
}

/// Encryption on both sides of an inspected egress rule.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EgressTls {
    /// From the app.
    pub pod: PodTls,
    /// To the peer; `None`: plain text.
    pub peer: Option<PeerTls>,
}

/// What a caller of an ingress rule must show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientTls {
    /// Who may have issued its certificate, in DER; never empty. Each can be read as a trust anchor.
    pub roots: Vec<Vec<u8>>,
    /// Its certificate has one of these names; empty: any name.
    pub identities: Vec<Identity>,
    /// Certificate revocation lists (RFC 5280 §5), in DER.
    pub crls: Vec<Vec<u8>>,
}

/// How the app of an ingress rule is spoken to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AppTls {
    /// In plain text.
    #[default]
    Plain,
    /// In TLS. Its certificate says nothing, as the app is in the pod and hostile: it is not
    /// verified, and nothing of it reaches the caller.
    Tls,
}

/// TLS that the gateway serves on an inspected ingress rule. The rules of one port agree about all
/// of it but `client`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IngressTls {
    /// The producer's certificate chain and key.
    pub pair: KeyPair,
    /// The lowest version.
    pub min: TlsVersion,
    /// What callers must show; `None`: nothing.
    pub client: Option<ClientTls>,
    /// How the app is spoken to.
    pub app: AppTls,
}

impl TlsVersion {
    /// As it is written in a policy, and the label in metrics and records.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V12 => "1.2",
            Self::V13 => "1.3",
        }
    }
}

/// As it is written in a policy.
impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns(name) => write!(f, "dns:{name}"),
            Self::Uri(uri) => f.write_str(uri),
        }
    }
}

/// As it is written in a policy: `dns:NAME` or `spiffe://TRUST-DOMAIN/PATH`.
impl FromStr for Identity {
    type Err = IdentityError;

    fn from_str(text: &str) -> Result<Self, IdentityError> {
        if let Some(name) = text.strip_prefix("dns:") {
            return Ok(Self::Dns(name.parse()?));
        }
        let id = text
            .strip_prefix("spiffe://")
            .ok_or(IdentityError::Scheme)?;
        if text.len() > MAX_SPIFFE_ID {
            return Err(IdentityError::Length);
        }
        let (domain, path) = id.split_once('/').ok_or(IdentityError::Path)?;
        let safe = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
        let in_domain = |b: u8| safe(b) && !b.is_ascii_uppercase();
        if !(1..=MAX_TRUST_DOMAIN).contains(&domain.len()) || !domain.bytes().all(in_domain) {
            return Err(IdentityError::TrustDomain);
        }
        let segment_ok =
            |segment: &str| !matches!(segment, "" | "." | "..") && segment.bytes().all(safe);
        if !path.split('/').all(segment_ok) {
            return Err(IdentityError::Path);
        }
        Ok(Self::Uri(text.into()))
    }
}

/// A pin as it is written in a policy: `sha256/` and the Base64 of 32 bytes.
pub(crate) fn parse_pin(text: &str) -> Option<Pin> {
    let bytes = STANDARD.decode(text.strip_prefix("sha256/")?).ok()?;
    bytes.try_into().ok()
}
