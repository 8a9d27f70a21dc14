//! Many requests at once to an upstream that speaks HTTP/2, and where it may listen.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use tokengate::config::UpstreamProtocol;
use tokengate::domain::per_upstream::UpstreamIndex;
use tokio::sync::Semaphore;

use super::super::super::rig::{Rig, eventually};
use super::super::client::{Http2Client, get};
use crate::support::http2_server::Http2Server;
use crate::support::servers::Server as _;

const STREAMS: usize = 1000;
const CONNECTIONS: usize = 10;

#[test]
fn a_thousand_requests_at_once_share_as_many_connections_as_there_may_be_and_one_more_is_told_to_wait() {
    let leave = Arc::new(Semaphore::new(0));
    let waited_for = Arc::clone(&leave);
    let upstream = Http2Server::start(move |_, mut responding| {
        let leave = Arc::clone(&waited_for);
        async move {
            leave.acquire().await.ok()?.forget();
            let mut sending = responding.send_response(Response::new(()), false).ok()?;
            sending.send_data(Bytes::from_static(b"ok"), true).ok()
        }
    });
    let rig = Rig::start_with(upstream.address(), |settings| {
        settings.listen.limits.http2.as_mut().unwrap().streams_max = 2000;
        let upstream = &mut settings.upstreams[UpstreamIndex::FIRST];
        upstream.protocol = UpstreamProtocol::Http2;
        upstream.http2.streams_max = u32::try_from(STREAMS / CONNECTIONS).unwrap();
        upstream.connections_max = Some(u32::try_from(CONNECTIONS).unwrap());
        upstream.connections_wait = Duration::from_millis(300);
    });
    let counts = &upstream.counts;
    let mut client = Http2Client::connect(rig.address());
    let streams: Vec<u32> = (0..STREAMS).map(|_| client.request(&get("/public"))).collect();
    eventually("all of them are under way", || counts.under_way.load(Ordering::SeqCst) == STREAMS);
    assert_eq!(client.get("/public").code(), "upstream_busy", "there is no more room, and it is not waited for without end");
    leave.add_permits(STREAMS);
    for stream in streams {
        let response = client.response(stream);
        assert_eq!((response.status, response.body.as_str()), (200, "ok"));
    }
    assert_eq!(counts.connections.load(Ordering::SeqCst), CONNECTIONS);
    assert_eq!(counts.most_on_one.load(Ordering::SeqCst), STREAMS / CONNECTIONS);
}

#[test]
fn a_socket_of_the_machine_is_spoken_to_by_http_2_as_well() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("api.sock");
    let counts = Http2Server::at_socket(&path, |request, mut responding| async move {
        let mut sending = responding.send_response(Response::new(()), false).ok()?;
        sending.send_data(request.uri().to_string().into(), true).ok()
    });
    let elsewhere = std::net::SocketAddr::from(([127, 0, 0, 1], 9));
    let tables = format!(
        "[store]\nkind = \"memory\"\n[upstreams.default]\nurl = \"unix:{}\"\nprotocol = \"http2\"\n\
         [[routes]]\nname = \"local\"\nprefix = \"/local\"\naccess = \"public\"\nupstream = \"default\"\n",
        path.display()
    );
    let rig = Rig::start_from(elsewhere, &tables, |_| {});
    let mut client = Http2Client::connect(rig.address());
    let streams: Vec<u32> = (0..20).map(|_| client.request(&get("/local/a?b"))).collect();
    for stream in streams {
        assert_eq!(client.response(stream).body, "http://a/local/a?b");
    }
    assert_eq!(counts.connections.load(Ordering::SeqCst), 1);
}
