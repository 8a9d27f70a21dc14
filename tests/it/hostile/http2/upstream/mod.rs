//! Upstreams that are spoken to in HTTP/2, frame by frame.

mod claims_hook;
mod connections;
mod crumbs;
mod floods;
mod forgotten;
mod lifetimes;
mod repeats;
mod responses;
mod streams;
mod websocket_ends;
mod websockets;

use std::thread;
use std::time::Duration;

use tokengate::config::{Settings, UpstreamProtocol};
use tokengate::domain::per_upstream::UpstreamIndex;

use super::super::rig::{PATIENCE, Rig, forward};
use super::server::Http2Server;

const SOON: Duration = Duration::from_millis(300);
const GET: &str = "GET /public HTTP/1.1\r\nHost: a\r\n\r\n";
const POST: &str = "POST /public HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello";

fn rig(upstream: &Http2Server) -> Rig {
    rig_with(upstream, |_| {})
}

fn rig_with(upstream: &Http2Server, change: impl FnOnce(&mut Settings)) -> Rig {
    Rig::start_with(upstream.address, |settings| {
        settings.upstreams[UpstreamIndex::FIRST].protocol = UpstreamProtocol::Http2;
        change(settings);
    })
}

/// Responses have to begin this soon.
fn impatient(settings: &mut Settings) {
    let change = |routes: &mut [_]| routes.iter_mut().for_each(|route| forward(route).response_timeout = SOON);
    settings.routes.change(|routes| change(routes)).unwrap();
}

fn stay() {
    thread::sleep(PATIENCE);
}
