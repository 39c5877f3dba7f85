//! temporary
use crate::Reason;
use serde_json::Value;
/// x
pub struct JsonError {
    /// x
    pub reason: Reason,
    /// x
    pub pointer: String,
    /// x
    pub offset: usize,
}
/// x
pub fn parse(bytes: &[u8], _d: u16) -> Result<Value, JsonError> {
    serde_json::from_slice(bytes).map_err(|_| JsonError {
        reason: Reason::JsonSyntax,
        pointer: String::new(),
        offset: 0,
    })
}
