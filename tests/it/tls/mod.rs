//! TLS to clients, and what comes before it: other people's clients against real processes.

mod client;
mod client_certificates;
mod clients;
mod handshakes;
mod http2;
mod listeners;
mod proxy_protocol;
mod redirect;
mod reload;
mod rig;
mod settings;
mod streams;
mod transfers;
mod upstreams;
