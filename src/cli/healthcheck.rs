//! `tokengate healthcheck`: asks a running gateway how it is, for images that have no curl.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs as _};
use std::time::Duration;

use clap::Args;
use http::Uri;

use super::output::{Failure, say};
use super::settings::SettingsArgs;
use crate::config::Settings;

/// The longest answer that is read, in bytes, and in how many pieces.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
const READS_MAX: usize = 256;

/// Ask a running gateway whether it is alive. Exit code 0: it is; 1: it is not.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  tokengate healthcheck
  tokengate healthcheck --ready
  tokengate healthcheck --url http://127.0.0.1:8080/healthz

Without --url, the admin listener of the settings is asked, or the main one where that is off.")]
pub(super) struct HealthcheckArgs {
    /// What to ask.
    #[arg(long, value_name = "URL", value_parser = url, conflicts_with = "ready")]
    url: Option<Uri>,
    /// Ask whether it is ready for traffic, not only alive.
    #[arg(long)]
    ready: bool,
    /// How long connecting, and each part of the answer, may take, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=60))]
    timeout: u64,
    #[command(flatten)]
    settings: SettingsArgs,
}

fn url(text: &str) -> Result<Uri, String> {
    let uri: Uri = text.parse().map_err(|_| "not a URL".to_owned())?;
    if uri.scheme_str() == Some("http") && uri.authority().is_some_and(|a| !a.as_str().contains('@')) {
        return Ok(uri);
    }
    Err("allowed is http://host:port/path".to_owned())
}

pub(super) fn run(args: &HealthcheckArgs) -> Result<(), Failure> {
    let url = match &args.url {
        Some(url) => url.clone(),
        None => own_url(&args.settings.load_upstream_or_none()?.settings, args.ready)?,
    };
    let answer = ask(&url, Duration::from_secs(args.timeout)).map_err(|e| Failure::Failed(format!("{url}: {e}")))?;
    if (200..300).contains(&answer.status) {
        return say(&format!("{url}: {}", answer.status));
    }
    Err(Failure::Failed(format!("{url}: {} {}", answer.status, answer.body.trim()).trim_end().to_owned()))
}

/// The admin listener's probe, or the main one's where that is off.
fn own_url(settings: &Settings, ready: bool) -> Result<Uri, Failure> {
    let main_path = if ready { &settings.endpoints.ready } else { &settings.endpoints.health };
    let (address, path) = match (settings.admin.address, main_path) {
        (Some(address), _) => (address, if ready { "/readyz" } else { "/healthz" }),
        (None, Some(path)) => (settings.listen.address, path.as_str()),
        (None, None) => {
            return Err(Failure::Refused("these settings switch every probe off; say what to ask with --url".to_owned()));
        }
    };
    format!("http://{}{path}", reachable(address)).parse().map_err(|e: http::uri::InvalidUri| Failure::failed(&e))
}

/// Where a listener on all addresses is found.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

struct Answer {
    status: u16,
    body: String,
}

fn ask(url: &Uri, timeout: Duration) -> Result<Answer, String> {
    let authority = url.authority().ok_or("no host")?;
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    let addresses = (host, authority.port_u16().unwrap_or(80)).to_socket_addrs().map_err(|e| e.to_string())?;
    let mut stream = connect(addresses, timeout)?;
    let path = url.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    let request =
        format!("GET {path} HTTP/1.1\r\nhost: {authority}\r\nuser-agent: tokengate-healthcheck\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).map_err(|e| e.to_string())?;
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    for _ in 0..READS_MAX {
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(length) => bytes.extend_from_slice(&buffer[..length]),
            Err(_) if has_whole_head(&bytes) => break,
            Err(error) => return Err(error.to_string()),
        }
        if bytes.len() > ANSWER_BYTES_MAX {
            break;
        }
    }
    parse(&bytes).ok_or_else(|| "this is not an HTTP answer".to_owned())
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

fn has_whole_head(bytes: &[u8]) -> bool {
    bytes.windows(4).any(|window| window == b"\r\n\r\n")
}

fn parse(bytes: &[u8]) -> Option<Answer> {
    let mut fields = [httparse::EMPTY_HEADER; 64];
    let mut head = httparse::Response::new(&mut fields);
    let head_length = match head.parse(bytes).ok()? {
        httparse::Status::Complete(length) => length,
        httparse::Status::Partial => return None,
    };
    let body = String::from_utf8_lossy(&bytes[head_length..]);
    // What an answer says goes to a terminal or a log.
    let body = body.chars().map(|c| if c.is_control() { ' ' } else { c }).take(500).collect();
    Some(Answer { status: head.code?, body })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_on_all_addresses_is_asked_on_loopback() {
        for (listens, asked) in [("0.0.0.0:1", "127.0.0.1:1"), ("[::]:2", "[::1]:2"), ("10.1.2.3:4", "10.1.2.3:4")] {
            assert_eq!(reachable(listens.parse().unwrap()), asked.parse().unwrap());
        }
    }

    #[test]
    fn without_an_admin_listener_the_main_one_is_asked() {
        let upstream = "[upstreams.a]\nurl = \"http://h\"\n";
        let asked = |text: &str, ready| {
            own_url(&Settings::from_toml(&format!("{text}\n{upstream}")).unwrap(), ready).ok().map(|url| url.to_string())
        };
        assert_eq!(asked("", true).as_deref(), Some("http://127.0.0.1:9180/readyz"));
        assert_eq!(asked("admin = { address = \"\" }", false).as_deref(), Some("http://127.0.0.1:8080/healthz"));
        assert_eq!(asked("admin = { address = \"\" }\nendpoints = { health = \"\" }", false), None);
    }

    #[test]
    fn answers_are_read_with_suspicion() {
        assert!(parse(b"").is_none() && parse(b"HTTP/1.1 200").is_none() && parse(b"SSH-2.0\r\n\r\n").is_none());
        let answer = parse(b"HTTP/1.1 503 Service Unavailable\r\nx: y\r\n\r\nno\x1b[31m").unwrap();
        assert_eq!((answer.status, answer.body.as_str()), (503, "no [31m"));
    }
}
