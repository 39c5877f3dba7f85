//! The detector of protocols: whatever comes, it neither panics nor changes its mind.
#![no_main]

use lazaret_fuzz::detect::{Detected, classify};
use libfuzzer_sys::fuzz_target;

/// It is certain at the latest behind the longest method, and its space.
const ENOUGH: usize = 33;

fuzz_target!(|bytes: &[u8]| {
    let mut certain = None;
    for end in 0..=bytes.len().min(2 * ENOUGH) {
        match (classify(&bytes[..end]), certain) {
            (Detected::NeedMore, None) => assert!(end < ENOUGH),
            (now, None) => certain = Some(now),
            (now, Some(before)) => assert_eq!(now, before),
        }
    }
    if bytes.len() > 2 * ENOUGH {
        assert_eq!(Some(classify(bytes)), certain);
    }
});
