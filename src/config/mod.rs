//! Settings: read from defaults, a file, the environment and flags, and validated as a whole.
//!
//! Each section's module holds the types and the reading of them side by side. Reading goes key by key over the merged
//! layers instead of through serde: so every fault is found at once, each with the line, variable or flag that it came from.
//! What cannot be judged by one section alone is checked in `checks`.

mod access_log;
mod account_name;
mod address;
mod browser;
mod callers;
mod checks;
mod claims_hook;
mod condition;
mod decision;
mod environment;
mod errors;
mod exchange;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod headers;
mod health;
mod layers;
mod legacy;
mod likeness;
mod listen;
mod listeners;
mod login;
mod members;
mod notes;
mod oauth;
mod parse;
mod pointer;
mod policies;
mod problem;
mod reading;
mod reference;
mod reload;
mod routes;
mod schema;
mod section;
mod session_policy;
mod setting;
mod show;
mod store;
mod targets;
mod tickets;
mod tokens;
mod unknown;
mod upkeep;
mod upstream_url;
mod upstreams;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use listeners::NamedListeners;
use notes::{Noted, Notes, Shown};
use section::Section;
use setting::EffectiveKey;
use tokens::TokenRoom;
use upstreams::NamedUpstreams;

use crate::domain::cookies::CookieMode;
use crate::domain::cors::Cors;
use crate::domain::revocation::Retention;
use crate::domain::route::Route;

pub use access_log::{AccessLog, LogDestination};
pub use account_name::AccountName;
pub use address::ListenAddress;
pub use callers::{Identity, Issuer, IssuerSubjects, JwksSource, Limits, LoginLimits, RefreshLimits};
pub use claims_hook::ClaimsHook;
pub use condition::Condition;
pub use decision::{Decision, DecisionListener};
pub use errors::Errors;
pub use headers::Headers;
pub use health::Health;
pub use layers::{CLIENTS_FILE_KEY, DEFAULT_FILE, FileDigest, Flag, Inputs, SettingsFile, VARIABLE_PREFIX};
pub use legacy::{LEGACY_MAX, Legacy, LegacySource};
pub use listen::{Admin, Listen, Log, LogFormat, Node, Reloading, Shutdown};
pub use listeners::{CertificateFiles, ClientDemand, Listener, ListenerProtocol, ListenerTls, Listeners, TlsVersion};
pub use login::{Endpoints, Login};
pub use members::{MemberPath, Members};
pub use oauth::{ClientGrant, DIGEST_PREFIX, OAuth, OAuthClient, SECRETS_MAX, introspects_by_default, is_client_id};
pub use pointer::Pointer;
pub use problem::{Invalid, Problem, shown_url};
pub use reload::{InForce, Reload};
pub use routes::Routes;
pub use schema::schema;
pub use setting::FromFile;
pub use store::{Embedded, Redis, Store};
pub use targets::{Target, Targets};
pub use tickets::Tickets;
pub use tokens::{Keys, Refresh, Revocation, Sessions, Tokens};
pub use upkeep::{Schedule, Statistics, Sweeper};
pub use upstream_url::UpstreamUrl;
pub use upstreams::{HostField, UPSTREAM_DEFAULT, Upstream, UpstreamHttp2, UpstreamProtocol, Upstreams};

/// Everything that an operator decides, validated as a whole.
#[derive(Clone, Debug)]
pub struct Settings {
    pub listen: Listen,
    /// Those of other proxies are the last.
    pub listeners: Listeners,
    pub decision: Decision,
    pub node: Node,
    pub shutdown: Shutdown,
    pub reload: Reloading,
    pub upstreams: Upstreams,
    pub routes: Routes,
    pub endpoints: Endpoints,
    pub login: Login,
    pub tokens: Tokens,
    pub keys: Keys,
    pub refresh: Refresh,
    pub sessions: Sessions,
    pub tickets: Tickets,
    /// `None`: off.
    pub claims_hook: Option<ClaimsHook>,
    /// `None`: tokens travel in bodies and the Authorization field alone.
    pub cookies: Option<CookieMode>,
    pub cors: Option<Cors>,
    pub revocation: Revocation,
    pub limits: Limits,
    pub headers: Headers,
    pub errors: Errors,
    pub identity: Identity,
    pub issuers: Vec<Issuer>,
    pub oauth: OAuth,
    /// Those of [`OAuth::clients_file`] are the last.
    pub clients: Vec<OAuthClient>,
    /// At most [`LEGACY_MAX`].
    pub legacy: Vec<Legacy>,
    pub store: Store,
    pub admin: Admin,
    pub log: Log,
    pub sweeper: Sweeper,
    pub statistics: Statistics,
}

/// Valid settings, and where each of them came from.
#[derive(Debug)]
pub struct Loaded {
    pub settings: Settings,
    /// Of the settings file that they were made of, if there was one.
    pub file_digest: Option<FileDigest>,
    shown: Vec<Shown>,
    layers: layers::Layers,
    /// What each key says, by its path.
    effective: BTreeMap<String, EffectiveKey>,
    secret_files: Vec<(String, PathBuf)>,
    /// Every key that holds a value: `routes[].prefix`.
    known: BTreeSet<String>,
    warnings: Vec<String>,
}

impl Loaded {
    /// All keys in effect as TOML, each with its origin; secrets are blotted out.
    pub fn print(&self) -> String {
        show::toml(&self.shown)
    }

    /// Whether a flag gives a secret itself.
    fn is_secret(&self, flag: &Flag) -> bool {
        self.shown
            .iter()
            .any(|shown| shown.is_secret() && shown.origin == flag.name && flag.key.ends_with(&format!(".{}", shown.key)))
    }

    /// What an operator should know although the settings are valid.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Files that hold secrets, each with the key that names it. The settings file is one of them when it holds secrets itself.
    pub fn secret_files(&self) -> &[(String, PathBuf)] {
        &self.secret_files
    }
}

/// Merges and validates. Reads the files that `…_file` keys of secrets and clients name, and nothing else from outside.
///
/// # Errors
/// Every fault that was found.
pub fn load(inputs: &Inputs) -> Result<Loaded, Invalid> {
    let mut loaded = validated(layers::merge(inputs).map_err(Invalid)?)?;
    let by_flag = inputs.flags.iter().filter(|flag| loaded.is_secret(flag)).map(|flag| {
        format!("{} is given on the command line, which others can read in the list of processes; {0}_file is not", flag.key)
    });
    loaded.warnings = environment::warnings(&inputs.environment, &loaded.known).into_iter().chain(by_flag).collect();
    loaded.file_digest = inputs.file.as_ref().map(SettingsFile::digest);
    if let Some(file) = &inputs.file {
        let is_in_file = |shown: &Shown| shown.is_secret() && shown.origin.starts_with(&format!("{}, line ", file.name));
        if let Some(first) = loaded.shown.iter().find(|shown| is_in_file(shown)) {
            loaded.secret_files.push((first.path(), PathBuf::from(&file.name)));
        }
    }
    Ok(loaded)
}

/// The settings that merged layers hold.
fn validated(layers: layers::Layers) -> Result<Loaded, Invalid> {
    let notes = Notes::default();
    let settings = Settings::read(&layers, &notes);
    let Noted { shown, effective, secret_files, leaves, problems } = notes.finish();
    let known = leaves.into_keys().collect();
    let problems = [layers.faults.clone(), problems].concat();
    match settings {
        Some(settings) if problems.is_empty() => {
            Ok(Loaded { settings, file_digest: None, shown, layers, effective, secret_files, known, warnings: Vec::new() })
        }
        Some(_) | None => Err(Invalid(problems)),
    }
}

impl Settings {
    /// From the text of a settings file and the defaults alone.
    ///
    /// # Errors
    /// Every fault that was found.
    pub fn from_toml(text: &str) -> Result<Self, Invalid> {
        let file = SettingsFile { name: "settings".to_owned(), text: text.to_owned() };
        load(&Inputs { file: Some(file), ..Inputs::default() }).map(|loaded| loaded.settings)
    }

    /// `None` only after a fault was noted.
    fn read(layers: &layers::Layers, notes: &Notes) -> Option<Self> {
        let mut root = Section::root(&layers.merged, &layers.documented, notes);
        let listeners = NamedListeners::read(&mut root);
        let (listen, address) = root.section("listen", |s| Listen::read(s, &listeners));
        let decision = root.section("decision", Decision::read);
        let node = root.section("node", Node::read);
        let shutdown = root.section("shutdown", Shutdown::read);
        let reload = root.section("reload", Reloading::read);
        let upstreams = NamedUpstreams::read(&mut root);
        let identity = root.section("identity", Identity::read);
        let beside = routes::Beside { listen: &listen, identity: &identity };
        let routes = root.list("routes", |s| routes::read(s, &upstreams, &beside));
        let endpoints = root.section("endpoints", Endpoints::read);
        let login = root.section("login", |s| Login::read(s, &upstreams, &endpoints));
        let room = TokenRoom::of(listen.limits.header_bytes_max, endpoints.body_bytes_max);
        let tokens = root.section("tokens", |s| Tokens::read(s, room));
        let (directory, signing) = root.section("keys", tokens::read_keys);
        let refresh = root.section("refresh", Refresh::read);
        let sessions = root.section("sessions", Sessions::read);
        let tickets = root.section("tickets", |s| Tickets::read(s, endpoints.paths.ticket.is_some()));
        let mut cookies = root.section("cookies", |s| browser::cookies(s, &endpoints.paths));
        let cors = root.section("cors", browser::cors);
        if let (Some(cookies), Some(cors)) = (&mut cookies, &cors) {
            cookies.origins.listed.extend_from_slice(cors.credentialed());
        }
        let claims_hook = root.section("claims_hook", |s| ClaimsHook::read(s, &upstreams));
        let limits = root.section("limits", Limits::read);
        let headers = root.section("headers", Headers::read);
        let errors = root.section("errors", Errors::read);
        let issuers = root.list("issuers", Issuer::read);
        let oauth = root.section("oauth", OAuth::read);
        let clients = root.list("clients", OAuthClient::read);
        let asks = clients.iter().flatten().any(|client| client.introspects);
        let endpoints = endpoints.usable(asks, tokens.origin.is_some(), cookies.is_some());
        let legacy = root.list("legacy", Legacy::read);
        let foreign = issuers.iter().flatten().map(|issuer| issuer.lifetime_max + issuer.leeway);
        let needed = Retention::covering(foreign.chain([tokens.lifetime + tokens.leeway]));
        let revocation = root.section("revocation", |s| Revocation::read(s, needed));
        let store = root.section("store", Store::read);
        let admin = root.section("admin", Admin::read);
        let log = root.section("log", Log::read);
        let sweeper = root.section("sweeper", Sweeper::read);
        let statistics = root.section("statistics", Statistics::read);
        root.finish();
        let keys = Keys::kept_for(&store, directory, signing);
        let routes = routes.into_iter().collect::<Option<Vec<Route>>>();
        let issuers = issuers.into_iter().collect::<Option<Vec<Issuer>>>();
        let legacy = legacy.into_iter().collect::<Option<Vec<Legacy>>>();
        if upstreams.is_empty() {
            let mend = "is missing: add [upstreams.default] with url = \"http://host:port\", or --upstream http://host:port";
            notes.problem("upstreams", None, mend);
        }
        let mut settings = Self {
            listen,
            listeners: listeners.complete(address)?.with(decision.listener.clone()),
            decision,
            node,
            shutdown,
            reload,
            upstreams: upstreams.complete()?,
            routes: routes::table(&endpoints.paths, cors.is_some(), routes?, notes),
            endpoints,
            login,
            tokens,
            keys,
            refresh,
            sessions,
            tickets,
            claims_hook,
            cookies,
            cors,
            revocation,
            limits,
            headers,
            errors,
            identity,
            issuers: issuers?,
            oauth,
            clients: clients.into_iter().collect::<Option<Vec<OAuthClient>>>()?,
            legacy: legacy?,
            store,
            admin,
            log,
            sweeper,
            statistics,
        };
        checks::across_sections(&settings, notes);
        settings.login.reserved = settings.reserved_prefixes();
        Some(settings)
    }
}

#[cfg(test)]
mod tests;
