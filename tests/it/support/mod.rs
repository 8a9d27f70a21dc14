//! What tests need beside the library.

pub(crate) mod redis;
