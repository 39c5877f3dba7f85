//! The reader of ClientHellos: whatever comes, it neither panics nor changes its mind. The same
//! noise is tried as it is, and as the extensions of a hello whose lengths fit, since noise seldom
//! gets past those.
#![no_main]

use lazaret_fuzz::Host;
use lazaret_fuzz::hello::{HelloError, MAX_HELLO, parse};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    holds(bytes);
    if let [size, rest @ ..] = bytes {
        holds(&records(&message(rest), usize::from(*size).max(4) * 4));
    }
});

fn holds(bytes: &[u8]) {
    match parse(bytes) {
        Ok(Some(hello)) => {
            assert!(bytes.len() <= MAX_HELLO);
            // Not before it is whole, and not with anything behind it.
            for end in [0, 1, 5, 9, bytes.len() / 2, bytes.len() - 1] {
                assert_eq!(parse(&bytes[..end]), Ok(None));
            }
            assert_eq!(parse(&[bytes, &[23]].concat()), Err(HelloError));
            if let Some(name) = hello.sni {
                assert_eq!(name.to_string().parse::<Host>(), Ok(name));
            }
        }
        Ok(None) => {
            assert!(bytes.len() < MAX_HELLO);
            // Less of it is no more of a hello.
            assert_eq!(parse(&bytes[..bytes.len() / 2]), Ok(None));
        }
        // Nothing that comes later makes up for it.
        Err(HelloError) => assert_eq!(parse(&[bytes, bytes].concat()), Err(HelloError)),
    }
}

/// A hello with these extensions, each a number and a content behind a length of one byte.
fn message(mut noise: &[u8]) -> Vec<u8> {
    let mut extensions = Vec::new();
    while let [high, low, length, rest @ ..] = noise {
        let (content, rest) = rest.split_at(usize::from(*length).min(rest.len()));
        extensions.extend([*high, *low]);
        extensions.extend(match (high, low) {
            // `server_name`, whose content has lengths, too.
            (0, 0) => long(&long(&[&[0][..], &long(content)].concat())),
            _ => long(content),
        });
        noise = rest;
    }
    let body = [
        &[3, 3][..],
        &[9; 32],
        &[0, 0, 2, 19, 1, 1, 0],
        &long(&extensions),
    ]
    .concat();
    [&[1][..], &(body.len() as u32).to_be_bytes()[1..], &body].concat()
}

fn records(message: &[u8], size: usize) -> Vec<u8> {
    let record = |fragment: &[u8]| [&[22, 3, 1][..], &long(fragment)].concat();
    message.chunks(size).flat_map(record).collect()
}

fn long(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u16).to_be_bytes(), bytes].concat()
}
