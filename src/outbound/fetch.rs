//! Single requests of our own to other servers: a connection for each, bounded in size; the caller bounds the time.

use std::error::Error;
use std::pin::pin;

use bytes::{Bytes, BytesMut};
use http::header::{CONNECTION, HOST};
use http::uri::{Authority, Scheme};
use http::{Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};

use super::flood::{OfFewFrames, Paced, of_few_interim_responses};
use crate::proxy::upstream::connect::{Protocol, Stream, Target};

/// The largest head of a response.
pub(super) const HEAD_BYTES_MAX: u32 = 64 * 1024;

/// Sends the request and reads the response, whose body may have `bytes_max`; that of any status but 200 is not read. No redirect is
/// followed: the operator named the place.
pub(super) async fn fetch(target: &Target, request: Request<Full<Bytes>>, bytes_max: usize) -> Result<Response<Bytes>, String> {
    let stream = Stream::open(target).await.map_err(|error| format!("cannot connect: {error}"))?;
    exchange((stream, target), request, |response| collect(response, bytes_max)).await
}

/// Sends the request, and reads the response by `read`. The connection ends with the exchange.
pub(super) async fn exchange<T, F>(
    (stream, target): (Stream, &Target),
    request: Request<Full<Bytes>>,
    read: impl FnOnce(Response<Incoming>) -> F,
) -> Result<T, String>
where
    F: Future<Output = Result<T, String>>,
{
    let io = TokioIo::new(OfFewFrames::new(Paced::new(stream), target.protocol()));
    let failed = |error: hyper::Error| format!("cannot connect: {error}");
    match target.protocol() {
        Protocol::Http1 => {
            let mut builder = http1::Builder::new();
            builder.allow_spaces_after_header_name_in_responses(true).max_buf_size(HEAD_BYTES_MAX as usize);
            let (mut sender, connection) = builder.handshake(io).await.map_err(failed)?;
            let exchange = async move {
                let response = of_few_interim_responses(request, |request| sender.send_request(request)).await?;
                read(response.map_err(|error| cause(&error))?).await
            };
            drive(connection, exchange).await
        }
        Protocol::Http2 => {
            let mut builder = http2::Builder::new(TokioExecutor::new());
            builder.max_header_list_size(HEAD_BYTES_MAX);
            let (mut sender, connection) = builder.handshake(io).await.map_err(failed)?;
            let request = addressed(request, target)?;
            drive(connection, async move { read(sender.send_request(request).await.map_err(|error| cause(&error))?).await }).await
        }
    }
}

/// With a URI that says what Host says. By HTTP/2 it stands for Host, and nothing is said of the connection.
pub(super) fn addressed(mut request: Request<Full<Bytes>>, target: &Target) -> Result<Request<Full<Bytes>>, String> {
    let host = request.headers().get(HOST).ok_or("there is no Host")?;
    let authority = Authority::try_from(host.as_bytes()).map_err(|error| error.to_string())?;
    let mut uri = std::mem::take(request.uri_mut()).into_parts();
    uri.authority = Some(authority);
    uri.scheme = Some(if target.is_tls() { Scheme::HTTPS } else { Scheme::HTTP });
    *request.uri_mut() = Uri::from_parts(uri).map_err(|error| error.to_string())?;
    if target.protocol() == Protocol::Http2 {
        request.headers_mut().remove(HOST);
        request.headers_mut().remove(CONNECTION);
    }
    Ok(request)
}

async fn drive<T>(
    connection: impl Future<Output = hyper::Result<()>>,
    exchange: impl Future<Output = Result<T, String>>,
) -> Result<T, String> {
    // The connection moves only while it is polled; it ends with the exchange.
    let mut exchange = pin!(exchange);
    tokio::select! {
        response = &mut exchange => response,
        // However it ended, the response may have come before: simple servers close without the farewell of TLS.
        ended = connection => exchange.await.map_err(|error| ended.err().map_or(error, |ended| cause(&ended))),
    }
}

/// The innermost error: those around it only say where it happened.
pub(super) fn cause(error: &dyn Error) -> String {
    let innermost = std::iter::successors(error.source(), |&error| error.source()).last();
    innermost.map_or_else(|| error.to_string(), ToString::to_string)
}

/// Reads the body of a response, if its status is 200, or 404: that may say of what there is none.
pub(super) async fn collect(response: Response<Incoming>, bytes_max: usize) -> Result<Response<Bytes>, String> {
    let (head, mut body) = response.into_parts();
    let mut document = BytesMut::new();
    while matches!(head.status, StatusCode::OK | StatusCode::NOT_FOUND)
        && let Some(frame) = body.frame().await
    {
        let Ok(data) = frame.map_err(|error| error.to_string())?.into_data() else { continue };
        if document.len() + data.len() > bytes_max {
            return Err(format!("larger than {bytes_max} bytes"));
        }
        document.extend_from_slice(&data);
    }
    Ok(Response::from_parts(head, document.freeze()))
}
