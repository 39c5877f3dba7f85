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
    AuditUnavailable:
        "The disk of the audit log is full.",
        "Make room for the audit log, then send again.";
    Internal:
        "A defect of the gateway.",
        "Report it, with the audit record; the payload holds no fault.";
};
