//! The APIs in `examples/`, as they are, behind the gateway by the settings beside them. One table of scenarios for all of them.

mod scenarios;
mod stage;
mod totp;

use std::net::SocketAddr;
use std::process::Command;

use serde_json::json;

use scenarios::SCENARIOS;
use stage::{Example, Home, Site, Stage};

/// Says which scenario it was that failed, by what it printed last.
#[expect(clippy::print_stderr, reason = "shown with a failed test alone")]
fn plays_all(site: &dyn Site) {
    for (what, play) in SCENARIOS {
        eprintln!("{what}");
        play(site);
    }
}

struct FastApi;

impl FastApi {
    const SECRET: &str = "the-secret-that-was-always-in-the-environment";

    fn python(home: &Home) -> Command {
        let mut python = <Self as Example>::python();
        python.env("SECRET_KEY", Self::SECRET).env("DATABASE_URL", format!("sqlite:///{}", home.file("notes.db").display()));
        python
    }
}

impl Example for FastApi {
    const FOLDER: &str = "fastapi";

    fn prepare(&self, home: &Home) {
        home.share_key("notes", Self::SECRET);
    }

    fn serve(&self, home: &Home, address: SocketAddr) -> Command {
        let mut python = Self::python(home);
        python.args(["-m", "uvicorn", "--log-level", "warning", "--port", &address.port().to_string(), "app.main:app"]);
        python
    }

    fn promote(&self, home: &Home, email: &str) -> Command {
        let mut python = Self::python(home);
        python.args(["-m", "app.promote", email]);
        python
    }
}

#[test]
fn fastapi_whose_tokens_have_a_shared_secret() {
    let stage = Stage::set(FastApi);
    plays_all(&stage);

    // Its own tokens are good where there is no gateway. To the gateway they are not, though the secret is the same.
    let credentials = json!({"email": "alone@example.com", "password": "correct horse"});
    let token = stage.api().post("/register", &credentials).expect(201).member("token");
    stage.api().get("/me", Some(&token)).expect(200);
    stage.client().get("/me", Some(&token)).expect(401);
}

struct Django;

impl Django {
    fn python(home: &Home) -> Command {
        let mut python = <Self as Example>::python();
        python.env("SECRET_KEY", "a key of the application's own").env("DATABASE", home.file("db.sqlite3"));
        python
    }
}

impl Example for Django {
    const FOLDER: &str = "django";

    fn prepare(&self, home: &Home) {
        let migrated = Self::python(home).args(["manage.py", "migrate", "--verbosity", "0"]).status().unwrap();
        assert!(migrated.success());
    }

    fn serve(&self, home: &Home, address: SocketAddr) -> Command {
        let mut python = Self::python(home);
        python.args(["-m", "waitress", &format!("--listen={address}"), "project.wsgi:application"]);
        python
    }

    fn promote(&self, home: &Home, email: &str) -> Command {
        let mut python = Self::python(home);
        python.args(["manage.py", "promote", email]);
        python
    }
}

#[test]
fn django_which_is_told_who_calls() {
    let stage = Stage::set(Django);
    plays_all(&stage);

    // What the gateway keeps from clients, the API believes.
    let told = stage.api().send("GET", "/me", &[("X-Auth-Subject", "ann@example.com")], None).unwrap().expect(200);
    assert_eq!(told.json()["user"]["email"], "ann@example.com");
}
