//! Which requests have a line, and by which settings.

use std::collections::HashSet;
use std::thread;
use std::time::Duration;

use serde_json::Value;
use tokengate::domain::access_log::Sample;

use super::{Logging, await_lines, eventually, lines_of, seconds};
use crate::support::gateway::Gateway;
use crate::support::upstream::Upstream;

#[test]
fn a_sample_is_chosen_by_the_id_and_errors_and_slow_ones_are_always_there() {
    let upstream = Upstream::start();
    let set = [
        ("listen.request_id_from", "anyone"),
        ("log.access.mode", "sampled"),
        ("log.access.sample", "10%"),
        ("log.access.slow", "20s"),
        ("log.access.format", "json"),
    ];
    let logging = Logging::start(&upstream, &set);
    let mut client = logging.gateway.client();
    let sample = Sample::of_percentage("10%").unwrap();
    let ids: Vec<String> = (0..300).map(|n| format!("request-{n}")).collect();
    let chosen: HashSet<&str> = ids.iter().map(String::as_str).filter(|id| sample.includes(id.as_bytes())).collect();
    assert!((10..60).contains(&chosen.len()), "{}", chosen.len());
    for id in &ids {
        client.send("GET", "/public/fine", &[("x-request-id", id)], None).unwrap().expect(200);
    }
    for id in &ids[..20] {
        client.send("GET", "/api/refused", &[("x-request-id", id)], None).unwrap().expect(401);
    }
    let lines = await_lines(&logging.file, "all errors", |lines| {
        lines.iter().filter(|line| line["path"] == "/api/refused").count() == 20
    });
    let fine: Vec<&str> =
        lines.iter().filter(|line| line["path"] == "/public/fine").map(|line| line["request_id"].as_str().unwrap()).collect();
    assert_eq!(fine.len(), chosen.len());
    assert_eq!(fine.into_iter().collect::<HashSet<_>>(), chosen);
}

#[test]
fn what_takes_longer_than_is_allowed_has_a_line_in_any_case() {
    let upstream = Upstream::start();
    let set = [("log.access.mode", "sampled"), ("log.access.sample", "0%"), ("log.access.slow", "200ms")];
    let logging = Logging::start(&upstream, &set);
    let token = logging.gateway.client().log_in("ada").access;
    thread::scope(|scope| {
        scope.spawn(|| logging.gateway.client().get("/api/held", Some(&token)).expect(200));
        upstream.await_held(1);
        thread::sleep(Duration::from_millis(300));
        upstream.release();
    });
    let lines = await_lines(&logging.file, "the slow one", |lines| lines.iter().any(|line| line["path"] == "/api/held"));
    assert!(lines.iter().all(|line| seconds(line, "duration") > 0.2), "{lines:#?}");
}

#[test]
fn settings_count_for_what_ends_after_a_reload() {
    let upstream = Upstream::start();
    let folder = tempfile::tempdir().unwrap();
    let other = folder.path().join("other.log");
    let file = folder.path().join("own.log");
    let tables = format!(
        "[[routes]]\nname = \"public\"\nprefix = \"/\"\naccess = \"public\"\n[log.access]\nmode = \"on\"\nto = \"{}\"\n",
        file.display()
    );
    let gateway = Gateway::of(&upstream, &tables, &[("listen.workers", "1")]);
    thread::scope(|scope| {
        let gateway = &gateway;
        scope.spawn(move || gateway.client().get("/api/held", None).expect(200));
        upstream.await_held(1);
        gateway.client().get("/before", None).expect(200);
        await_lines(&file, "the one before", |lines| lines.iter().any(|line| line["path"] == "/before"));
        gateway.reload(|text| text.replace(&file.display().to_string(), &other.display().to_string()));
        upstream.release();
    });
    gateway.client().get("/after", None).expect(200);
    let moved = await_lines(&other, "all later lines", |lines| lines.iter().any(|line| line["path"] == "/after"));
    let paths = |lines: &[Value]| lines.iter().map(|line| line["path"].as_str().unwrap().to_owned()).collect::<Vec<_>>();
    assert_eq!(paths(&moved), ["/api/held", "/after"]);
    let former = lines_of(&file);
    assert_eq!(paths(&former).last().map(String::as_str), Some("/before"));
    gateway.reload(|text| text.replace("mode = \"on\"", "mode = \"off\""));
    gateway.client().get("/off", None).expect(200);
    gateway.reload(|text| text.replace("mode = \"off\"", "mode = \"on\"\nformat = \"text\"\nfields = [\"status\", \"path\"]"));
    gateway.client().get("/text", None).expect(200);
    eventually("a line of text", || std::fs::read_to_string(&other).unwrap().ends_with("status=200 path=/text\n"));
    assert!(!std::fs::read_to_string(&other).unwrap().contains("/off"));
}
