//! `[decision]`: where other proxies ask whether a request may pass.

use ipnet::IpNet;

use super::address::ListenAddress;
use super::parse;
use super::reading::Reading;
use super::section::Section;
use super::setting::open_settings;
use crate::domain::path::CanonicalTarget;
use crate::domain::question::{Dialect, QuestionRules};

/// The listener for other proxies.
#[derive(Clone, Debug)]
pub struct Decision {
    /// `None`: off.
    pub listener: Option<DecisionListener>,
    pub questions: QuestionRules,
}

/// Where it is, and for whom.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DecisionListener {
    pub address: ListenAddress,
    /// Connections of others are refused. Never empty.
    pub peers: Vec<IpNet>,
}

/// What `decision.dialect` can be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Spoken {
    Auto,
    Only(Dialect),
}

open_settings!(Spoken);

impl Decision {
    pub(super) fn read(s: &mut Section<'_>) -> Self {
        let address = s.read("address", parse::or_off(parse::own_address()));
        let peers = s.read("peers", parse::list(parse::network()));
        let dialect = s.read(
            "dialect",
            parse::choice(&[
                ("auto", Spoken::Auto),
                ("original", Spoken::Only(Dialect::Original)),
                ("forwarded", Spoken::Only(Dialect::Forwarded)),
                ("path", Spoken::Only(Dialect::Path)),
                ("grpc", Spoken::Only(Dialect::Grpc)),
            ]),
        );
        let path_prefix = s.read("path_prefix", path_prefix());
        let dialect = match dialect {
            Spoken::Auto => None,
            Spoken::Only(dialect) => Some(dialect),
        };
        if let Some(address) = &address {
            check_peers(s, address, &peers);
        }
        let listener = address.map(|address| DecisionListener { address, peers });
        Self { listener, questions: QuestionRules { dialect, path_prefix } }
    }
}

/// Somebody must be able to come.
fn check_peers(s: &mut Section<'_>, address: &ListenAddress, peers: &[IpNet]) {
    if peers.is_empty() {
        s.fault("peers", "names nobody who may ask; allowed are networks of the proxies, such as \"127.0.0.0/8\"");
    }
    let is_elsewhere = match address {
        ListenAddress::Ip(address) => !address.ip().is_loopback() && !address.ip().is_unspecified(),
        ListenAddress::Name { .. } | ListenAddress::Passed { .. } => false,
    };
    if is_elsewhere && !peers.is_empty() && peers.iter().all(|network| network.addr().is_loopback()) {
        let mend =
            "names loopback addresses alone, and decision.address is none of those: nobody could ask; name the proxies' networks";
        s.fault("peers", mend);
    }
}

fn path_prefix() -> Reading<String> {
    parse::filled_text().then(|text| {
        let is_canonical = CanonicalTarget::parse(&text).is_ok_and(|target| target.path() == text && target.is_plain());
        if is_canonical && !text.ends_with('/') {
            Ok(text)
        } else {
            Err("allowed is a plain path such as \"/ext_authz\", without a slash at its end".to_owned())
        }
    })
}
