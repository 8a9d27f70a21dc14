//! What is never in a line, and what no line can be made to look like.

use std::fs;
use std::io::{Read as _, Write as _};

use serde_json::{Value, json};

use super::{Logging, await_lines, eventually};
use crate::support::gateway::Tokens;
use crate::support::http::connect;
use crate::support::upstream::{PASSWORD, Upstream};

/// Sends bytes as they are, and reads until the end.
fn say(logging: &Logging, bytes: &[u8]) -> String {
    let mut stream = connect(logging.gateway.address()).unwrap();
    stream.write_all(bytes).unwrap();
    let mut response = Vec::new();
    let _ = stream.read_to_end(&mut response);
    String::from_utf8_lossy(&response).into_owned()
}

#[test]
fn no_token_cookie_ticket_password_or_value_of_a_query_is_in_any_line() {
    for format in ["json", "text"] {
        let upstream = Upstream::start();
        let set = [
            ("log.access.format", format),
            ("endpoints.ticket", "/ticket"),
            ("cookies.enabled", "true"),
            ("cookies.tokens_in_body", "true"),
            ("log.level", "debug"),
            ("log.access.query_values", "page"),
        ];
        let logging = Logging::start(&upstream, &set);
        let mut client = logging.gateway.client();
        let login = client.post("/login", &json!({"email": "ada", "password": PASSWORD})).expect(200);
        let Tokens { access, refresh } = Tokens::of(&login);
        let ticket =
            client.call("POST", "/ticket", Some(&access), Some(&json!({"path": "/api/events"}))).expect(200).member("ticket");
        let bearer = format!("Bearer {access}");
        let cookie = format!("{}; other=C00KIE", login.header("set-cookie").unwrap().split(';').next().unwrap());
        let address = logging.gateway.address();
        let fields = [("authorization", bearer.as_str()), ("cookie", "other=C00KIE")];
        client.send("GET", "/api/x?token=QU3RY&page=1&QU3RY", &fields, None).unwrap().expect(200);
        client.send("GET", "/api/cookie", &[("cookie", cookie.as_str())], None).unwrap().expect(200);
        let events = [("accept", "text/event-stream")];
        client.send("GET", &format!("/api/events?access_ticket={ticket}"), &events, None).unwrap().expect(200);
        for misplaced in [format!("/api/{ticket}"), format!("/api/x?{ticket}"), format!("/api/x?a=b;c={ticket}")] {
            client.send("GET", &misplaced, &[], None).unwrap().expect(400);
        }
        client.send("GET", &format!("/api/x/%zz?a={access}"), &[], None).unwrap().expect(400);
        for referer in [
            "https://ann:P4SSW0RD@app.example/a?code=QU3RY#QU3RY".to_owned(),
            format!("https://app.example/{ticket}"),
            format!("https://app.example/?{access}"),
            format!("https://app.example/{access}"),
            format!("https://app.example/a;t={refresh}"),
            "https:/ann:P4SSW0RD@app.example/".to_owned(),
        ] {
            client.send("GET", "/public/referred", &[("referer", &referer)], None).unwrap().expect(200);
        }
        for token in [&access, &refresh] {
            client
                .send("GET", &format!("/public/{token}"), &[("user-agent", &format!("App/1 ({token})"))], None)
                .unwrap()
                .expect(200);
            client.send("GET", &format!("/public/x;token={token}"), &[], None).unwrap().expect(200);
            client.send("GET", &format!("/api/{token}"), &[], None).unwrap().expect(401);
        }
        for target in ["http://ann:P4SSW0RD@api.example/public/absolute?QU3RY", "/public/absolute"] {
            say(
                &logging,
                format!("GET {target} HTTP/1.1\r\nHost: ann:P4SSW0RD@api.example\r\nconnection: close\r\n\r\n").as_bytes(),
            );
            say(&logging, format!("GET {target} HTTP/1.1\r\nHost: {address}\r\nconnection: close\r\n\r\n").as_bytes());
        }
        client.refresh(&refresh).expect(200);
        client.log_out(&access, "session").expect(200);
        client.get("/public/the-end", None).expect(200);
        let written = || fs::read_to_string(&logging.file).unwrap();
        eventually("the last line", || written().contains("/public/the-end"));
        let written = written();
        assert!(written.lines().count() >= 27, "{written}");
        let signature = access.rsplit('.').next().unwrap();
        for secret in [access.as_str(), signature, &refresh, &ticket, "C00KIE", "QU3RY", "P4SSW0RD", PASSWORD] {
            assert!(!written.contains(secret), "{secret}: {written}");
            assert!(!logging.gateway.log().contains(secret), "{secret}");
        }
        assert!(
            written.contains("page=1")
                && written.contains("App/1 (*)")
                && written.contains("/public/x;token=*")
                && written.contains("ada"),
            "{written}"
        );
    }
}

#[test]
fn bytes_of_clients_end_no_line_and_come_back_whole() {
    let upstream = Upstream::start();
    let logging = Logging::start(&upstream, &[]);
    let agent = b"\xff\\xff \"\x80, \xc3\xb6 \xe2\x80\xa8 {\"status\":200}";
    let request =
        [b"GET /public/bytes HTTP/1.1\r\nhost: a\r\nconnection: close\r\nuser-agent: ", &agent[..], b"\r\n\r\n"].concat();
    assert!(say(&logging, &request).starts_with("HTTP/1.1 200"));
    assert!(
        say(&logging, b"GET /\xe2\x80\xa8\xc3\xb6 HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").starts_with("HTTP/1.1 400")
    );
    assert!(
        say(&logging, b"GET /public/a%1B%5B2J%0A%22 HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").starts_with("HTTP/1.1 ")
    );
    let line = logging.only("/public/bytes");
    assert_eq!(line["user_agent"], "\\xff\\\\xff \"\\x80, ö \u{2028} {\"status\":200}");
    let raw = fs::read_to_string(&logging.file).unwrap();
    assert!(raw.chars().all(|c| c == '\n' || !c.is_control() && c != '\u{2028}'), "{raw:?}");
}

#[test]
fn a_long_line_is_cut_by_its_longest_fields_and_still_read() {
    let upstream = Upstream::start();
    let logging = Logging::start(&upstream, &[]);
    let path = format!("/public/{}", "x".repeat(6_000));
    let agent = "y".repeat(6_000);
    let mut client = logging.gateway.client();
    client.send("GET", &path, &[("user-agent", &agent), ("referer", "https://app.example/")], None).unwrap().expect(200);
    let lines = await_lines(&logging.file, "it is there", |lines| lines.iter().any(|line| line.get("cut").is_some()));
    let line = lines.iter().find(|line| line.get("cut").is_some()).unwrap();
    assert_eq!(
        (&line["cut"], &line["referer"], &line["status"]),
        (&json!("path,user_agent"), &json!("https://app.example/"), &json!(200))
    );
    assert!(path.starts_with(line["path"].as_str().unwrap()) && line["path"].as_str().unwrap().len() > 500);
    let longest = fs::read_to_string(&logging.file).unwrap().lines().map(str::len).max().unwrap();
    assert!(longest < 4096, "{longest}");
    assert_ne!(line["request_id"], Value::Null);
}
