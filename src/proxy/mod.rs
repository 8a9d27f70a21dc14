//! The data plane: what carries requests. `gateway` is the path of a request, readable top to bottom.

pub mod admission;
pub mod body;
mod call;
pub mod claims_client;
pub mod connection;
pub mod control;
mod entropy;
mod fetch;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
pub mod gateway;
mod held;
mod interim;
pub mod jwks_client;
pub mod keepalive;
mod kept;
pub mod linger;
pub mod listener;
mod login_answer;
pub mod observation;
mod raw_head;
mod refusal;
pub mod reply;
pub mod seats;
pub mod token_cache;
pub mod tunnel;
pub mod upstream;
pub mod watch;
