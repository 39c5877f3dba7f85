//! A small public key infrastructure, made anew for each test: authorities, certificates of every
//! kind that must be accepted or refused, and revocation lists, as PEM files.

use std::cell::Cell;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose,
    RevokedCertParams, SanType, SerialNumber, date_time_ymd,
};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

/// One day, in seconds.
const DAY: i64 = 86_400;

/// This many seconds from now. The type is of a crate that we do not name.
macro_rules! at {
    ($seconds:expr) => {
        date_time_ymd(1970, 1, 1) + Duration::from_secs(since_1970($seconds))
    };
}

/// A root, another that nobody trusts, and a directory for their files.
#[derive(Debug)]
pub struct Pki {
    dir: TempDir,
    /// `root.pem`.
    pub root: Authority,
    /// `other.pem`.
    pub other: Authority,
}

/// Who signs.
#[derive(Debug)]
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    dir: PathBuf,
    /// Its certificate, PEM.
    pub cert: PathBuf,
    chain: String,
    serial: Cell<u64>,
}

/// What a certificate says. In PEM files: the certificate first, then the intermediate ones.
#[derive(Clone, Debug)]
pub struct Spec {
    names: Vec<String>,
    /// Seconds from now.
    from: i64,
    to: i64,
    usage: Option<ExtendedKeyUsagePurpose>,
}

/// The files of a certificate and its key, which only the owner may read.
#[derive(Clone, Debug)]
pub struct Pair {
    /// The chain, PEM.
    pub cert: PathBuf,
    /// PKCS #8, PEM.
    pub key: PathBuf,
    /// For [`Authority::revoke`].
    pub serial: u64,
    /// SHA-256 of the `SubjectPublicKeyInfo`.
    pub spki: [u8; 32],
}

impl Pki {
    /// With a key for each authority.
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self {
            root: Authority::root(dir.path(), "root"),
            other: Authority::root(dir.path(), "other"),
            dir,
        }
    }

    /// Where the files are.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// A certificate for a server with these names, signed by the root, as `FILE.pem` and
    /// `FILE.key`. A name is a SPIFFE ID, an address, or else a DNS name.
    pub fn server(&self, file: &str, names: &[&str]) -> Pair {
        self.root.issue(file, Spec::server(names))
    }

    /// Like [`Pki::server`], for a client.
    pub fn client(&self, file: &str, names: &[&str]) -> Pair {
        self.root.issue(file, Spec::client(names))
    }
}

impl Spec {
    /// For a server, from yesterday to in a month.
    pub fn server(names: &[&str]) -> Self {
        Self {
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            from: -DAY,
            to: 30 * DAY,
            usage: Some(ExtendedKeyUsagePurpose::ServerAuth),
        }
    }

    /// For a client.
    pub fn client(names: &[&str]) -> Self {
        Self {
            usage: Some(ExtendedKeyUsagePurpose::ClientAuth),
            ..Self::server(names)
        }
    }

    /// Ended yesterday.
    pub fn expired(self) -> Self {
        self.valid(-10, -1)
    }

    /// Begins tomorrow.
    pub fn not_yet(self) -> Self {
        self.valid(1, 30)
    }

    /// Valid between these days from now.
    pub fn valid(self, from: i64, to: i64) -> Self {
        Self {
            from: from * DAY,
            to: to * DAY,
            ..self
        }
    }

    /// Ends in this many seconds.
    pub fn ending_in(self, seconds: i64) -> Self {
        Self {
            to: seconds,
            ..self
        }
    }

    fn params(&self, serial: u64) -> CertificateParams {
        let mut params = CertificateParams::default();
        params.serial_number = Some(SerialNumber::from(serial));
        params.distinguished_name = rcgen::DistinguishedName::new();
        params
            .distinguished_name
            .push(DnType::CommonName, format!("leaf {serial}"));
        params.subject_alt_names = self.names.iter().map(|name| san(name)).collect();
        params.not_before = at!(self.from);
        params.not_after = at!(self.to);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = self.usage.iter().cloned().collect();
        params.use_authority_key_identifier_extension = true;
        params
    }
}

impl Authority {
    fn root(dir: &Path, name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let params = authority(name);
        let cert = params.self_signed(&key).unwrap();
        Self::new(dir, name, params, key, &cert.pem(), String::new())
    }

    /// Another authority below this one.
    pub fn intermediate(&self, name: &str) -> Self {
        self.below(name, authority(name))
    }

    /// Another below this one, without the right to sign: what it signs must be refused.
    pub fn pretender(&self, name: &str) -> Self {
        let mut params = authority(name);
        params.is_ca = IsCa::ExplicitNoCa;
        self.below(name, params)
    }

    fn below(&self, name: &str, mut params: CertificateParams) -> Self {
        params.serial_number = Some(SerialNumber::from(self.next()));
        let key = KeyPair::generate().unwrap();
        let cert = params.signed_by(&key, &self.issuer).unwrap();
        let chain = format!("{}{}", cert.pem(), self.chain);
        Self::new(&self.dir, name, params, key, &cert.pem(), chain)
    }

    fn new(
        dir: &Path,
        name: &str,
        params: CertificateParams,
        key: KeyPair,
        pem: &str,
        chain: String,
    ) -> Self {
        let cert = dir.join(format!("{name}.pem"));
        fs::write(&cert, pem).unwrap();
        write_key(&dir.join(format!("{name}.key")), &key);
        Self {
            issuer: Issuer::new(params, key),
            dir: dir.into(),
            cert,
            chain,
            serial: Cell::new(100),
        }
    }

    fn next(&self) -> u64 {
        self.serial.set(self.serial.get() + 1);
        self.serial.get()
    }

    /// A certificate as `FILE.pem` and `FILE.key`, which replace what was there.
    pub fn issue(&self, file: &str, spec: Spec) -> Pair {
        let key = KeyPair::generate().unwrap();
        let serial = self.next();
        let cert = spec.params(serial).signed_by(&key, &self.issuer).unwrap();
        let chain = format!("{}{}", cert.pem(), self.chain);
        pair(&self.dir, file, &chain, &key, serial)
    }

    /// A list that revokes these and is renewed in a week, as `FILE.pem`.
    pub fn revoke(&self, file: &str, revoked: &[&Pair]) -> PathBuf {
        self.crl(file, revoked, -1, 7)
    }

    /// A list that should have been renewed yesterday.
    pub fn outdated_crl(&self, file: &str) -> PathBuf {
        self.crl(file, &[], -7, -1)
    }

    fn crl(&self, file: &str, revoked: &[&Pair], from: i64, to: i64) -> PathBuf {
        let list = CertificateRevocationListParams {
            this_update: at!(from * DAY),
            next_update: at!(to * DAY),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: (revoked.iter())
                .map(|pair| RevokedCertParams {
                    serial_number: SerialNumber::from(pair.serial),
                    revocation_time: at!(-DAY),
                    reason_code: None,
                    invalidity_date: None,
                })
                .collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let path = self.dir.join(format!("{file}.pem"));
        let pem = list.signed_by(&self.issuer).unwrap().pem().unwrap();
        fs::write(&path, pem).unwrap();
        path
    }
}

impl Pair {
    /// The pin of its key, as in a policy.
    pub fn pin(&self) -> String {
        const DIGITS: &[u8; 64] =
            b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        // 32 bytes are 43 digits and one `=`.
        let bits = |at: usize| -> usize {
            (at..at + 6).fold(0, |bits, at| {
                let byte = self.spki.get(at / 8).copied().unwrap_or(0);
                bits << 1 | usize::from(byte >> (7 - at % 8) & 1)
            })
        };
        let digits: String = (0..43).map(|i| char::from(DIGITS[bits(i * 6)])).collect();
        format!("sha256/{digits}=")
    }
}

/// The pair again as `FILE.pem`, with so many more authorities behind it that nobody trusts, each of
/// which could have issued all of the others.
pub fn with_strangers(dir: &Path, file: &str, pair: &Pair, strangers: usize) -> Pair {
    let mut chain = fs::read_to_string(&pair.cert).unwrap();
    for _ in 0..strangers {
        let key = KeyPair::generate().unwrap();
        chain += &authority("stranger").self_signed(&key).unwrap().pem();
    }
    let cert = dir.join(format!("{file}.pem"));
    fs::write(&cert, chain).unwrap();
    Pair {
        cert,
        ..pair.clone()
    }
}

/// Signed by itself.
pub fn self_signed(dir: &Path, file: &str, spec: Spec) -> Pair {
    let key = KeyPair::generate().unwrap();
    let cert = spec.params(1).self_signed(&key).unwrap();
    pair(dir, file, &cert.pem(), &key, 1)
}

fn authority(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.not_before = at!(-10 * DAY);
    params.not_after = at!(365 * DAY);
    params
}

fn pair(dir: &Path, file: &str, chain: &str, key: &KeyPair, serial: u64) -> Pair {
    let made = Pair {
        cert: dir.join(format!("{file}.pem")),
        key: dir.join(format!("{file}.key")),
        serial,
        spki: Sha256::digest(rcgen::PublicKeyData::subject_public_key_info(key)).into(),
    };
    fs::write(&made.cert, chain).unwrap();
    write_key(&made.key, key);
    made
}

fn write_key(path: &Path, key: &KeyPair) {
    // One that is there may not be written.
    let _ = fs::remove_file(path);
    fs::write(path, key.serialize_pem()).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o400)).unwrap();
}

fn since_1970(from_now: i64) -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    now.as_secs().checked_add_signed(from_now).unwrap()
}

fn san(name: &str) -> SanType {
    if name.contains("://") {
        SanType::URI(name.try_into().unwrap())
    } else if let Ok(ip) = name.parse() {
        SanType::IpAddress(ip)
    } else {
        SanType::DnsName(name.try_into().unwrap())
    }
}

#[test]
fn a_pin_is_what_openssl_makes_of_it() {
    let pki = Pki::new();
    let pair = pki.server("server", &["a.example"]);
    let script = "openssl x509 -in \"$0\" -noout -pubkey | openssl pkey -pubin -outform der \
                  | openssl dgst -sha256 -binary | openssl base64";
    let made = std::process::Command::new("sh")
        .args(["-c", script])
        .arg(&pair.cert)
        .output()
        .unwrap();
    let made = String::from_utf8(made.stdout).unwrap();
    assert_eq!(pair.pin(), format!("sha256/{}", made.trim()));
}
