//! The file that holds OAuth clients: `[[clients]]` as in the settings, of which the program writes a few keys and keeps the others.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};

use toml::{Table, Value};

use crate::cli::output::Failure;
use crate::config::{DIGEST_PREFIX, introspects_by_default};
use crate::crypto::client_secret::ClientSecret;
use crate::files;

/// What stands at the beginning of the file.
const HEAD: &str = "# Written by: tokengate clients. Comments are not kept.\n\n";

/// Where an entry has a secret that this program did not make.
const PLAIN_SECRET: [&str; 2] = ["secret", "secret_file"];

/// The file as it is, for whoever changes nothing.
pub(super) struct ClientsFile {
    path: PathBuf,
    entries: Vec<Entry>,
}

/// The file while it is changed. Nobody else changes it meanwhile: what was read is what is replaced.
pub(super) struct ClientsEdit {
    file: ClientsFile,
    draft: Draft,
}

/// One client.
pub(super) struct Entry(Table);

impl ClientsFile {
    pub(super) fn open(path: &Path) -> Result<Self, Failure> {
        Self::read(resolved(path)?)
    }

    fn read(path: PathBuf) -> Result<Self, Failure> {
        let fault = |error: &dyn std::fmt::Display| Failure::Failed(format!("{}: {error}", path.display()));
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

    pub(super) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter()
    }
}

/// What a link leads to is replaced, and not the link.
fn resolved(path: &Path) -> Result<PathBuf, Failure> {
    fs::canonicalize(path).map_err(|error| Failure::Failed(format!("{}: {error}", path.display())))
}

impl ClientsEdit {
    pub(super) fn open(path: &Path) -> Result<Self, Failure> {
        let path = resolved(path)?;
        // Before the file is read.
        let draft = Draft::beside(&path)?;
        Ok(Self { file: ClientsFile::read(path)?, draft })
    }

    pub(super) fn open_or_new(path: &Path) -> Result<Self, Failure> {
        let is_missing = || fs::symlink_metadata(path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
        if !is_missing() {
            return Self::open(path);
        }
        let draft = Draft::beside(path)?;
        // Another call may have made it before the draft was there.
        let file = if is_missing() {
            ClientsFile { path: path.to_owned(), entries: Vec::new() }
        } else {
            ClientsFile::read(resolved(path)?)?
        };
        Ok(Self { file, draft })
    }

    pub(super) fn path(&self) -> &Path {
        &self.file.path
    }

    pub(super) fn file(&self) -> &ClientsFile {
        &self.file
    }

    pub(super) fn entry(&mut self, id: &str) -> Option<&mut Entry> {
        self.file.entries.iter_mut().find(|entry| entry.id() == id)
    }

    pub(super) fn add(&mut self, entry: Entry) {
        self.file.entries.push(entry);
    }

    /// Whole or not at all.
    pub(super) fn write(self) -> Result<(), Failure> {
        self.write_if(|_| Ok(()))
    }

    /// [`ClientsEdit::write`], unless what is to be written is refused. `judge` gets the path of the draft.
    pub(super) fn write_if(self, judge: impl FnOnce(&Path) -> Result<(), Failure>) -> Result<(), Failure> {
        let Self { file: ClientsFile { path, entries }, mut draft } = self;
        let fault = |error: io::Error| Failure::Failed(format!("{}: {error}", path.display()));
        let clients = Value::Array(entries.into_iter().map(|Entry(table)| Value::Table(table)).collect());
        let text =
            toml::to_string(&Table::from_iter([("clients".to_owned(), clients)])).map_err(|error| Failure::failed(&error))?;
        draft.fill(&path, &text).map_err(fault)?;
        judge(&draft.path)?;
        draft.take_the_place_of(&path).map_err(fault)
    }
}

/// The next file, beside the present one. While it is there, it keeps other calls out.
struct Draft {
    path: PathBuf,
    file: File,
    is_in_place: bool,
}

impl Draft {
    fn beside(path: &Path) -> Result<Self, Failure> {
        let mut draft = path.to_owned().into_os_string();
        draft.push(".draft");
        let draft = PathBuf::from(draft);
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft).map_err(|error| {
            let why = if error.kind() == io::ErrorKind::AlreadyExists {
                "another call may be writing it; if none is, remove it"
            } else {
                "cannot be written"
            };
            Failure::Failed(format!("{}: {why}: {error}", draft.display()))
        })?;
        Ok(Self { path: draft, file, is_in_place: false })
    }

    /// With the owner and the mode of the former file: a gateway that could read that can read this.
    fn fill(&mut self, former: &Path, text: &str) -> io::Result<()> {
        match fs::metadata(former) {
            Ok(former) => {
                let own = self.file.metadata()?;
                if (own.uid(), own.gid()) != (former.uid(), former.gid()) {
                    fchown(&self.file, Some(former.uid()), Some(former.gid()))?;
                }
                self.file.set_permissions(fs::Permissions::from_mode(former.mode() & 0o777))?;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        self.file.write_all(HEAD.as_bytes())?;
        self.file.write_all(text.as_bytes())?;
        self.file.sync_all()
    }

    fn take_the_place_of(mut self, former: &Path) -> io::Result<()> {
        fs::rename(&self.path, former)?;
        self.is_in_place = true;
        let folder = former.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(folder).and_then(|folder| folder.sync_all())
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.is_in_place {
            // It holds nothing that is needed.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// A secret as the file holds it.
fn written(secret: &ClientSecret) -> String {
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
        entry.add_secret(secret);
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

    /// How many secrets are good, wherever they stand.
    pub(super) fn secret_count(&self) -> usize {
        self.texts("secrets").len() + usize::from(self.has_plain_secret())
    }

    pub(super) fn add_secret(&mut self, secret: &ClientSecret) {
        let secrets: Vec<String> = [written(secret)].into_iter().chain(self.texts("secrets")).collect();
        self.0.insert("secrets".to_owned(), Value::from(secrets));
    }

    /// Ends all secrets but the newest. One that somebody wrote into the entry as it is, or into a file of its own, is older than those
    /// that this program made.
    pub(super) fn keep_secrets(&mut self, count: usize) {
        let mut secrets = self.texts("secrets");
        secrets.truncate(count);
        if secrets.len() == count {
            for key in PLAIN_SECRET {
                self.0.remove(key);
            }
        }
        if secrets.is_empty() {
            self.0.remove("secrets");
        } else {
            self.0.insert("secrets".to_owned(), Value::from(secrets));
        }
    }

    fn has_plain_secret(&self) -> bool {
        PLAIN_SECRET.iter().any(|key| self.0.get(*key).and_then(Value::as_str).is_some_and(|text| !text.is_empty()))
    }

    pub(super) fn is_disabled(&self) -> bool {
        self.0.get("disabled").and_then(Value::as_bool).unwrap_or_default()
    }

    pub(super) fn disable(&mut self) {
        self.0.insert("disabled".to_owned(), Value::from(true));
    }

    /// What it may do, for people.
    pub(super) fn told(&self) -> String {
        let is_machine = !self.texts("grants").is_empty();
        let introspects = self.0.get("introspects").and_then(Value::as_bool);
        let introspects = introspects.unwrap_or_else(|| introspects_by_default(is_machine)).then(|| "introspects".to_owned());
        let scopes = self.texts("scopes");
        let tokens = is_machine.then(|| format!("gets tokens for [{}]", scopes.join(" ")));
        introspects.into_iter().chain(tokens).collect::<Vec<_>>().join(", ")
    }

    pub(super) fn audiences(&self) -> Vec<String> {
        self.texts("audiences")
    }

    fn texts(&self, key: &str) -> Vec<String> {
        let items = self.0.get(key).and_then(Value::as_array).into_iter().flatten();
        items.filter_map(Value::as_str).map(str::to_owned).collect()
    }
}
