//! The head of a message, before anything of its body is read: form, framing, host.
//!
//! hyper has parsed it already and refused what no recipient could read. What it lets through and
//! two recipients could read in two ways is refused here; what hyper has resolved before we see it
//! (RFC 9112 §6.3) cannot reach anybody, since only a rebuilt head is sent on.

use std::net::IpAddr;

use hyper::header::{self, HeaderMap, HeaderName};
use hyper::http::request::Parts;
use hyper::{Method, Version};
use lazaret_policy::exchange::ResponseRule;
use lazaret_policy::value::TextRule;
use lazaret_policy::{Exchange, Host, Reason};
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::allow::{HTTPS, HostClaim};

/// Request fields whose loss would change what is asked for, so that they are not just dropped
/// when the policy does not list them: a partial change, a condition on it, another method.
const MEANINGFUL: &[&str] = &[
    "content-range",
    "if-match",
    "if-range",
    "if-unmodified-since",
    "range",
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
];

/// Fields that the gateway writes anew, so that their loss is not worth a note.
const REWRITTEN: &[&str] = &[
    "connection",
    "content-length",
    "content-type",
    "date",
    "host",
    "transfer-encoding",
];

/// Fields that concern one connection alone (RFC 9110 §7.6.1).
const HOP_BY_HOP: &[&str] = &[
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Fields that pass to the other side, each allowed by the policy, in its order.
pub type Passed = Vec<(HeaderName, header::HeaderValue)>;

/// Refuses what could be read in two ways or what would end inspection.
///
/// # Errors
/// The reason.
pub fn form(head: &Parts) -> Result<(), Reason> {
    if head.method == Method::CONNECT {
        return Err(Reason::ConnectNotAllowed);
    }
    let upgrades = head.headers.contains_key(header::UPGRADE)
        || tokens(&head.headers, header::CONNECTION).any(|t| t.eq_ignore_ascii_case("upgrade"));
    if upgrades {
        return Err(Reason::UpgradeNotAllowed);
    }
    let mut expectations = head.headers.get_all(header::EXPECT).iter();
    if !expectations.all(|e| e.as_bytes().eq_ignore_ascii_case(b"100-continue")) {
        return Err(Reason::ExpectationNotAllowed);
    }
    framing(&head.headers)
}

/// Refuses more than one statement of the length of the body, or another than hyper applies.
///
/// # Errors
/// [`Reason::FramingAmbiguous`].
pub fn framing(headers: &HeaderMap) -> Result<(), Reason> {
    let codings = headers.get_all(header::TRANSFER_ENCODING);
    let lengths = headers.get_all(header::CONTENT_LENGTH);
    let stated = codings.iter().count() + lengths.iter().count();
    let only_chunked = codings
        .iter()
        .all(|v| v.as_bytes().eq_ignore_ascii_case(b"chunked"));
    let only_digits = lengths
        .iter()
        .all(|v| v.as_bytes().iter().all(u8::is_ascii_digit));
    if stated > 1 || !only_chunked || !only_digits {
        return Err(Reason::FramingAmbiguous);
    }
    Ok(())
}

/// The host and port that a request names; `None` if it names none, which only HTTP/1.0 may.
/// `is_tls`: it came in TLS, so that scheme and default port are those of `https`.
///
/// # Errors
/// [`Reason::HostMissing`], [`Reason::HostMismatch`] when the target and `Host` disagree, or
/// [`Reason::HttpMalformed`] for what is no host.
pub fn host(head: &Parts, is_tls: bool) -> Result<Option<(HostClaim, u16)>, Reason> {
    let (scheme, port) = if is_tls {
        ("https", HTTPS)
    } else {
        ("http", 80)
    };
    let mut fields = head.headers.get_all(header::HOST).iter();
    let field = fields.next();
    if fields.next().is_some() {
        return Err(Reason::HostMissing);
    }
    let field = match field {
        Some(value) => Some(claim(
            value.to_str().map_err(|_| Reason::HttpMalformed)?,
            port,
        )?),
        None => None,
    };
    if let Some(given) = head.uri.scheme_str()
        && given != scheme
    {
        return Err(Reason::HostMismatch);
    }
    let target = match head.uri.authority() {
        Some(authority) => Some(claim(authority.as_str(), port)?),
        None => None,
    };
    match (target, field) {
        (Some(target), Some(field)) if target != field => Err(Reason::HostMismatch),
        // RFC 9112 §3.2: HTTP/1.1 names a host, whatever the form of the target.
        (_, None) if head.version == Version::HTTP_11 => Err(Reason::HostMissing),
        (target, field) => Ok(target.or(field)),
    }
}

/// The listed header fields, with their values as they are: each allowed one has one spelling.
/// Also says how many fields were left out.
///
/// # Errors
/// [`Reason::HeaderInvalid`].
pub fn listed(
    headers: &HeaderMap,
    rules: &BTreeMap<Arc<str>, TextRule>,
) -> Result<(Passed, usize), Reason> {
    let mut passed = Vec::new();
    for (name, rule) in rules {
        let mut values = headers.get_all(&**name).iter();
        let Some(value) = values.next() else { continue };
        let text = value.to_str().map_err(|_| Reason::HeaderInvalid)?;
        if values.next().is_some() || !rule.allows(text) {
            return Err(Reason::HeaderInvalid);
        }
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| Reason::Internal)?;
        passed.push((name, value.clone()));
    }
    let is_dropped = |name: &&HeaderName| {
        !REWRITTEN.contains(&name.as_str()) && !rules.contains_key(name.as_str())
    };
    Ok((passed, headers.keys().filter(is_dropped).count()))
}

/// The request fields that pass.
///
/// # Errors
/// [`Reason::HeaderInvalid`] or [`Reason::HeaderNotAllowed`].
pub fn request_fields(headers: &HeaderMap, exchange: &Exchange) -> Result<(Passed, usize), Reason> {
    let unlisted = |name: &&&str| {
        headers.contains_key(**name) && !exchange.request_headers.contains_key(**name)
    };
    if MEANINGFUL.iter().any(|name| unlisted(&name)) {
        return Err(Reason::HeaderNotAllowed);
    }
    listed(headers, &exchange.request_headers)
}

/// The response fields that pass.
///
/// # Errors
/// [`Reason::HeaderInvalid`].
pub fn response_fields(
    headers: &HeaderMap,
    response: &ResponseRule,
) -> Result<(Passed, usize), Reason> {
    listed(headers, &response.headers)
}

/// The fields of a message that passes unjudged, without those that concern its connection alone:
/// the known ones, and those that `Connection` names.
pub fn end_to_end(mut headers: HeaderMap) -> HeaderMap {
    let named: Vec<String> = tokens(&headers, header::CONNECTION)
        .map(str::to_owned)
        .collect();
    for name in HOP_BY_HOP
        .iter()
        .copied()
        .chain(named.iter().map(String::as_str))
    {
        headers.remove(name);
    }
    headers
}

/// The value of a field that may stand there once. Twice counts as a value that fits nothing.
pub fn single(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?;
    if values.next().is_some() {
        return Some("\u{0}");
    }
    Some(value.to_str().unwrap_or("\u{0}"))
}

fn tokens(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &str> {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
}

/// `uri-host [ ":" port ]` of RFC 9110 §7.2; the port of `http` by default.
fn claim(text: &str, default_port: u16) -> Result<(HostClaim, u16), Reason> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']').ok_or(Reason::HttpMalformed)?;
            let ip = host.parse().map_err(|_| Reason::HttpMalformed)?;
            let port = match port {
                "" => None,
                _ => Some(port.strip_prefix(':').ok_or(Reason::HttpMalformed)?),
            };
            (HostClaim::Address(IpAddr::V6(ip)), port)
        }
        None => {
            let (host, port) = match text.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (text, None),
            };
            let claim = match host.parse() {
                Ok(ip) => HostClaim::Address(IpAddr::V4(ip)),
                Err(_) => HostClaim::Name(host.parse::<Host>().map_err(|_| Reason::HttpMalformed)?),
            };
            (claim, port)
        }
    };
    let port = match port {
        None | Some("") => default_port,
        Some(port) if port.bytes().all(|b| b.is_ascii_digit()) => {
            port.parse().map_err(|_| Reason::HttpMalformed)?
        }
        Some(_) => return Err(Reason::HttpMalformed),
    };
    Ok((host_canonical(host), port))
}

fn host_canonical(claim: HostClaim) -> HostClaim {
    match claim {
        HostClaim::Address(ip) => HostClaim::Address(ip.to_canonical()),
        name => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(request: &str) -> Parts {
        let mut lines = request.lines();
        let mut line = lines.next().unwrap().split(' ');
        let mut builder = hyper::Request::builder()
            .method(line.next().unwrap())
            .uri(line.next().unwrap())
            .version(match line.next().unwrap() {
                "1.0" => Version::HTTP_10,
                "2" => Version::HTTP_2,
                _ => Version::HTTP_11,
            });
        for field in lines {
            let (name, value) = field.split_once(": ").unwrap();
            builder = builder.header(name, value);
        }
        builder.body(()).unwrap().into_parts().0
    }

    #[test]
    fn reads_the_host_in_every_form() {
        let name = |n: &str| HostClaim::Name(n.parse().unwrap());
        let ip = |n: &str| HostClaim::Address(n.parse().unwrap());
        for (request, expected) in [
            (
                "GET / 1.1\nhost: A.Example",
                Ok(Some((name("a.example"), 80))),
            ),
            (
                "GET / 1.1\nhost: a.example.:8080",
                Ok(Some((name("a.example"), 8080))),
            ),
            (
                "GET / 1.1\nhost: 10.0.0.1:81",
                Ok(Some((ip("10.0.0.1"), 81))),
            ),
            (
                "GET / 1.1\nhost: [fd00::1]:81",
                Ok(Some((ip("fd00::1"), 81))),
            ),
            (
                "GET / 1.1\nhost: [::ffff:10.0.0.1]",
                Ok(Some((ip("10.0.0.1"), 80))),
            ),
            ("GET / 1.1\nhost: [::1]x", Err(Reason::HttpMalformed)),
            ("GET / 1.0", Ok(None)),
            ("GET http://a.example/ 2", Ok(Some((name("a.example"), 80)))),
            (
                "GET http://a.example/ 1.1\nhost: a.example:80",
                Ok(Some((name("a.example"), 80))),
            ),
            (
                "GET http://a.example/ 1.1\nhost: b.example",
                Err(Reason::HostMismatch),
            ),
            (
                "GET https://a.example/ 1.1\nhost: a.example",
                Err(Reason::HostMismatch),
            ),
            ("GET / 1.1", Err(Reason::HostMissing)),
            ("GET http://a.example/ 1.1", Err(Reason::HostMissing)),
            (
                "GET / 1.1\nhost: a.example\nhost: a.example",
                Err(Reason::HostMissing),
            ),
            ("GET / 1.1\nhost: u@a.example", Err(Reason::HttpMalformed)),
            ("GET / 1.1\nhost: a.example:+80", Err(Reason::HttpMalformed)),
            (
                "GET / 1.1\nhost: a.example:65536",
                Err(Reason::HttpMalformed),
            ),
            ("GET / 1.1\nhost: 10.0.0.300", Err(Reason::HttpMalformed)),
            (
                "GET / 1.1\nhost: 0x0a000001",
                Ok(Some((name("0x0a000001"), 80))),
            ),
            ("GET / 1.1\nhost: 167772161", Err(Reason::HttpMalformed)),
            ("GET / 1.1\nhost: a b", Err(Reason::HttpMalformed)),
            ("GET / 1.1\nhost: ", Err(Reason::HttpMalformed)),
        ] {
            assert_eq!(host(&head(request), false), expected, "{request}");
        }
    }

    #[test]
    fn refuses_what_has_two_readings() {
        for (request, expected) in [
            ("POST / 1.1\ncontent-length: 5", Ok(())),
            ("POST / 1.1\ntransfer-encoding: Chunked", Ok(())),
            ("POST / 1.1\nexpect: 100-Continue", Ok(())),
            (
                "POST / 1.1\nexpect: tea",
                Err(Reason::ExpectationNotAllowed),
            ),
            (
                "POST / 1.1\ntransfer-encoding: gzip, chunked",
                Err(Reason::FramingAmbiguous),
            ),
            (
                "POST / 1.1\ntransfer-encoding: chunked\ntransfer-encoding: chunked",
                Err(Reason::FramingAmbiguous),
            ),
            (
                "POST / 1.1\ncontent-length: 5\ntransfer-encoding: chunked",
                Err(Reason::FramingAmbiguous),
            ),
            (
                "POST / 1.1\ncontent-length: 5\ncontent-length: 5",
                Err(Reason::FramingAmbiguous),
            ),
            (
                "POST / 1.1\ncontent-length: 5, 5",
                Err(Reason::FramingAmbiguous),
            ),
            (
                "POST / 1.1\ncontent-length: +5",
                Err(Reason::FramingAmbiguous),
            ),
            (
                "GET / 1.1\nconnection: x, Upgrade",
                Err(Reason::UpgradeNotAllowed),
            ),
            (
                "GET / 1.1\nupgrade: websocket",
                Err(Reason::UpgradeNotAllowed),
            ),
            ("CONNECT a.example:80 1.1", Err(Reason::ConnectNotAllowed)),
        ] {
            assert_eq!(form(&head(request)), expected, "{request}");
        }
    }
}
