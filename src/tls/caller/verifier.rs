//! Judges the certificate that a caller shows. Whatever is wrong with it, the caller learns by the
//! same alert; the error carries whose it is, for the record.

use std::sync::Arc;

use lazaret_policy::{ClientTls, Identity};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::CryptoProvider;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use rustls::{
    CertRevocationListError, CertificateError, DigitallySignedStruct, DistinguishedName, Error,
    OtherError, RootCertStore, SignatureScheme,
};
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, UnixTime};

use x509_parser::prelude::{CertificateRevocationList, FromDer};

use crate::tls::verify::{MAX_INTERMEDIATES, identities_match};
use crate::tls::{PeerId, keys};

/// Issuer, time, purpose, revocation and names.
#[derive(Debug)]
pub(super) struct Verifier {
    chain: Arc<dyn ClientCertVerifier>,
    identities: Vec<Identity>,
    /// When the first revocation list must have been renewed, in seconds since 1970.
    lists_end: Option<i64>,
}

/// A certificate that is not accepted.
#[derive(Debug, thiserror::Error)]
#[error("the certificate of a caller is not accepted: {error}")]
pub(super) struct NotAccepted {
    /// Whom it names.
    pub(super) peer: Option<PeerId>,
    error: Error,
}

impl Verifier {
    /// # Errors
    /// A root or revocation list cannot be used.
    pub(super) fn new(
        client: &ClientTls,
        provider: Arc<CryptoProvider>,
    ) -> Result<Self, VerifierBuilderError> {
        let mut roots = RootCertStore::empty();
        for root in &client.roots {
            // One root less would let fewer callers in, and nobody would know why.
            let added = roots.add(CertificateDer::from(root.as_slice()));
            added.map_err(|_| VerifierBuilderError::NoRootAnchors)?;
        }
        let crls = client.crls.iter().cloned();
        let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
            .with_crls(crls.map(CertificateRevocationListDer::from))
            .enforce_revocation_expiration()
            // Whom the producer trusts is not for everybody who connects to know.
            .clear_root_hint_subjects();
        let chain = builder.build()?;
        let ends: Option<Vec<i64>> = client.crls.iter().map(|list| next_update(list)).collect();
        let ends = ends.ok_or(CertRevocationListError::ParseError)?;
        Ok(Self {
            chain,
            identities: client.identities.clone(),
            lists_end: ends.into_iter().min(),
        })
    }

    /// Judges the chain of a session that is resumed, at the time of now.
    pub(super) fn judge_again(&self, chain: &[CertificateDer<'_>]) -> Result<(), Error> {
        let (cert, intermediates) = chain.split_first().ok_or(Error::NoCertificatesPresented)?;
        self.judge(cert, intermediates, UnixTime::now()).map(|_| ())
    }

    /// Until when a chain that was accepted counts, in seconds since 1970.
    pub(super) fn until(&self, chain: &[CertificateDer<'_>]) -> Option<i64> {
        let ends = keys::not_after(chain.first()?)?;
        Some(self.lists_end.map_or(ends, |lists| lists.min(ends)))
    }

    fn judge(
        &self,
        cert: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        if intermediates.len() > MAX_INTERMEDIATES {
            return Err(CertificateError::UnknownIssuer.into());
        }
        let verified = self.chain.verify_client_cert(cert, intermediates, now)?;
        if !self.identities.is_empty() && !identities_match(cert, &self.identities) {
            return Err(CertificateError::ApplicationVerificationFailure.into());
        }
        Ok(verified)
    }
}

impl ClientCertVerifier for Verifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.chain.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        cert: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let judged = self.judge(cert, intermediates, now);
        judged.map_err(|error| not_accepted(cert, error))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let verified = self.chain.verify_tls12_signature(message, cert, signed);
        verified.map_err(|error| not_accepted(cert, error))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let verified = self.chain.verify_tls13_signature(message, cert, signed);
        verified.map_err(|error| not_accepted(cert, error))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}

/// Lists without this date are refused (RFC 5280 §5.1.2.5 demands it).
fn next_update(list: &[u8]) -> Option<i64> {
    let (_, list) = CertificateRevocationList::from_der(list).ok()?;
    Some(list.next_update()?.timestamp())
}

fn not_accepted(cert: &CertificateDer<'_>, error: Error) -> Error {
    let peer = PeerId::of(cert);
    let refused = Arc::new(NotAccepted { peer, error });
    CertificateError::Other(OtherError(refused)).into()
}
