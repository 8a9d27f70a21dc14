//! What tests need beside the library.

#[expect(dead_code, reason = "the first of its tests use but a part")]
pub(crate) mod gateway;
pub(crate) mod http;
pub(crate) mod redis;
#[expect(dead_code, reason = "the first of its tests use but a part")]
pub(crate) mod upstream;
