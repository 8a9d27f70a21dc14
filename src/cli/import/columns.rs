//! Which column is which: by the names that the operator gives, and else by those that ORMs give.

mod row;

use super::token_form::TokenForm;
use crate::domain::access_claims::LOGIN_CLAIM;
use crate::domain::claims::RESERVED_CLAIMS;
use crate::domain::subjects::ReservedPrefixes;

/// A column that the import knows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Field {
    Id,
    UserId,
    Token,
    ExpiresAt,
    Revoked,
    RevokedAt,
    CreatedAt,
    LastUsedAt,
}

impl Field {
    pub(super) const ALL: [Self; 8] =
        [Self::Id, Self::UserId, Self::Token, Self::ExpiresAt, Self::Revoked, Self::RevokedAt, Self::CreatedAt, Self::LastUsedAt];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Id => "id",
            Self::UserId => "user_id",
            Self::Token => "token",
            Self::ExpiresAt => "expires_at",
            Self::Revoked => "revoked",
            Self::RevokedAt => "revoked_at",
            Self::CreatedAt => "created_at",
            Self::LastUsedAt => "last_used_at",
        }
    }

    /// Whether it says that a token is dead, as several columns of a table may.
    const fn is_end(self) -> bool {
        match self {
            Self::Revoked | Self::RevokedAt => true,
            Self::Id | Self::UserId | Self::Token | Self::ExpiresAt | Self::CreatedAt | Self::LastUsedAt => false,
        }
    }

    /// Without it no row means anything.
    const fn is_needed(self) -> bool {
        match self {
            Self::UserId | Self::Token | Self::ExpiresAt | Self::CreatedAt => true,
            Self::Id | Self::Revoked | Self::RevokedAt | Self::LastUsedAt => false,
        }
    }
}

/// Where each value of a row stands.
#[derive(Clone, Debug)]
pub(super) struct Columns {
    /// In the order of [`Field::ALL`].
    fields: [Name; Field::ALL.len()],
    /// Columns that are read as `revoked` or `revoked_at` beside those of these names: each can say that a token is dead.
    ends: Vec<(Field, Name)>,
    claims: Vec<(String, Name)>,
    scopes: Option<Name>,
    form: TokenForm,
    token_bytes_min: usize,
    /// What no user's name may begin with.
    reserved: ReservedPrefixes,
}

/// A column's name.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Name {
    /// The operator said so.
    Exact(String),
    /// `userId`, `UserID` and `user_id` are one, but for columns that the operator has named for something else.
    Alike { name: &'static str, except: Vec<String> },
}

impl Name {
    fn is(&self, column: &str) -> bool {
        match self {
            Self::Exact(name) => name == column,
            Self::Alike { name, except } => is_alike(name, column) && !except.iter().any(|name| name == column),
        }
    }

    fn text(&self) -> &str {
        match self {
            Self::Exact(name) => name,
            Self::Alike { name, .. } => name,
        }
    }
}

fn is_alike(name: &str, column: &str) -> bool {
    spelling(name).eq(spelling(column))
}

fn spelling(name: &str) -> impl Iterator<Item = char> {
    name.chars().filter(|c| !matches!(c, '_' | '-' | ' ')).map(|c| c.to_ascii_lowercase())
}

/// What the operator says of the columns.
#[derive(Clone, Debug)]
pub(super) struct Mapping<'a> {
    pub(super) columns: &'a [(String, String)],
    pub(super) claims: &'a [(String, String)],
    pub(super) scopes: Option<&'a str>,
    pub(super) form: TokenForm,
    /// Of tokens in clear: whoever has shorter ones can guess others.
    pub(super) token_bytes_min: usize,
}

/// Nothing that a table says tells when its user logged in.
fn is_ours(claim: &str) -> bool {
    RESERVED_CLAIMS.contains(&claim) || claim == LOGIN_CLAIM
}

impl Columns {
    pub(super) fn new(mapping: &Mapping<'_>) -> Result<Self, String> {
        let known: Vec<&str> = Field::ALL.iter().map(|field| field.name()).collect();
        if let Some((unknown, _)) = mapping.columns.iter().find(|(field, _)| !known.contains(&field.as_str())) {
            return Err(format!("--column {unknown}=…: there is no such column here; allowed: {}", known.join(", ")));
        }
        if let Some((claim, _)) = mapping.claims.iter().find(|(claim, _)| is_ours(claim)) {
            return Err(format!("--claim {claim}=…: the gateway sets this claim itself"));
        }
        let fields = Field::ALL.map(|field| {
            let is_named = |(name, _): &&(String, String)| name == field.name();
            match mapping.columns.iter().rev().find(is_named) {
                Some((_, column)) if !field.is_end() => Name::Exact(column.clone()),
                Some(_) | None => {
                    let taken = mapping.columns.iter().map(|(_, column)| column);
                    let except = taken.filter(|column| is_alike(field.name(), column)).cloned().collect();
                    Name::Alike { name: field.name(), except }
                }
            }
        });
        let ends = Field::ALL.into_iter().filter(|field| field.is_end()).flat_map(|field| {
            let named = mapping.columns.iter().filter(move |(name, _)| name == field.name());
            named.map(move |(_, column)| (field, Name::Exact(column.clone())))
        });
        let ends = ends.collect();
        let claims = mapping.claims.iter().map(|(claim, column)| (claim.clone(), Name::Exact(column.clone()))).collect();
        let scopes = mapping.scopes.map(|column| Name::Exact(column.to_owned()));
        let reserved = ReservedPrefixes::default();
        Ok(Self { fields, ends, claims, scopes, form: mapping.form, token_bytes_min: mapping.token_bytes_min, reserved })
    }

    /// The same, for rows none of which may name another issuer's user.
    pub(super) fn reserving(self, reserved: ReservedPrefixes) -> Self {
        Self { reserved, ..self }
    }

    /// Whether a header has the columns that are needed, and each once.
    pub(super) fn check(&self, header: &[String]) -> Result<(), String> {
        let named = Field::ALL.iter().zip(&self.fields);
        let demanded = named.map(|(field, name)| (field.name(), name, field.is_needed() || matches!(name, Name::Exact(_))));
        let asked = self.claims.iter().map(|(claim, name)| (claim.as_str(), name, true));
        let asked = asked.chain(self.scopes.iter().map(|name| ("scopes", name, true)));
        let asked = asked.chain(self.ends.iter().map(|(field, name)| (field.name(), name, true)));
        for (what, name, is_needed) in demanded.chain(asked) {
            match header.iter().filter(|column| name.is(column)).count() {
                0 if is_needed => {
                    let found = header.join(", ");
                    return Err(format!("there is no column `{}` ({what}); the columns are: {found}", name.text()));
                }
                0 | 1 => {}
                _ => return Err(format!("several columns could be `{}` ({what}); name one with --column", name.text())),
            }
        }
        Ok(())
    }

    /// Whether nobody reads a column here that may say that a token is dead.
    pub(super) fn overlooks(&self, column: &str) -> bool {
        let ends = self.ends.iter().map(|(_, name)| name);
        let mut asked = self.claims.iter().map(|(_, name)| name).chain(&self.scopes).chain(&self.fields).chain(ends);
        SPEAKS_OF_DEATH.iter().any(|name| is_alike(name, column)) && !asked.any(|name| name.is(column))
    }
}

/// Names of columns that often say that a token is dead, and that are read only where the operator names them.
const SPEAKS_OF_DEATH: [&str; 36] = [
    "is_revoked",
    "revoked_by",
    "revoked_on",
    "revocation_date",
    "is_valid",
    "is_active",
    "active",
    "valid",
    "invalid",
    "is_invalid",
    "inactive",
    "enabled",
    "disabled",
    "status",
    "state",
    "deleted",
    "is_deleted",
    "deleted_at",
    "used",
    "is_used",
    "used_at",
    "consumed",
    "consumed_at",
    "invalidated",
    "invalidated_at",
    "ended_at",
    "logged_out_at",
    "logout_at",
    "rotated_at",
    "blocked",
    "is_blocked",
    "blacklisted",
    "is_blacklisted",
    "replaced_by",
    "replaced_by_token",
    "is_expired",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn columns(named: &[(&str, &str)], claims: &[(&str, &str)]) -> Columns {
        let owned = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
            pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
        };
        let (named, claims) = (owned(named), owned(claims));
        let mapping = Mapping { columns: &named, claims: &claims, scopes: None, form: TokenForm::Clear, token_bytes_min: 20 };
        Columns::new(&mapping).unwrap()
    }

    #[test]
    fn a_column_that_may_say_that_a_token_is_dead_is_not_passed_over_in_silence() {
        let header = ["id", "user_id", "token", "isRevoked", "deleted_at", "revoked_at", "status"];
        let plain = columns(&[], &[]);
        assert_eq!(
            header.into_iter().filter(|name| plain.overlooks(name)).collect::<Vec<_>>(),
            ["isRevoked", "deleted_at", "status"]
        );
        let named = columns(&[("revoked", "isRevoked"), ("revoked_at", "deleted_at")], &[("status", "status")]);
        assert!(!header.into_iter().any(|name| named.overlooks(name)));
    }

    #[test]
    fn a_header_without_what_is_needed_is_refused_at_once() {
        let header = |names: &str| names.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let none = columns(&[], &[]);
        assert_eq!(none.check(&header("id userId token expiresAt createdAt")), Ok(()));
        assert!(none.check(&header("id userId token expiresAt")).unwrap_err().contains("created_at"));
        assert!(none.check(&header("userId user_id token expiresAt createdAt")).unwrap_err().contains("several"));
        let named = columns(&[("token", "hash")], &[]);
        assert!(named.check(&header("user_id token expires_at created_at")).unwrap_err().contains("`hash`"));
        let unknown = [("tokne".to_owned(), "x".to_owned())];
        let mapping = Mapping { columns: &unknown, claims: &[], scopes: None, form: TokenForm::Clear, token_bytes_min: 20 };
        assert!(Columns::new(&mapping).unwrap_err().contains("tokne"));
    }
}
