//! Servers that people have behind a gateway, as their packages come: what a field means is decided there, not in an echo of ours.
//!
//! Each is started by the test on a free port, with a folder of its own, as whoever runs the test; it ends with the test.

mod cgi;
mod express;
mod nginx;

use std::net::SocketAddr;

use super::upstream::Upstream;

pub(crate) use cgi::Cgi;
pub(crate) use express::Express;
pub(crate) use nginx::{Nginx, proxying};

/// What a gateway, or another server, can be put in front of.
pub(crate) trait Server {
    fn address(&self) -> SocketAddr;

    fn url(&self) -> String {
        format!("http://{}", self.address())
    }
}

impl Server for Upstream {
    fn address(&self) -> SocketAddr {
        Self::address(self)
    }
}
