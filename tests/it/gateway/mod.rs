//! The whole gateway: real processes, real sockets.

mod two_nodes;
