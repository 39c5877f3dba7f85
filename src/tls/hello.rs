//! The ClientHello of a connection (RFC 8446 §4.1.2, RFC 5246 §7.4.1.2), read before any of it is
//! answered: sans-IO, and certain or silent.
//!
//! Whoever reads the same bytes later must find the same name in them. So there is one reading or
//! none: every length fits to the byte, no extension comes twice, and nothing stands behind the
//! message. A client has nothing to say there before it is answered, but for early data (0-RTT),
//! which would be under way before anybody had judged it: who offers that is refused, too.

use lazaret_policy::Host;

/// The most bytes of a connection that a ClientHello may take, records and all.
pub const MAX_HELLO: usize = 32 << 10;

/// The most records that a ClientHello may be spread over. Two hold the largest; more is a way
/// around simpler readers than this, or to make them work.
const MAX_RECORDS: usize = 16;

/// The longest fragment of a record, in bytes (RFC 8446 §5.1).
const MAX_FRAGMENT: usize = 1 << 14;

/// The header of a record, in bytes: its type, a version, a length (RFC 8446 §5.1).
const RECORD_HEADER: usize = 5;

/// The header of a handshake message, in bytes: its type, a length (RFC 8446 §4).
const MESSAGE_HEADER: usize = 4;

/// `ContentType.handshake`.
const HANDSHAKE: u8 = 22;

/// `HandshakeType.client_hello`.
const CLIENT_HELLO: u8 = 1;

/// `legacy_version` of TLS 1.2 and 1.3. Clients that know of nothing newer than TLS 1.1 are not
/// spoken to (RFC 8996).
const LEGACY_VERSION: u16 = 0x0303;

/// The longest `legacy_session_id`, in bytes.
const MAX_SESSION_ID: usize = 32;

/// `NameType.host_name` (RFC 6066 §3).
const HOST_NAME: u8 = 0;

/// Numbers of extensions.
mod extension {
    pub(super) const SERVER_NAME: u16 = 0;
    pub(super) const PRE_SHARED_KEY: u16 = 41;
    pub(super) const EARLY_DATA: u16 = 42;
    /// RFC 9849.
    pub(super) const ENCRYPTED_CLIENT_HELLO: u16 = 0xfe0d;
    /// The drafts before it, which had another name.
    pub(super) const ENCRYPTED_SERVER_NAME: u16 = 0xffce;
}

/// What a ClientHello says about where it wants to go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientHello {
    /// The name in `server_name` (RFC 6066 §3).
    pub sni: Option<Host>,
    /// Whether it has an `encrypted_client_hello` extension, be it a real one or grease.
    pub has_ech: bool,
}

/// Why bytes are no ClientHello.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a well-formed ClientHello")]
pub struct HelloError;

/// Reads a ClientHello; `None` when it is not all there yet. Costs next to nothing until it is, so
/// it may be asked again for every byte that comes.
///
/// # Errors
/// It is not well-formed, has more than [`MAX_HELLO`] bytes, offers early data, or something stands
/// behind it.
pub fn parse(bytes: &[u8]) -> Result<Option<ClientHello>, HelloError> {
    message(bytes)?
        .map(|message| client_hello(&message))
        .transpose()
}

/// The first handshake message, put together from its records.
fn message(bytes: &[u8]) -> Result<Option<Vec<u8>>, HelloError> {
    let mut fragments: [&[u8]; MAX_RECORDS] = [&[]; MAX_RECORDS];
    let mut promised = 0;
    let mut rest = bytes;
    for i in 0..MAX_RECORDS {
        let Some((length, behind)) = record(rest)? else {
            return unfinished(bytes);
        };
        let (fragment, after) = behind.split_at(length.min(behind.len()));
        fragments[i] = fragment;
        promised += length;
        let is_whole = fragment.len() == length;
        match message_length(&fragments)? {
            // The header says so before the rest is there.
            Some(total) if promised > total => return Err(HelloError),
            Some(total) if promised == total && is_whole => {
                let is_all = after.is_empty() && bytes.len() <= MAX_HELLO;
                return is_all.then(|| Some(fragments.concat())).ok_or(HelloError);
            }
            _ if !is_whole => return unfinished(bytes),
            _ => rest = after,
        }
    }
    Err(HelloError)
}

/// There is more to come, if more may come.
fn unfinished<T>(bytes: &[u8]) -> Result<Option<T>, HelloError> {
    if bytes.len() < MAX_HELLO {
        Ok(None)
    } else {
        Err(HelloError)
    }
}

/// The length that the header of a record states, and what stands behind the header; `None` if it
/// is not all there. What is wrong already is an error at once.
fn record(bytes: &[u8]) -> Result<Option<(usize, &[u8])>, HelloError> {
    match bytes {
        [] | [HANDSHAKE] | [HANDSHAKE, 3] => Ok(None),
        [HANDSHAKE, 3, 1..=3, header @ ..] => match header {
            [] | [_] => Ok(None),
            [high, low, behind @ ..] => {
                let length = usize::from(u16::from_be_bytes([*high, *low]));
                let fits = (1..=MAX_FRAGMENT).contains(&length);
                fits.then_some(Some((length, behind))).ok_or(HelloError)
            }
        },
        _ => Err(HelloError),
    }
}

/// The length of a ClientHello with its header; `None` if the header is not all there.
fn message_length(fragments: &[&[u8]]) -> Result<Option<usize>, HelloError> {
    let mut header = fragments.iter().copied().flatten().copied();
    if header.next().is_some_and(|kind| kind != CLIENT_HELLO) {
        return Err(HelloError);
    }
    let (Some(a), Some(b), Some(c)) = (header.next(), header.next(), header.next()) else {
        return Ok(None);
    };
    let length = u32::from_be_bytes([0, a, b, c]) as usize + MESSAGE_HEADER;
    if length + RECORD_HEADER > MAX_HELLO {
        return Err(HelloError);
    }
    Ok(Some(length))
}

fn client_hello(message: &[u8]) -> Result<ClientHello, HelloError> {
    let mut body = Reader(message);
    body.take(MESSAGE_HEADER)?;
    require(body.u16()? == LEGACY_VERSION)?;
    let random = 32;
    body.take(random)?;
    require(body.short()?.len() <= MAX_SESSION_ID)?;
    let suites = body.long()?;
    require(!suites.is_empty() && suites.len().is_multiple_of(2))?;
    // Of the methods of compression, "null" is always among them.
    require(body.short()?.contains(&0))?;
    let mut hello = ClientHello {
        sni: None,
        has_ech: false,
    };
    // TLS 1.2 knows hellos without extensions (RFC 5246 §7.4.1.2).
    if body.0.is_empty() {
        return Ok(hello);
    }
    let mut extensions = Reader(body.long()?);
    require(body.0.is_empty())?;
    let mut seen = Vec::new();
    while !extensions.0.is_empty() {
        let number = extensions.u16()?;
        let content = extensions.long()?;
        seen.push(number);
        match number {
            extension::SERVER_NAME => hello.sni = Some(server_name(content)?),
            extension::ENCRYPTED_CLIENT_HELLO | extension::ENCRYPTED_SERVER_NAME => {
                hello.has_ech = true;
            }
            extension::EARLY_DATA => return Err(HelloError),
            // Always the last (RFC 8446 §4.2.11).
            extension::PRE_SHARED_KEY => require(extensions.0.is_empty())?,
            _ => {}
        }
    }
    seen.sort_unstable();
    require(seen.is_sorted_by(|a, b| a < b))?;
    Ok(hello)
}

/// The one name in a `server_name` extension. No address is one, and neither is what ends in a dot
/// (RFC 6066 §3).
fn server_name(content: &[u8]) -> Result<Host, HelloError> {
    let mut content = Reader(content);
    let mut list = Reader(content.long()?);
    require(content.0.is_empty())?;
    require(list.u8()? == HOST_NAME)?;
    let name = list.long()?;
    require(list.0.is_empty() && !name.ends_with(b"."))?;
    let name = std::str::from_utf8(name).map_err(|_| HelloError)?;
    name.parse().map_err(|_| HelloError)
}

fn require(holds: bool) -> Result<(), HelloError> {
    holds.then_some(()).ok_or(HelloError)
}

/// What has not been read yet.
struct Reader<'b>(&'b [u8]);

impl<'b> Reader<'b> {
    fn take(&mut self, n: usize) -> Result<&'b [u8], HelloError> {
        let (taken, rest) = self.0.split_at_checked(n).ok_or(HelloError)?;
        self.0 = rest;
        Ok(taken)
    }

    fn u8(&mut self) -> Result<u8, HelloError> {
        let (byte, rest) = self.0.split_first().ok_or(HelloError)?;
        self.0 = rest;
        Ok(*byte)
    }

    fn u16(&mut self) -> Result<u16, HelloError> {
        Ok(u16::from_be_bytes([self.u8()?, self.u8()?]))
    }

    /// A vector behind a length of one byte (RFC 8446 §3.4).
    fn short(&mut self) -> Result<&'b [u8], HelloError> {
        let length = self.u8()?;
        self.take(length.into())
    }

    /// A vector behind a length of two bytes.
    fn long(&mut self) -> Result<&'b [u8], HelloError> {
        let length = self.u16()?;
        self.take(length.into())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What the parts of a ClientHello are, right or wrong.
    #[derive(Clone, Debug)]
    struct Parts {
        version: u16,
        session_id: Vec<u8>,
        suites: Vec<u8>,
        compressions: Vec<u8>,
        extensions: Option<Vec<(u16, Vec<u8>)>>,
    }

    fn short(bytes: &[u8]) -> Vec<u8> {
        [&[bytes.len() as u8], bytes].concat()
    }

    fn long(bytes: &[u8]) -> Vec<u8> {
        [&(bytes.len() as u16).to_be_bytes(), bytes].concat()
    }

    fn server_name_of(name: &[u8]) -> Vec<u8> {
        long(&[&[HOST_NAME][..], &long(name)].concat())
    }

    fn with(extensions: Vec<(u16, Vec<u8>)>) -> Parts {
        Parts {
            version: LEGACY_VERSION,
            session_id: vec![7; 32],
            suites: vec![0x13, 0x01, 0xc0, 0x2b],
            compressions: vec![0],
            extensions: Some(extensions),
        }
    }

    /// With what other readers insist on: versions, groups, signature algorithms.
    fn usual(name: &[u8]) -> Vec<(u16, Vec<u8>)> {
        vec![
            (extension::SERVER_NAME, server_name_of(name)),
            (43, vec![4, 3, 4, 3, 3]),
            (10, vec![0, 2, 0, 29]),
            (13, vec![0, 2, 4, 3]),
        ]
    }

    impl Parts {
        fn body(&self) -> Vec<u8> {
            let mut body = self.version.to_be_bytes().to_vec();
            body.extend([9; 32]);
            body.extend(short(&self.session_id));
            body.extend(long(&self.suites));
            body.extend(short(&self.compressions));
            if let Some(extensions) = &self.extensions {
                let one = |(number, content): &(u16, Vec<u8>)| {
                    [&number.to_be_bytes()[..], &long(content)].concat()
                };
                body.extend(long(&extensions.iter().flat_map(one).collect::<Vec<_>>()));
            }
            body
        }

        fn bytes(&self) -> Vec<u8> {
            records(&message_of(&self.body()), MAX_FRAGMENT)
        }
    }

    fn message_of(body: &[u8]) -> Vec<u8> {
        let length = (body.len() as u32).to_be_bytes();
        [&[CLIENT_HELLO][..], &length[1..], body].concat()
    }

    /// In records with fragments of this size.
    fn records(message: &[u8], size: usize) -> Vec<u8> {
        let record = |fragment: &[u8]| [&[HANDSHAKE, 3, 1][..], &long(fragment)].concat();
        message.chunks(size).flat_map(record).collect()
    }

    /// A hello of exactly this size in bytes, records and all.
    fn of_size(size: usize) -> Vec<u8> {
        let padded = |n| with([usual(b"a.example"), vec![(21, vec![0; n])]].concat()).bytes();
        let n = size - padded(0).len();
        // Each record that is needed has a header.
        (n.saturating_sub(64)..=n)
            .map(padded)
            .find(|bytes| bytes.len() == size)
            .unwrap()
    }

    fn named(name: &str) -> Result<Option<ClientHello>, HelloError> {
        Ok(Some(ClientHello {
            sni: Some(name.parse().unwrap()),
            has_ech: false,
        }))
    }

    const REAL: [(&str, Option<&str>); 8] = [
        ("curl", Some("svc.hospital.example")),
        ("curl-http1", Some("svc.hospital.example")),
        ("java", Some("svc.hospital.example")),
        ("node", Some("svc.hospital.example")),
        ("openssl-1.2", Some("svc.hospital.example")),
        ("openssl-1.3", Some("svc.hospital.example")),
        ("openssl-no-name", None),
        ("python", Some("svc.hospital.example")),
    ];

    /// What a real client sent; the fuzzer begins with the same.
    fn real(name: &str) -> Vec<u8> {
        let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/seeds/hello");
        std::fs::read(std::path::Path::new(directory).join(name)).unwrap()
    }

    #[track_caller]
    fn is_read_only_when_whole(bytes: &[u8], expected: &ClientHello) {
        for end in 0..bytes.len() {
            assert_eq!(parse(&bytes[..end]), Ok(None), "{end}");
        }
        assert_eq!(parse(bytes), Ok(Some(expected.clone())));
        for more in [&[0][..], &[20, 3, 3, 0, 1, 1], &[23, 3, 3, 0, 1, 9], bytes] {
            assert_eq!(parse(&[bytes, more].concat()), Err(HelloError));
        }
    }

    #[test]
    fn hellos_of_real_clients_are_read_however_they_are_cut() {
        for (client, name) in REAL {
            let bytes = real(client);
            let expected = ClientHello {
                sni: name.map(|name| name.parse().unwrap()),
                has_ech: false,
            };
            is_read_only_when_whole(&bytes, &expected);
            let message = &bytes[RECORD_HEADER..];
            for size in [1, 2, 3, 4, 5, 64, 100, 1000] {
                let cut = records(message, size);
                if message.len().div_ceil(size) <= MAX_RECORDS {
                    is_read_only_when_whole(&cut, &expected);
                } else {
                    assert_eq!(parse(&cut), Err(HelloError), "{client} {size}");
                }
            }
        }
        // TLS 1.1 (RFC 8996).
        assert_eq!(parse(&real("openssl-1.1")), Err(HelloError));
    }

    #[test]
    fn the_largest_is_read_and_nothing_larger() {
        let largest = of_size(MAX_HELLO);
        assert_eq!(parse(&largest), named("a.example"));
        assert_eq!(parse(&largest[..MAX_HELLO - 1]), Ok(None));
        let larger = of_size(MAX_HELLO + 1);
        assert_eq!(parse(&larger), Err(HelloError));
        assert_eq!(parse(&larger[..MAX_HELLO]), Err(HelloError));
        // So does the header, at once.
        assert_eq!(parse(&[22, 3, 1, 0x40, 0, 1, 0, 0x80, 0]), Err(HelloError));
    }

    #[test]
    fn names_are_read_in_one_way_or_refused() {
        let long_label = "a".repeat(64);
        let long_name = ["a"; 128].join(".");
        for (name, expected) in [
            ("a.example", named("a.example")),
            ("A.eXample", named("a.example")),
            ("xn--bcher-kva.example", named("xn--bcher-kva.example")),
            ("a_b.example", named("a_b.example")),
            ("intranet", named("intranet")),
            ("a.example.", Err(HelloError)),
            ("a..example", Err(HelloError)),
            (".example", Err(HelloError)),
            (".", Err(HelloError)),
            ("", Err(HelloError)),
            ("*.example", Err(HelloError)),
            ("a.example\0", Err(HelloError)),
            ("a.example\0.evil.example", Err(HelloError)),
            (" a.example", Err(HelloError)),
            ("a.example:443", Err(HelloError)),
            ("a.example/", Err(HelloError)),
            ("b\u{fc}cher.example", Err(HelloError)),
            ("\u{ff41}.example", Err(HelloError)),
            ("203.0.113.20", Err(HelloError)),
            ("2001:db8::7", Err(HelloError)),
            ("[2001:db8::7]", Err(HelloError)),
            ("0x7f.1", Err(HelloError)),
            (&long_label, Err(HelloError)),
            (&long_name, Err(HelloError)),
        ] {
            assert_eq!(
                parse(&with(usual(name.as_bytes())).bytes()),
                expected,
                "{name}"
            );
        }
        let a = &server_name_of(b"a.example")[2..];
        let b = &server_name_of(b"b.example")[2..];
        for (what, content) in [
            ("no list", vec![]),
            ("an empty list", long(b"")),
            ("two names", long(&[a, b].concat())),
            ("the same name twice", long(&[a, a].concat())),
            ("a name of another type", long(&[&[1], &a[1..]].concat())),
            (
                "one of another type besides",
                long(&[a, &[1, 0, 1, 9]].concat()),
            ),
            ("more behind the list", [long(a), vec![0]].concat()),
            ("more behind the name", long(&[a, &[0]].concat())),
            ("less than the list", [&[0, 13], a].concat()),
            ("not UTF-8", server_name_of(b"\xff.example")),
        ] {
            let hello = with(vec![(extension::SERVER_NAME, content)]);
            assert_eq!(parse(&hello.bytes()), Err(HelloError), "{what}");
        }
    }

    #[test]
    fn what_hides_the_name_is_seen() {
        for number in [
            extension::ENCRYPTED_CLIENT_HELLO,
            extension::ENCRYPTED_SERVER_NAME,
        ] {
            for content in [vec![], vec![0; 200]] {
                let hello = with([usual(b"a.example"), vec![(number, content)]].concat());
                let read = parse(&hello.bytes()).unwrap().unwrap();
                assert!(read.has_ech, "{number:#x}");
            }
        }
    }

    #[test]
    fn every_part_fits_or_is_refused() {
        let good = with(usual(b"a.example"));
        let psk = (extension::PRE_SHARED_KEY, vec![0; 40]);
        let extended =
            |more: &[(u16, Vec<u8>)]| with([usual(b"a.example"), more.to_vec()].concat());
        let unnamed = Ok(Some(ClientHello {
            sni: None,
            has_ech: false,
        }));
        let mut table = vec![
            ("as it should be", good.clone(), named("a.example")),
            (
                "with a ticket",
                extended(std::slice::from_ref(&psk)),
                named("a.example"),
            ),
            (
                "the ticket not last",
                extended(&[psk, (21, vec![])]),
                Err(HelloError),
            ),
            (
                "early data",
                extended(&[(extension::EARLY_DATA, vec![])]),
                Err(HelloError),
            ),
            (
                "an extension twice",
                extended(&[(99, vec![]), (7, vec![]), (99, vec![1])]),
                Err(HelloError),
            ),
            (
                "a name twice",
                extended(&usual(b"a.example")[..1]),
                Err(HelloError),
            ),
            (
                "another name",
                extended(&usual(b"b.example")[..1]),
                Err(HelloError),
            ),
            ("no extension in the list", with(vec![]), unnamed.clone()),
        ];
        let mut changed = |what, change: &dyn Fn(&mut Parts), expected| {
            let mut parts = good.clone();
            change(&mut parts);
            table.push((what, parts, expected));
        };
        changed("no extensions", &|p| p.extensions = None, unnamed);
        changed("no session", &|p| p.session_id.clear(), named("a.example"));
        changed("a long session", &|p| p.session_id.push(7), Err(HelloError));
        changed("no suites", &|p| p.suites.clear(), Err(HelloError));
        changed("half a suite", &|p| p.suites.push(7), Err(HelloError));
        changed(
            "no compression",
            &|p| p.compressions.clear(),
            Err(HelloError),
        );
        changed(
            "only compressed",
            &|p| p.compressions = vec![1],
            Err(HelloError),
        );
        changed(
            "compressed or not",
            &|p| p.compressions.push(1),
            named("a.example"),
        );
        for version in [0x0000, 0x0002, 0x0300, 0x0301, 0x0302, 0x0304, 0xfefd] {
            changed("another version", &|p| p.version = version, Err(HelloError));
        }
        for (what, parts, expected) in table {
            assert_eq!(parse(&parts.bytes()), expected, "{what}");
        }
        // A byte more or less anywhere in the message.
        let body = good.body();
        for end in 0..body.len() {
            let cut = records(&message_of(&body[..end]), MAX_FRAGMENT);
            // Where the extensions would begin, it is a hello without.
            let is_bare = end == 2 + 32 + 33 + 6 + 2;
            assert_eq!(parse(&cut).is_ok(), is_bare, "{end}");
        }
        let longer = records(&message_of(&[&body[..], &[0]].concat()), MAX_FRAGMENT);
        assert_eq!(parse(&longer), Err(HelloError));
    }

    #[test]
    fn records_fit_or_are_refused() {
        let message = message_of(&with(usual(b"a.example")).body());
        let length = (message.len() as u16).to_be_bytes();
        let record =
            |head: [u8; 3], length: [u8; 2], rest: &[u8]| [&head[..], &length, rest].concat();
        for version in [1, 2, 3] {
            assert_eq!(
                parse(&record([22, 3, version], length, &message)),
                named("a.example")
            );
        }
        let more = |n: u16| (message.len() as u16 + n).to_be_bytes();
        let one_record = record([22, 3, 1], length, &message);
        for (what, bytes) in [
            ("an alert", record([21, 3, 1], length, &message)),
            ("application data", record([23, 3, 1], length, &message)),
            ("SSL 3", record([22, 3, 0], length, &message)),
            (
                "TLS 1.3 in the record",
                record([22, 3, 4], length, &message),
            ),
            ("TLS 4", record([22, 4, 1], length, &message)),
            ("an empty record", record([22, 3, 1], [0, 0], &[])),
            (
                "an empty record first",
                record([22, 3, 1], [0, 0], &one_record),
            ),
            (
                "a record that is too long",
                record([22, 3, 1], [0x40, 1], &message),
            ),
            (
                "a record longer than the message",
                record([22, 3, 1], more(1), &message),
            ),
            (
                "one that has a byte more",
                record([22, 3, 1], more(1), &[&message[..], &[1]].concat()),
            ),
            (
                "a ServerHello",
                record([22, 3, 1], length, &[&[2], &message[1..]].concat()),
            ),
            (
                "a message of 16 MiB",
                record([22, 3, 1], [0x40, 0], &[1, 0xff, 0xff, 0xff]),
            ),
            (
                "another record within",
                [&records(&message, 40)[..45], &[23, 3, 3, 0, 1, 0]].concat(),
            ),
            (
                "an empty record within",
                [&records(&message, 40)[..45], &[22, 3, 1, 0, 0]].concat(),
            ),
            ("HTTP", b"GET / HTTP/1.1\r\n\r\n".to_vec()),
            ("SSL 2", b"\x80\x2e\x01\x03\x01".to_vec()),
        ] {
            assert_eq!(parse(&bytes), Err(HelloError), "{what}");
        }
    }

    /// What an independent reader finds: the name, or that it is no hello.
    fn other_reader(bytes: &[u8]) -> Result<Option<String>, ()> {
        let mut acceptor = rustls::server::Acceptor::default();
        let mut rest = bytes;
        while !rest.is_empty() {
            acceptor.read_tls(&mut rest).map_err(|_| ())?;
        }
        match acceptor.accept() {
            Ok(Some(accepted)) => Ok(accepted.client_hello().server_name().map(str::to_owned)),
            _ => Err(()),
        }
    }

    fn label() -> impl Strategy<Value = String> {
        "[a-zA-Z]([a-zA-Z0-9-]{0,20}[a-zA-Z0-9])?"
    }

    fn hello() -> impl Strategy<Value = Parts> {
        let name = proptest::collection::vec(label(), 1..4).prop_map(|labels| labels.join("."));
        let extensions = proptest::collection::vec(
            (
                100_u16..0xfe00,
                proptest::collection::vec(any::<u8>(), 0..80),
            ),
            0..12,
        );
        let suites = proptest::collection::vec(any::<u16>(), 1..40);
        let session = proptest::collection::vec(any::<u8>(), 0..33);
        (name, extensions, suites, session, any::<bool>()).prop_map(
            |(name, mut more, suites, session_id, is_named)| {
                more.sort_by_key(|(number, _)| *number);
                more.dedup_by_key(|(number, _)| *number);
                let mut parts = with([usual(name.as_bytes()), more].concat());
                if !is_named {
                    parts.extensions.as_mut().unwrap().remove(0);
                }
                parts.suites = suites
                    .iter()
                    .flat_map(|suite| suite.to_be_bytes())
                    .collect();
                parts.session_id = session_id;
                parts
            },
        )
    }

    proptest! {
        #[test]
        fn good_hellos_are_read_as_others_read_them(parts in hello(), size in 1_usize..600) {
            let message = message_of(&parts.body());
            let size = size.max(message.len().div_ceil(MAX_RECORDS));
            let bytes = records(&message, size);
            let read = parse(&bytes).unwrap().unwrap();
            let other = other_reader(&bytes).unwrap();
            let other = other.map(|name| name.parse::<Host>().unwrap());
            prop_assert_eq!(&read.sni, &other);
            for end in 0..bytes.len() {
                prop_assert_eq!(parse(&bytes[..end]), Ok(None));
            }
        }

        /// Others may be stricter about what does not concern us, and more lenient; but they never
        /// find another name.
        #[test]
        fn changed_hellos_have_no_second_name(
            parts in hello(),
            changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..4),
        ) {
            let mut bytes = parts.bytes();
            for (at, byte) in changes {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            if let (Ok(Some(read)), Ok(other)) = (parse(&bytes), other_reader(&bytes)) {
                let read = read.sni.map(|name| name.to_string());
                prop_assert_eq!(read, other.map(|name| name.to_ascii_lowercase()));
            }
        }

        #[test]
        fn whatever_comes_there_is_an_answer(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
            let _ = parse(&bytes);
            let _ = parse(&records(&message_of(&bytes), 1000));
        }
    }
}
