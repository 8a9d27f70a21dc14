use std::collections::BTreeSet;

use super::*;
use crate::config::notes::Notes;
use crate::config::{DEFAULT_FILE, Inputs, SettingsFile, layers, load};

const MINIMAL: &str = "upstreams.api.url = 'http://127.0.0.1:3000'\n";

fn loaded(text: &str) -> Loaded {
    let file = SettingsFile { name: "settings".to_owned(), text: format!("{MINIMAL}{text}") };
    load(&Inputs { file: Some(file), ..Inputs::default() }).unwrap_or_else(|invalid| panic!("{text}: {invalid}"))
}

/// What a reload from one text to the other takes over, and what it names.
fn reload(before: &str, after: &str) -> (Settings, Vec<String>) {
    let reload = InForce::new(loaded(before)).reload(&loaded(after)).unwrap();
    let settings = reload.settings().clone();
    (settings, reload.needs_restart)
}

#[test]
fn every_key_says_what_a_reload_does_about_it() {
    let file = SettingsFile { name: "all".to_owned(), text: layers::uncommented(DEFAULT_FILE) };
    let layers = layers::merge(&Inputs { file: Some(file), ..Inputs::default() }).map_err(Invalid).unwrap();
    let notes = Notes::default();
    let _ = Settings::read(&layers, &notes);
    let keys = notes.leaves();
    let said: BTreeSet<String> = effects::EFFECTS.iter().map(|(key, _)| (*key).to_owned()).collect();
    assert_eq!(said.len(), effects::EFFECTS.len(), "a key is listed twice");
    let missing: Vec<_> = keys.difference(&said).collect();
    assert!(
        missing.is_empty(),
        "not in src/config/reload/effects.rs: {missing:?}\nPut each there as `Reloads` if `App::reload` applies its new value, as \
         `NeedsRestart` if nothing does (always right), as `FileNeedsRestart` if it names a file that is read at start alone."
    );
    let gone: Vec<_> = said.difference(&keys).collect();
    assert!(gone.is_empty(), "no such keys any more: {gone:?}; take them out of src/config/reload/effects.rs");
}

#[test]
fn entries_of_one_list_are_taken_over_whole_or_not_at_all() {
    for list in ["listeners", "routes", "upstreams", "issuers", "legacy", "clients"] {
        let whole = Effect::of_entries(list).unwrap();
        let within =
            effects::EFFECTS.iter().filter(|(key, _)| entry_of(key, key).as_deref().is_some_and(|e| e.starts_with(list)));
        let reloads: BTreeSet<bool> = within.map(|(_, effect)| *effect == Effect::Reloads).collect();
        assert_eq!(reloads, BTreeSet::from([whole == Effect::Reloads]), "{list}");
    }
}

#[test]
fn a_key_that_needs_a_restart_keeps_its_value_and_is_named() {
    let (settings, named) = reload(
        "listen.workers = 2\ntokens.lifetime = '15m'",
        "listen = { workers = 3, request_id_from = 'anyone' }\ntokens.lifetime = '5m'\nstore.kind = 'memory'",
    );
    assert_eq!(named, ["listen.workers", "store.kind"]);
    assert_eq!(settings.listen.workers, 2);
    assert!(!matches!(settings.store, crate::config::Store::Memory));
    assert_eq!(settings.tokens.lifetime.as_secs(), 300);
    assert_eq!(settings.listen.request_id_from, crate::domain::headers::trace::RequestIdFrom::Anyone);
}

#[test]
fn a_value_in_another_spelling_is_the_same_value() {
    for (before, after) in [
        ("", "store.kind = 'embedded'"),
        ("store.redis.connect_timeout = '2000ms'", "store.redis.connect_timeout = '2s'"),
        ("listen.workers = 2", "listen.workers = '2'"),
        ("store.redis.deadline = '500ms'", ""),
        ("listen.share_port = false", "[listen]\n[log]"),
    ] {
        assert_eq!(reload(before, after).1, Vec::<String>::new(), "{before} → {after}");
    }
    assert_eq!(reload("listen.workers = 2", "").1, ["listen.workers"]);
}

const ISSUER: &str = "[[issuers]]\nissuer = 'https://i/'\naudiences = ['a']\nalgorithms = ['ES256']\njwks_file = '/dev/null'\n";

fn partner(lifetime: &str) -> String {
    format!("{ISSUER}lifetime_max = '{lifetime}'\nshares_subjects = true\n")
}

#[test]
fn revocations_are_kept_for_as_long_as_tokens_are_accepted() {
    let retention = |text: &str| loaded(text).settings.revocation.retention;
    for (before, after) in [(partner("20d"), String::new()), (partner("20d"), partner("1h")), (String::new(), partner("20d"))] {
        let (settings, needs_restart) = reload(&before, &after);
        assert!(needs_restart.is_empty(), "{needs_restart:?}");
        assert_eq!(settings.issuers.len(), loaded(&after).settings.issuers.len());
        assert_eq!(settings.revocation.retention, retention(&after));
    }
    assert!(retention(&partner("20d")) > retention(""));
}

#[test]
fn nothing_needs_a_restart_but_the_store_and_the_number_of_workers() {
    let needing = effects::EFFECTS.iter().filter(|(_, effect)| *effect != Effect::Reloads);
    let beside_store = needing.map(|(key, _)| *key).filter(|key| !key.starts_with("store."));
    assert_eq!(beside_store.collect::<Vec<_>>(), ["listen.workers"]);
}

#[test]
fn what_does_not_fit_to_what_stays_is_refused_whole_with_its_cause() {
    let secret = "07f8".repeat(16);
    let shared =
        format!("store = {{ kind = 'redis', redis.url = 'redis://h' }}\nkeys.directory = '/keys'\nrefresh.secret = '{secret}'\n");
    let refused = InForce::new(loaded(&shared)).reload(&loaded("store.kind = 'memory'\n")).unwrap_err().to_string();
    assert!(refused.contains("refresh.secret") && refused.contains("store.kind"), "{refused}");
    assert!(refused.contains("cannot be changed before"), "{refused}");
}

#[test]
fn secrets_are_compared_and_never_shown() {
    let redis = |url: &str| format!("[store.redis]\nurl = '{url}'\n");
    let before = InForce::new(loaded(&redis("redis://u:hunter2@h")));
    let reloaded = before.reload(&loaded(&redis("redis://u:hunter3@h"))).unwrap();
    assert_eq!(reloaded.needs_restart, ["store.redis.url"]);
    assert_eq!(before.reload(&loaded(&redis("redis://u:hunter2@h"))).unwrap().needs_restart, Vec::<String>::new());
    assert!(!format!("{before:?}{reloaded:?}").contains("hunter"), "{before:?}");
}

#[test]
fn a_file_that_is_read_at_start_needs_a_restart_when_it_says_something_else() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ca.pem");
    std::fs::write(&path, "one").unwrap();
    let text = format!("[store.redis]\nurl = 'rediss://h'\nca_file = {path:?}\n");
    let in_force = InForce::new(loaded(&text));
    assert_eq!(in_force.reload(&loaded(&text)).unwrap().needs_restart, Vec::<String>::new());
    std::fs::write(&path, "two").unwrap();
    let reloaded = in_force.reload(&loaded(&text)).unwrap();
    assert_eq!(reloaded.needs_restart, ["store.redis.ca_file"]);
    // Until it starts again, whatever is reloaded meanwhile.
    let (in_force, _) = reloaded.done();
    assert_eq!(in_force.reload(&loaded(&text)).unwrap().needs_restart, ["store.redis.ca_file"]);
    std::fs::write(&path, "one").unwrap();
    assert_eq!(in_force.reload(&loaded(&text)).unwrap().needs_restart, Vec::<String>::new());
}

#[test]
fn what_was_named_once_is_named_until_it_is_taken_back() {
    let in_force = InForce::new(loaded(""));
    let changed = loaded("listen.workers = 3\nlog.level = 'warn'");
    let (in_force, named) = in_force.reload(&changed).unwrap().done();
    assert_eq!(named, ["listen.workers"]);
    let (in_force, named) = in_force.reload(&changed).unwrap().done();
    assert_eq!(named, ["listen.workers"]);
    assert_eq!((in_force.settings().listen.workers, in_force.settings().log.level.as_str()), (0, "warn"));
    assert!(in_force.reload(&loaded("")).unwrap().needs_restart.is_empty());
}

#[test]
fn upstreams_come_and_go_with_whatever_leads_to_them() {
    let other = "upstreams.other = { url = 'http://127.0.0.1:2', connect_timeout = '3s' }\n[login]\nupstream = 'other'\n\
                 [[routes]]\nname = 'r'\nupstream = 'other'";
    let (settings, named) = reload("", other);
    assert!(named.is_empty(), "{named:?}");
    assert_eq!(&*settings.upstreams[settings.routes.listed()[0].forward().unwrap().upstream].name, "other");
    assert_eq!(settings.upstreams[settings.login.upstream.unwrap()].connect_timeout.as_secs(), 3);
    let (settings, named) = reload(other, "");
    assert_eq!((settings.upstreams.iter().count(), named.len()), (1, 0));
    assert_eq!(&*settings.upstreams[settings.routes.listed()[0].forward().unwrap().upstream].name, "api");
}
