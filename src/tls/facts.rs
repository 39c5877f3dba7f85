//! What is known of a handshake, for the record and the metrics.

use lazaret_policy::Reason;
use rustls::CipherSuite;
use serde::Serialize;

use crate::audit::{Digest, Text};

/// Which of the four legs a handshake is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leg {
    /// From the pod, with a minted certificate.
    Pod,
    /// To a peer.
    Peer,
    /// From a caller, with the producer's certificate.
    Caller,
    /// To the app.
    App,
}

/// What a handshake agreed on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Session {
    /// `1.2` or `1.3`.
    pub version: &'static str,
    /// The cipher suite by its IANA name.
    pub cipher: &'static str,
    /// Whether HTTP/2 was agreed on (RFC 7301).
    #[serde(skip)]
    pub h2: bool,
    /// Who showed a certificate.
    #[serde(flatten)]
    pub peer: Option<PeerId>,
}

/// Whom a certificate names. The names are what a peer shows, so they are bounded in length.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PeerId {
    /// The first name of the certificate: a URI (SPIFFE ID) or else a DNS name, with its kind
    /// (`spiffe://…`, `dns:…`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity: Option<Text>,
    /// SHA-256 of the subject public key info (RFC 7469 §2.4).
    pub spki_sha256: Digest,
}

/// A handshake that came to nothing.
#[derive(Clone, Debug)]
pub struct Failed {
    /// Why.
    pub reason: Reason,
    /// Who showed the certificate, if one was shown.
    pub peer: Option<PeerId>,
}

impl Leg {
    /// The label in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pod => "pod",
            Self::Peer => "peer",
            Self::Caller => "caller",
            Self::App => "app",
        }
    }
}

impl From<Reason> for Failed {
    fn from(reason: Reason) -> Self {
        Self { reason, peer: None }
    }
}

impl Session {
    /// What a finished handshake agreed on.
    pub fn of(connection: &rustls::CommonState) -> Self {
        let version = match connection.protocol_version() {
            Some(rustls::ProtocolVersion::TLSv1_3) => "1.3",
            Some(rustls::ProtocolVersion::TLSv1_2) => "1.2",
            _ => "other",
        };
        let cipher = connection
            .negotiated_cipher_suite()
            .and_then(|suite| iana(suite.suite()))
            .unwrap_or("other");
        Self {
            version,
            cipher,
            h2: connection.alpn_protocol() == Some(b"h2"),
            peer: connection
                .peer_certificates()
                .and_then(<[_]>::first)
                .and_then(|cert| PeerId::of(cert)),
        }
    }
}

/// The library has names of its own for the suites of TLS 1.3 (RFC 8446 §B.4).
fn iana(suite: CipherSuite) -> Option<&'static str> {
    match suite {
        CipherSuite::TLS13_AES_128_GCM_SHA256 => Some("TLS_AES_128_GCM_SHA256"),
        CipherSuite::TLS13_AES_256_GCM_SHA384 => Some("TLS_AES_256_GCM_SHA384"),
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 => Some("TLS_CHACHA20_POLY1305_SHA256"),
        other => other.as_str(),
    }
}

/// What a peer says of itself, fit for a line of the log: short, and without control characters.
pub(super) fn cut(text: &str) -> String {
    const MOST: usize = 240;
    let clean = text.chars().filter(|c| !c.is_control());
    clean.take(MOST).collect()
}

impl PeerId {
    /// Whom this certificate (DER) names; `None` if it cannot be read.
    pub fn of(cert: &[u8]) -> Option<Self> {
        use sha2::{Digest as _, Sha256};
        use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};
        let (_, cert) = X509Certificate::from_der(cert).ok()?;
        let names = cert.subject_alternative_name().ok().flatten();
        let names = names.map_or(&[][..], |names| &names.value.general_names);
        let uri = names.iter().find_map(|name| match name {
            GeneralName::URI(uri) => Some(cut(uri)),
            _ => None,
        });
        let dns = names.iter().find_map(|name| match name {
            GeneralName::DNSName(name) => Some(format!("dns:{}", cut(name))),
            _ => None,
        });
        Some(Self {
            identity: uri.or(dns).map(Text::from),
            spki_sha256: Digest(Sha256::digest(cert.public_key().raw).into()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_peer_says_of_itself_is_one_short_line() {
        assert_eq!(cut("a\nINFO forged\u{7f}"), "aINFO forged");
        assert_eq!(cut(&"é".repeat(1 << 16)).chars().count(), 240);
    }
}
