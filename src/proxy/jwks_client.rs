//! Fetches key sets of other issuers over HTTP.

use std::pin::pin;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use http::header::{ACCEPT, HOST, USER_AGENT};
use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;

use super::upstream::{Stream, Target, Tls};
use crate::crypto::issuers::JwksSource;
use crate::crypto::jwks::JWKS_BYTES_MAX;

/// One connection for each fetch: they are minutes apart.
#[derive(Debug)]
pub struct JwksClient;

#[async_trait]
impl JwksSource for JwksClient {
    /// No redirect is followed: the operator named the place.
    async fn fetch(&self, url: &str) -> Result<Bytes, String> {
        let uri: Uri = url.parse().map_err(|_| "not a URL".to_owned())?;
        let stream = Stream::open(&target(&uri)?).await.map_err(|error| format!("cannot connect: {error}"))?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| format!("cannot connect: {error}"))?;
        let request = Request::get(uri.path_and_query().map_or("/", |path| path.as_str()))
            .header(HOST, uri.authority().map_or("", |authority| authority.as_str()))
            .header(ACCEPT, "application/json")
            .header(USER_AGENT, concat!("tokengate/", env!("CARGO_PKG_VERSION")))
            .body(Empty::<Bytes>::new())
            .map_err(|error| error.to_string())?;
        let exchange = async move {
            let answer = sender.send_request(request).await.map_err(|error| error.to_string())?;
            if answer.status() != StatusCode::OK {
                return Err(format!("answered {}", answer.status()));
            }
            let mut body = answer.into_body();
            let mut document = BytesMut::new();
            while let Some(frame) = body.frame().await {
                let Ok(data) = frame.map_err(|error| error.to_string())?.into_data() else { continue };
                if document.len() + data.len() > JWKS_BYTES_MAX {
                    return Err(format!("larger than {JWKS_BYTES_MAX} bytes"));
                }
                document.extend_from_slice(&data);
            }
            Ok(document.freeze())
        };
        // The connection moves only while it is polled; it ends with the exchange.
        let mut exchange = pin!(exchange);
        tokio::select! {
            document = &mut exchange => document,
            ended = connection => {
                ended.map_err(|error| error.to_string())?;
                exchange.await
            }
        }
    }
}

fn target(uri: &Uri) -> Result<Target, String> {
    let host = uri.host().ok_or("the URL has no host")?.trim_matches(['[', ']']).to_owned();
    let is_https = uri.scheme_str() == Some("https");
    let tls = if is_https { Some(Tls::of_web(&host)?) } else { None };
    let port = uri.port_u16().unwrap_or(if is_https { 443 } else { 80 });
    Ok(Target { host, port, tls })
}
