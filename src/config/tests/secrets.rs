//! Secrets: where they come from, and that they are not shown.

use super::{assert_one_fault, faults, inputs, minimal_and};
use crate::config::{Settings, load};

#[test]
fn secrets_are_read_from_files_and_never_from_two_places() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("secret");
    std::fs::write(&path, format!("{}\n{}\r\n", "a1b2".repeat(16), "c3d4".repeat(20))).unwrap();
    let file = format!("refresh = {{ secret_file = {path:?} }}");
    let secrets = Settings::from_toml(&minimal_and(&file)).unwrap().refresh.secrets;
    assert_eq!(secrets.iter().map(|secret| secret.expose().len()).collect::<Vec<_>>(), [32, 40]);

    let both = format!("refresh = {{ secret_file = {path:?}, secret = \"{}\" }}", "a1b2".repeat(16));
    assert_one_fault(&both, &["refresh.secret_file", "`secret` is given too"]);
    assert_one_fault("refresh = { secret_file = \"/nowhere/at/all\" }", &["refresh.secret_file", "cannot be read"]);
    std::fs::write(&path, "\n").unwrap();
    assert_one_fault(&file, &["refresh.secret_file", "the file is empty"]);
}

#[test]
fn secrets_are_neither_printed_nor_repeated_in_errors() {
    let secret = "5ec7e7".repeat(12);
    let file = minimal_and(&format!("[refresh]\nsecret = \"{secret}\"\n[store.redis]\nurl = \"redis://u:hunter2@h\"\n"));
    let loaded = load(&inputs(&file, &[], &[])).unwrap();
    let printed = format!("{}{:?}", loaded.print(), loaded.settings);
    assert!(
        printed.contains("secret = \"[redacted]\"") && !printed.contains(&secret) && !printed.contains("hunter2"),
        "{printed}"
    );

    let issuer =
        "[[issuers]]\nissuer = \"i\"\naudiences = [\"a\"]\nalgorithms = [\"ES256\"]\njwks_url = \"https://h/?code=hunter2\"\n";
    let loaded = load(&inputs(&minimal_and(&format!("{issuer}shares_subjects = true\n")), &[], &[])).unwrap();
    let printed = format!("{}{loaded:?}", loaded.print());
    assert!(printed.contains("https://h/?[redacted]") && !printed.contains("hunter2"), "{printed}");

    let bad = [
        "[refresh]\nsecret = \"hunter2\"\n",
        "[refresh]\nsecrt = \"hunter2\"\n",
        "[store.redis]\npassword = [\"hunter2\"]\n",
        "[store.redis]\nurl = \"ftp://u:hunter2@h\"\n",
        "[upstreams.b]\nurl = \"http://u:hunter2@h\"\n",
        "[store.redis]\npassword = \"a\"\nurl = \"redis://u:hunter2@h\"\n",
        "[admin]\naddress = \"0.0.0.0:1\"\ntoken = \"hunter2\"\n",
    ];
    for file in bad {
        let faults = faults(&minimal_and(file)).concat();
        assert!(!faults.contains("hunter2"), "{faults}");
    }
}

#[test]
fn a_value_is_shown_by_its_type_wherever_the_fault_is_found() {
    // Each fault lies in how a valid secret fits to another key.
    let legacy = "[[legacy]]\nname = 'a'\nalgorithm = 'RS256'\naccepted_until = '2027-03-31'\n";
    for (file, key) in [
        (&*format!("{legacy}secret = 'hunter2 hunter2 hunter2 hunter2 hunter2'\n"), "legacy[0].secret"),
        ("[store.redis]\nsentinel_password = 'hunter2'\n", "store.redis.sentinel_password"),
        ("[store.redis]\nurl = 'redis://u:hunter2@h'\npassword = 'hunter2'\n", "store.redis.password"),
    ] {
        let faults = faults(&minimal_and(file));
        assert!(faults.len() == 1 && faults[0].starts_with(&format!("{key} = [redacted] (tokengate.toml, line ")), "{faults:?}");
        assert!(!faults[0].contains("hunter2"), "{faults:?}");
    }
}
