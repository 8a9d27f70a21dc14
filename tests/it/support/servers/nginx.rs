//! nginx, with whatever virtual hosts a test needs.

use std::fs;
use std::net::SocketAddr;
use std::process::Command;

use tempfile::TempDir;

use super::Server;
use crate::support::leash::{Leashed, program};

pub(crate) struct Nginx {
    _process: Leashed,
    address: SocketAddr,
    _folder: TempDir,
}

impl Nginx {
    /// Virtual hosts: what stands for `server_name`, and the further lines of the block. The first is the default, as ever. Each
    /// takes every login as user-1, unless it says otherwise by a location of its own or hands everything on.
    pub(crate) fn with_hosts(hosts: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().display().to_string();
        let (process, address) = Leashed::listening(|address| {
            let servers: String = hosts.iter().map(|(name, lines)| server(address, name, lines)).collect();
            let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
                .map(|kind| format!("{kind}_temp_path {home}/{kind};\n"))
                .concat();
            let file = format!(
                "daemon off; master_process off; pid {home}/pid; error_log stderr error;\nevents {{}}\n\
                 http {{ access_log off; default_type text/plain;\n{temporary}{servers}}}\n"
            );
            let path = folder.path().join("nginx.conf");
            fs::write(&path, file).unwrap();
            let mut command = Command::new(program("nginx"));
            command.args(["-e", "stderr", "-p"]).arg(folder.path()).arg("-c").arg(path);
            command
        });
        Self { _process: process, address, _folder: folder }
    }
}

impl Server for Nginx {
    fn address(&self) -> SocketAddr {
        self.address
    }
}

/// The lines that hand everything to `app`, as people write them.
pub(crate) fn proxying(app: &impl Server) -> String {
    format!(
        "location / {{ proxy_pass {}; proxy_http_version 1.1; proxy_set_header Host $http_host; \
         proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; }}",
        app.url()
    )
}

fn server(address: SocketAddr, name: &str, lines: &str) -> String {
    let login = if lines.contains("/login") || lines.contains("proxy_pass") {
        ""
    } else {
        "location = /login { default_type application/json; return 200 '{\"user\":{\"id\":\"user-1\"}}'; }"
    };
    format!("server {{ listen {address}; server_name {name};\n{login}\n{lines}\n}}\n")
}
