//! The demo API's users: in memory, with hashed passwords.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;

use crate::crypto::entropy::{Entropy, draw};
use crate::crypto::password::PasswordHash;
use crate::domain::secret::Secret;

/// A demo that nobody stops must not fill the memory.
const USERS_MAX: usize = 10_000;

/// As the API shows one.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct User {
    pub id: String,
    /// `None` for one that came by `/quick-register`.
    pub email: Option<String>,
    pub name: String,
}

/// Why nobody was added.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refused {
    EmailTaken,
    Full,
}

/// Hashing takes long by intent: the methods that hash block for tens of milliseconds.
pub struct Users {
    entropy: Arc<dyn Entropy>,
    /// What the password of an unknown email is held against, so that the response takes as long.
    decoy: PasswordHash,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    by_id: HashMap<String, User>,
    /// By email in lower case: the id and the hash.
    by_email: HashMap<String, (String, PasswordHash)>,
}

impl Users {
    pub fn new(entropy: Arc<dyn Entropy>) -> Self {
        let decoy = PasswordHash::new("decoy", entropy.as_ref());
        Self { entropy, decoy, known: Mutex::default() }
    }

    /// Adds a user under a new id; a given one is for users that must be the same after a restart.
    pub fn register(&self, id: Option<&str>, email: &str, name: &str, password: &Secret<String>) -> Result<User, Refused> {
        let hash = PasswordHash::new(password.expose(), self.entropy.as_ref());
        let id = id.map_or_else(|| self.new_id(), str::to_owned);
        let user = User { id: id.clone(), email: Some(email.to_owned()), name: name.to_owned() };
        self.known(|known| {
            let key = email.to_lowercase();
            if known.by_email.contains_key(&key) {
                return Err(Refused::EmailTaken);
            }
            known.add(user.clone())?;
            known.by_email.insert(key, (id, hash));
            Ok(user)
        })
    }

    /// Adds a user who has a name alone and cannot log in again.
    pub fn register_quickly(&self, name: &str) -> Result<User, Refused> {
        let user = User { id: self.new_id(), email: None, name: name.to_owned() };
        self.known(|known| known.add(user.clone()))?;
        Ok(user)
    }

    /// `None` for a wrong password and for an unknown email alike.
    pub fn log_in(&self, email: &str, password: &Secret<String>) -> Option<User> {
        let entry = self.known(|known| known.by_email.get(&email.to_lowercase()).cloned());
        let (id, hash) = entry.map_or((None, self.decoy.clone()), |(id, hash)| (Some(id), hash));
        let right = hash.verify(password.expose());
        id.filter(|_| right).and_then(|id| self.find(&id))
    }

    pub fn find(&self, id: &str) -> Option<User> {
        self.known(|known| known.by_id.get(id).cloned())
    }

    fn known<T>(&self, work: impl FnOnce(&mut Known) -> T) -> T {
        work(&mut self.known.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn new_id(&self) -> String {
        format!("user-{:016x}", u64::from_be_bytes(draw(self.entropy.as_ref())))
    }
}

impl Known {
    fn add(&mut self, user: User) -> Result<(), Refused> {
        if self.by_id.len() >= USERS_MAX {
            return Err(Refused::Full);
        }
        self.by_id.insert(user.id.clone(), user);
        Ok(())
    }
}

impl std::fmt::Debug for Users {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Users").finish_non_exhaustive()
    }
}
