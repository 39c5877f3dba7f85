//! placeholder until init lands
fn main() {}
