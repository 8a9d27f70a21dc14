//! What a text is that a client sends in the place of a refresh token. It is decided here for all who get one.

use super::Sessions;
use crate::crypto::imported_token;
use crate::crypto::refresh_token::RefreshToken;
use crate::domain::ids::SessionId;
use crate::domain::imported::{self, ImportedDigest};
use crate::domain::subject_token::SubjectToken;
use crate::store::StoreError;

/// A text in the place of a refresh token, read without the store.
#[derive(Debug)]
pub enum TokenText {
    /// A refresh token of ours, by its MAC.
    Ours(RefreshToken),
    /// A valid legacy token. Some APIs sign both kinds of token with one secret, so it may also be an imported refresh token.
    Legacy { token: Box<SubjectToken>, imported: Option<ImportedDigest> },
    /// It may be an imported refresh token: the store knows.
    PerhapsImported(ImportedDigest),
    /// No token that this gateway takes here.
    Unknown,
}

/// A refresh token that was read, whoever made it.
#[derive(Clone, Copy)]
pub(super) struct Opened {
    pub(super) token: RefreshToken,
    pub(super) is_imported: bool,
}

impl TokenText {
    /// Whether the store has to be called to learn what the text is as a refresh token.
    #[must_use]
    pub const fn needs_look_up(&self) -> bool {
        match self {
            Self::Legacy { imported: Some(_), .. } | Self::PerhapsImported(_) => true,
            Self::Ours(_) | Self::Legacy { imported: None, .. } | Self::Unknown => false,
        }
    }
}

impl Sessions {
    /// Reads a text without the store.
    #[must_use]
    pub fn read(&self, text: &str) -> TokenText {
        if let Some(token) = self.rules.minting.refresh_tokens.open(text) {
            return TokenText::Ours(token);
        }
        let imported = self.imported_digest(text);
        match (self.rules.verifier.load().legacy(text, self.clock.now()), imported) {
            (Some(token), imported) => TokenText::Legacy { token: Box::new(token), imported },
            (None, Some(digest)) => TokenText::PerhapsImported(digest),
            (None, None) => TokenText::Unknown,
        }
    }

    /// By what the store knows the text, while imported tokens are accepted; `None` for what cannot be one.
    fn imported_digest(&self, text: &str) -> Option<ImportedDigest> {
        let takes_imported = self.rules.policy.imported_until.is_some_and(|until| self.clock.now() < until);
        takes_imported.then(|| imported_token::digest_of(text)).flatten()
    }

    /// The refresh token that the text is; looks up what may have been imported.
    pub(super) async fn open(&self, text: &TokenText) -> Result<Option<Opened>, StoreError> {
        let digest = match text {
            TokenText::Ours(token) => return Ok(Some(Opened { token: *token, is_imported: false })),
            TokenText::Legacy { imported: Some(digest), .. } | TokenText::PerhapsImported(digest) => *digest,
            TokenText::Legacy { imported: None, .. } | TokenText::Unknown => return Ok(None),
        };
        let session = self.store.imported(&[digest]).await?.into_iter().next().flatten();
        let opened =
            |session: SessionId| Opened { token: RefreshToken { session, presented: imported::presented() }, is_imported: true };
        Ok(session.map(opened))
    }
}
