//! Names of addresses become addresses.

use std::io;
use std::net::SocketAddr;

use crate::config::ListenAddress;
use crate::proxy::port::coverage_at;

/// The address that a listener is bound to. Of several that a name has, the first of IPv4, as clients that are told an address expect;
/// else the first.
pub(super) async fn resolve(address: &ListenAddress) -> io::Result<SocketAddr> {
    let (host, port) = match address {
        ListenAddress::Ip(address) => return Ok(*address),
        ListenAddress::Name { host, port } => (host.as_str(), *port),
        ListenAddress::Passed { .. } => return Err(io::ErrorKind::Unsupported.into()),
    };
    let addresses: Vec<SocketAddr> = tokio::net::lookup_host((host, port))
        .await
        .map_err(|error| io::Error::new(error.kind(), format!("the name does not resolve: {error}")))?
        .collect();
    let resolved = addresses.iter().find(|address| address.is_ipv4()).or(addresses.first()).copied();
    let resolved = resolved.ok_or_else(|| io::Error::other("the name has no address"))?;
    tracing::info!(%address, %resolved, "the name of a listener is resolved");
    Ok(resolved)
}

/// Names what of this gateway's own holds an address that cannot be bound, so that nobody looks for another process.
pub(super) fn explained(
    error: io::Error,
    address: SocketAddr,
    of_ours: impl IntoIterator<Item = (SocketAddr, &'static str)>,
) -> io::Error {
    let wanted = coverage_at(address);
    let holder = of_ours.into_iter().find(|(held, _)| coverage_at(*held).overlaps(&wanted));
    match holder.filter(|_| error.kind() == io::ErrorKind::AddrInUse) {
        Some((held, what)) => io::Error::other(format!("this gateway's own {what} is at {held}")),
        None => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::StartError;

    #[tokio::test]
    async fn a_listeners_name_is_resolved_or_named_in_the_fault() {
        let localhost = resolve(&"localhost:7".parse().unwrap()).await.unwrap();
        assert!(localhost.ip().is_loopback() && localhost.port() == 7);
        assert_eq!(resolve(&"192.0.2.7:7".parse().unwrap()).await.unwrap(), "192.0.2.7:7".parse().unwrap());
        let address: ListenAddress = "nowhere.invalid:7".parse().unwrap();
        let error = resolve(&address).await.unwrap_err();
        let fault = StartError::Listen { key: "listen.address".to_owned(), address, error }.to_string();
        assert!(fault.starts_with("cannot listen at nowhere.invalid:7 (listen.address): the name does not resolve"), "{fault}");
    }
}
