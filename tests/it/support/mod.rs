//! What tests need beside the library.

pub(crate) mod described;
pub(crate) mod fault_proxy;
pub(crate) mod gateway;
pub(crate) mod http;
pub(crate) mod http2_server;
pub(crate) mod leash;
pub(crate) mod old_api;
pub(crate) mod open_streams;
pub(crate) mod postgres;
pub(crate) mod python;
pub(crate) mod random;
pub(crate) mod redis;
pub(crate) mod request_cases;
pub(crate) mod resp;
pub(crate) mod servers;
pub(crate) mod tunnels;
pub(crate) mod upstream;
