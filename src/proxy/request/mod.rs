//! Requests: `gateway` is the path of one, readable top to bottom.

pub mod body;
mod context;
pub mod ext_authz;
pub mod gateway;
mod grpc;
mod login_response;
pub mod observation;
mod record;
mod refusal;
