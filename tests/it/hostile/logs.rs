//! What the log holds, at its most talkative.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use tracing_subscriber::fmt::MakeWriter;

use super::rig::{Rig, Tokens};
use super::upstream::Upstream;

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[test]
fn no_token_cookie_or_password_is_ever_logged() {
    let lines = Lines::default();
    let subscriber = tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(lines.clone()).finish();
    tracing::subscriber::set_global_default(subscriber).unwrap();

    let upstream = Upstream::echo();
    let rig = Rig::start(upstream.address);
    let first = rig.log_in();
    assert_eq!(rig.get("/api", &first.access).status, 200);
    assert_eq!(rig.get("/api", &format!("{}x", first.access)).status, 401);
    assert_eq!(rig.ask(format!("GET /api?access_token={} HTTP/1.1\r\nHost: a\r\n\r\n", first.access)).status, 401);
    // Broken in ways that make parsers complain.
    rig.ask(format!("GET /api HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {}\0\r\n\r\n", first.access));
    rig.ask(format!("GET /api HTTP/1.1\r\nHost: a\r\nCookie: __Host-access={}\r\n\r\n", first.access));
    let refreshed = rig.post("/refresh", &format!(r#"{{"refreshToken":"{}"}}"#, first.refresh));
    assert_eq!(refreshed.status, 200, "{refreshed:?}");
    let body: serde_json::Value = serde_json::from_str(&refreshed.body).unwrap();
    let text = |member: &str| body[member].as_str().unwrap().to_owned();
    let second = Tokens { access: text("accessToken"), refresh: text("refreshToken") };
    assert_eq!(rig.post("/refresh", r#"{"refreshToken":"tgr_nonsense"}"#).status, 401);
    assert_eq!(rig.post("/logout", &format!(r#"{{"refreshToken":"{}"}}"#, second.refresh)).status, 200);
    assert_eq!(rig.get("/api", &second.access).status, 401);

    let log = String::from_utf8_lossy(&lines.0.lock().unwrap()).into_owned();
    assert!(log.contains("request refused"), "the log is on: {log}");
    let signature = |token: &str| token.rsplit('.').next().unwrap().to_owned();
    let secrets = [
        first.access.clone(),
        signature(&first.access),
        first.refresh.clone(),
        first.refresh[4..].to_owned(),
        second.access.clone(),
        signature(&second.access),
        second.refresh.clone(),
        "correct horse".to_owned(),
    ];
    for secret in secrets {
        let told = log.lines().find(|line| line.contains(&secret));
        assert_eq!(told, None, "{secret}");
    }
}
