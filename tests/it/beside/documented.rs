//! docs/beside/traefik.md and kubernetes.md: proxies that are not here, by the questions that their documentation shows.

use std::fs;

use tempfile::TempDir;

use super::page::Page;
use crate::support::gateway::Gateway;
use crate::support::http::{Client, Message};
use crate::support::upstream::Upstream;

struct Asked {
    gateway: Gateway,
    token: String,
    _api: Upstream,
    _folder: TempDir,
}

impl Asked {
    fn by(page: &str, dialect: &str) -> Self {
        let (api, folder) = (Upstream::start(), tempfile::tempdir().unwrap());
        let file = folder.path().join("tokengate.toml");
        fs::write(&file, Page::read(page).file("tokengate.toml").replace("127.0.0.1:3000", &api.address().to_string())).unwrap();
        let of_test = [
            ("listen.address", "127.0.0.1:0"),
            ("decision.address", "127.0.0.1:0"),
            ("decision.dialect", dialect),
            ("admin.address", "127.0.0.1:0"),
            ("store.kind", "memory"),
            ("log.format", "json"),
        ];
        let gateway = Gateway::launch_file(folder.path(), &file, &of_test);
        gateway.await_ready();
        let token = gateway.client().log_in("user-1").access;
        Self { gateway, token, _api: api, _folder: folder }
    }

    fn ask(&self, method: &str, path: &str, fields: &[(&str, &str)]) -> Message {
        Client::new(self.gateway.decision_address()).send(method, path, fields, None).unwrap()
    }

    /// `question` has the fields that the proxy adds, for a path; `client` those that the client sent.
    fn answers(&self, question: impl Fn(&str, &[(&'static str, String)]) -> Message) {
        let bearer = ("authorization", format!("Bearer {}", self.token));
        let yes = question("/api/x?y=1", &[bearer.clone(), ("x-auth-subject", "liar".to_owned())]);
        assert_eq!((yes.status(), yes.header("x-auth-subject")), (200, Some("user-1")), "{yes:?}");
        let nobody = question("/public", &[("x-auth-subject", "liar".to_owned())]);
        assert_eq!((nobody.status(), nobody.header("x-auth-subject")), (200, Some("")), "{nobody:?}");
        let unknown = question("/api", &[]);
        assert_eq!((unknown.status(), unknown.header("www-authenticate")), (401, Some("Bearer")));
        assert_eq!(question("/public", &[("x_auth_subject", "liar".to_owned())]).status(), 400);
        assert_eq!(question("/public/../api", &[bearer]).status(), 400);
        assert_eq!(question("/healthz", &[]).status(), 421);
    }
}

fn with<'a>(added: &[(&'a str, &'a str)], client: &'a [(&'static str, String)]) -> Vec<(&'a str, &'a str)> {
    added.iter().copied().chain(client.iter().map(|(name, value)| (*name, value.as_str()))).collect()
}

#[test]
fn traefik_gets_its_answers() {
    let asked = Asked::by("traefik.md", "forwarded");
    asked.answers(|path, client| {
        let added = [
            ("x-forwarded-method", "GET"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "api.example"),
            ("x-forwarded-uri", path),
            ("x-forwarded-for", "198.51.100.7"),
            ("x-forwarded-port", "443"),
            ("x-forwarded-server", "traefik-1"),
        ];
        asked.ask("GET", "/", &with(&added, client))
    });
}

#[test]
fn ingress_nginx_gets_its_answers() {
    for dialect in ["original", "auto"] {
        let asked = Asked::by("kubernetes.md", dialect);
        asked.answers(|path, client| {
            let url = format!("https://api.example{path}");
            let added = [
                ("x-original-url", url.as_str()),
                ("x-original-method", "GET"),
                ("x-sent-from", "nginx-ingress-controller"),
                ("x-real-ip", "198.51.100.7"),
                ("x-forwarded-for", "198.51.100.7"),
                ("x-auth-request-redirect", path),
            ];
            asked.ask("GET", "/", &with(&added, client))
        });
    }
}

#[test]
fn istio_and_external_auth_get_their_answers() {
    let asked = Asked::by("kubernetes.md", "path");
    asked.answers(|path, client| {
        let added = [("x-forwarded-for", "198.51.100.7"), ("x-envoy-internal", "true"), ("content-length", "0")];
        asked.ask("GET", &format!("/ext_authz{path}"), &with(&added, client))
    });
}
