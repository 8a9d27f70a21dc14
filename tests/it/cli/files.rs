//! What is found beforehand of the files that the settings name.

use super::*;

#[test]
fn files_that_the_settings_name_must_be_there() {
    let issuer = "[[issuers]]\nissuer = \"i\"\naudiences = [\"a\"]\nalgorithms = [\"ES256\"]\njwks_file = \"nowhere.json\"\nshares_subjects = true\n";
    let folder = folder_with(&format!("{UPSTREAM}{issuer}[keys]\ndirectory = \"keys\"\nsigning = \"gone\"\n"));
    std::fs::create_dir(folder.path().join("keys")).unwrap();
    let refused = tokengate(folder.path(), &["check", "--config", "tokengate.toml"], &[]);
    assert_eq!(refused.status.code(), Some(2));
    let text = err(&refused);
    assert!(text.contains("issuers[0].jwks_file = \"nowhere.json\"") && text.contains("\"gone\""), "{text}");
}

#[test]
fn the_keys_of_other_issuers_are_read_beforehand() {
    let issuer = "[[issuers]]\nissuer = \"i\"\naudiences = [\"a\"]\nalgorithms = [\"HS256\"]\njwks_file = \"jwks.json\"\nsubject_prefix = \"i:\"\n";
    let folder = folder_with(&format!("{UPSTREAM}{issuer}"));
    let check = |keys: &str| {
        std::fs::write(folder.path().join("jwks.json"), format!("{{\"keys\":[{keys}]}}")).unwrap();
        tokengate(folder.path(), &["check", "--config", "tokengate.toml"], &[])
    };
    let key = "{\"kty\":\"oct\",\"kid\":\"shared\",\"alg\":\"HS256\",\"k\":\"c2VjcmV0IHNlY3JldCBzZWNyZXQgc2VjcmV0IHNlY3JldA\"}";
    let good = check(&format!("{key},{{\"kty\":\"odd\",\"kid\":\"x\"}}"));
    assert!(good.status.success(), "{}", err(&good));
    assert!(out(&good).contains("issuer    i with shared (HS256); not used: key \"x\" is"), "{}", out(&good));
    let none = check("");
    assert_eq!(none.status.code(), Some(2));
    assert!(err(&none).contains("issuers[0].jwks_file = \"jwks.json\": the key set has no key"), "{}", err(&none));
}

/// What `run` would refuse, `check` refuses with the same words.
#[test]
fn whatever_a_start_would_refuse_in_a_file_is_named_beforehand() {
    let folder = folder_with("");
    let place = |name: &str| folder.path().join(name);
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    std::fs::write(place("good.pem"), made.cert.pem()).unwrap();
    std::fs::write(place("good-key.pem"), made.signing_key.serialize_pem()).unwrap();
    std::fs::write(place("other-key.pem"), rcgen::KeyPair::generate().unwrap().serialize_pem()).unwrap();
    std::fs::write(place("garbage.pem"), "what is no certificate").unwrap();
    std::fs::write(place("broken.pem"), "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
    std::fs::write(place("huge.pem"), vec![b'\n'; 5 << 20]).unwrap();
    assert!(Command::new("mkfifo").arg(place("pipe")).status().unwrap().success());
    std::fs::create_dir(place("keys")).unwrap();
    std::fs::write(place("keys/refresh-secret"), "short").unwrap();
    std::fs::create_dir(place("empty")).unwrap();
    std::fs::create_dir(place("piped")).unwrap();
    assert!(Command::new("mkfifo").arg(place("piped/k.pem")).status().unwrap().success());

    let upstream = |file: &str| format!("[upstreams.api]\nurl = \"https://localhost:1\"\nca_file = \"{file}\"\n");
    let redis = |further: &str| {
        let store = "[store]\nkind = \"redis\"\n[store.redis]\nurl = \"rediss://127.0.0.1:1\"\n";
        let secret = "[refresh]\nsecret = \"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\"\n";
        format!("{UPSTREAM}[keys]\ndirectory = \"signing\"\n{secret}{store}{further}\n")
    };
    assert!(tokengate(folder.path(), &["keys", "generate", "--directory", "signing"], &[]).status.success());
    let keys = |directory: &str| format!("{UPSTREAM}[keys]\ndirectory = \"{directory}\"\n");
    let faulty = [
        (upstream("gone.pem"), "upstreams.api.ca_file: gone.pem: cannot be read: No such file"),
        (upstream("garbage.pem"), "upstreams.api.ca_file: garbage.pem: holds no CERTIFICATE section"),
        (upstream("broken.pem"), "upstreams.api.ca_file: broken.pem: "),
        (upstream("pipe"), "upstreams.api.ca_file: pipe: cannot be read: no regular file"),
        (upstream("huge.pem"), "upstreams.api.ca_file: huge.pem: cannot be read: larger than 4194304 bytes"),
        (
            format!("{}client_certificate_file = \"good.pem\"\nclient_key_file = \"other-key.pem\"\n", upstream("good.pem")),
            "upstreams.api.client_key_file: other-key.pem: holds the key of another certificate",
        ),
        (
            format!("{}client_certificate_file = \"gone.pem\"\nclient_key_file = \"good-key.pem\"\n", upstream("good.pem")),
            "upstreams.api.client_certificate_file: gone.pem: cannot be read: No such file",
        ),
        (redis("ca_file = \"gone.pem\""), "store.redis.ca_file = \"gone.pem\": cannot be read: No such file"),
        (redis("ca_file = \"garbage.pem\""), "store.redis.ca_file = \"garbage.pem\": holds no CERTIFICATE section"),
        (redis("certificate_file = \"good.pem\"\nkey_file = \"garbage.pem\""), "store.redis.key_file = \"garbage.pem\": "),
        (
            redis("certificate_file = \"good.pem\"\nkey_file = \"other-key.pem\""),
            "store.redis.key_file = \"other-key.pem\": holds the key of another certificate",
        ),
        (keys("keys"), "refresh.secret: "),
        (keys("good.pem"), "keys.directory: "),
        (keys("piped"), "keys.directory: piped/k.pem: cannot be read: no regular file"),
        (format!("{UPSTREAM}[refresh]\nsecret_file = \"pipe\"\n"), "the file cannot be read: no regular file"),
        (format!("{UPSTREAM}[store]\nkind = \"embedded\"\n[store.embedded]\ndirectory = \"good.pem\"\n"), "good.pem"),
    ];
    for (settings, fault) in &faulty {
        std::fs::write(place("tokengate.toml"), settings).unwrap();
        for command in ["check", "run"] {
            let refused = tokengate(folder.path(), &[command, "--config", "tokengate.toml"], &[]);
            assert!(!refused.status.success(), "{command}: {settings}");
            assert!(err(&refused).contains(fault), "{command}: {settings}: {}", err(&refused));
        }
    }
    let good = [
        upstream("good.pem"),
        format!("{}client_certificate_file = \"good.pem\"\nclient_key_file = \"good-key.pem\"\n", upstream("good.pem")),
        redis("ca_file = \"good.pem\"\ncertificate_file = \"good.pem\"\nkey_file = \"good-key.pem\""),
        keys("empty"),
        keys("to be made"),
    ];
    for settings in good {
        std::fs::write(place("tokengate.toml"), &settings).unwrap();
        let checked = tokengate(folder.path(), &["check", "--config", "tokengate.toml"], &[]);
        assert!(checked.status.success(), "{settings}: {}", err(&checked));
    }
    assert!(!place("to be made").exists() && place("empty").read_dir().unwrap().next().is_none(), "a check makes nothing");
}

#[test]
fn files_of_other_issuers_that_are_of_no_use_are_named_beforehand() {
    let issuer = "[[issuers]]\nissuer = \"i\"\naudiences = [\"a\"]\nalgorithms = [\"ES256\"]\nshares_subjects = true\n";
    let folder = folder_with("");
    assert!(Command::new("mkfifo").arg(folder.path().join("pipe")).status().unwrap().success());
    std::fs::write(folder.path().join("empty.pem"), "").unwrap();
    for (keys, fault) in [
        ("jwks_file = \"pipe\"\n", "issuers[0].jwks_file = \"pipe\": cannot be read: no regular file"),
        ("jwks_url = \"https://h/\"\nca_file = \"gone.pem\"\n", "issuer i: ca_file gone.pem: cannot be read"),
        ("jwks_url = \"https://h/\"\nca_file = \"empty.pem\"\n", "issuer i: ca_file empty.pem: holds no CERTIFICATE section"),
    ] {
        std::fs::write(folder.path().join("tokengate.toml"), format!("{UPSTREAM}{issuer}{keys}")).unwrap();
        let checked = tokengate(folder.path(), &["check", "--config", "tokengate.toml"], &[]);
        assert_eq!(checked.status.code(), Some(2), "{keys}");
        assert!(err(&checked).contains(fault), "{keys}: {}", err(&checked));
    }
}

#[test]
fn keys_and_secrets_that_others_can_read_are_named_with_their_mode() {
    use std::os::unix::fs::PermissionsExt;
    let folder = folder_with(&format!("{UPSTREAM}[refresh]\nsecret_file = 'secret'\n[keys]\ndirectory = 'keys'\n"));
    let path = |name: &str| folder.path().join(name);
    let set_mode = |name: &str, mode| std::fs::set_permissions(path(name), PermissionsExt::from_mode(mode)).unwrap();
    std::fs::write(path("secret"), "c2VjcmV0IHNlY3JldCBzZWNyZXQgc2VjcmV0IHNlY3JldA==\n").unwrap();
    let made = tokengate(folder.path(), &["keys", "generate", "--directory", "keys"], &[]);
    assert!(made.status.success(), "{}", err(&made));
    let key = std::fs::read_dir(path("keys")).unwrap().next().unwrap().unwrap().file_name().into_string().unwrap();
    let check = || {
        let checked = tokengate(folder.path(), &["check", "--config", "tokengate.toml"], &[]);
        assert!(checked.status.success(), "{}", err(&checked));
        out(&checked)
    };
    set_mode("secret", 0o600);
    assert!(!check().contains("warning"), "{}", check());
    set_mode("secret", 0o644);
    set_mode(&format!("keys/{key}"), 0o640);
    let said = check();
    assert!(said.contains("warning: refresh.secret_file: secret has mode 0644"), "{said}");
    assert!(said.contains(&format!("warning: keys.directory: keys/{key} has mode 0640")), "{said}");

    // One that the settings file holds itself is a secret as well.
    let inline = folder_with(&format!("{UPSTREAM}[admin]\ntoken = '0123456789abcdef'\n"));
    std::fs::set_permissions(inline.path().join("tokengate.toml"), PermissionsExt::from_mode(0o644)).unwrap();
    let checked = tokengate(inline.path(), &["check", "--config", "tokengate.toml"], &[]);
    assert!(out(&checked).contains("warning: admin.token: tokengate.toml has mode 0644"), "{}", out(&checked));
    let arguments = ["check", "--config", "tokengate.toml", "--set", "admin.token=hunter2-hunter2-hunter2"];
    let checked = tokengate(inline.path(), &arguments, &[]);
    assert!(out(&checked).contains("warning: admin.token is given on the command line"), "{}", out(&checked));
    assert!(!out(&checked).contains("hunter2"));
}
