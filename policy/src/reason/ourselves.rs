//! Examples and remedies: the other side, and ourselves.

use super::advice::{Advice, Group, entries};

pub(super) const GROUP: Group = Group {
    title: "The other side, and ourselves",
    about: "What failed behind the gateway, or in it. The message itself may be in order.",
    entries: ENTRIES,
};

const ENTRIES: &[Advice] = entries! {
    ResponseRefused:
        "A caller from outside asks, and the application's answer is refused, for whatever reason: \
         which one would tell the caller what the application chose.",
        "The audit log has the reason, and so has the answer of a gateway that runs standalone.";
    UpstreamUnresolved:
        "The resolvers do not know `collector.pharma.example`, or do not answer.",
        "Put the address under `dns.hosts`, or see to the resolvers.";
    UpstreamAddressNotAllowed:
        "`collector.pharma.example` resolves to `10.0.0.5`, which is not in `to.cidrs`.",
        "See to the name, or add its network to `to.cidrs`.";
    UpstreamUnreachable:
        "Nothing listens at the destination.",
        "Start the destination, then send again.";
    UpstreamTimeout:
        "The destination takes longer than `--response-timeout`.",
        "Find out why the destination is slow, or raise the limit.";
    UpstreamProtocol:
        "The destination answers with half a status line.",
        "Mend the destination.";
    UpstreamTls:
        "The destination speaks TLS 1.2, and the rule has `min: \"1.3\"`.",
        "See to the destination's TLS, or lower `min`.";
    UpstreamCertificate:
        "The certificate of `collector.pharma.example` expired yesterday.",
        "Renew the certificate, or see to `roots`; the audit record says whose it is.";
    UpstreamRevoked:
        "The certificate is on the list of a file under `crls`, or that list is out of date.",
        "Renew the certificate, or the list.";
    UpstreamIdentity:
        "The certificate is valid, and its key is none of `spki`.",
        "Find out who answers there; if it is the right peer, add its pin or identity.";
    AuditUnavailable:
        "The disk of the audit log is full.",
        "Make room for the audit log, then send again.";
    Internal:
        "A defect of the gateway.",
        "Report it, with the audit record; the payload holds no fault.";
};
