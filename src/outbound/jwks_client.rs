//! Fetches key sets of other issuers over HTTP.

use async_trait::async_trait;
use bytes::Bytes;
use http::header::{ACCEPT, HOST, USER_AGENT};
use http::{Request, StatusCode, Uri};
use http_body_util::Full;

use super::fetch::fetch;
use crate::crypto::authorities::Authorities;
use crate::crypto::issuers::JwksSource;
use crate::crypto::jwks::JWKS_BYTES_MAX;
use crate::proxy::upstream::connect::{Target, Tls};

/// One connection for each fetch: they are minutes apart.
#[derive(Debug)]
pub struct JwksClient {
    target: Target,
}

impl JwksClient {
    /// `authorities`: the only ones that may vouch for the server, instead of those of the web.
    ///
    /// # Errors
    /// The URL has no host, or one that no certificate can name.
    pub fn new(uri: &Uri, authorities: Option<&Authorities>) -> Result<Self, String> {
        let host = uri.host().ok_or("the URL has no host")?.trim_matches(['[', ']']).to_owned();
        let is_https = uri.scheme_str() == Some("https");
        let tls = match (is_https, authorities) {
            (false, _) => None,
            (true, None) => Some(Tls::of_web(&host)?),
            (true, Some(authorities)) => Some(Tls::of_authorities(&host, authorities)?),
        };
        let port = uri.port_u16().unwrap_or(if is_https { 443 } else { 80 });
        Ok(Self { target: Target::tcp(host, port, tls) })
    }
}

#[async_trait]
impl JwksSource for JwksClient {
    async fn fetch(&self, url: &str) -> Result<Bytes, String> {
        let uri: Uri = url.parse().map_err(|_| "not a URL".to_owned())?;
        let request = Request::get(uri.path_and_query().map_or("/", |path| path.as_str()))
            .header(HOST, uri.authority().map_or("", |authority| authority.as_str()))
            .header(ACCEPT, "application/json")
            .header(USER_AGENT, concat!("tokengate/", env!("CARGO_PKG_VERSION")))
            .body(Full::default())
            .map_err(|error| error.to_string())?;
        let response = fetch(&self.target, request, JWKS_BYTES_MAX).await?;
        if response.status() == StatusCode::OK {
            Ok(response.into_body())
        } else {
            Err(format!("answered {}", response.status()))
        }
    }
}
