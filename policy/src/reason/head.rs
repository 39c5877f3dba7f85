//! Examples and remedies: the head of a message.

use super::advice::{Advice, Group, entries};

pub(super) const GROUP: Group = Group {
    title: "The head of a message",
    about: "Request line, status and header fields. They are payload too: what is not listed does not \
         leave.",
    entries: ENTRIES,
};

const ENTRIES: &[Advice] = entries! {
    HttpMalformed:
        "A request line with two blanks between method and path.",
        "Send the request with an HTTP library.";
    HeadTimeout:
        "Half a header arrives, and then nothing for longer than `--head-timeout`.",
        "Send the head of the message at once.";
    HeadTooLarge:
        "A cookie of 20 KB, where `--max-head-bytes` is 16384.",
        "Send fewer and shorter header fields.";
    FramingAmbiguous:
        "A request has both `Content-Length` and `Transfer-Encoding`.",
        "State the length of the body once, and let the HTTP library do it.";
    ConnectNotAllowed:
        "`CONNECT collector.example:443`, as a client does that is told to use a proxy.",
        "Send the request itself, without a proxy setting.";
    UpgradeNotAllowed:
        "`Upgrade: websocket`.",
        "Send requests and take answers, without a change of protocol.";
    ExpectationNotAllowed:
        "`Expect: something-else`.",
        "Leave out `Expect`, or send `Expect: 100-continue`.";
    HostMissing:
        "A request of HTTP/1.1 without `Host`.",
        "Name the host of the destination, once.";
    HostMismatch:
        "The connection leads to `203.0.113.20`, and the request says `Host: intranet.example`, \
         which is elsewhere.",
        "Send the request to the host that it names.";
    HostNotAllowed:
        "`Host: pastebin.example`, where the rule lists `collector.pharma.example`.",
        "Send to a host in `to.hosts`, or add the host to the rule.";
    PathNotAllowed:
        "`POST /v2/results`, where the exchange has `/v1/results/{cohort}`.",
        "Use a path of an exchange of the rule, or add an exchange.";
    MethodNotAllowed:
        "`PUT` to a path that has only a `POST`.",
        "Use the method of the exchange.";
    ParameterInvalid:
        "`/v1/results/8842013`, where `cohort` is `t2dm` or `t1dm`.",
        "Use a value that `params` allows.";
    QueryNotAllowed:
        "`?note=x`, where the exchange lists only `run`.",
        "Leave the parameter out, send it once, or list it under `query`.";
    QueryInvalid:
        "`?run=012`, where `run` is a whole number from 1 to 999, written `12`.",
        "Use a value that `query` allows, in its canonical spelling.";
    HeaderInvalid:
        "`x-study-phase: patient 8842013`, where `pilot` and `main` are allowed.",
        "Use a value that `headers` allows, once.";
    HeaderNotAllowed:
        "`Range: bytes=0-9`, which would change what the answer is.",
        "Leave the header out, or list it under `headers`.";
    StatusNotAllowed:
        "The application answers 418, where the rule lists 200 and 404.",
        "Answer with a listed status, or add it to `response.statuses`.";
};
