//! Gateways on one store, each reaching it by a way of its own.

use std::fs;

use tempfile::TempDir;

use crate::support::gateway::{Gateway, generate_keys};
use crate::support::upstream::Upstream;

pub(super) struct Rig {
    pub(super) nodes: Vec<Gateway>,
    pub(super) upstream: Upstream,
    settings: Vec<(String, String)>,
    folder: TempDir,
}

impl Rig {
    /// One node for each URL of the store. `set` holds for all.
    pub(super) fn start(urls: &[&str], set: &[(&str, &str)]) -> Self {
        let mut rig = Self::prepare(set);
        for url in urls {
            rig.launch(url);
        }
        rig.nodes.iter().for_each(Gateway::await_ready);
        rig
    }

    /// Without nodes as yet.
    pub(super) fn prepare(set: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let keys = generate_keys(folder.path()).display().to_string();
        let common = [
            ("store.kind", "redis"),
            ("keys.directory", keys.as_str()),
            ("refresh.secret", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="),
            // A busy machine is no failed store: where the deadline matters, the test sets it.
            ("store.redis.deadline", "3s"),
        ];
        let is_replaced = |key: &str| set.iter().any(|(other, _)| *other == key);
        let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        let settings = common.iter().filter(|(key, _)| !is_replaced(key)).chain(set).map(owned).collect();
        Self { nodes: Vec::new(), upstream: Upstream::start(), settings, folder }
    }

    /// One node more, which may not be ready yet.
    pub(super) fn launch(&mut self, url: &str) -> &Gateway {
        let home = self.folder.path().join(format!("node-{}", self.nodes.len()));
        fs::create_dir(&home).unwrap();
        let mut settings: Vec<(&str, &str)> = self.settings.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        settings.push(("store.redis.url", url));
        self.nodes.push(Gateway::launch(&home, &self.upstream, &settings));
        self.nodes.last().unwrap()
    }
}
