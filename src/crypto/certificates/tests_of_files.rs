//! Files that `openssl` makes.

use std::path::Path;
use std::process::Command;

use super::{CertificatePair, PairFault};

/// As `openssl x509 -req` has made them for long, where nobody named extensions.
const OF_VERSION_1: &str = "\
-----BEGIN CERTIFICATE-----
MIIBFDCBuwIUK9jUjZ9/GlRkmePNOKOHVZw6KNowCgYIKoZIzj0EAwIwDDEKMAgG
A1UEAwwBYTAgFw0yNjExMjgyMTU1MTBaGA8yMTI2MTEwNDIxNTUxMFowDDEKMAgG
A1UEAwwBYTBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABLs8oq/sKH1GVgNwYC0N
1qIAEBwccjACXd6BumZcY3Yrllh4L9BNWFnFHBmz2WhrZV/x4hKH/ZYhNpOeT7R6
BsgwCgYIKoZIzj0EAwIDSAAwRQIgN33nmDHmRIEeKb+elIgEw5oDOSxOwqTcao3h
nMR72RACIQDTbKX77x1QWRZ7b7UGltAzYxe/v/nAtcuXrTkoPZWFQg==
-----END CERTIFICATE-----
";

fn openssl(folder: &Path, arguments: &str) {
    let done = Command::new("openssl").current_dir(folder).args(arguments.split(' ')).output().unwrap();
    assert!(done.status.success(), "{arguments}: {}", String::from_utf8_lossy(&done.stderr));
}

/// A certificate that signs itself, with its key.
fn made(folder: &Path, kind: &str) -> Result<CertificatePair, PairFault> {
    openssl(folder, &format!("genpkey -algorithm {kind} -out key.pem"));
    openssl(folder, "req -new -x509 -days 30 -subj /CN=a.example -key key.pem -out certificate.pem");
    read(folder)
}

fn read(folder: &Path) -> Result<CertificatePair, PairFault> {
    let file = |name: &str| std::fs::read(folder.join(name)).unwrap();
    CertificatePair::of_pem(&file("certificate.pem"), &file("key.pem"))
}

#[test]
fn keys_that_openssl_makes_are_taken_or_named_with_what_is_allowed() {
    let folder = tempfile::tempdir().unwrap();
    for kind in [
        "RSA -pkeyopt rsa_keygen_bits:2048",
        "EC -pkeyopt ec_paramgen_curve:P-256",
        "EC -pkeyopt ec_paramgen_curve:P-384",
        "ED25519",
    ] {
        made(folder.path(), kind).unwrap_or_else(|fault| panic!("{kind}: {fault}"));
    }
    for (kind, named) in [
        ("RSA -pkeyopt rsa_keygen_bits:1024", "an RSA key of 1024 bits"),
        ("EC -pkeyopt ec_paramgen_curve:P-521", "an ECDSA key on P-521"),
        ("EC -pkeyopt ec_paramgen_curve:secp256k1", "an ECDSA key on secp256k1"),
        ("ED448", "an Ed448 key"),
    ] {
        let fault = made(folder.path(), kind).unwrap_err();
        let said = fault.to_string();
        assert!(said.contains(named) && said.contains("allowed are RSA of 2048"), "{kind}: {said}");
        assert!(fault.is_of_certificate(), "another certificate is needed: {kind}");
    }
}

#[test]
fn what_has_to_be_converted_says_how() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    made(folder.path(), "EC -pkeyopt ec_paramgen_curve:P-256").unwrap();
    std::fs::rename(at("key.pem"), at("plain.pem")).unwrap();
    for convert in [
        "pkcs8 -topk8 -in plain.pem -out key.pem -passout pass:secret",
        "ec -in plain.pem -out key.pem -aes256 -passout pass:secret",
    ] {
        openssl(folder.path(), convert);
        let fault = read(folder.path()).unwrap_err();
        assert!(fault.to_string().contains("openssl pkey -in OLD -out NEW") && !fault.is_of_certificate(), "{fault}");
    }
    openssl(folder.path(), "pkey -in key.pem -passin pass:secret -out decrypted.pem");
    std::fs::rename(at("decrypted.pem"), at("key.pem")).unwrap();
    read(folder.path()).unwrap();

    std::fs::write(at("certificate.pem"), OF_VERSION_1).unwrap();
    let fault = read(folder.path()).unwrap_err();
    assert!(fault.to_string().contains("subjectAltName") && fault.is_of_certificate(), "{fault}");
}
