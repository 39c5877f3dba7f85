//! `lazaret ca`: what an app must trust where its TLS ends at the gateway, as its runtime wants it.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use clap::{Args, Subcommand, ValueEnum};
use p12_keystore::{Certificate, KeyStore, KeyStoreEntry};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use super::{EX_SOFTWARE, EX_USAGE, complain, print};
use crate::tls::publish::{Publisher, pem};

/// What an app must trust where its TLS ends at the gateway.
#[derive(Debug, Subcommand)]
pub(super) enum CaCommand {
    /// Write the certificate of the authority, which the gateway has published, as a trust store
    Export(ExportArgs),
}

#[derive(Args, Debug)]
pub(super) struct ExportArgs {
    /// As what it is written
    #[arg(long, value_enum, default_value_t = Format::Pem)]
    format: Format,

    /// The file that the gateway has published (`--ca-publish`)
    #[arg(long, env = "LAZARET_CA_PUBLISH", value_name = "FILE")]
    from: PathBuf,

    /// With the authorities of this system too, for runtimes whose own list is replaced
    #[arg(long)]
    bundle_system: bool,

    /// The password of the PKCS #12 file. It keeps nothing secret: Java wants one
    #[arg(long, value_name = "TEXT", default_value = "changeit")]
    password: String,

    /// Where to write it, `-` for standard output; a file is replaced as a whole
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Text (RFC 7468): OpenSSL, curl, Python, Node, Go, R, .NET
    Pem,
    /// PKCS #12 (RFC 7292): Java
    P12,
}

#[derive(Debug, thiserror::Error)]
enum ExportError {
    #[error("cannot read {}: {source}", path.display())]
    Read {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("{} holds no certificate in PEM; it is what `lazaret run --ca-publish` writes", .0.display())]
    Empty(PathBuf),
    #[error(
        "this system has no certificate authorities: install ca-certificates, or leave out `--bundle-system`"
    )]
    NoSystem,
    #[error("cannot make a PKCS #12 file: {0}")]
    Store(#[from] p12_keystore::error::Error),
    #[error("PKCS #12 is no text: give a file with `--out`")]
    Binary,
    #[error("cannot write {}: {source}", path.display())]
    Write {
        path: PathBuf,
        source: std::io::Error,
    },
}

pub(super) fn run(command: CaCommand) -> u8 {
    let CaCommand::Export(args) = command;
    match export(&args) {
        Ok(()) => 0,
        Err(error) => {
            complain(&format!("lazaret: {error}"));
            match error {
                ExportError::Store(_) | ExportError::Write { .. } => EX_SOFTWARE,
                _ => EX_USAGE,
            }
        }
    }
}

fn export(args: &ExportArgs) -> Result<(), ExportError> {
    let own = read(&args.from)?;
    let system = if args.bundle_system {
        // Those that cannot be read are not trusted; that is all.
        let found = rustls_native_certs::load_native_certs().certs;
        if found.is_empty() {
            return Err(ExportError::NoSystem);
        }
        found
    } else {
        Vec::new()
    };
    let is_stdout = args.out.as_os_str() == OsStr::new("-");
    match args.format {
        Format::Pem => {
            let text: String = own.iter().chain(&system).map(|cert| pem(cert)).collect();
            if is_stdout {
                print(&text);
                return Ok(());
            }
            write(&args.out, text.as_bytes())
        }
        Format::P12 if is_stdout => Err(ExportError::Binary),
        Format::P12 => write(&args.out, &store(&own, &system, &args.password)?),
    }
}

fn read(path: &Path) -> Result<Vec<CertificateDer<'static>>, ExportError> {
    let text = std::fs::read(path).map_err(|source| ExportError::Read {
        path: path.into(),
        source,
    })?;
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    match all {
        Ok(all) if !all.is_empty() => Ok(all),
        _ => Err(ExportError::Empty(path.into())),
    }
}

fn store(
    own: &[CertificateDer<'_>],
    system: &[CertificateDer<'_>],
    password: &str,
) -> Result<Vec<u8>, ExportError> {
    let mut store = KeyStore::new();
    for (i, cert) in (1..).zip(own) {
        let entry = KeyStoreEntry::Certificate(Certificate::from_der(cert)?);
        store.add_entry(&format!("lazaret-{i}"), entry);
    }
    for (i, cert) in (1..).zip(system) {
        // One that this cannot read would be no use to Java either.
        if let Ok(cert) = Certificate::from_der(cert) {
            store.add_entry(&format!("system-{i}"), KeyStoreEntry::Certificate(cert));
        }
    }
    Ok(store.writer(password).write()?)
}

/// Whoever reads the file meanwhile sees the old one or the new one.
fn write(path: &Path, content: &[u8]) -> Result<(), ExportError> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let nanos = now.map_or(0, |now| now.as_nanos() as u64);
    let unique = nanos ^ u64::from(std::process::id()) << 32;
    Publisher::open(path)
        .and_then(|publisher| publisher.publish(content, unique))
        .map_err(|source| ExportError::Write {
            path: path.into(),
            source,
        })
}
