//! Signatures have one form.

use super::*;

#[test]
fn an_ecdsa_signature_has_one_form_and_its_numbers_a_range() {
    const N: &str = "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551";
    let number = |hex: &str| (0..32).map(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).unwrap()).collect::<Vec<_>>();
    let fixture = Fixture::new(Algorithm::Es256);
    let good = token(&fixture.key, header(Algorithm::Es256), claims());
    assert!(fixture.accepts(&good));
    let mut n_minus_1 = number(N);
    n_minus_1[31] -= 1;
    let mut one = vec![0; 32];
    one[31] = 1;
    let numbers = [vec![0; 32], one, n_minus_1, number(N), vec![0xff; 32]];
    for number in &numbers {
        assert!(!fixture.accepts(&resigned(&good, |s| [&s[..32], number].concat())), "s");
        assert!(!fixture.accepts(&resigned(&good, |s| [number, &s[32..]].concat())), "r");
        for other in &numbers {
            assert!(!fixture.accepts(&resigned(&good, |_| [number.as_slice(), other].concat())), "both");
        }
    }
    assert!(!fixture.accepts(&resigned(&good, |s| der(&s[..32], &s[32..]))), "DER");
    assert!(!fixture.accepts(&resigned(&good, |s| [&s[32..], &s[..32]].concat())), "swapped");
    assert!(!fixture.accepts(&resigned(&good, |s| [&[0], &s[..32], &[0], &s[32..]].concat())), "wide numbers");
    assert!(!fixture.accepts(&resigned(&good, |s| s.iter().rev().copied().collect())), "little-endian");
}

#[test]
fn a_malleated_ecdsa_signature_changes_the_text_of_a_token_and_not_the_principal() {
    // (r, n − s) is as good a signature as (r, s): nothing may key on the text of a token but the cache of verified ones.
    let fixture = Fixture::new(Algorithm::Es256);
    let good = token(&fixture.key, header(Algorithm::Es256), claims());
    let twin = resigned(&good, |s| [s[..32].to_vec(), subtract_from_n(&s[32..])].concat());
    let (first, second) = (fixture.verifier.verify(&good, now()).unwrap(), fixture.verifier.verify(&twin, now()).unwrap());
    assert_eq!(first.principal, second.principal);
    assert_ne!(good, twin);
}

fn subtract_from_n(s: &[u8]) -> Vec<u8> {
    const N: [u8; 32] = [
        0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc, 0xe6, 0xfa, 0xad, 0xa7, 0x17,
        0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
    ];
    add(&N, &s.iter().map(|byte| !byte).collect::<Vec<_>>(), 1)
}

/// Big-endian `a + b + carry`, cut to the width of `a`.
fn add(a: &[u8], b: &[u8], carry: u16) -> Vec<u8> {
    let mut carry = carry;
    let mut sum: Vec<u8> = Vec::new();
    for (a, b) in a.iter().rev().zip(b.iter().rev()) {
        carry += u16::from(*a) + u16::from(*b);
        sum.push(carry.to_be_bytes()[1]);
        carry >>= 8;
    }
    sum.reverse();
    sum
}

fn der(r: &[u8], s: &[u8]) -> Vec<u8> {
    let integer = |number: &[u8]| {
        let sign: &[u8] = if number[0] >= 0x80 { &[0] } else { &[] };
        let len = u8::try_from(sign.len() + number.len()).unwrap();
        [&[2, len], sign, number].concat()
    };
    let body = [integer(r), integer(s)].concat();
    [vec![0x30, u8::try_from(body.len()).unwrap()], body].concat()
}

#[test]
fn an_eddsa_signature_cannot_be_malleated() {
    let fixture = Fixture::new(Algorithm::EdDsa);
    let good = token(&fixture.key, header(Algorithm::EdDsa), claims());
    // s + L is the same number modulo the order of the group, and must be refused (RFC 8032, section 5.1.7).
    let order = [
        0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x14, 0xde, 0xf9, 0xde, 0xa2, 0xf7, 0x9c, 0xd6, 0x58, 0x12, 0x63,
        0x1a, 0x5c, 0xf5, 0xd3, 0xed,
    ];
    let reversed = |bytes: &[u8]| bytes.iter().rev().copied().collect::<Vec<_>>();
    let malleated = resigned(&good, |s| [s[..32].to_vec(), reversed(&add(&reversed(&s[32..]), &order, 0))].concat());
    assert_ne!(malleated, good);
    assert!(!fixture.accepts(&malleated));
    assert!(!fixture.accepts(&resigned(&good, |s| [s[..32].to_vec(), vec![0; 32]].concat())), "s zero");
    assert!(!fixture.accepts(&resigned(&good, |s| [vec![0; 32], s[32..].to_vec()].concat())), "R zero");
    assert!(!fixture.accepts(&resigned(&good, |_| vec![0; 64])));
    assert!(!fixture.accepts(&resigned(&good, |s| [s[32..].to_vec(), s[..32].to_vec()].concat())), "swapped");
}

#[test]
fn a_signature_of_another_length_is_refused() {
    for algorithm in Algorithm::ALL {
        let fixture = Fixture::new(algorithm);
        let good = token(&fixture.key, header(algorithm), claims());
        assert!(!fixture.accepts(&resigned(&good, |s| s[..s.len() - 1].to_vec())), "{algorithm}: shorter at the end");
        assert!(!fixture.accepts(&resigned(&good, |s| s[1..].to_vec())), "{algorithm}: shorter at the start");
        assert!(!fixture.accepts(&resigned(&good, |s| [s, vec![0]].concat())), "{algorithm}: longer at the end");
        assert!(!fixture.accepts(&resigned(&good, |s| [vec![0], s].concat())), "{algorithm}: longer at the start");
        assert!(!fixture.accepts(&resigned(&good, |_| Vec::new())), "{algorithm}: empty");
        assert!(!fixture.accepts(&resigned(&good, |_| vec![0; 5000])), "{algorithm}: huge");
        assert!(!fixture.accepts(&resigned(&good, |s| vec![0; s.len()])), "{algorithm}: zeros");
        assert!(!fixture.accepts(&resigned(&good, |s| vec![0xff; s.len()])), "{algorithm}: ones");
    }
}
