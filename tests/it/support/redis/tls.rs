//! Certificates of the test's own, for servers that speak nothing but TLS.

use std::fs;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use tempfile::TempDir;
use tokengate::crypto::authorities::Authorities;
use tokengate::crypto::certificates::CertificatePair;
use tokengate::store::redis::TlsOptions;

/// An authority of its own, a certificate that all servers share, and one for their clients.
pub(crate) struct Tls {
    host: String,
    asks_clients: bool,
    folder: TempDir,
}

impl Tls {
    /// For servers that go by this name or address, which is the only one in their certificate, and ask clients for theirs.
    pub(crate) fn of(host: &str) -> Arc<Self> {
        Arc::new(Self::made(host, host, true))
    }

    /// For servers that go by `host` and whose certificate says what it likes; clients are not asked.
    pub(crate) fn of_another(host: &str, certified: &str) -> Arc<Self> {
        Arc::new(Self::made(host, certified, false))
    }

    fn made(host: &str, certified: &str, asks_clients: bool) -> Self {
        let key = rcgen::KeyPair::generate().unwrap();
        let folder = tempfile::tempdir().unwrap();
        // Of another name than any other authority.
        let mut params = named(folder.path().to_str().unwrap(), &[]);
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let authority_pem = params.self_signed(&key).unwrap().pem();
        let authority = rcgen::Issuer::new(params, key);
        let tls = Self { host: host.to_owned(), asks_clients, folder };
        fs::write(tls.authority_file(), authority_pem).unwrap();
        for (name, certified) in [("server", certified), ("client", "gateway")] {
            let key = rcgen::KeyPair::generate().unwrap();
            let certificate = named(name, &[certified]).signed_by(&key, &authority).unwrap();
            fs::write(tls.file(name, "pem"), certificate.pem()).unwrap();
            fs::write(tls.file(name, "key"), key.serialize_pem()).unwrap();
        }
        tls
    }

    /// For a client that trusts this authority, and shows a certificate by it.
    pub(crate) fn options(&self) -> TlsOptions {
        let [certificate, key] = self.client_files().map(|file| fs::read(file).unwrap());
        let authorities = Authorities::of_pem(&fs::read(self.authority_file()).unwrap()).unwrap();
        let pair = CertificatePair::of_pem(&certificate, &key).unwrap();
        TlsOptions { authorities: Some(Arc::clone(authorities.roots())), identity: Some(Arc::clone(pair.certified_key())) }
    }

    pub(crate) fn authority_file(&self) -> PathBuf {
        self.folder.path().join("authority.pem")
    }

    /// The certificate of clients and its key.
    pub(crate) fn client_files(&self) -> [PathBuf; 2] {
        ["pem", "key"].map(|kind| self.file("client", kind))
    }

    pub(super) fn host(&self) -> &str {
        &self.host
    }

    pub(super) fn is_by_name(&self) -> bool {
        self.host.parse::<IpAddr>().is_err()
    }

    /// For redis-server, in place of those that say where it listens.
    pub(super) fn of_server(&self, port: u16) -> Vec<String> {
        let [authority, certificate, key] = self.paths("server");
        let ask = if self.asks_clients { "yes" } else { "no" };
        let port = port.to_string();
        let mut arguments = vec!["--port", "0", "--tls-port", &port, "--tls-replication", "yes", "--tls-cluster", "yes"];
        arguments.extend(["--tls-ca-cert-file", &authority, "--tls-cert-file", &certificate, "--tls-key-file", &key]);
        arguments.extend(["--tls-auth-clients", ask, "--bind", super::LOOPBACK]);
        if self.is_by_name() {
            // Whichever of its addresses the name stands for.
            arguments.push("-::1");
        }
        arguments.into_iter().map(str::to_owned).collect()
    }

    /// For redis-cli.
    pub(super) fn of_client(&self) -> Vec<String> {
        let [authority, certificate, key] = self.paths("client");
        ["--tls", "--cacert", &authority, "--cert", &certificate, "--key", &key].map(str::to_owned).into()
    }

    fn paths(&self, name: &str) -> [String; 3] {
        [self.authority_file(), self.file(name, "pem"), self.file(name, "key")].map(|path| path.to_str().unwrap().to_owned())
    }

    fn file(&self, name: &str, kind: &str) -> PathBuf {
        self.folder.path().join(format!("{name}.{kind}"))
    }
}

fn named(name: &str, hosts: &[&str]) -> rcgen::CertificateParams {
    let hosts: Vec<String> = hosts.iter().map(|&host| host.to_owned()).collect();
    let mut params = rcgen::CertificateParams::new(hosts).unwrap();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    params
}
