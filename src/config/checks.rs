//! Checks that span sections.

use std::time::Duration;

use super::notes::Notes;
use super::tokens::TokenRoom;
use super::{IssuerSubjects, LEGACY_MAX, ListenAddress, Listener, ListenerProtocol, Settings, oauth, tickets};
use crate::domain::cors::{Cors, Origins};
use crate::domain::route::{Access, Route};
use crate::domain::session_policy::OldSession;

pub(super) fn across_sections(settings: &Settings, notes: &Notes) {
    shared_store_needs_shared_keys(settings, notes);
    issuers_are_distinct(settings, notes);
    subject_prefixes_are_distinct(settings, notes);
    trusted_claims_are_used(settings, notes);
    legacy_verifiers_are_distinct(settings, notes);
    exchanges_have_an_endpoint(settings, notes);
    oauth::clients_can_do_what_they_may(settings, notes);
    foreign_cookies_need_credentials(settings, notes);
    refreshes_in_flight_have_time(settings, notes);
    tokens_can_be_sent(settings, notes);
    addresses_are_distinct(settings, notes);
    redirects_lead_to_tls(settings, notes);
    proxy_headers_come_from_trusted_peers(settings, notes);
    tickets::parameter_names_no_account(settings, notes);
}

fn addresses_are_distinct(settings: &Settings, notes: &Notes) {
    let is_taken = |address: &ListenAddress, listener: &Listener| !address.is_distinct_from(&listener.address);
    let listeners: Vec<&Listener> = settings.listeners.iter().collect();
    if settings.admin.address.as_ref().is_some_and(|address| listeners.iter().any(|listener| is_taken(address, listener))) {
        notes.problem("admin.address", None, "is the address of another listener; each listener needs its own");
    }
    for (index, listener) in listeners.iter().enumerate() {
        if let Some(earlier) = listeners[..index].iter().position(|earlier| is_taken(&listener.address, earlier)) {
            let other = settings.listeners.address_key(earlier);
            let message = format!("{} is {other} too; each listener needs its own", listener.address);
            notes.problem(&settings.listeners.address_key(index), None, message);
        }
    }
}

/// A redirect to https leads to a port where clear text is spoken, its own for one, and so nowhere.
fn redirects_lead_to_tls(settings: &Settings, notes: &Notes) {
    let listeners: Vec<&Listener> = settings.listeners.iter().collect();
    let speaks_tls = |listener: &Listener| matches!(listener.protocol, ListenerProtocol::Tls(_));
    for (index, listener) in listeners.iter().enumerate() {
        let ListenerProtocol::Redirect { port } = listener.protocol else { continue };
        let (tls, clear): (Vec<_>, Vec<_>) =
            (0..).zip(&listeners).filter(|(_, other)| other.address.port() == port).partition(|(_, other)| speaks_tls(other));
        if let (true, Some((other, _))) = (tls.is_empty(), clear.first()) {
            let message = format!(
                "leads to port {port}, where listeners[{other}] speaks no TLS: set redirect_port to the port by which clients reach a \
                 listener that does"
            );
            notes.problem(&format!("listeners[{index}].redirect"), None, message);
        }
    }
}

/// Of nobody else a header would be believed.
fn proxy_headers_come_from_trusted_peers(settings: &Settings, notes: &Notes) {
    if !settings.listen.trusted_peers.is_empty() {
        return;
    }
    for (index, _) in settings.listeners.iter().enumerate().filter(|(_, listener)| listener.proxy_protocol) {
        let mend = "needs listen.trusted_peers: PROXY headers are taken from those alone, and every connection would be refused";
        notes.problem(&format!("listeners[{index}].proxy_protocol"), None, mend);
    }
}

/// A token that is accepted must fit into the requests that carry it.
fn tokens_can_be_sent(settings: &Settings, notes: &Notes) {
    let bytes_max = settings.tokens.bytes_max;
    let (head, body) = (settings.listen.limits.header_bytes_max, settings.endpoints.body_bytes_max);
    let room = TokenRoom::of(head, body);
    if bytes_max > room.in_head {
        let most = room.in_head;
        let message =
            format!("must be at most {most}B with listen.header_bytes_max, which is {head}B: other fields need room too");
        notes.problem("tokens.bytes_max", None, message);
    }
    if bytes_max > room.in_body {
        let most = room.in_body;
        let message = format!("holds tokens of at most {most}B, and tokens.bytes_max is {bytes_max}B: tokens come in bodies too");
        notes.problem("endpoints.body_bytes_max", None, message);
    }
}

/// Several nodes on one store verify each other's tokens: none of them may make keys of its own.
fn shared_store_needs_shared_keys(settings: &Settings, notes: &Notes) {
    if !settings.store.is_shared() {
        return;
    }
    let why = "is missing: nodes that share store.kind = \"redis\" must hold the same";
    if settings.keys.directory.is_none() {
        notes.problem("keys.directory", None, format!("{why} keys; make them with: tokengate keys generate --directory keys"));
    }
    if settings.refresh.secrets.is_empty() && !notes.has_problem("refresh.secret") {
        let mend = "secret; set refresh.secret or refresh.secret_file, made with: openssl rand -base64 32";
        notes.problem("refresh.secret", None, format!("{why} {mend}"));
    }
}

/// The issuer of a token decides by which rules it is judged: each may have one entry alone.
fn issuers_are_distinct(settings: &Settings, notes: &Notes) {
    for (index, foreign) in settings.issuers.iter().enumerate() {
        let key = format!("issuers[{index}].issuer");
        if foreign.issuer == settings.tokens.issuer {
            notes.problem(&key, None, "is tokens.issuer, the gateway's own");
        }
        if settings.issuers[..index].iter().any(|earlier| earlier.issuer == foreign.issuer) {
            notes.problem(&key, None, format!("\"{}\" is the issuer of an earlier entry", foreign.issuer));
        }
    }
}

/// Where one prefix begins another, a user of the one issuer could have the very name of a user of the other.
fn subject_prefixes_are_distinct(settings: &Settings, notes: &Notes) {
    let prefix_of = |index: usize| match &settings.issuers[index].subjects {
        IssuerSubjects::Prefixed(prefix) => Some(prefix),
        IssuerSubjects::Shared => None,
    };
    for (index, prefix) in (0..settings.issuers.len()).filter_map(|index| Some((index, prefix_of(index)?))) {
        for earlier in (0..index).filter_map(prefix_of).filter(|earlier| earlier.meets(prefix)) {
            let message = format!(
                "\"{}\" and \"{}\", that of an earlier entry, begin alike: none may be the beginning of another",
                prefix.as_str(),
                earlier.as_str()
            );
            notes.problem(&format!("issuers[{index}].subject_prefix"), None, message);
        }
        if let Some(machines) = settings.machine_prefix().filter(|machines| machines.meets(prefix)) {
            let message = format!(
                "\"{}\" and \"{}\", oauth.subject_prefix, begin alike: none may be the beginning of another",
                prefix.as_str(),
                machines.as_str()
            );
            notes.problem(&format!("issuers[{index}].subject_prefix"), None, message);
        }
    }
}

fn trusted_claims_are_used(settings: &Settings, notes: &Notes) {
    let of_routes = |claim: &str| settings.routes.listed().iter().any(|route| demands(route, claim));
    for (index, issuer) in settings.issuers.iter().enumerate() {
        let is_passed_on = |claim: &String| settings.identity.claims.iter().any(|(name, _)| name == claim);
        for claim in issuer.trusted_claims.iter().filter(|claim| !is_passed_on(claim) && !of_routes(claim)) {
            let message = format!("\"{claim}\" is none of identity.claims, and no route demands it: nothing would come of it");
            notes.problem(&format!("issuers[{index}].trusted_claims"), None, message);
        }
    }
}

fn exchanges_have_an_endpoint(settings: &Settings, notes: &Notes) {
    if settings.endpoints.paths.token.is_some() {
        return;
    }
    for (index, _) in settings.issuers.iter().enumerate().filter(|(_, issuer)| issuer.is_exchanged()) {
        let message = "needs endpoints.token, which says where tokens are exchanged: \"/oauth/token\"";
        notes.problem(&format!("issuers[{index}].exchange"), None, message);
    }
}

fn demands(route: &Route, claim: &str) -> bool {
    match &route.access {
        Access::Token(demands) => demands.claims.iter().any(|demand| demand.path.claim() == claim),
        Access::Public | Access::Optional => false,
    }
}

/// The name of legacy tokens takes the place of an issuer in the identity fields.
fn legacy_verifiers_are_distinct(settings: &Settings, notes: &Notes) {
    for (index, legacy) in settings.legacy.iter().enumerate() {
        let key = format!("legacy[{index}].name");
        if legacy.name == settings.tokens.issuer || settings.issuers.iter().any(|other| other.issuer == legacy.name) {
            let message =
                format!("\"{}\" is tokens.issuer or that of another entry of issuers; choose a name of its own", legacy.name);
            notes.problem(&key, None, message);
        }
        if settings.legacy[..index].iter().any(|earlier| earlier.name == legacy.name) {
            notes.problem(&key, None, format!("\"{}\" is the name of an earlier entry", legacy.name));
        }
    }
    if settings.legacy.len() > LEGACY_MAX {
        notes.problem("legacy", None, format!("has {} entries; allowed are at most {LEGACY_MAX}", settings.legacy.len()));
    }
}

/// The least leeway that leaves a response time to bring the cookies.
const LEEWAY_IN_FLIGHT_MIN: Duration = Duration::from_secs(3);

fn refreshes_in_flight_have_time(settings: &Settings, notes: &Notes) {
    let Some(in_flight) = settings.cookies.as_ref().and_then(|cookies| cookies.in_flight) else { return };
    if in_flight.ahead * 2 > settings.tokens.lifetime {
        notes.problem("cookies.refresh_ahead", None, "is more than half of tokens.lifetime: every second request would refresh");
    }
    if settings.login.old_session == OldSession::Keep {
        let message = "must be \"end\" with cookies.refresh_in_flight = true: a response under way could bring back the cookies of whoever was \
                       logged in before";
        notes.problem("login.old_session", None, message);
    }
    if settings.refresh.leeway < LEEWAY_IN_FLIGHT_MIN {
        let message =
            "must be 3s or more with cookies.refresh_in_flight = true: cookies are on their way for as long as a response takes";
        notes.problem("refresh.leeway", None, message);
    }
}

fn foreign_cookies_need_credentials(settings: &Settings, notes: &Notes) {
    let (Some(_), Some(Cors { allowed_origins: Origins::Listed(_), allow_credentials: false, .. })) =
        (&settings.cookies, &settings.cors)
    else {
        return;
    };
    notes.problem("cors.allow_credentials", None, "must be true with cookies.enabled = true: browsers would send no cookie");
}
