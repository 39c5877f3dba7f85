//! Which protocol a connection speaks, from its first bytes: sans-IO, and certain or silent. What
//! is not certain when bytes or time run out is refused by the caller.

/// The client connection preface of HTTP/2 (RFC 9113 §3.4).
pub const H2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// No method of HTTP is longer, in bytes.
const MAX_METHOD: usize = 32;

/// What the first bytes say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detected {
    /// Not enough to be certain.
    NeedMore,
    /// A request line of HTTP/1 begins here.
    Http1,
    /// HTTP/2 with prior knowledge.
    Http2,
    /// A TLS record with a handshake message (RFC 8446 §5.1).
    Tls,
    /// Something else.
    Unknown,
}

/// Says what protocol begins with these bytes.
pub fn classify(bytes: &[u8]) -> Detected {
    let Some(&first) = bytes.first() else {
        return Detected::NeedMore;
    };
    if first == 0x16 {
        return match bytes.get(1) {
            None => Detected::NeedMore,
            Some(0x03) => Detected::Tls,
            Some(_) => Detected::Unknown,
        };
    }
    let same = bytes
        .iter()
        .zip(H2_PREFACE)
        .take_while(|(a, b)| a == b)
        .count();
    if same == H2_PREFACE.len() {
        return Detected::Http2;
    }
    if same == bytes.len() {
        return Detected::NeedMore;
    }
    // "PRI" is reserved for the preface (RFC 9113 §11.6): whoever says it otherwise is lying.
    if same >= b"PRI ".len() {
        return Detected::Unknown;
    }
    match bytes.iter().position(|b| !is_token(*b)) {
        None if bytes.len() > MAX_METHOD => Detected::Unknown,
        None => Detected::NeedMore,
        Some(end @ 1..=MAX_METHOD) if bytes[end] == b' ' => Detected::Http1,
        Some(_) => Detected::Unknown,
    }
}

/// Whether a request of HTTP/1 may end with these bytes, which begin it. `false` if more must come.
pub fn may_be_whole(bytes: &[u8]) -> bool {
    const END: &[u8] = b"\r\n\r\n";
    const WITHOUT_BODY: [&[u8]; 2] = [b"GET ", b"HEAD "];
    if bytes.ends_with(END) {
        return WITHOUT_BODY.iter().any(|method| bytes.starts_with(method));
    }
    bytes.windows(END.len()).any(|window| window == END)
}

/// `tchar` of RFC 9110 §5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_is_certain() {
        for (bytes, expected) in [
            (&b""[..], Detected::NeedMore),
            (b"G", Detected::NeedMore),
            (b"GET", Detected::NeedMore),
            (b"GET ", Detected::Http1),
            (b"PRI", Detected::NeedMore),
            (b"PRI ", Detected::NeedMore),
            (b"PRI /", Detected::Unknown),
            (b"PRIOR /", Detected::Http1),
            (b"PATCH /x", Detected::Http1),
            (H2_PREFACE, Detected::Http2),
            (&H2_PREFACE[..23], Detected::NeedMore),
            (b"\x16", Detected::NeedMore),
            (b"\x16\x03", Detected::Tls),
            (b"\x16\x02", Detected::Unknown),
            (b" GET /", Detected::Unknown),
            (b"\r\nGET /", Detected::Unknown),
            (b"GET\t/", Detected::Unknown),
            (b"\x00", Detected::Unknown),
            (b"SSH-2.0-x\r\n", Detected::Unknown),
            (b"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", Detected::Unknown),
        ] {
            assert_eq!(
                classify(bytes),
                expected,
                "{:?}",
                String::from_utf8_lossy(bytes)
            );
        }
    }

    #[test]
    fn a_head_alone_is_whole_where_no_body_follows() {
        for (bytes, expected) in [
            (&b"GET / HTTP/1.1\r\n\r\n"[..], true),
            (b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n", true),
            (b"GET / HTTP/1.1\r\n", false),
            (b"GET / HTTP/1.1\r\nHost: x\r\n\r", false),
            (b"POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\n", false),
            (b"POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}", true),
            (b"POST / HTTP/1.1\r\nContent-Length: 2", false),
        ] {
            let text = String::from_utf8_lossy(bytes);
            assert_eq!(may_be_whole(bytes), expected, "{text}");
        }
    }

    #[test]
    fn more_bytes_never_change_a_certain_answer() {
        for whole in [
            &b"POST /a HTTP/1.1\r\n"[..],
            H2_PREFACE,
            b"\x16\x03\x01\x02",
            b"\x00x",
        ] {
            let mut certain = None;
            for end in 0..=whole.len() {
                match (classify(&whole[..end]), certain) {
                    (Detected::NeedMore, before) => assert_eq!(before, None),
                    (now, None) => certain = Some(now),
                    (now, Some(before)) => assert_eq!(now, before),
                }
            }
            assert!(certain.is_some());
        }
    }
}
