//! A gateway with listeners of the test's own, and certificates for it.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use tempfile::TempDir;

use crate::support::gateway::Gateway;
use crate::support::servers::Server;

/// Whoever says nothing for so long hangs.
pub(super) const SILENCE_MAX: Duration = Duration::from_secs(20);

/// An authority of the test's own.
pub(super) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

/// A certificate with its key, in files.
pub(super) struct Files {
    pub(super) certificate: PathBuf,
    pub(super) key: PathBuf,
}

impl Files {
    /// As an entry of a listener's certificates.
    pub(super) fn entry(&self) -> String {
        format!(
            "[[listeners.tls.certificates]]\ncertificate_file = '{}'\nkey_file = '{}'\n",
            self.certificate.display(),
            self.key.display()
        )
    }
}

impl Authority {
    pub(super) fn new(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// Writes a certificate for these names, and its key, as `<name>.pem` and `<name>.key`.
    pub(super) fn issue(&self, folder: &Path, name: &str, names: &[&str]) -> Files {
        self.issue_with(folder, name, names, |_| {})
    }

    pub(super) fn issue_with(
        &self,
        folder: &Path,
        name: &str,
        names: &[&str],
        change: impl FnOnce(&mut CertificateParams),
    ) -> Files {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        change(&mut params);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let files = Files { certificate: folder.join(format!("{name}.pem")), key: folder.join(format!("{name}.key")) };
        replace(&files.key, &key.serialize_pem());
        replace(&files.certificate, &certificate.pem());
        files
    }

    pub(super) fn pem(&self) -> &str {
        &self.pem
    }

    /// A file for clients to trust.
    pub(super) fn file(&self, folder: &Path) -> PathBuf {
        let path = folder.join("authority.pem");
        fs::write(&path, &self.pem).unwrap();
        path
    }
}

/// As programs that renew certificates do: by a rename.
pub(super) fn replace(path: &Path, content: &str) {
    let draft = path.with_extension("draft");
    fs::write(&draft, content).unwrap();
    fs::rename(&draft, path).unwrap();
}

/// The usual settings without where to listen.
const SETTINGS: &str = r#"
[store]
kind = "memory"

[admin]
address = "127.0.0.1:0"

[log]
format = "json"
level = "info,tokengate::proxy=debug"

[limits.login]
per_address = ""
per_account = ""

[[routes]]
name = "public"
prefix = "/public"
access = "public"

[[routes]]
name = "api"
prefix = "/"
"#;

pub(super) struct Rig {
    pub(super) gateway: Gateway,
    /// Of the listeners, in the order of the settings.
    pub(super) addresses: Vec<SocketAddr>,
    pub(super) authority: Authority,
    pub(super) authority_file: PathBuf,
    pub(super) folder: TempDir,
}

impl Rig {
    /// With what `listeners` writes of them, and of `[listen]`, in a folder where it may issue certificates.
    pub(super) fn start(upstream: &impl Server, listeners: impl FnOnce(&Path, &Authority) -> String) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::new("Authority of the test");
        let mut text = listeners(folder.path(), &authority);
        if !text.contains("[listen]") {
            text.insert_str(0, "[listen]\nworkers = 2\n");
        }
        let _ = write!(text, "{SETTINGS}\n[upstreams.default]\nurl = \"{}\"\n", upstream.url());
        let file = folder.path().join("tokengate.toml");
        fs::write(&file, text).unwrap();
        let gateway = Gateway::launch_file(folder.path(), &file, &[]);
        let log = gateway.log();
        let others = log.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        let others = others.filter(|line| line["message"] == "listening too");
        let others = others.map(|line| line["address"].as_str().unwrap().parse().unwrap());
        let addresses = std::iter::once(gateway.address()).chain(others).collect();
        let authority_file = authority.file(folder.path());
        let rig = Self { gateway, addresses, authority, authority_file, folder };
        rig.await_ready();
        rig
    }

    /// One TLS listener for `localhost`, with these further keys of its `tls`.
    pub(super) fn tls(upstream: &impl Server, keys: &str) -> Self {
        Self::start(upstream, |folder, authority| {
            let files = authority.issue(folder, "server", &["localhost"]);
            format!("[[listeners]]\naddress = '127.0.0.1:0'\n[listeners.tls]\n{keys}\n{}", files.entry())
        })
    }

    fn await_ready(&self) {
        let deadline = tokio::time::Instant::now() + SILENCE_MAX;
        while self.gateway.admin().get("/readyz", None).status() != 200 {
            assert!(tokio::time::Instant::now() < deadline, "{}", self.gateway.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// curl, asking the first listener for `localhost`.
    pub(super) fn curl(&self, path: &str, options: &[&str]) -> Output {
        self.curl_at(0, "localhost", path, options)
    }

    /// curl, told that the listener is where the name leads.
    pub(super) fn curl_at(&self, listener: usize, name: &str, path: &str, options: &[&str]) -> Output {
        let address = self.addresses[listener];
        let resolve = format!("{name}:{}:{}", address.port(), address.ip());
        let url = format!("https://{name}:{}{path}", address.port());
        Command::new("curl")
            .args(["--silent", "--show-error", "--max-time", "20", "--resolve", &resolve, "--cacert"])
            .arg(&self.authority_file)
            .args(options)
            .arg(url)
            .output()
            .unwrap()
    }

    /// `openssl s_client` at the first listener, with this input; it ends with the connection.
    pub(super) fn s_client(&self, options: &[&str], input: &str) -> Output {
        let mut child = Command::new("timeout")
            .args(["20", "openssl", "s_client", "-connect", &self.addresses[0].to_string(), "-CAfile"])
            .arg(&self.authority_file)
            .arg("-ign_eof")
            .args(if options.iter().any(|option| option.ends_with("servername")) {
                &[][..]
            } else {
                &["-servername", "localhost"]
            })
            .args(options)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // Whoever is refused reads nothing.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        child.wait_with_output().unwrap()
    }

    pub(super) fn connect(&self, listener: usize) -> TcpStream {
        let stream = TcpStream::connect(self.addresses[listener]).unwrap();
        stream.set_read_timeout(Some(SILENCE_MAX)).unwrap();
        stream
    }

    /// A figure of the metrics, with its labels.
    pub(super) fn metric(&self, name: &str) -> u64 {
        let text = self.gateway.admin().get("/metrics", None).expect(200).text();
        let line = text.lines().find_map(|line| line.strip_prefix("tokengate_")?.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {name}: {text}")).trim_end_matches(".0").parse().unwrap()
    }
}

/// What a program said, all of it.
pub(super) fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Of the echo of the upstream: every value of a field.
pub(super) fn upstream_saw(echo: &[u8], name: &str) -> Vec<String> {
    let echo: serde_json::Value =
        serde_json::from_slice(echo).unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(echo)));
    let fields = echo["headers"].as_array().unwrap();
    let named = fields.iter().filter(|field| field[0].as_str().unwrap().eq_ignore_ascii_case(name));
    named.map(|field| field[1].as_str().unwrap().to_owned()).collect()
}

#[track_caller]
pub(super) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + SILENCE_MAX;
    while !holds() {
        assert!(tokio::time::Instant::now() < deadline, "never: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
