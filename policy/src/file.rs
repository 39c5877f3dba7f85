//! The policy file as it is written. These types only say what keys there are and of what JSON
//! type; `schemas/policy.schema.json` is generated from them. What the values mean, and whether
//! they fit together, is decided in [`crate::compile`].
//!
//! Every value is [`Written`]: one that is broken is missing, so that the rest of the policy can be
//! checked in the same run.

use std::borrow::Cow;
use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::Value;

mod tls;

pub use tls::{
    AppTlsFile, ClientTlsFile, EgressTlsFile, EndedFile, IngressTlsFile, InternalFile, KeyPairFile,
    PeerTlsFile, PodTlsFile, SniFile, TlsVersionFile,
};

/// What was written; `None` where that is broken, and has been reported.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(transparent)]
pub struct Written<T>(pub Option<T>);

impl<T> Written<T> {
    /// The value, unless it is broken.
    pub fn sound(&self) -> Option<&T> {
        self.0.as_ref()
    }
}

impl<T> Written<Vec<Written<T>>> {
    /// The items with their places in the list; nothing when the list is broken.
    pub fn items(&self) -> impl Iterator<Item = (usize, Option<&T>)> {
        let items = self.0.iter().flatten();
        items.map(Written::sound).enumerate()
    }

    /// Whether there is a list, and nothing in it.
    pub fn is_empty(&self) -> bool {
        self.0.as_ref().is_some_and(Vec::is_empty)
    }
}

impl<T: Default> Default for Written<T> {
    fn default() -> Self {
        Self(Some(T::default()))
    }
}

/// As `T`: that a value may be broken is not for the writer.
impl<T: JsonSchema> JsonSchema for Written<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }

    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn schema_id() -> Cow<'static, str> {
        T::schema_id()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

/// A Lazaret policy: what may leave a pod, to whom, and in which form.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PolicyFile {
    /// The version of this format.
    #[serde(rename = "apiVersion")]
    pub api_version: Written<ApiVersion>,
    /// What kind of document this is.
    pub kind: Written<Kind>,
    /// What the policy is called and whom it binds.
    pub metadata: Written<Metadata>,
    /// `enforce` refuses what is not allowed; `observe` records the verdict and lets it pass.
    #[serde(default)]
    pub mode: Written<ModeFile>,
    /// Whether a schema that is open (free strings, unbounded numbers or arrays, objects with
    /// unlisted members) is an error instead of a warning: in contracts, parameters and headers.
    #[serde(default)]
    pub strict_schemas: Written<bool>,
    /// Whether plain text that leaves `internal` is an error.
    #[serde(default = "default_true")]
    pub require_encryption: Written<bool>,
    /// Where plain text may go: the hospital's own networks, and links that are encrypted below.
    #[serde(default)]
    pub internal: Written<InternalFile>,
    /// How names are resolved. The pod's own resolver settings are never used.
    #[serde(default)]
    pub dns: Written<DnsFile>,
    /// Connections that the pod may open. Nothing listed: none.
    #[serde(default)]
    pub egress: Written<Vec<Written<EgressFile>>>,
    /// Connections that others may open to the pod. Nothing listed: none.
    #[serde(default)]
    pub ingress: Written<Vec<Written<IngressFile>>>,
    /// What a payload must be to leave, by name.
    #[serde(default)]
    pub contracts: Written<BTreeMap<String, Written<ContractFile>>>,
}

/// The version of the policy format.
#[derive(Debug, Deserialize, JsonSchema)]
pub enum ApiVersion {
    /// The only one so far.
    #[serde(rename = "lazaret/v1")]
    V1,
}

/// The kind of document.
#[derive(Debug, Deserialize, JsonSchema)]
pub enum Kind {
    /// A policy.
    Policy,
}

/// Whose policy, for whom.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Metadata {
    /// The name of the policy; in every audit record.
    pub name: Written<String>,
    /// Whose data it is, for instance the hospital.
    pub producer: Written<String>,
    /// Who receives what is released, for instance the pharma company.
    pub consumer: Written<String>,
}

/// What happens on a refusal.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ModeFile {
    /// Refuse.
    #[default]
    Enforce,
    /// Record the verdict and let it pass.
    Observe,
}

/// Name resolution.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DnsFile {
    /// Addresses of the DNS servers, each `IP` or `IP:port` (`[IP]:port` for IPv6).
    #[serde(default)]
    pub resolvers: Written<Vec<Written<String>>>,
    /// Names with fixed addresses; the resolvers are not asked for these.
    #[serde(default)]
    pub hosts: Written<BTreeMap<String, Written<Vec<Written<String>>>>>,
}

/// An allowlist entry for connections that the pod opens.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EgressFile {
    /// Unique name of the rule; in every audit record and metric.
    pub name: Written<String>,
    /// Where to.
    pub to: Written<DestinationFile>,
    /// What may be done there.
    pub action: Written<ActionFile>,
    /// `sni` for a tunnel that takes only TLS to one of its hosts; an object for an inspected rule.
    /// Left out: plain text.
    #[serde(default)]
    #[schemars(with = "EgressTlsFile")]
    pub tls: Written<Option<EgressTlsFile>>,
    /// The request/response pairs that `inspect` lets pass.
    #[serde(default)]
    pub exchanges: Written<Vec<Written<ExchangeFile>>>,
}

/// Where an egress rule leads.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DestinationFile {
    /// Networks, each `IP/prefix` or a single `IP`. Together with `hosts`: the networks that the
    /// names may resolve into.
    #[serde(default)]
    pub cidrs: Written<Vec<Written<String>>>,
    /// Exact host names. The gateway resolves them itself.
    #[serde(default)]
    pub hosts: Written<Vec<Written<String>>>,
    /// TCP ports.
    #[schemars(length(min = 1), inner(range(min = 1)))]
    pub ports: Written<Vec<Written<u16>>>,
}

/// An allowlist entry for connections that others open to the pod.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct IngressFile {
    /// Unique name of the rule; in every audit record and metric.
    pub name: Written<String>,
    /// Who may call.
    pub from: Written<SourceFile>,
    /// The TCP port of the pod that is called.
    #[schemars(range(min = 1))]
    pub port: Written<u16>,
    /// What may be done there.
    pub action: Written<ActionFile>,
    /// TLS that the gateway serves to callers of an inspected rule. Left out: plain text.
    #[serde(default)]
    #[schemars(with = "IngressTlsFile")]
    pub tls: Written<Option<IngressTlsFile>>,
    /// The request/response pairs that `inspect` lets pass.
    #[serde(default)]
    pub exchanges: Written<Vec<Written<ExchangeFile>>>,
}

/// Who may call.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SourceFile {
    /// Networks, each `IP/prefix` or a single `IP`.
    #[schemars(length(min = 1))]
    pub cidrs: Written<Vec<Written<String>>>,
}

/// What a rule lets happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ActionFile {
    /// The kernel lets it pass, without the gateway: full speed, no record.
    Direct,
    /// Opaque bytes through the gateway: counted and recorded.
    Tunnel,
    /// HTTP, and only the listed exchanges.
    Inspect,
}

/// One allowed request/response pair.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExchangeFile {
    /// What may be asked.
    pub request: Written<RequestFile>,
    /// What may be answered. Left out on an egress rule: any status, any body. Needed on an
    /// ingress rule, where the answer is what leaves.
    #[serde(default)]
    #[schemars(with = "ResponseFile")]
    pub response: Written<Option<ResponseFile>>,
}

/// An allowed request.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RequestFile {
    /// The method, in capitals.
    pub method: Written<String>,
    /// The path, with `{name}` for a whole segment that is a parameter.
    pub path: Written<String>,
    /// A JSON Schema for each parameter of the path.
    #[serde(default)]
    pub params: Written<BTreeMap<String, Value>>,
    /// A JSON Schema for each query parameter that may be there.
    #[serde(default)]
    pub query: Written<BTreeMap<String, Value>>,
    /// A JSON Schema for the value of each header that passes; all others are dropped.
    #[serde(default)]
    pub headers: Written<BTreeMap<String, Value>>,
    /// The contract of the body. Left out: there must be no body.
    #[serde(default)]
    #[schemars(with = "String")]
    pub body: Written<Option<String>>,
}

/// An allowed response.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ResponseFile {
    /// The status codes that pass.
    #[schemars(length(min = 1), inner(range(min = 200, max = 599)))]
    pub statuses: Written<Vec<Written<u16>>>,
    /// A JSON Schema for the value of each header that passes; all others are dropped.
    #[serde(default)]
    pub headers: Written<BTreeMap<String, Value>>,
    /// The contract of the body of a 2xx response. Bodies of other statuses never pass.
    /// Left out: there must be no body on an ingress rule; on an egress rule, where the body
    /// comes into the pod, any may.
    #[serde(default)]
    #[schemars(with = "String")]
    pub body: Written<Option<String>>,
}

/// What a payload must be to leave.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ContractFile {
    /// The media type: `application/json`, or one that ends in `+json`.
    #[serde(default = "default_media_type")]
    pub media_type: Written<String>,
    /// The JSON Schema file, relative to the policy file.
    pub schema: Written<String>,
    /// The largest body, as the pod sends it; bytes, or with a unit (`64KiB`).
    #[serde(default = "default_max_bytes")]
    pub max_bytes: Written<SizeFile>,
    /// How deep objects and arrays may be nested.
    #[serde(default = "default_max_depth")]
    #[schemars(range(min = 1, max = 128))]
    pub max_depth: Written<u16>,
}

/// A number of bytes.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(untagged)]
pub enum SizeFile {
    /// In bytes.
    Bytes(u64),
    /// With a unit: `512B`, `64KiB`, `1MiB`.
    Text(String),
}

impl JsonSchema for SizeFile {
    fn schema_name() -> Cow<'static, str> {
        "Size".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A number of bytes, plain or with a unit: 65536, 64KiB, 1MiB.",
            "type": ["integer", "string"],
            "minimum": 1,
            "pattern": "^[0-9]+ ?(B|[kK]B|[kK]iB|MB|MiB)$"
        })
    }
}

fn default_true() -> Written<bool> {
    Written(Some(true))
}

fn default_media_type() -> Written<String> {
    Written(Some("application/json".into()))
}

fn default_max_bytes() -> Written<SizeFile> {
    Written(Some(SizeFile::Text("64KiB".into())))
}

fn default_max_depth() -> Written<u16> {
    Written(Some(32))
}
