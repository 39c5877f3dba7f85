//! Why something was refused: a closed list with stable codes. The code is what scripts, metrics,
//! audit records and problem documents carry; it never changes its meaning.

use std::fmt;

mod advice;
mod body;
mod connection;
mod head;
mod markdown;
mod ourselves;
mod releases;
mod rules;

pub use markdown::reasons_markdown;

macro_rules! reasons {
    ($( $(#[$doc:meta])* $variant:ident = $code:literal, $status:literal, $text:literal; )+) => {
        /// Why something was refused.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Reason { $( #[doc = $text] $(#[$doc])* $variant, )+ }

        impl Reason {
            /// Every reason there is, in the order of an exchange.
            pub const ALL: &'static [Reason] = &[ $( Reason::$variant, )+ ];

            /// The stable kebab-case code.
            pub const fn code(self) -> &'static str {
                match self { $( Reason::$variant => $code, )+ }
            }

            /// The HTTP status of a refusal towards the sender of the refused message.
            /// A refused *response* is always answered with 502: see [`Reason::response_status`].
            pub const fn status(self) -> u16 {
                match self { $( Reason::$variant => $status, )+ }
            }

            /// One sentence for people. Fixed text: it never holds a value of the payload.
            pub const fn text(self) -> &'static str {
                match self { $( Reason::$variant => $text, )+ }
            }
        }
    };
}

reasons! {
    // The connection.
    OriginalDestinationUnknown = "original-destination-unknown", 502,
        "The kernel does not tell where this connection was meant to go.";
    GatewayAddress = "gateway-address", 403,
        "The connection leads to the gateway itself.";
    DestinationNotAllowed = "destination-not-allowed", 403,
        "No egress rule of the policy allows this address and port.";
    PortNotAllowed = "port-not-allowed", 403,
        "No ingress rule of the policy opens this port.";
    SourceNotAllowed = "source-not-allowed", 403,
        "No ingress rule of the policy allows callers from this address.";
    ConnectionLimit = "connection-limit", 503,
        "The gateway has as many connections as it may have.";
    Draining = "draining", 503,
        "The gateway is shutting down.";
    PolicyChanged = "policy-changed", 403,
        "The policy no longer allows this connection.";
    ProtocolTls = "protocol-tls", 403,
        "The connection speaks TLS, which this rule cannot inspect.";
    ProtocolUnknown = "protocol-unknown", 403,
        "The connection does not speak HTTP/1 or HTTP/2, and the rule inspects HTTP.";
    ProtocolTimeout = "protocol-timeout", 408,
        "The client did not say in time what protocol it speaks.";
    TlsRequired = "tls-required", 403,
        "The rule takes TLS only, and the connection does not speak it.";
    TlsClientHello = "tls-client-hello", 400,
        "The TLS ClientHello is not well-formed, or larger than allowed.";
    TlsEch = "tls-ech", 403,
        "The ClientHello hides the server name (Encrypted Client Hello).";
    TlsSniMissing = "tls-sni-missing", 403,
        "The ClientHello names no server, and the rule goes by names.";
    TlsSniNotAllowed = "tls-sni-not-allowed", 403,
        "No rule of the policy allows the server name of the ClientHello on this port.";
    TlsHandshake = "tls-handshake", 400,
        "The TLS handshake with the client failed.";
    TlsPinned = "tls-pinned", 403,
        "The client does not accept the certificate of the gateway.";
    TlsClientCertificate = "tls-client-certificate", 403,
        "The caller shows no certificate that the policy accepts.";

    // The head of a message.
    HttpMalformed = "http-malformed", 400,
        "The message is not well-formed HTTP.";
    HeadTimeout = "head-timeout", 408,
        "The head of the message did not arrive in time.";
    HeadTooLarge = "head-too-large", 431,
        "The head of the message is larger than allowed.";
    FramingAmbiguous = "framing-ambiguous", 400,
        "The length of the message body is stated in more than one way, or in an unknown one.";
    ConnectNotAllowed = "connect-not-allowed", 405,
        "CONNECT is never allowed: what follows it could not be inspected.";
    UpgradeNotAllowed = "upgrade-not-allowed", 403,
        "Upgrade is never allowed: what follows it could not be inspected.";
    ExpectationNotAllowed = "expectation-not-allowed", 417,
        "Only the expectation 100-continue is known.";
    HostMissing = "host-missing", 400,
        "The request names no host, or more than one.";
    HostMismatch = "host-mismatch", 421,
        "The host that the request names is not where the connection leads.";
    HostNotAllowed = "host-not-allowed", 403,
        "No rule of the policy allows this host on this port.";
    PathNotAllowed = "path-not-allowed", 403,
        "No exchange of the rule has this path.";
    MethodNotAllowed = "method-not-allowed", 405,
        "No exchange of the rule has this method on this path.";
    ParameterInvalid = "parameter-invalid", 403,
        "A path parameter is not one of the values that the policy allows.";
    QueryNotAllowed = "query-not-allowed", 403,
        "The query holds a parameter that the policy does not list, or one twice.";
    QueryInvalid = "query-invalid", 403,
        "A query parameter is not one of the values that the policy allows.";
    HeaderInvalid = "header-invalid", 403,
        "A listed header is not one of the values that the policy allows, or is there twice.";
    HeaderNotAllowed = "header-not-allowed", 403,
        "The message has a header that changes its meaning and that the policy does not list.";
    StatusNotAllowed = "status-not-allowed", 502,
        "The response has a status that the policy does not list.";

    // The body.
    BodyNotAllowed = "body-not-allowed", 403,
        "The exchange has no contract for a body, and the message has one.";
    BodyTooLarge = "body-too-large", 413,
        "The body is larger than the contract allows.";
    BodyTimeout = "body-timeout", 408,
        "The body did not arrive in time.";
    BodyIncomplete = "body-incomplete", 400,
        "The body ended early or could not be read.";
    ContentEncoding = "content-encoding", 415,
        "The body is encoded; only identity can be judged.";
    MediaType = "media-type", 415,
        "The media type is not the one of the contract.";
    JsonEncoding = "json-encoding", 422,
        "The body is not UTF-8 without a byte order mark (RFC 7493 section 2.1).";
    JsonSyntax = "json-syntax", 422,
        "The body is not well-formed JSON (RFC 8259).";
    JsonTrailingBytes = "json-trailing-bytes", 422,
        "There is something behind the JSON value.";
    JsonDuplicateKey = "json-duplicate-key", 422,
        "An object has the same member name twice (RFC 7493 section 2.3).";
    JsonSurrogate = "json-surrogate", 422,
        "A string holds half of a surrogate pair (RFC 7493 section 2.1).";
    JsonNumber = "json-number", 422,
        "A number is not exactly what an IEEE 754 double holds (RFC 7493 section 2.2).";
    JsonDepth = "json-depth", 422,
        "Objects and arrays are nested deeper than the contract allows.";
    SchemaMismatch = "schema-mismatch", 422,
        "The body does not fit the schema of the contract.";
    JsonText = "json-text", 422,
        "A string is not in Unicode normal form C, or holds control or format characters.";

    // Disclosure rules: what the body says (docs/disclosure.md).
    SdcCell = "sdc-cell", 422,
        "A cell is neither a number nor a marker that the contract declares.";
    SdcPointer = "sdc-pointer", 422,
        "A member that a disclosure rule needs is missing.";
    SdcMinCount = "sdc-min-count", 422,
        "A count is below the minimum, or zero, negative or fractional where that is not allowed.";
    SdcMarker = "sdc-marker", 422,
        "A suppression marker is not one that the contract declares.";
    SdcRound = "sdc-round", 422,
        "A number is not on the rounding grid.";
    SdcPrecision = "sdc-precision", 422,
        "A number has more digits than the contract allows.";
    SdcText = "sdc-text", 422,
        "A text looks as if it held an identifier of a person.";
    SdcLabel = "sdc-label", 422,
        "A label is not in the code list.";
    SdcContributors = "sdc-contributors", 422,
        "A statistic stands without a sufficient number of people behind it.";
    SdcRate = "sdc-rate", 422,
        "A rate disagrees with its counts, or reveals a small one.";
    SdcModel = "sdc-model", 422,
        "A model has too few degrees of freedom or too many parameters for its people.";
    SdcDominance = "sdc-dominance", 422,
        "A few contributors dominate a sum, or the evidence about them is inconsistent.";
    SdcQuantiles = "sdc-quantiles", 422,
        "A quantile rests on too few people.";
    SdcHistogram = "sdc-histogram", 422,
        "A histogram needs open tails, fixed edges and full bins.";
    SdcSurvival = "sdc-survival", 422,
        "A step of a survival curve rests on too few people.";
    SdcRows = "sdc-rows", 422,
        "There are too many rows, or two with the same key.";
    SdcRowsSorted = "sdc-rows-sorted", 422,
        "Rows are not in the order of their keys.";
    SdcLinked = "sdc-linked", 422,
        "A count is suppressed, and a statistic that tells it is not.";
    SdcInconsistent = "sdc-inconsistent", 422,
        "Margins and cells of a table have no common solution.";
    SdcNested = "sdc-nested", 422,
        "What a part leaves out of its whole is below the minimum.";
    SdcRecoverable = "sdc-recoverable", 422,
        "A suppressed cell can be narrowed too far from the others.";
    SdcUnproven = "sdc-unproven", 422,
        "It could not be proven within the limits that suppressed cells are safe.";

    // Disclosure rules: what has been released before (the ledger).
    SdcDifferencing = "sdc-differencing", 422,
        "The difference from an earlier release is below the minimum.";
    SdcRevision = "sdc-revision", 422,
        "A statistic was revised more often than the contract allows.";
    SdcLinkedAudit = "sdc-linked-audit", 422,
        "Together with earlier releases, a suppressed cell can be narrowed too far.";
    SdcAveraging = "sdc-averaging", 422,
        "A noisy value that was released before is not repeated as it was.";
    SdcEpsilon = "sdc-epsilon", 422,
        "The claimed privacy loss is not a positive number, or exceeds its budget.";
    SdcBudgetReleases = "sdc-budget-releases", 429,
        "The contract has been released as often as it may in its window.";
    SdcBudgetBytes = "sdc-budget-bytes", 429,
        "The bytes that the contract may release in its window are spent.";
    SdcBudgetBits = "sdc-budget-bits", 429,
        "The bits that the contract may release in its window are spent.";
    SdcBudgetDenied = "sdc-budget-denied", 429,
        "So many attempts were denied within an hour that none is looked at for now.";
    LedgerLimit = "ledger-limit", 422,
        "The release is more than the ledger takes in, or has more earlier figures than it compares.";
    LedgerUnavailable = "ledger-unavailable", 503,
        "The ledger of releases could not be read or written, so nothing may be released.";
    LedgerClock = "ledger-clock", 503,
        "The clock was set ahead, by which the ledger would forget, so nothing may be released.";

    // The other side, and ourselves.
    ResponseRefused = "response-refused", 502,
        "The answer may not leave; the gateway's audit log says why.";
    UpstreamUnresolved = "upstream-unresolved", 502,
        "The name of the destination could not be resolved.";
    UpstreamAddressNotAllowed = "upstream-address-not-allowed", 502,
        "The name of the destination resolves to an address that the policy does not allow.";
    UpstreamUnreachable = "upstream-unreachable", 502,
        "The destination could not be connected to.";
    UpstreamTimeout = "upstream-timeout", 504,
        "The destination did not answer in time.";
    UpstreamProtocol = "upstream-protocol", 502,
        "The destination's answer is not well-formed HTTP.";
    UpstreamTls = "upstream-tls", 502,
        "The TLS handshake with the destination failed.";
    UpstreamCertificate = "upstream-certificate", 502,
        "The certificate of the destination is not valid: its chain, name, time or use.";
    UpstreamRevoked = "upstream-revoked", 502,
        "The certificate of the destination is revoked, or whether it is cannot be said.";
    UpstreamIdentity = "upstream-identity", 502,
        "The destination is not who the policy says: another key or another identity.";
    AuditUnavailable = "audit-unavailable", 503,
        "The audit record could not be written, so nothing may be released.";
    Internal = "internal", 500,
        "The gateway failed; nothing was released.";
}

impl Reason {
    /// The HTTP status when the refused message was a response: the caller learns that the
    /// gateway would not pass it on, and why by code only (RFC 9110 §15.6.3).
    pub const fn response_status(self) -> u16 {
        match self {
            Reason::AuditUnavailable | Reason::LedgerUnavailable | Reason::LedgerClock => 503,
            Reason::UpstreamTimeout => 504,
            Reason::Internal => 500,
            _ => 502,
        }
    }

    /// A short concrete situation that has this reason, in Markdown.
    pub const fn example(self) -> &'static str {
        advice::of(self).example
    }

    /// What to change then: one sentence, in Markdown.
    pub const fn fix(self) -> &'static str {
        advice::of(self).fix
    }

    /// The reason with this code.
    pub fn from_code(code: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|r| r.code() == code)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}
