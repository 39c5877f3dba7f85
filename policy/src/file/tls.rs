//! The keys of a policy file that speak of encryption.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};

use super::Written;

/// Networks to which plain text may go.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct InternalFile {
    /// Networks, each `IP/prefix` or a single `IP`: the hospital's own, and links that are encrypted
    /// below, such as WireGuard. Loopback is inside the pod and never counts.
    #[serde(default)]
    pub cidrs: Written<Vec<Written<String>>>,
}

/// Encryption of an egress rule: `sni` on `tunnel`, an object on `inspect`.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub enum EgressTlsFile {
    /// TLS passes unopened, to the name that it asks for.
    Sni(SniFile),
    /// The gateway ends it.
    Ended(EndedFile),
}

/// One schema with the keywords of both types, so that an error has its own place.
impl JsonSchema for EgressTlsFile {
    fn schema_name() -> Cow<'static, str> {
        "EgressTls".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut schema = EndedFile::json_schema(generator);
        schema.insert("type".into(), ["string", "object"].as_slice().into());
        schema.insert("pattern".into(), "^sni$".into());
        schema
    }
}

/// The word for TLS that is told by its server name only.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SniFile {
    /// The server name of the ClientHello must be one of the rule's hosts.
    Sni,
}

/// Encryption of an egress rule: `sni` for a tunnel that takes nothing but TLS whose server name is
/// one of the rule's hosts; an object for an inspected rule.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EndedFile {
    /// What becomes of the app's TLS.
    #[serde(default)]
    pub pod: Written<PodTlsFile>,
    /// TLS to the peer; `{}` for the defaults. Left out: plain text.
    #[serde(default)]
    #[schemars(with = "PeerTlsFile")]
    pub peer: Written<Option<PeerTlsFile>>,
}

/// What becomes of the TLS of an app.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PodTlsFile {
    /// The app speaks plain HTTP.
    #[default]
    None,
    /// The gateway ends the app's TLS, with a certificate of its own authority.
    Intercept,
}

/// The lowest version of TLS.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema)]
pub enum TlsVersionFile {
    /// For peers that cannot do better.
    #[serde(rename = "1.2")]
    V12,
    /// What it should be.
    #[default]
    #[serde(rename = "1.3")]
    V13,
}

/// TLS to the peer.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PeerTlsFile {
    /// The lowest version.
    #[serde(default)]
    pub min: Written<TlsVersionFile>,
    /// The PEM file of the authorities that are trusted, relative to the policy file; `system` for
    /// those of the gateway's own system.
    #[serde(default = "system")]
    pub roots: Written<String>,
    /// Pins of the peer's key: `sha256/` and the Base64 of SHA-256 over its `SubjectPublicKeyInfo`.
    /// One of them must match. Left out: any key.
    #[serde(default, skip_serializing_if = "Written::is_empty")]
    #[schemars(length(min = 1))]
    pub spki: Written<Vec<Written<String>>>,
    /// Names of which the peer's certificate must have one: `dns:NAME` or
    /// `spiffe://TRUST-DOMAIN/PATH`. Left out: the name that is dialled.
    #[serde(default, skip_serializing_if = "Written::is_empty")]
    #[schemars(length(min = 1))]
    pub identities: Written<Vec<Written<String>>>,
    /// The certificate and key that the gateway shows to the peer.
    #[serde(default)]
    #[schemars(with = "KeyPairFile")]
    pub client: Written<Option<KeyPairFile>>,
    /// PEM files of certificate revocation lists, relative to the policy file.
    #[serde(default, skip_serializing_if = "Written::is_empty")]
    #[schemars(length(min = 1))]
    pub crls: Written<Vec<Written<String>>>,
}

/// The files of a certificate and its key. Only the gateway reads them.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KeyPairFile {
    /// The PEM file of the certificate chain, relative to the policy file or absolute.
    pub cert: Written<String>,
    /// The PEM file of the private key, relative to the policy file or absolute.
    pub key: Written<String>,
}

/// TLS that the gateway serves to callers.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct IngressTlsFile {
    /// The PEM file of the producer's certificate chain, relative to the policy file or absolute.
    /// Only the gateway reads it.
    pub cert: Written<String>,
    /// The PEM file of its private key, relative to the policy file or absolute. Only the gateway
    /// reads it.
    pub key: Written<String>,
    /// The lowest version.
    #[serde(default)]
    pub min: Written<TlsVersionFile>,
    /// What callers must show. Left out: nothing.
    #[serde(default)]
    #[schemars(with = "ClientTlsFile")]
    pub client: Written<Option<ClientTlsFile>>,
    /// How the app is spoken to.
    #[serde(default)]
    pub app: Written<AppTlsFile>,
}

/// What callers must show.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClientTlsFile {
    /// The PEM file of the authorities that their certificates come from, relative to the policy
    /// file.
    pub roots: Written<String>,
    /// Names of which a certificate must have one: `dns:NAME` or `spiffe://TRUST-DOMAIN/PATH`. Left
    /// out: any name.
    #[serde(default, skip_serializing_if = "Written::is_empty")]
    #[schemars(length(min = 1))]
    pub identities: Written<Vec<Written<String>>>,
    /// PEM files of certificate revocation lists, relative to the policy file.
    #[serde(default, skip_serializing_if = "Written::is_empty")]
    #[schemars(length(min = 1))]
    pub crls: Written<Vec<Written<String>>>,
}

/// How the app is spoken to.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum AppTlsFile {
    /// In plain text.
    #[default]
    Plain,
    /// In TLS. Its certificate is not verified: it is in the pod.
    Tls,
}

fn system() -> Written<String> {
    Written(Some("system".into()))
}
