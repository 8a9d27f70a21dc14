//! The gateway beside proxies that people have: each by the configuration of its page, word for word but for the ports.

mod attacks;
mod caddy;
mod documented;
mod envoy;
mod haproxy;
mod nginx;
mod page;
mod rig;
