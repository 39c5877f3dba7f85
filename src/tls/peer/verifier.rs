//! Whether a peer is whom the policy means: the library's verification of chain, time, use,
//! revocation and name, and then what the policy asks for besides.

use std::sync::Arc;

use lazaret_policy::{Identity, PeerTls, Pin, Reason};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms};
use rustls::{
    CertificateError, DigitallySignedStruct, Error, OtherError, RootCertStore, SignatureScheme,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use webpki::{
    CertRevocationList, EndEntityCert, ExpirationPolicy, KeyUsage, OwnedCertRevocationList,
    RevocationCheckDepth, RevocationOptionsBuilder, UnknownStatusPolicy,
};
use x509_parser::prelude::{CertificateRevocationList, FromDer};

use super::PeerError;
use crate::tls::verify::{MAX_INTERMEDIATES, identities_match, spki_sha256};
use crate::tls::{Failed, PeerId};

/// Verifies peers.
#[derive(Debug)]
pub(super) struct Verifier {
    library: Arc<WebPkiServerVerifier>,
    /// For peers that are known by an ID instead of the name that is dialled.
    nameless: Option<Nameless>,
    pins: Vec<Pin>,
    identities: Vec<Identity>,
    lists_end: Option<i64>,
}

/// The library's verification without its last step, the name.
#[derive(Debug)]
struct Nameless {
    roots: Arc<RootCertStore>,
    lists: Vec<CertRevocationList<'static>>,
    algorithms: WebPkiSupportedAlgorithms,
}

/// Believes every certificate.
#[derive(Debug)]
pub(super) struct AnyApp(WebPkiSupportedAlgorithms);

/// A certificate that was not accepted, on its way through the library.
#[derive(Debug, thiserror::Error)]
#[error("{why}")]
pub(super) struct Refused {
    reason: Reason,
    peer: Option<PeerId>,
    why: Why,
}

/// Why a certificate was not accepted.
#[derive(Debug, thiserror::Error)]
enum Why {
    #[error("{0}")]
    Library(Error),
    #[error("invalid peer certificate: {0}")]
    Chain(webpki::Error),
    #[error("more than {MAX_INTERMEDIATES} certificates came with that of the peer")]
    Length,
    #[error("the key of the peer is none of the pinned ones")]
    Pin,
    #[error("the peer's certificate has none of the identities of the policy")]
    Identity,
}

impl Verifier {
    pub(super) fn new(
        spec: &PeerTls,
        roots: RootCertStore,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Self, PeerError> {
        let roots = Arc::new(roots);
        let lists = spec.crls.iter().map(|list| list.clone().into());
        // With lists, each certificate of the chain but the root must be on none and its issuer's
        // must be there: that is the builder's default. That a list has expired is not looked at
        // unless asked for.
        let library =
            WebPkiServerVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(provider))
                .with_crls(lists)
                .enforce_revocation_expiration()
                .build()
                .map_err(|error| PeerError::List(error.to_string()))?;
        let by_id = spec
            .identities
            .iter()
            .any(|id| matches!(id, Identity::Uri(_)));
        let nameless = match by_id {
            true => Some(Nameless::new(&spec.crls, roots, provider)?),
            false => None,
        };
        let ends: Result<Vec<_>, _> = spec.crls.iter().map(|list| next_update(list)).collect();
        Ok(Self {
            library,
            nameless,
            pins: spec.pins.clone(),
            identities: spec.identities.clone(),
            lists_end: ends?.into_iter().flatten().min(),
        })
    }

    /// When the first of the lists must have been renewed, in seconds since 1970.
    pub(super) fn lists_end(&self) -> Option<i64> {
        self.lists_end
    }

    fn verify(
        &self,
        cert: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<(), (Reason, Why)> {
        if intermediates.len() > MAX_INTERMEDIATES {
            return Err((Reason::UpstreamCertificate, Why::Length));
        }
        match &self.nameless {
            Some(nameless) => nameless
                .verify(cert, intermediates, now)
                .map_err(|error| (chain_reason(&error), Why::Chain(error)))?,
            None => {
                _ = (self.library)
                    .verify_server_cert(cert, intermediates, name, &[], now)
                    .map_err(|error| (library_reason(&error), Why::Library(error)))?
            }
        }
        let has_pin = || spki_sha256(cert).is_some_and(|key| self.pins.contains(&key));
        if !self.pins.is_empty() && !has_pin() {
            return Err((Reason::UpstreamIdentity, Why::Pin));
        }
        if !identities_match(cert, &self.identities) {
            return Err((Reason::UpstreamIdentity, Why::Identity));
        }
        Ok(())
    }
}

impl Nameless {
    fn new(
        lists: &[Vec<u8>],
        roots: Arc<RootCertStore>,
        provider: &CryptoProvider,
    ) -> Result<Self, PeerError> {
        let lists = lists.iter().map(|list| {
            let list = OwnedCertRevocationList::from_der(list);
            list.map(CertRevocationList::from)
                .map_err(|error| PeerError::List(error.to_string()))
        });
        Ok(Self {
            roots,
            lists: lists.collect::<Result<_, _>>()?,
            algorithms: provider.signature_verification_algorithms,
        })
    }

    fn verify(
        &self,
        cert: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), webpki::Error> {
        let lists: Vec<_> = self.lists.iter().collect();
        // Without lists there is nothing to ask them.
        let revocation = RevocationOptionsBuilder::new(&lists).ok().map(|options| {
            options
                .with_depth(RevocationCheckDepth::Chain)
                .with_status_policy(UnknownStatusPolicy::Deny)
                .with_expiration_policy(ExpirationPolicy::Enforce)
                .build()
        });
        EndEntityCert::try_from(cert)?.verify_for_usage(
            self.algorithms.all,
            &self.roots.roots,
            intermediates,
            now,
            KeyUsage::server_auth(),
            revocation,
            None,
        )?;
        Ok(())
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match self.verify(end_entity, intermediates, server_name, now) {
            Ok(()) => Ok(ServerCertVerified::assertion()),
            Err((reason, why)) => Err(refused(reason, why, end_entity)),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let verified = self.library.verify_tls12_signature(message, cert, dss);
        verified.map_err(|error| refused(library_reason(&error), Why::Library(error), cert))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let verified = self.library.verify_tls13_signature(message, cert, dss);
        verified.map_err(|error| refused(library_reason(&error), Why::Library(error), cert))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.library.supported_verify_schemes()
    }
}

impl AnyApp {
    pub(super) fn new(provider: &CryptoProvider) -> Self {
        Self(provider.signature_verification_algorithms)
    }
}

/// A signature over a certificate that says nothing says nothing either, and old forms of
/// certificates could not be read for it.
impl ServerCertVerifier for AnyApp {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}

impl Refused {
    /// What the verifier said, if it ended the handshake.
    pub(super) fn in_error(error: &Error) -> Option<&Self> {
        match error {
            Error::InvalidCertificate(CertificateError::Other(OtherError(inner))) => {
                inner.downcast_ref()
            }
            _ => None,
        }
    }

    pub(super) fn failed(&self) -> Failed {
        Failed {
            reason: self.reason,
            peer: self.peer.clone(),
        }
    }
}

/// The peer is told that its certificate is unknown, and no more.
fn refused(reason: Reason, why: Why, cert: &CertificateDer<'_>) -> Error {
    let peer = PeerId::of(cert);
    let refused = Refused { reason, peer, why };
    CertificateError::Other(OtherError(Arc::new(refused))).into()
}

fn library_reason(error: &Error) -> Reason {
    use CertificateError as Bad;
    match error {
        Error::InvalidCertRevocationList(_)
        | Error::InvalidCertificate(
            Bad::Revoked
            | Bad::UnknownRevocationStatus
            | Bad::ExpiredRevocationList
            | Bad::ExpiredRevocationListContext { .. },
        ) => Reason::UpstreamRevoked,
        Error::InvalidCertificate(_) => Reason::UpstreamCertificate,
        _ => Reason::UpstreamTls,
    }
}

fn chain_reason(error: &webpki::Error) -> Reason {
    use webpki::Error as Bad;
    match error {
        Bad::CertRevoked
        | Bad::UnknownRevocationStatus
        | Bad::CrlExpired { .. }
        | Bad::IssuerNotCrlSigner
        | Bad::InvalidCrlSignatureForPublicKey
        | Bad::UnsupportedCrlSignatureAlgorithmContext(_)
        | Bad::UnsupportedCrlSignatureAlgorithmForPublicKeyContext(_) => Reason::UpstreamRevoked,
        _ => Reason::UpstreamCertificate,
    }
}

fn next_update(list: &[u8]) -> Result<Option<i64>, PeerError> {
    let (_, list) = CertificateRevocationList::from_der(list)
        .map_err(|error| PeerError::List(error.to_string()))?;
    Ok(list.next_update().map(|time| time.timestamp()))
}
