//! HTTP/2 frame by frame: what honest clients send, and what nobody means well with.

mod client;
mod floods;
mod grpc;
mod lifetimes;
mod requests;
mod server;
mod smuggling;
mod upstreams;
mod websockets;
