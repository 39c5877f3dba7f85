//! placeholder until init lands
