//! The authority whose certificates the app is shown: made here, so that its key is in memory and
//! nowhere else, or given by the operator. One that is made can vouch for the names of the policy
//! and nothing else: should its key ever come out, or an app trust it for more than it should, no
//! other site can be impersonated with it.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use lazaret_policy::KeyPair as KeyFiles;
use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    NameConstraints, PublicKeyData, SanType, SerialNumber, date_time_ymd,
};
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::CryptoProvider;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use x509_parser::prelude::{FromDer, X509Certificate};
use zeroize::Zeroizing;

use super::keys::{self, KeyError, Seen};
use super::pod::PodName;
use super::publish::pem;
use crate::settings::AuthorityArgs;

const HOUR: i64 = 60 * 60;
const DAY: i64 = 24 * HOUR;

/// How long an authority that is made here is valid, in seconds. A new one means that apps must
/// read its certificate again, so it should outlive most pods.
const VALIDITY: i64 = 365 * DAY;

/// How long before its end an authority that was made here is replaced, in seconds.
const RENEWED_BEFORE: i64 = 30 * DAY;

/// How long a certificate for the app is valid, in seconds.
const LEAF_VALIDITY: i64 = 7 * DAY;

/// For an app whose clock is behind ours, in seconds.
const SKEW: i64 = HOUR;

/// Nobody can have a name below it (RFC 6761 §6.4).
const NOBODY: &str = "invalid";

/// Who vouches for the certificates that the app is shown.
#[derive(Debug)]
pub struct Authority {
    key: Zeroizing<KeyPair>,
    /// Its own certificate first.
    chain: Vec<CertificateDer<'static>>,
    not_after: i64,
    origin: Origin,
}

#[derive(Debug)]
enum Origin {
    /// Made here, for these names.
    Made(BTreeSet<PodName>),
    /// By the operator.
    Given(KeyFiles, Seen),
}

/// A certificate for the app.
#[derive(Debug)]
pub struct Leaf {
    /// The certificate, and those between it and what the app trusts.
    pub chain: Vec<CertificateDer<'static>>,
    /// When it ends, in seconds since 1970.
    pub not_after: i64,
}

/// Why there is no authority, or none of use.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// Its files.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The certificate is not one of an authority.
    #[error("{} is no certificate of an authority (RFC 5280 §4.2.1.9: basicConstraints with cA)", .0.display())]
    NoAuthority(PathBuf),
    /// The certificate says that its key signs no certificates.
    #[error("{} may not sign certificates (RFC 5280 §4.2.1.3: keyUsage with keyCertSign)", .0.display())]
    MayNotSign(PathBuf),
    /// The certificate has ended, or has not begun.
    #[error("{} is not valid at this time", .0.display())]
    Time(PathBuf),
    /// The key is of an unknown kind.
    #[error("{} holds a key that cannot sign; use ECDSA on P-256 or P-384, Ed25519 or RSA", .0.display())]
    KeyKind(PathBuf),
    /// Certificate and key are of different pairs.
    #[error("the key in {} is not the one of the certificate in {}", key.display(), cert.display())]
    OtherKey {
        /// The certificate.
        cert: PathBuf,
        /// The key.
        key: PathBuf,
    },
    /// No client would accept what it signs.
    #[error("its certificate for {name} would be refused: {source}")]
    Refused {
        /// For whom.
        name: String,
        /// Why.
        source: rustls::Error,
    },
    /// A certificate cannot be made.
    #[error("cannot make a certificate: {0}")]
    Make(#[from] rcgen::Error),
    /// There is no randomness.
    #[error("the system gives no random numbers")]
    Random,
}

impl Authority {
    /// Reads the given authority, or makes one for these names.
    ///
    /// # Errors
    /// The given one cannot be used.
    pub fn new(
        args: &AuthorityArgs,
        names: &BTreeSet<PodName>,
        provider: &CryptoProvider,
    ) -> Result<Self, AuthorityError> {
        match (&args.ca_cert, &args.ca_key) {
            (Some(cert), Some(key)) => Self::load(KeyFiles {
                cert: cert.clone(),
                key: key.clone(),
            }),
            _ => Self::make(names, provider),
        }
    }

    fn make(names: &BTreeSet<PodName>, provider: &CryptoProvider) -> Result<Self, AuthorityError> {
        let key = Zeroizing::new(KeyPair::generate()?);
        let now = now();
        let not_after = now + VALIDITY;
        let serial = serial(provider)?;
        let mut params = CertificateParams::default();
        // Each has a name of its own: a client that knows an old one looks for the right one.
        let tag: String = serial[1..5].iter().map(|b| format!("{b:02x}")).collect();
        let name = format!("Lazaret authority of this pod {tag}");
        params.distinguished_name.push(DnType::CommonName, name);
        params.serial_number = Some(SerialNumber::from_slice(&serial));
        params.not_before = date_time_ymd(1970, 1, 1) + seconds(now - DAY);
        params.not_after = date_time_ymd(1970, 1, 1) + seconds(not_after);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.name_constraints = Some(constraints(names));
        let cert = params.self_signed(&*key)?;
        Ok(Self {
            key,
            chain: vec![cert.into()],
            not_after,
            origin: Origin::Made(names.clone()),
        })
    }

    fn load(files: KeyFiles) -> Result<Self, AuthorityError> {
        let loaded = keys::load(&files)?;
        let der = Zeroizing::new(loaded.key);
        let key = KeyPair::try_from(&*der)
            .map_err(|_| AuthorityError::KeyKind(files.key.clone()))
            .map(Zeroizing::new)?;
        check(&loaded.chain[0], &key, &files)?;
        Ok(Self {
            key,
            chain: loaded.chain,
            not_after: loaded.not_after,
            origin: Origin::Given(files, loaded.seen),
        })
    }

    /// Whether it may go on to vouch for these names.
    pub fn is_good_for(&self, names: &BTreeSet<PodName>) -> bool {
        match &self.origin {
            Origin::Made(known) => names.is_subset(known) && !self.is_stale(),
            Origin::Given(..) => !self.is_stale(),
        }
    }

    /// Whether its end is near, or its files have changed.
    pub fn is_stale(&self) -> bool {
        match &self.origin {
            Origin::Made(_) => now() >= self.not_after - RENEWED_BEFORE,
            Origin::Given(files, seen) => keys::seen(files) != Some(*seen),
        }
    }

    /// When it ends, in seconds since 1970.
    pub fn not_after(&self) -> i64 {
        self.not_after
    }

    /// What an app must trust, in PEM.
    pub fn pem(&self) -> String {
        self.chain.iter().map(|cert| pem(cert)).collect()
    }

    /// Makes the certificate of a name for a key, and looks at it as a client will.
    ///
    /// # Errors
    /// A client would refuse it: the given authority may not vouch for this name.
    pub fn sign(
        &self,
        name: &PodName,
        key: &impl PublicKeyData,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Leaf, AuthorityError> {
        let now = now();
        let not_after = self.not_after.min(now + LEAF_VALIDITY);
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.serial_number = Some(SerialNumber::from_slice(&serial(provider)?));
        params.not_before = date_time_ymd(1970, 1, 1) + seconds(now - SKEW);
        params.not_after = date_time_ymd(1970, 1, 1) + seconds(not_after);
        params.subject_alt_names = vec![match name {
            PodName::Host(host) => SanType::DnsName(host.as_str().try_into()?),
            PodName::Address(ip) => SanType::IpAddress(*ip),
        }];
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let issuer = Issuer::from_ca_cert_der(&self.chain[0], &*self.key)?;
        let leaf = params.signed_by(key, &issuer)?;
        let mut chain = vec![leaf.into()];
        chain.extend(self.chain.iter().filter(|cert| !is_root(cert)).cloned());
        self.verify(name, &chain, provider)
            .map_err(|source| AuthorityError::Refused {
                name: name.to_string(),
                source,
            })?;
        Ok(Leaf { chain, not_after })
    }

    fn verify(
        &self,
        name: &PodName,
        chain: &[CertificateDer<'_>],
        provider: &Arc<CryptoProvider>,
    ) -> Result<(), rustls::Error> {
        let mut roots = RootCertStore::empty();
        let trusted = self.chain.last().expect("an authority has a certificate");
        roots.add(trusted.clone())?;
        let verifier =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
        let verifier = verifier
            .build()
            .map_err(|error| rustls::Error::General(error.to_string()))?;
        let name = match name {
            PodName::Host(host) => ServerName::try_from(host.as_str())
                .map_err(|error| rustls::Error::General(error.to_string()))?,
            PodName::Address(ip) => ServerName::IpAddress((*ip).into()),
        };
        verifier.verify_server_cert(&chain[0], &chain[1..], &name, &[], UnixTime::now())?;
        Ok(())
    }
}

/// Seconds since 1970.
pub fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs().cast_signed())
}

/// Names of one kind say nothing about those of the other (RFC 5280 §4.2.1.10), so both kinds are
/// always there.
fn constraints(names: &BTreeSet<PodName>) -> NameConstraints {
    let mut permitted = Vec::new();
    let mut excluded = Vec::new();
    let (mut any_host, mut any_address) = (false, false);
    for name in names {
        permitted.push(match name {
            PodName::Host(host) => {
                any_host = true;
                GeneralSubtree::DnsName(host.as_str().to_owned())
            }
            PodName::Address(ip) => {
                any_address = true;
                let bits = if ip.is_ipv4() { 32 } else { 128 };
                GeneralSubtree::IpAddress(CidrSubnet::from_addr_prefix(*ip, bits))
            }
        });
    }
    if !any_host {
        permitted.push(GeneralSubtree::DnsName(NOBODY.to_owned()));
    }
    if !any_address {
        for all in [IpAddr::from([0; 4]), IpAddr::from([0; 16])] {
            excluded.push(GeneralSubtree::IpAddress(CidrSubnet::from_addr_prefix(
                all, 0,
            )));
        }
    }
    NameConstraints {
        permitted_subtrees: permitted,
        excluded_subtrees: excluded,
    }
}

fn check(cert: &[u8], key: &KeyPair, files: &KeyFiles) -> Result<(), AuthorityError> {
    let path = || files.cert.clone();
    let no_authority = || AuthorityError::NoAuthority(path());
    let (_, cert) = X509Certificate::from_der(cert).map_err(|_| no_authority())?;
    if !cert.is_ca() {
        return Err(no_authority());
    }
    let usage = cert.key_usage().map_err(|_| no_authority())?;
    if usage.is_some_and(|usage| !usage.value.key_cert_sign()) {
        return Err(AuthorityError::MayNotSign(path()));
    }
    if !cert.validity().is_valid() {
        return Err(AuthorityError::Time(path()));
    }
    if cert.public_key().raw != key.subject_public_key_info() {
        return Err(AuthorityError::OtherKey {
            cert: path(),
            key: files.key.clone(),
        });
    }
    Ok(())
}

fn is_root(cert: &[u8]) -> bool {
    X509Certificate::from_der(cert).is_ok_and(|(_, cert)| cert.subject() == cert.issuer())
}

/// 16 random bytes, the first of which makes the number positive and its length the same.
fn serial(provider: &CryptoProvider) -> Result<[u8; 16], AuthorityError> {
    let mut serial = [0; 16];
    let filled = provider.secure_random.fill(&mut serial);
    filled.map_err(|_| AuthorityError::Random)?;
    serial[0] = serial[0] & 0x3f | 0x40;
    Ok(serial)
}

fn seconds(n: i64) -> Duration {
    Duration::from_secs(n.max(0).cast_unsigned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::crypto::aws_lc_rs;

    fn names(names: &[&str]) -> BTreeSet<PodName> {
        let name = |name: &&str| match name.parse() {
            Ok(ip) => PodName::Address(ip),
            Err(_) => PodName::Host(name.parse().unwrap()),
        };
        names.iter().map(name).collect()
    }

    /// A kind of name that the policy does not have is as closed as a name that it does not have.
    #[test]
    fn vouches_for_its_names_and_nothing_else() {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let key = KeyPair::generate().unwrap();
        let all = ["a.example", "b.example", "10.0.0.1", "10.0.0.2", "fd00::1"];
        for own in [
            &["a.example"][..],
            &["10.0.0.1"],
            &["fd00::1"],
            &["b.example", "10.0.0.2"],
        ] {
            let authority = Authority::make(&names(own), &provider).unwrap();
            for name in all {
                let asked = names(&[name]).pop_first().unwrap();
                let signed = authority.sign(&asked, &key, &provider);
                assert_eq!(signed.is_ok(), own.contains(&name), "{own:?} {name}");
            }
        }
    }

    #[test]
    fn certificates_end_before_their_authority_and_have_numbers_of_their_own() {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let key = KeyPair::generate().unwrap();
        let all = names(&["a.example"]);
        let mut authority = Authority::make(&all, &provider).unwrap();
        let name = all.first().unwrap();
        let [one, two] = [0; 2].map(|_| authority.sign(name, &key, &provider).unwrap());
        let serial = |leaf: &Leaf| {
            let (_, cert) = X509Certificate::from_der(&leaf.chain[0]).unwrap();
            assert!(cert.subject().iter().next().is_none());
            cert.serial.clone()
        };
        assert_ne!(serial(&one), serial(&two));
        assert!((one.not_after - now() - LEAF_VALIDITY).abs() < 60);
        assert!(authority.is_good_for(&all));
        assert!(!authority.is_good_for(&names(&["a.example", "b.example"])));
        authority.not_after = now() + HOUR;
        assert!(!authority.is_good_for(&all));
        let last = authority.sign(name, &key, &provider).unwrap();
        assert_eq!(last.not_after, authority.not_after);
    }

    /// An operator's authority may be constrained, too; then it must fit the policy.
    #[test]
    fn a_given_authority_that_may_not_vouch_for_a_name_is_noticed() {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let made = Authority::make(&names(&["a.example"]), &provider).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let (cert, key) = (dir.path().join("ca.pem"), dir.path().join("ca.key"));
        std::fs::write(&cert, made.pem()).unwrap();
        std::fs::write(&key, made.key.serialize_pem()).unwrap();
        std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o400))
            .unwrap();
        let args = AuthorityArgs {
            ca_cert: Some(cert.clone()),
            ca_key: Some(key),
            ca_publish: None,
        };
        let given = Authority::new(&args, &names(&[]), &provider).unwrap();
        let leaf_key = KeyPair::generate().unwrap();
        for (name, is_good) in [("a.example", true), ("c.example", false)] {
            let name = names(&[name]).pop_first().unwrap();
            let signed = given.sign(&name, &leaf_key, &provider);
            assert_eq!(signed.is_ok(), is_good, "{name}");
        }
        assert!(!given.is_stale());
        std::fs::write(&cert, "").unwrap();
        assert!(given.is_stale());
    }
}
