//! ClientHellos: of real clients, and made by hand.

use super::repository;

/// The largest fragment of a record, in bytes.
const MAX_FRAGMENT: usize = 1 << 14;

/// What a real client sent, for `svc.hospital.example` if its name does not say otherwise.
pub fn real(client: &str) -> Vec<u8> {
    std::fs::read(repository("fuzz/seeds/hello").join(client)).unwrap()
}

/// A well-formed one with these extensions.
pub fn hello(extensions: &[(u16, Vec<u8>)]) -> Vec<u8> {
    records(&message(extensions), MAX_FRAGMENT)
}

/// The same, in records with fragments of at most this size.
pub fn records(message: &[u8], size: usize) -> Vec<u8> {
    let record = |fragment: &[u8]| [&[22, 3, 1][..], &long(fragment)].concat();
    message.chunks(size).flat_map(record).collect()
}

/// The handshake message alone.
pub fn message(extensions: &[(u16, Vec<u8>)]) -> Vec<u8> {
    let one =
        |(number, content): &(u16, Vec<u8>)| [&number.to_be_bytes()[..], &long(content)].concat();
    let extensions: Vec<u8> = extensions.iter().flat_map(one).collect();
    let body = [
        &[3, 3][..],
        &[9; 32],
        &[0],
        &long(&[0x13, 0x01]),
        &[1, 0],
        &long(&extensions),
    ]
    .concat();
    [&[1][..], &(body.len() as u32).to_be_bytes()[1..], &body].concat()
}

/// The extension that says whom the client wants.
pub fn server_name(name: &str) -> (u16, Vec<u8>) {
    (0, long(&[&[0][..], &long(name.as_bytes())].concat()))
}

/// One for this name, of exactly this size with its records.
pub fn of_size(name: &str, size: usize) -> Vec<u8> {
    let padded = |n| hello(&[server_name(name), (21, vec![0; n])]);
    let n = size - padded(0).len();
    // Each record that is needed has a header.
    let mut sizes = (n - 64..=n).map(padded);
    sizes.find(|bytes| bytes.len() == size).unwrap()
}

fn long(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u16).to_be_bytes(), bytes].concat()
}
