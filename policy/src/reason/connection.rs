//! Examples and remedies: the connection.

use super::advice::{Advice, Group, entries};

pub(super) const GROUP: Group = Group {
    title: "The connection",
    about: "What connections lead to, and how they begin. Where no answer in HTTP is possible, the \
         connection is closed.",
    entries: ENTRIES,
};

const ENTRIES: &[Advice] = entries! {
    OriginalDestinationUnknown:
        "A connection reaches the outbound address of the gateway without having been redirected \
         there.",
        "Start the pod with its init container, which redirects connections, and let no program \
         connect to the gateway itself.";
    GatewayAddress:
        "The application connects to port 15001 of its own pod.",
        "Connect to the destination; the gateway is in between without being named.";
    DestinationNotAllowed:
        "The application connects to `198.51.100.7:443`, and no egress rule has that address and \
         port.",
        "Add the address and port to an egress rule, or connect to a listed destination.";
    PortNotAllowed:
        "A caller connects to port 9000 of the pod, and no ingress rule opens it.",
        "Call a port that an ingress rule opens, or add a rule.";
    SourceNotAllowed:
        "A caller from `192.0.2.9` connects, and `from.cidrs` is `[10.200.0.0/16]`.",
        "Call from a listed network, or add the network to `from.cidrs`.";
    ConnectionLimit:
        "As many connections are open as `--max-connections` allows, and another one comes.",
        "Close connections that are not used, or raise `--max-connections`.";
    Draining:
        "A connection comes after the gateway got SIGTERM.",
        "Try again when the pod runs again.";
    PolicyChanged:
        "A tunnel is open to a host that the new policy no longer lists.",
        "Connect anew, to what the current policy allows.";
    ProtocolTls:
        "The application sends `https://` to a destination with `action: inspect`.",
        "Send plain HTTP to the inspected destination: what is encrypted cannot be judged.";
    ProtocolUnknown:
        "An SSH client connects to a destination with `action: inspect`.",
        "Speak HTTP/1 or HTTP/2 to the inspected destination.";
    ProtocolTimeout:
        "A client connects to an inspected destination and sends nothing for longer than \
         `--detect-timeout`.",
        "Send the request as soon as the connection is open.";
    TlsRequired:
        "The application sends `http://` to a destination with `tls: { pod: intercept }`.",
        "Send `https://`, or change the rule to `pod: none`.";
    TlsClientHello:
        "The application sends a ClientHello of 40 KiB, or knows nothing newer than TLS 1.1.",
        "Use a current TLS library with its default settings.";
    TlsEch:
        "A browser hides the server name with Encrypted Client Hello.",
        "Turn Encrypted Client Hello off: the gateway must see where the connection leads.";
    TlsSniMissing:
        "The application connects by address to a destination that the policy lists by name.",
        "Connect by the name that the policy lists, with a library that sends it (SNI).";
    TlsSniNotAllowed:
        "The application connects to `https://paste.example`, and no rule lists that name.",
        "Add the name to an egress rule, or connect to a listed one.";
    TlsHandshake:
        "The application offers no cipher suite that the gateway has, or a caller breaks the \
         handshake off.",
        "Use TLS 1.2 or 1.3, with a current library.";
    TlsPinned:
        "The application does not trust the gateway's authority, or pins the certificate of its \
         peer: it ends the connection when it has seen the certificate.",
        "Trust the certificate that the gateway publishes (`lazaret ca export`), and do not pin: \
         what cannot be read cannot be judged.";
    TlsClientCertificate:
        "A caller connects without a certificate, and the ingress rule has `tls.client`.",
        "Call with a certificate of the listed roots, with a listed identity.";
};
