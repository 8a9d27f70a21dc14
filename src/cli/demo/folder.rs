//! Where the demo keeps sessions and keys.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use crate::crypto::entropy::{Entropy, draw};

/// Readable for its owner alone: it holds signing keys. A temporary one is removed when this is dropped.
#[derive(Debug)]
pub(super) struct DataFolder {
    path: PathBuf,
    temporary: bool,
}

impl DataFolder {
    /// The folder at `path`, made if need be, or a new temporary one.
    pub(super) fn open(path: Option<&Path>, entropy: &dyn Entropy) -> io::Result<Self> {
        if let Some(path) = path {
            DirBuilder::new().recursive(true).mode(0o700).create(path)?;
            return Ok(Self { path: path.to_owned(), temporary: false });
        }
        let name = format!("tokengate-demo-{:016x}", u64::from_be_bytes(draw(entropy)));
        let path = std::env::temp_dir().join(name);
        // Not recursive: fails if someone else has made it already.
        DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self { path, temporary: true })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) const fn is_temporary(&self) -> bool {
        self.temporary
    }
}

impl Drop for DataFolder {
    fn drop(&mut self) {
        if self.temporary
            && let Err(error) = std::fs::remove_dir_all(&self.path)
        {
            tracing::warn!(%error, folder = %self.path.display(), "the temporary folder stays");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::crypto::entropy::SystemEntropy;

    #[test]
    fn a_temporary_folder_is_private_and_goes_with_its_owner() {
        let folder = DataFolder::open(None, &SystemEntropy::new()).unwrap();
        let path = folder.path().to_owned();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
        std::fs::write(path.join("x"), "y").unwrap();
        drop(folder);
        assert!(!path.exists());
    }

    #[test]
    fn a_folder_that_was_asked_for_stays() {
        let outer = DataFolder::open(None, &SystemEntropy::new()).unwrap();
        let path = outer.path().join("kept");
        drop(DataFolder::open(Some(&path), &SystemEntropy::new()).unwrap());
        assert!(path.is_dir());
    }
}
