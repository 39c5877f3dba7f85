//! Certificates and private keys that the gateway shows, from files. A key is held no longer than
//! it takes to hand it on, and never by a file that everybody may read.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use lazaret_policy::KeyPair;
use rustls::crypto::aws_lc_rs;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest as _, Sha256};
use x509_parser::prelude::{FromDer, X509Certificate};
use zeroize::{Zeroize, Zeroizing};

/// Others than the owner and the group may do nothing with a key; the group may read it, since
/// that is how Kubernetes hands out secrets (`fsGroup`).
const FORBIDDEN_MODE: u32 = 0o037;

/// The largest file of certificates or keys, in bytes.
const MAX_FILE: u64 = 1 << 20;

/// A certificate chain with its key.
#[derive(Debug)]
pub struct Loaded {
    /// The chain, the end-entity certificate first; never empty.
    pub chain: Vec<CertificateDer<'static>>,
    /// Its key.
    pub key: PrivateKeyDer<'static>,
    /// When the end-entity certificate ends, in seconds since 1970.
    pub not_after: i64,
    /// What was read, to notice a change.
    pub seen: Seen,
}

/// A digest of files as they were.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen([u8; 32]);

/// Why a certificate or key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The file is too large.
    #[error("{} is larger than {MAX_FILE} bytes", .0.display())]
    Large(PathBuf),
    /// Too many may read or write the file.
    #[error("{} may be read by everybody or written by others (mode {mode:04o}); make it 0400 or 0440", path.display())]
    Mode {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// The file holds no certificate.
    #[error("{} holds no certificate in PEM", .0.display())]
    NoCertificate(PathBuf),
    /// The file holds no key.
    #[error("{} holds no private key in PEM (PKCS #8, PKCS #1 or SEC 1)", .0.display())]
    NoKey(PathBuf),
    /// The key is of another certificate.
    #[error(
        "the key in {} is not that of the first certificate in {}; renew both files together",
        .0.key.display(), .0.cert.display()
    )]
    Mismatch(KeyPair),
    /// The key is of no use for TLS.
    #[error(
        "the key in {} is none that TLS signs with; make it ECDSA on P-256 or P-384, Ed25519, or \
         RSA of 2048 to 8192 bits",
        .0.key.display()
    )]
    KeyKind(KeyPair),
    /// The certificate is of no use for TLS.
    #[error(
        "the first certificate in {} is none that TLS knows; make it an X.509 v3 certificate",
        .0.cert.display()
    )]
    Certificate(KeyPair),
}

impl Loaded {
    /// The key with its certificate, if they fit. What was read of the key does not stay in memory.
    ///
    /// # Errors
    /// They do not fit, or are of no use for TLS. `pair` says where they are from.
    pub fn certified(self, pair: &KeyPair) -> Result<CertifiedKey, KeyError> {
        let Self { chain, mut key, .. } = self;
        let signing = aws_lc_rs::sign::any_supported_type(&key);
        key.zeroize();
        let signing = signing.map_err(|_| KeyError::KeyKind(pair.clone()))?;
        let certified = CertifiedKey::new(chain, signing);
        match certified.keys_match() {
            Ok(()) => Ok(certified),
            Err(rustls::Error::InvalidCertificate(_)) => Err(KeyError::Certificate(pair.clone())),
            Err(_) => Err(KeyError::Mismatch(pair.clone())),
        }
    }
}

/// Reads a pair.
///
/// # Errors
/// A file cannot be read, holds nothing of use, or the key is open to others.
pub fn load(pair: &KeyPair) -> Result<Loaded, KeyError> {
    let cert = read(&pair.cert, false)?;
    let key = read(&pair.key, true)?;
    let no_certificate = || KeyError::NoCertificate(pair.cert.clone());
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&cert)
        .collect::<Result<_, _>>()
        .map_err(|_| no_certificate())?;
    let first = chain.first().ok_or_else(no_certificate)?;
    let not_after = not_after(first).ok_or_else(no_certificate)?;
    Ok(Loaded {
        not_after,
        key: PrivateKeyDer::from_pem_slice(&key).map_err(|_| KeyError::NoKey(pair.key.clone()))?,
        seen: digest(&cert, &key),
        chain,
    })
}

/// The files of a pair as they are now; `None` if they cannot be read.
pub fn seen(pair: &KeyPair) -> Option<Seen> {
    let cert = read(&pair.cert, false).ok()?;
    let key = read(&pair.key, true).ok()?;
    Some(digest(&cert, &key))
}

/// When a certificate (DER) ends, in seconds since 1970; `None` if it cannot be read.
pub fn not_after(cert: &[u8]) -> Option<i64> {
    let (_, cert) = X509Certificate::from_der(cert).ok()?;
    Some(cert.validity().not_after.timestamp())
}

fn digest(cert: &[u8], key: &[u8]) -> Seen {
    let mut digest = Sha256::new();
    digest.update((cert.len() as u64).to_be_bytes());
    digest.update(cert);
    digest.update(key);
    Seen(digest.finalize().into())
}

fn read(path: &Path, is_secret: bool) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let failed = |source| KeyError::Read {
        path: path.into(),
        source,
    };
    let file = File::open(path).map_err(failed)?;
    let meta = file.metadata().map_err(failed)?;
    if is_secret && meta.mode() & FORBIDDEN_MODE != 0 {
        return Err(KeyError::Mode {
            path: path.into(),
            mode: meta.mode() & 0o7777,
        });
    }
    if meta.len() > MAX_FILE {
        return Err(KeyError::Large(path.into()));
    }
    // Room for all of it, since a buffer that grows leaves copies behind; and for no more, since all
    // of it is wiped, at each look. What a file has grown by meanwhile is seen at the next.
    let mut bytes = Zeroizing::new(Vec::with_capacity(meta.len() as usize));
    file.take(meta.len())
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_key_is_read_only_from_a_file_that_is_closed_to_others() {
        let dir = tempfile::tempdir().unwrap();
        let pair = KeyPair {
            cert: dir.path().join("cert.pem"),
            key: dir.path().join("key.pem"),
        };
        let made = rcgen::generate_simple_self_signed(vec!["a.example".to_owned()]).unwrap();
        std::fs::write(&pair.cert, made.cert.pem()).unwrap();
        std::fs::write(&pair.key, made.signing_key.serialize_pem()).unwrap();
        for (mode, is_good) in [(0o400, true), (0o640, true), (0o604, false), (0o620, false)] {
            std::fs::set_permissions(&pair.key, PermissionsExt::from_mode(mode)).unwrap();
            assert_eq!(load(&pair).is_ok(), is_good, "{mode:o}");
        }
        std::fs::set_permissions(&pair.key, PermissionsExt::from_mode(0o400)).unwrap();
        let before = load(&pair).unwrap().seen;
        assert_eq!(seen(&pair), Some(before));
        std::fs::write(&pair.cert, format!("{}\n", made.cert.pem())).unwrap();
        assert_ne!(seen(&pair), Some(before));
        std::fs::write(&pair.cert, "").unwrap();
        assert!(matches!(load(&pair), Err(KeyError::NoCertificate(_))));
        std::fs::remove_file(&pair.cert).unwrap();
        assert!(matches!(load(&pair), Err(KeyError::Read { .. })));
        assert_eq!(seen(&pair), None);
    }
}
