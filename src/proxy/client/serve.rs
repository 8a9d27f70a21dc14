//! Serving a client's connection, whichever protocol it speaks.

use std::rc::Rc;

use super::connection::ClientConnection;
use super::handler::Handler;
use super::http1::connection::Http1Connection;
use super::http1::linger::Lingerers;
use super::http1::serve::{Served, serve as serve_http1};
use super::http2::serve::serve as serve_http2;
use super::stream::ClientStream;
use crate::proxy::watch::Watchers;

/// Serves one connection to its end. A client that speaks HTTP/2 says so by its first bytes.
pub async fn serve<H: Handler>(
    stream: ClientStream,
    client: &Rc<ClientConnection>,
    watchers: &Watchers,
    handler: &Rc<H>,
    lingerers: Rc<Lingerers>,
) {
    let connection = Http1Connection::new(client, watchers.exchange(&client.watch));
    match serve_http1(stream, connection, handler, lingerers).await {
        Served::ToTheEnd(unread) => {
            if let Some(unread) = unread {
                handler.rejects(client.peer, &unread);
            }
        }
        // Boxed: a connection of HTTP/1 need not have room for it.
        Served::Http2(stream, early, limits) => Box::pin(serve_http2(stream, early, (client, limits), watchers, handler)).await,
    }
}
