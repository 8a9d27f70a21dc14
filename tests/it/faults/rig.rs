//! Gateways on one store, each reaching it by a way of its own.

use std::fs;
use std::path::PathBuf;

use tempfile::TempDir;

use super::PATIENCE;
use crate::support::gateway::{Gateway, generate_keys, lasting_address};
use crate::support::upstream::Upstream;

pub(super) struct Rig {
    pub(super) nodes: Vec<Gateway>,
    pub(super) upstream: Upstream,
    places: Vec<Place>,
    settings: Vec<(String, String)>,
    folder: TempDir,
}

/// Where a node lives, in each of its lives.
struct Place {
    home: PathBuf,
    settings: Vec<(String, String)>,
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
        let settings = common.iter().filter(|(key, _)| !is_replaced(key)).chain(set).map(owned).collect();
        Self { nodes: Vec::new(), upstream: Upstream::start(), places: Vec::new(), settings, folder }
    }

    /// One node more, which may not be ready yet.
    pub(super) fn launch(&mut self, url: &str) -> &Gateway {
        let home = self.folder.path().join(format!("node-{}", self.nodes.len()));
        fs::create_dir(&home).unwrap();
        let [address, admin] = [(); 2].map(|()| lasting_address().to_string());
        let own = [("store.redis.url", url), ("listen.address", &address), ("admin.address", &admin)];
        let settings = self.settings.iter().cloned().chain(own.iter().map(owned)).collect();
        self.places.push(Place { home, settings });
        let node = self.begin(self.nodes.len());
        self.nodes.push(node);
        self.nodes.last().unwrap()
    }

    /// Ends a node without any farewell.
    pub(super) fn kill(&mut self, node: usize) {
        self.nodes[node].signal("KILL");
        assert!(self.nodes[node].wait(PATIENCE).is_some());
    }

    /// Starts a node that was killed, where it was. Returns once it is ready.
    pub(super) fn restart(&mut self, node: usize) {
        self.nodes[node] = self.begin(node);
        self.nodes[node].await_ready();
    }

    fn begin(&self, node: usize) -> Gateway {
        let Place { home, settings } = &self.places[node];
        let settings: Vec<(&str, &str)> = settings.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        Gateway::launch(home, &self.upstream, &settings)
    }
}

fn owned((key, value): &(&str, &str)) -> (String, String) {
    ((*key).to_owned(), (*value).to_owned())
}
