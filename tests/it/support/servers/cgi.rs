//! A CGI program (RFC 3875) under lighttpd. What it gets of a request is its environment, where `HTTP_X_A` stands for every field
//! that a server folds to that.

use std::fs;
use std::net::SocketAddr;
use std::process::Command;

use tempfile::TempDir;

use super::Server;
use crate::support::http::Message;
use crate::support::leash::{Leashed, program};

/// Takes every login as user-1; answers all else with its environment, an empty line, and the body. It serves all paths: each is its
/// `PATH_INFO`, as lighttpd reads it.
const PROGRAM: &str = r#"
if [ "$REQUEST_METHOD $REQUEST_URI" = "POST /login" ]; then
    printf 'Status: 200 OK\r\nContent-Type: application/json\r\n\r\n{"user":{"id":"user-1"}}'
    exit
fi
printf 'Status: 200 OK\r\nContent-Type: text/plain\r\n\r\n'
env
echo
cat
"#;

pub(crate) struct Cgi {
    _process: Leashed,
    address: SocketAddr,
    _folder: TempDir,
}

impl Cgi {
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().display().to_string();
        fs::write(folder.path().join("program.cgi"), PROGRAM).unwrap();
        let (process, address) = Leashed::listening(|address| {
            let file = format!(
                "server.modules = ( \"mod_rewrite\", \"mod_cgi\" )\nserver.bind = \"{}\"\nserver.port = {}\n\
                 server.document-root = \"{home}\"\nserver.upload-dirs = ( \"{home}\" )\n\
                 url.rewrite-once = ( \"^/.*\" => \"/program.cgi$0\" )\ncgi.assign = ( \".cgi\" => \"/bin/sh\" )\n",
                address.ip(),
                address.port()
            );
            let path = folder.path().join("lighttpd.conf");
            fs::write(&path, file).unwrap();
            let mut command = Command::new(program("lighttpd"));
            command.arg("-D").arg("-f").arg(path);
            command
        });
        Self { _process: process, address, _folder: folder }
    }
}

impl Server for Cgi {
    fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Message {
    /// From the response of the CGI program: a variable of its environment.
    pub(crate) fn cgi_saw(&self, variable: &str) -> Option<String> {
        let text = self.text();
        assert!(text.contains("GATEWAY_INTERFACE=CGI/1.1"), "no response of the program: {} {text}", self.first_line);
        let environment = text.split("\n\n").next().unwrap_or_default();
        environment.lines().find_map(|line| Some(line.strip_prefix(variable)?.strip_prefix('=')?.to_owned()))
    }
}
