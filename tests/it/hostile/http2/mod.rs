//! HTTP/2 frame by frame: what honest clients send, and what nobody means well with.

pub(super) mod client;
mod floods;
mod forgotten;
mod grpc;
mod lifetimes;
mod requests;
mod server;
mod smuggling;
mod upstream;
mod websockets;
