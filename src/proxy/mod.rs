//! The data plane: what carries requests. `gateway` is the path of a request, readable top to bottom.

pub mod admission;
pub mod body;
mod call;
pub mod connection;
pub mod control;
mod entropy;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
pub mod gateway;
mod held;
mod interim;
pub mod keepalive;
pub mod linger;
pub mod listener;
mod login_answer;
pub mod observation;
mod port;
mod raw_head;
mod refusal;
pub mod reply;
pub mod seats;
pub mod token_cache;
pub mod tunnel;
pub mod upstream;
pub mod watch;
