//! The file that holds OAuth clients: `[[clients]]` as in the settings, of which the program writes a few keys and keeps the others.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};

use toml::{Table, Value};

use crate::cli::output::Failure;
use crate::config::DIGEST_PREFIX;
use crate::crypto::client_secret::ClientSecret;
use crate::files;

/// What stands at the beginning of the file.
const HEAD: &str = "# Written by: tokengate clients. Comments are not kept.\n\n";

pub(super) struct ClientsFile {
    path: PathBuf,
    entries: Vec<Entry>,
}

/// One client.
pub(super) struct Entry(Table);

impl ClientsFile {
    pub(super) fn open(path: &Path) -> Result<Self, Failure> {
        let fault = |error: &dyn std::fmt::Display| Failure::Failed(format!("{}: {error}", path.display()));
        // What a link leads to is replaced, and not the link.
        let path = fs::canonicalize(path).map_err(|error| fault(&error))?;
        let text = files::read_text(&path, files::SETTINGS_BYTES_MAX).map_err(|error| fault(&error))?;
        let mut table: Table = text.parse().map_err(|error: toml::de::Error| fault(&format!("not TOML: {}", error.message())))?;
        let entries = match table.remove("clients") {
            None => Some(Vec::new()),
            Some(Value::Array(entries)) => entries.into_iter().map(Entry::read).collect(),
            Some(_) => None,
        };
        let entries = entries.filter(|_| table.is_empty());
        Ok(Self { entries: entries.ok_or_else(|| fault(&"holds something else than [[clients]], each with an id"))?, path })
    }

    pub(super) fn open_or_new(path: &Path) -> Result<Self, Failure> {
        match fs::symlink_metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self { path: path.to_owned(), entries: Vec::new() }),
            Ok(_) | Err(_) => Self::open(path),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter()
    }

    pub(super) fn entry(&mut self, id: &str) -> Option<&mut Entry> {
        self.entries.iter_mut().find(|entry| entry.id() == id)
    }

    pub(super) fn add(&mut self, entry: Entry) {
        self.entries.push(entry);
    }

    /// Whole or not at all. The draft beside it keeps a second call out.
    pub(super) fn write(self) -> Result<(), Failure> {
        let Self { path, entries } = self;
        let fault = |error: io::Error| Failure::Failed(format!("{}: {error}", path.display()));
        let clients = Value::Array(entries.into_iter().map(|Entry(table)| Value::Table(table)).collect());
        let text =
            toml::to_string(&Table::from_iter([("clients".to_owned(), clients)])).map_err(|error| Failure::failed(&error))?;
        let mut draft = path.clone().into_os_string();
        draft.push(".draft");
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft).map_err(|error| {
            let why =
                if error.kind() == io::ErrorKind::AlreadyExists { "another call may be writing it" } else { "cannot be written" };
            Failure::Failed(format!("{}: {why}: {error}", Path::new(&draft).display()))
        })?;
        let written = fill(file, &path, &text).and_then(|()| fs::rename(&draft, &path));
        if let Err(error) = written {
            // It holds nothing that is needed.
            let _ = fs::remove_file(&draft);
            return Err(fault(error));
        }
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(fault)
    }
}

/// With the owner and the mode of the former file: a gateway that could read that can read this.
fn fill(mut file: File, former: &Path, text: &str) -> io::Result<()> {
    match fs::metadata(former) {
        Ok(former) => {
            let own = file.metadata()?;
            if (own.uid(), own.gid()) != (former.uid(), former.gid()) {
                fchown(&file, Some(former.uid()), Some(former.gid()))?;
            }
            file.set_permissions(fs::Permissions::from_mode(former.mode() & 0o777))?;
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    file.write_all(HEAD.as_bytes())?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// A secret as the file holds it.
pub(super) fn written(secret: &ClientSecret) -> String {
    format!("{DIGEST_PREFIX}{}", secret.digest())
}

impl Entry {
    pub(super) fn new(
        id: &str,
        secret: &ClientSecret,
        introspects: bool,
        is_machine: bool,
        scopes: &[String],
        audiences: &[String],
    ) -> Self {
        let mut entry =
            Self(Table::from_iter([("id".to_owned(), Value::from(id)), ("introspects".to_owned(), Value::from(introspects))]));
        entry.set_secrets(vec![written(secret)]);
        if is_machine {
            entry.0.insert("grants".to_owned(), Value::from(vec!["client_credentials"]));
        }
        for (key, list) in [("scopes", scopes), ("audiences", audiences)] {
            if !list.is_empty() {
                entry.0.insert(key.to_owned(), Value::from(list.to_vec()));
            }
        }
        entry
    }

    fn read(value: Value) -> Option<Self> {
        match value {
            Value::Table(table) if table.get("id").is_some_and(Value::is_str) => Some(Self(table)),
            _ => None,
        }
    }

    pub(super) fn id(&self) -> &str {
        self.0.get("id").and_then(Value::as_str).unwrap_or_default()
    }

    /// The newest first.
    pub(super) fn secrets(&self) -> Vec<String> {
        self.texts("secrets")
    }

    pub(super) fn set_secrets(&mut self, secrets: Vec<String>) {
        self.0.insert("secrets".to_owned(), Value::from(secrets));
    }

    pub(super) fn is_disabled(&self) -> bool {
        self.0.get("disabled").and_then(Value::as_bool).unwrap_or_default()
    }

    pub(super) fn disable(&mut self) {
        self.0.insert("disabled".to_owned(), Value::from(true));
    }

    /// What it may do, for people.
    pub(super) fn told(&self) -> String {
        let introspects = self.0.get("introspects").and_then(Value::as_bool).unwrap_or(true).then(|| "introspects".to_owned());
        let scopes = self.texts("scopes");
        let is_machine = !self.texts("grants").is_empty();
        let tokens = is_machine.then(|| format!("gets tokens for [{}]", scopes.join(" ")));
        introspects.into_iter().chain(tokens).collect::<Vec<_>>().join(", ")
    }

    fn texts(&self, key: &str) -> Vec<String> {
        let items = self.0.get(key).and_then(Value::as_array).into_iter().flatten();
        items.filter_map(Value::as_str).map(str::to_owned).collect()
    }
}
