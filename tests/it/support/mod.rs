//! What tests need beside the library.

pub(crate) mod gateway;
pub(crate) mod http;
pub(crate) mod redis;
pub(crate) mod upstream;
