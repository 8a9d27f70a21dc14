//! Asks a running gateway over HTTP: its admin listener, or whatever a URL names.

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs as _};
use std::time::Duration;

use clap::Args;
use http::Uri;
use serde_json::Value;

use super::output::Failure;
use super::settings::SettingsArgs;
use crate::config::{ListenAddress, Settings};
use crate::domain::secret::Secret;

/// The longest response that is read, in bytes.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// In how many pieces a response may come.
const READS_MAX: usize = 64 * 1024;

/// How much of a response that is not understood is shown.
const SHOWN_CHARS_MAX: usize = 500;

/// How long connecting, and each part of a response, may take, beside what the gateway was asked to wait for.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// Which gateway is called. Its token comes from the settings: the same file, variables and flags as for `run`.
#[derive(Debug, Args)]
pub(super) struct AdminArgs {
    /// The admin listener to ask. Left out: the one of the settings.
    #[arg(long, value_name = "URL", value_parser = url)]
    url: Option<Uri>,
    #[command(flatten)]
    settings: SettingsArgs,
}

/// An admin listener, and the token that it needs.
pub(super) struct AdminClient {
    base: Uri,
    token: Option<Secret<String>>,
}

impl AdminArgs {
    pub(super) fn settings(&self) -> &SettingsArgs {
        &self.settings
    }

    pub(super) fn client(&self) -> Result<AdminClient, Failure> {
        let settings = self.settings.load_upstream_or_none()?.settings;
        let base = match (&self.url, &settings.admin.address) {
            (Some(url), _) => url.clone(),
            (None, Some(address)) => admin_url(address)?,
            (None, None) => {
                let cure = "these settings switch the admin listener off; say which gateway to ask with --url";
                return Err(Failure::Refused(cure.to_owned()));
            }
        };
        Ok(AdminClient { base, token: settings.admin.token })
    }
}

impl AdminClient {
    pub(super) fn get(&self, path: &str) -> Result<(u16, Value), Failure> {
        self.call("GET", path, None, Duration::ZERO)
    }

    /// A 2xx response, as JSON. The gateway may take `longer` than usual to send it.
    pub(super) fn call(&self, method: &str, path: &str, body: Option<&Value>, longer: Duration) -> Result<(u16, Value), Failure> {
        let url: Uri = format!("{}{path}", self.base.to_string().trim_end_matches('/'))
            .parse()
            .map_err(|error: http::uri::InvalidUri| Failure::refused(&error))?;
        let body = body.map(Value::to_string);
        let call =
            Call { method, url: &url, token: self.token.as_ref(), body: body.as_deref(), timeout: ANSWER_TIMEOUT + longer };
        let response = call.send().map_err(|error| Failure::Failed(format!("{}: {error}", self.base)))?;
        if !(200..300).contains(&response.status) {
            return Err(refused(&self.base, &response));
        }
        let value = serde_json::from_slice(&response.body);
        let not_json = |_| Failure::Failed(format!("{}: this is not the response of an admin listener", self.base));
        Ok((response.status, value.map_err(not_json)?))
    }
}

/// What the gateway says of itself why it did not do it.
fn refused(base: &Uri, response: &Response) -> Failure {
    let problem: Option<Value> = serde_json::from_slice(&response.body).ok();
    let detail = problem.as_ref().and_then(|problem| problem["detail"].as_str()).map(printable);
    let detail = detail.unwrap_or_else(|| response.text());
    let cure = match response.status {
        401 => " Set admin.token or admin.token_file as the gateway has it.",
        _ => "",
    };
    let text = format!("{base}: {} {detail}{cure}", response.status);
    if response.status == 400 { Failure::Refused(text) } else { Failure::Failed(text) }
}

pub(super) fn url(text: &str) -> Result<Uri, String> {
    let uri: Uri = text.parse().map_err(|_| "not a URL".to_owned())?;
    if uri.scheme_str() == Some("http") && uri.authority().is_some_and(|a| !a.as_str().contains('@')) {
        return Ok(uri);
    }
    Err("allowed is http://host:port/path".to_owned())
}

/// The probe of the admin listener, or of the main one where that is off.
pub(super) fn probe_url(settings: &Settings, ready: bool) -> Result<Uri, Failure> {
    let main_path = if ready { &settings.endpoints.paths.ready } else { &settings.endpoints.paths.health };
    let (address, path) = match (&settings.admin.address, main_path) {
        (Some(address), _) => (address, if ready { "/readyz" } else { "/healthz" }),
        (None, Some(path)) => {
            let plain = settings.listeners.iter().find(|listener| listener.takes_plain_http() && listener.address.is_known());
            let why = "these settings have no listener for plain HTTP to ask; say what to ask with --url";
            (&plain.ok_or_else(|| Failure::Refused(why.to_owned()))?.address, path.as_str())
        }
        (None, None) => {
            return Err(Failure::Refused("these settings switch every probe off; say what to ask with --url".to_owned()));
        }
    };
    format!("http://{}{path}", reachable(address)).parse().map_err(|e: http::uri::InvalidUri| Failure::failed(&e))
}

fn admin_url(address: &ListenAddress) -> Result<Uri, Failure> {
    format!("http://{}", reachable(address)).parse().map_err(|e: http::uri::InvalidUri| Failure::failed(&e))
}

/// Where a listener on all addresses is found.
fn reachable(address: &ListenAddress) -> ListenAddress {
    let address = match address {
        ListenAddress::Ip(address) => address,
        ListenAddress::Name { .. } | ListenAddress::Passed { .. } => return address.clone(),
    };
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, address.port()).into()
}

/// One request on a connection of its own.
pub(super) struct Call<'a> {
    pub(super) method: &'a str,
    pub(super) url: &'a Uri,
    pub(super) token: Option<&'a Secret<String>>,
    /// JSON.
    pub(super) body: Option<&'a str>,
    /// For connecting, and for each part of the response.
    pub(super) timeout: Duration,
}

pub(super) struct Response {
    pub(super) status: u16,
    pub(super) body: Vec<u8>,
}

impl Response {
    /// The beginning of the body, fit for a terminal or a log.
    pub(super) fn text(&self) -> String {
        let text = String::from_utf8_lossy(&self.body);
        printable(&text).chars().take(SHOWN_CHARS_MAX).collect()
    }
}

/// Without what could move a cursor.
pub(super) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

impl Call<'_> {
    pub(super) fn send(&self) -> Result<Response, String> {
        let authority = self.url.authority().ok_or("no host")?;
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        let addresses = (host, authority.port_u16().unwrap_or(80)).to_socket_addrs().map_err(|e| e.to_string())?;
        let mut stream = connect(addresses, self.timeout)?;
        stream.write_all(self.head(authority.as_str()).as_bytes()).map_err(|e| e.to_string())?;
        stream.write_all(self.body.unwrap_or_default().as_bytes()).map_err(|e| e.to_string())?;
        read_response(&mut stream)
    }

    fn head(&self, host: &str) -> zeroize::Zeroizing<String> {
        let path = self.url.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
        let agent = concat!("tokengate/", env!("CARGO_PKG_VERSION"));
        let mut head = format!("{} {path} HTTP/1.1\r\nhost: {host}\r\nuser-agent: {agent}\r\nconnection: close\r\n", self.method);
        if let Some(token) = self.token {
            let _ = write!(head, "authorization: Bearer {}\r\n", token.expose());
        }
        if let Some(body) = self.body {
            let _ = write!(head, "content-type: application/json\r\ncontent-length: {}\r\n", body.len());
        }
        head.push_str("\r\n");
        zeroize::Zeroizing::new(head)
    }
}

fn connect(addresses: impl Iterator<Item = SocketAddr>, timeout: Duration) -> Result<TcpStream, String> {
    let mut cause = "the name has no address".to_owned();
    for address in addresses {
        let connected = TcpStream::connect_timeout(&address, timeout).and_then(|stream| {
            stream.set_read_timeout(Some(timeout))?;
            stream.set_write_timeout(Some(timeout))?;
            Ok(stream)
        });
        match connected {
            Ok(stream) => return Ok(stream),
            Err(error) => cause = error.to_string(),
        }
    }
    Err(cause)
}

/// Reads to the end, or to the length that the head states.
fn read_response(stream: &mut TcpStream) -> Result<Response, String> {
    let (mut bytes, mut head, mut buffer) = (Vec::new(), None, [0; 16 * 1024]);
    for _ in 0..READS_MAX {
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(length) => bytes.extend_from_slice(&buffer[..length]),
            // What is known by then may suffice.
            Err(_) if head.is_some() => break,
            Err(error) => return Err(error.to_string()),
        }
        head = head.or_else(|| Head::parse(&bytes));
        let is_whole = head.as_ref().is_some_and(|head| head.ends_at.is_some_and(|end| bytes.len() >= end));
        if is_whole || bytes.len() > ANSWER_BYTES_MAX {
            break;
        }
    }
    let head = head.ok_or("this is not an HTTP response")?;
    Ok(Response { status: head.status, body: bytes.split_off(head.length) })
}

struct Head {
    status: u16,
    /// Where the body begins.
    length: usize,
    /// Where the body ends, if the head states it.
    ends_at: Option<usize>,
}

impl Head {
    /// `None` before it is whole.
    fn parse(bytes: &[u8]) -> Option<Self> {
        let mut fields = [httparse::EMPTY_HEADER; 64];
        let mut head = httparse::Response::new(&mut fields);
        let length = match head.parse(bytes).ok()? {
            httparse::Status::Complete(length) => length,
            httparse::Status::Partial => return None,
        };
        let told = head.headers.iter().find(|field| field.name.eq_ignore_ascii_case("content-length"));
        let body_length: Option<usize> = told.and_then(|field| std::str::from_utf8(field.value).ok()?.parse().ok());
        Some(Self { status: head.code?, length, ends_at: body_length.and_then(|body| length.checked_add(body)) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_on_all_addresses_is_asked_on_loopback() {
        for (listens, asked) in [("0.0.0.0:1", "127.0.0.1:1"), ("[::]:2", "[::1]:2"), ("10.1.2.3:4", "10.1.2.3:4")] {
            assert_eq!(reachable(&listens.parse().unwrap()), asked.parse().unwrap());
        }
    }

    #[test]
    fn without_an_admin_listener_the_main_one_is_asked() {
        let upstream = "[upstreams.a]\nurl = \"http://h\"\n";
        let asked = |text: &str, ready| {
            probe_url(&Settings::from_toml(&format!("{text}\n{upstream}")).unwrap(), ready).ok().map(|url| url.to_string())
        };
        assert_eq!(asked("", true).as_deref(), Some("http://127.0.0.1:9180/readyz"));
        assert_eq!(asked("admin = { address = \"\" }", false).as_deref(), Some("http://127.0.0.1:8080/healthz"));
        assert_eq!(asked("admin = { address = \"\" }\nendpoints = { health = \"\" }", false), None);
    }

    #[test]
    fn answers_are_read_with_suspicion() {
        for bad in [&b""[..], b"HTTP/1.1 200", b"SSH-2.0\r\n\r\n"] {
            assert!(Head::parse(bad).is_none());
        }
        let head = Head::parse(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 7\r\n\r\n").unwrap();
        assert_eq!((head.status, head.ends_at), (503, Some(head.length + 7)));
        let endless = Head::parse(b"HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551615\r\n\r\n").unwrap();
        assert_eq!(endless.ends_at, None);
        assert_eq!(Response { status: 503, body: b"no\x1b[31m".to_vec() }.text(), "no [31m");
    }
}
