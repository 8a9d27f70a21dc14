//! What a client's certificate says of it, as text that upstreams can compare.

use std::fmt::Write as _;
use std::net::IpAddr;

use x509_parser::extensions::GeneralName;
use x509_parser::prelude::X509Certificate;
use x509_parser::x509::{AttributeTypeAndValue, X509Name};

use crate::domain::time::Timestamp;

/// The most that is told of a certificate, in bytes of each text.
const TEXT_BYTES_MAX: usize = 4096;

/// A certificate that somebody vouches for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClientCertificate {
    /// By RFC 4514: `CN=billing,O=Example`. Empty: it has none.
    pub subject: String,
    /// The alternative names of the kinds that name machines and people, one behind the other: `DNS:a.example,URI:spiffe://b/c`.
    /// Empty: it has none.
    pub names: String,
    /// The last moment at which it counts.
    pub not_after: Timestamp,
}

impl ClientCertificate {
    /// `None`: it cannot be read, or says more than is told.
    pub fn of_der(der: &[u8]) -> Option<Self> {
        let (_, certificate) = x509_parser::parse_x509_certificate(der).ok()?;
        let told = Self {
            subject: distinguished_name(certificate.subject()),
            names: alternative_names(&certificate)?,
            not_after: Timestamp::from_secs(certificate.validity().not_after.timestamp()),
        };
        (told.subject.len().max(told.names.len()) <= TEXT_BYTES_MAX).then_some(told)
    }
}

/// The most specific part first, as RFC 4514 has it.
fn distinguished_name(name: &X509Name<'_>) -> String {
    let mut text = String::new();
    let parts: Vec<_> = name.iter_rdn().collect();
    for (index, part) in parts.iter().rev().enumerate() {
        for (position, attribute) in part.iter().enumerate() {
            text.push_str(match (index, position) {
                (0, 0) => "",
                (_, 0) => ",",
                (_, _) => "+",
            });
            write_attribute(attribute, &mut text);
        }
    }
    text
}

fn write_attribute(attribute: &AttributeTypeAndValue<'_>, out: &mut String) {
    let oid = attribute.attr_type().to_id_string();
    let name = match oid.as_str() {
        "2.5.4.3" => "CN",
        "2.5.4.7" => "L",
        "2.5.4.8" => "ST",
        "2.5.4.10" => "O",
        "2.5.4.11" => "OU",
        "2.5.4.6" => "C",
        "2.5.4.9" => "STREET",
        "0.9.2342.19200300.100.1.25" => "DC",
        "0.9.2342.19200300.100.1.1" => "UID",
        other => other,
    };
    out.push_str(name);
    out.push('=');
    if let Ok(value) = attribute.as_str() {
        write_escaped(value, out);
        return;
    }
    out.push('#');
    for byte in attribute.as_slice() {
        let _ = write!(out, "{byte:02x}");
    }
}

/// So that no value can pass for another part of the name (RFC 4514, section 2.4).
fn write_escaped(value: &str, out: &mut String) {
    let last = value.chars().count().saturating_sub(1);
    for (position, character) in value.chars().enumerate() {
        let is_edge_space = character == ' ' && (position == 0 || position == last);
        let is_first_hash = character == '#' && position == 0;
        match character {
            '"' | '+' | ',' | ';' | '<' | '>' | '\\' | '=' => {
                out.push('\\');
                out.push(character);
            }
            _ if is_edge_space || is_first_hash => {
                out.push('\\');
                out.push(character);
            }
            _ if character.is_control() => {
                for byte in character.encode_utf8(&mut [0; 4]).bytes() {
                    let _ = write!(out, "\\{byte:02x}");
                }
            }
            _ => out.push(character),
        }
    }
}

/// `None`: the extension cannot be read.
fn alternative_names(certificate: &X509Certificate<'_>) -> Option<String> {
    let Some(names) = certificate.subject_alternative_name().ok()? else { return Some(String::new()) };
    let told: Vec<String> = names.value.general_names.iter().filter_map(alternative_name).collect();
    Some(told.join(","))
}

/// A comma in a name is written as in URIs, so that none can pass for several.
fn alternative_name(name: &GeneralName<'_>) -> Option<String> {
    let plain = |kind: &str, value: &str| Some(format!("{kind}:{}", value.replace('%', "%25").replace(',', "%2C")));
    match name {
        GeneralName::DNSName(name) => plain("DNS", name),
        GeneralName::URI(uri) => Some(format!("URI:{}", uri.replace(',', "%2C"))),
        GeneralName::RFC822Name(address) => plain("email", address),
        GeneralName::IPAddress(bytes) => {
            let v4 = <[u8; 4]>::try_from(*bytes).map(IpAddr::from).ok();
            let address = v4.or_else(|| <[u8; 16]>::try_from(*bytes).map(IpAddr::from).ok())?;
            Some(format!("IP:{address}"))
        }
        GeneralName::OtherName(..)
        | GeneralName::X400Address(_)
        | GeneralName::DirectoryName(_)
        | GeneralName::EDIPartyName(_)
        | GeneralName::RegisteredID(_)
        | GeneralName::Invalid(..) => None,
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, SanType};

    use super::*;

    fn told(parts: &[(DnType, &str)], names: Vec<SanType>) -> Option<ClientCertificate> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        for (kind, value) in parts {
            params.distinguished_name.push(kind.clone(), *value);
        }
        params.subject_alt_names = names;
        ClientCertificate::of_der(params.self_signed(&KeyPair::generate().unwrap()).unwrap().der())
    }

    fn dns(name: &str) -> SanType {
        SanType::DnsName(name.try_into().unwrap())
    }

    #[test]
    fn a_subject_is_written_most_specific_part_first() {
        use DnType::{CommonName, CountryName, OrganizationName};
        let told = told(&[(CountryName, "DE"), (OrganizationName, "Example"), (CommonName, "billing")], Vec::new()).unwrap();
        assert_eq!((told.subject.as_str(), told.names.as_str()), ("CN=billing,O=Example,C=DE", ""));
    }

    #[test]
    fn no_value_passes_for_another_part() {
        for (value, written) in [
            ("a,O=Admin", "CN=a\\,O\\=Admin"),
            ("a+b", "CN=a\\+b"),
            (" a ", "CN=\\ a\\ "),
            ("#a", "CN=\\#a"),
            ("a\\,b", "CN=a\\\\\\,b"),
            ("a\r\nb", "CN=a\\0d\\0ab"),
            ("J\u{fc}rgen", "CN=J\u{fc}rgen"),
        ] {
            assert_eq!(told(&[(DnType::CommonName, value)], Vec::new()).unwrap().subject, written, "{value:?}");
        }
    }

    #[test]
    fn alternative_names_say_of_which_kind_they_are() {
        let names = vec![
            dns("a.example"),
            SanType::URI("spiffe://b/c,DNS:evil".try_into().unwrap()),
            SanType::Rfc822Name("ann@example.com".try_into().unwrap()),
            SanType::IpAddress([192, 0, 2, 1].into()),
        ];
        let told = told(&[], names).unwrap();
        assert_eq!(told.names, "DNS:a.example,URI:spiffe://b/c%2CDNS:evil,email:ann@example.com,IP:192.0.2.1");
        assert_eq!(told.subject, "");
    }

    #[test]
    fn more_than_is_told_is_not_told_in_part() {
        let many = |count: usize| (0..count).map(|number| dns(&format!("{number}.example"))).collect();
        assert!(told(&[], many(100)).is_some());
        assert_eq!(told(&[], many(1000)), None);
        assert_eq!(ClientCertificate::of_der(b"0"), None);
    }
}
