//! How a row becomes a token.

use serde_json::{Map, Value};

use super::{Columns, Field, Name};
use crate::cli::import::extended_json;
use crate::cli::import::values::Cell;
use crate::domain::ids::Subject;
use crate::domain::session::Grant;
use crate::domain::time::{CLOCK_SKEW_MAX, Timestamp};
use crate::sessions::import::ForeignToken;

/// How much of a row's id is shown.
const ID_CHARS_MAX: usize = 64;

impl Columns {
    /// Reads a row: its columns by name. The error says which column is wrong, and shows nothing of the token.
    pub(in crate::cli::import) fn read(&self, row: &[(String, Value)], now: Timestamp) -> Result<ForeignToken, String> {
        // In JSON each row has a header of its own.
        if let Some(name) = self.ambiguous(row) {
            return Err(format!("several columns could be `{name}`; name one with --column"));
        }
        let cell = |name: &Name| Cell(row.iter().find(|(column, _)| name.is(column)).map(|(_, value)| value));
        let field = |field: Field| cell(&self.fields[field as usize]);
        let wrong = |of: Field| move |error: String| format!("{}: {error}", of.name());
        let needed = |of: Field| move || format!("{}: is missing", of.name());
        let moment = |of: Field| field(of).moment().map_err(wrong(of));

        let subject = field(Field::UserId).text().map_err(wrong(Field::UserId))?.ok_or_else(needed(Field::UserId))?;
        let subject =
            Subject::new(whole_text(&subject).map_err(wrong(Field::UserId))?).map_err(|error| format!("user_id: {error}"))?;
        let subject = self.reserved.ours(subject).map_err(|error| format!("user_id: {error}"))?;
        let token = field(Field::Token).text().map_err(wrong(Field::Token))?.ok_or_else(needed(Field::Token))?;
        let expires_at = moment(Field::ExpiresAt)?.ok_or_else(needed(Field::ExpiresAt))?;
        let created_at = moment(Field::CreatedAt)?.ok_or_else(needed(Field::CreatedAt))?;
        if created_at > now.saturating_add(CLOCK_SKEW_MAX) {
            return Err("created_at: lies ahead".to_owned());
        }
        let mut revoked = field(Field::Revoked).truth().map_err(wrong(Field::Revoked))?
            || field(Field::RevokedAt).has_ended().map_err(wrong(Field::RevokedAt))?;
        for (of, name) in &self.ends {
            if revoked {
                break;
            }
            let is_moment = *of == Field::RevokedAt;
            let said = if is_moment { cell(name).has_ended() } else { cell(name).truth() };
            revoked = said.map_err(|error| format!("{} ({}): {error}", of.name(), name.text()))?;
        }
        Ok(ForeignToken {
            digest: self.form.digest(token.trim(), self.token_bytes_min)?,
            subject,
            grant: self.grant(cell)?,
            created_at,
            expires_at,
            last_used_at: moment(Field::LastUsedAt)?,
            revoked,
        })
    }

    /// A column that two members of a row could be.
    fn ambiguous(&self, row: &[(String, Value)]) -> Option<&str> {
        let is_twice = |name: &&Name| row.iter().filter(|(column, _)| name.is(column)).nth(1).is_some();
        self.fields.iter().find(is_twice).map(Name::text)
    }

    /// The row's `id`, to name it by.
    pub(in crate::cli::import) fn id(&self, row: &[(String, Value)]) -> Option<String> {
        let name = &self.fields[Field::Id as usize];
        let (_, value) = row.iter().find(|(column, _)| name.is(column))?;
        let text = Cell(Some(value)).text().ok()??;
        Some(text.chars().filter(|c| !c.is_control()).take(ID_CHARS_MAX).collect())
    }

    fn grant<'a>(&self, cell: impl Fn(&Name) -> Cell<'a>) -> Result<Grant, String> {
        let mut claims = Map::new();
        for (claim, name) in &self.claims {
            let wrong = |error: String| format!("{}: {error}", name.text());
            if let Some(value) = cell(name).value().map_err(wrong)? {
                claims.insert(claim.clone(), extended_json::all_plain(&value).map_err(wrong)?);
            }
        }
        let scopes = match &self.scopes {
            Some(name) => scopes(cell(name)).map_err(|error| format!("{}: {error}", name.text()))?,
            None => Vec::new(),
        };
        Ok(Grant { scopes, claims, logged_in_at: None })
    }
}

/// Of padded columns without the padding. A number that passed through a spreadsheet or a float column is another one.
fn whole_text(text: &str) -> Result<&str, String> {
    let text = text.trim();
    let is_mangled =
        (text.contains('.') || text.contains("e+") || text.contains("E+") || text.contains("e-")) && text.parse::<f64>().is_ok();
    if is_mangled { Err("is a number with a fraction or an exponent: export it as a whole one".to_owned()) } else { Ok(text) }
}

/// A text with spaces or commas, or a list of texts.
fn scopes(cell: Cell<'_>) -> Result<Vec<String>, String> {
    let scopes: Vec<String> = match cell.value()?.as_deref() {
        None => Vec::new(),
        Some(Value::String(text)) => text.split([' ', ',']).filter(|scope| !scope.is_empty()).map(str::to_owned).collect(),
        Some(Value::Array(items)) => {
            let texts: Option<Vec<String>> = items.iter().map(|item| item.as_str().map(str::to_owned)).collect();
            texts.ok_or_else(|| "allowed is a list of texts".to_owned())?
        }
        Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_)) => {
            return Err("allowed is a text with spaces, or a list of texts".to_owned());
        }
    };
    let is_plain = |scope: &String| !scope.is_empty() && !scope.chars().any(|c| c.is_control() || c == ' ');
    if scopes.iter().all(is_plain) { Ok(scopes) } else { Err("a scope is empty, or has spaces or control characters".to_owned()) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::{Mapping, TokenForm};
    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_795_536_000);
    const TOKEN: &str = "q8Zk2vXo5rT1uWy7BcDe";

    fn columns(named: &[(&str, &str)], claims: &[(&str, &str)], form: TokenForm) -> Columns {
        let owned = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
            pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
        };
        let (named, claims) = (owned(named), owned(claims));
        Columns::new(&Mapping { columns: &named, claims: &claims, scopes: Some("scopes"), form, token_bytes_min: 20 }).unwrap()
    }

    fn row(value: Value) -> Vec<(String, Value)> {
        let Value::Object(members) = value else { panic!("no object") };
        members.into_iter().collect()
    }

    #[test]
    fn a_row_is_read_under_the_names_that_orms_give() {
        let snake = row(json!({"id": 7, "user_id": 42, "token": TOKEN, "expires_at": "2026-12-01 00:00:00", "revoked": "f",
            "revoked_at": null, "created_at": "2026-11-24 00:00:00", "last_used_at": "", "scopes": "read write"}));
        let camel =
            row(json!({"id": 7, "userId": "42", "token": TOKEN, "expiresAt": "2026-12-01T00:00:00.000Z", "revoked": false,
            "createdAt": "2026-11-24T00:00:00.000Z", "scopes": ["read", "write"]}));
        let columns = columns(&[], &[], TokenForm::Clear);
        let token = columns.read(&snake, NOW).unwrap();
        assert_eq!(token, columns.read(&camel, NOW).unwrap());
        assert_eq!((token.subject.as_str(), token.revoked), ("42", false));
        assert_eq!(token.grant.scopes, ["read", "write"]);
        assert_eq!(columns.id(&snake).as_deref(), Some("7"));
    }

    #[test]
    fn columns_can_be_named_and_bring_claims() {
        let columns = columns(&[("token", "hash"), ("user_id", "owner")], &[("role", "user_role")], TokenForm::Sha256);
        let row = row(json!({"owner": "ann", "user_id": "wrong", "hash": "ab12".repeat(16), "expires_at": 1_795_600_000,
            "created_at": 1_795_500_000, "revoked_at": 1_795_500_001, "user_role": "admin"}));
        let token = columns.read(&row, NOW).unwrap();
        assert_eq!((token.subject.as_str(), token.revoked), ("ann", true));
        assert_eq!(token.digest.as_bytes()[..4], [0xab, 0x12, 0xab, 0x12]);
        assert_eq!(token.grant.claims["role"], "admin");
    }

    #[test]
    fn a_bad_row_is_told_by_its_column_and_never_by_its_token() {
        let good =
            json!({"user_id": "ann", "token": "s3cret-s3cret-s3cret", "expires_at": 1_795_600_000, "created_at": 1_795_500_000});
        let columns = columns(&[], &[], TokenForm::Clear);
        let error = |name: &str, value: Value| {
            let mut bad = good.clone();
            bad[name] = value;
            columns.read(&row(bad), NOW).unwrap_err()
        };
        assert_eq!(error("user_id", json!(null)), "user_id: is missing");
        assert_eq!(error("user_id", json!("a\nb")), "user_id: contains a control character");
        assert!(error("token", json!(format!("s3cret{}", "x".repeat(4096)))).starts_with("token: is longer"));
        assert!(error("expires_at", json!("soon")).starts_with("expires_at: is no moment"));
        assert_eq!(error("created_at", json!(1_795_600_000)), "created_at: lies ahead");
        assert!(error("revoked", json!("perhaps")).starts_with("revoked: allowed"));
        assert!(!error("token", json!("tgr_s3cret-s3cret-s3cret")).contains("s3cret"));
    }

    #[test]
    fn what_stands_for_nothing_is_nobodys_token_and_nobodys_name() {
        let good = json!({"user_id": "ann", "token": TOKEN, "expires_at": 1_795_600_000, "created_at": 1_795_500_000,
            "revoked": "NULL", "revoked_at": "NULL", "last_used_at": "\\N", "scopes": "None"});
        let clear = columns(&[], &[("plan", "plan")], TokenForm::Clear);
        let read = |name: &str, value: Value| {
            let mut changed = good.clone();
            changed[name] = value;
            clear.read(&row(changed), NOW)
        };
        let taken = read("plan", json!("NULL")).unwrap();
        assert!(!taken.revoked && taken.last_used_at.is_none() && taken.grant == Grant::default());
        for nothing in ["NULL", "\\N", "null", "None", "nil", "-", "", " ", "undefined"] {
            assert_eq!(read("token", json!(nothing)), Err("token: is missing".to_owned()), "{nothing}");
            assert_eq!(read("user_id", json!(nothing)), Err("user_id: is missing".to_owned()), "{nothing}");
            assert_eq!(read("expires_at", json!(nothing)), Err("expires_at: is missing".to_owned()), "{nothing}");
        }
        assert!(read("token", json!(&TOKEN[1..])).unwrap_err().contains("has 19 bytes"));
        for placeholder in ["********************", "00000000-0000-0000-0000-000000000000"] {
            assert!(read("token", json!(placeholder)).unwrap_err().contains("placeholder"), "{placeholder}");
        }
        for hash in
            ["$2b$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy", "$argon2id$v=19$m=65536,t=3,p=4$c2FsdA$aGFzaA"]
        {
            assert!(read("token", json!(hash)).unwrap_err().contains("hash of one"), "{hash}");
        }
        assert!(read("token", json!(format!("{TOKEN} {TOKEN}"))).unwrap_err().contains("spaces"));
        assert_eq!(read("token", json!(format!("{TOKEN}    "))).unwrap().digest, taken.digest, "padded");
        let hashed = columns(&[], &[], TokenForm::Sha256);
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        let mut changed = good.clone();
        changed["token"] = json!(empty);
        assert!(hashed.read(&row(changed), NOW).unwrap_err().contains("digest of an empty one"));
    }

    #[test]
    fn a_user_is_named_exactly_or_not_at_all() {
        let columns = columns(&[], &[], TokenForm::Clear);
        let read = |user: Value, more: &str| {
            let mut changed = json!({"user_id": user, "token": TOKEN, "expires_at": 1_795_600_000, "created_at": 1_795_500_000});
            if !more.is_empty() {
                changed[more] = json!("bob");
            }
            columns.read(&row(changed), NOW).map(|token| token.subject.as_str().to_owned())
        };
        for (user, subject) in [(json!(42), "42"), (json!("42      "), "42"), (json!("a.b@c"), "a.b@c"), (json!("1e5"), "1e5")] {
            assert_eq!(read(user.clone(), "").as_deref(), Ok(subject), "{user}");
        }
        for user in [json!(42.0), json!("42.0"), json!("1.23457E+15"), json!(1e20)] {
            assert!(read(user.clone(), "").unwrap_err().starts_with("user_id: is a number with"), "{user}");
        }
        assert!(read(json!("ann"), "userId").unwrap_err().contains("several columns could be `user_id`"));
    }

    #[test]
    fn a_row_of_mongodb_is_read_without_its_wrapping() {
        let row = row(json!({"_id": {"$oid": "65f1c0ffee65f1c0ffee0001"}, "userId": {"$oid": "65f1c0ffee65f1c0ffee0002"},
            "token": TOKEN, "expiresAt": {"$date": "2026-12-01T00:00:00Z"}, "revokedAt": null,
            "createdAt": {"$date": {"$numberLong": "1795500000000"}}, "revoked": false, "org": {"id": {"$numberLong": "7"}}}));
        let columns = columns(&[], &[("org", "org")], TokenForm::Clear);
        let token = columns.read(&row, NOW).unwrap();
        assert_eq!(token.subject.as_str(), "65f1c0ffee65f1c0ffee0002");
        assert_eq!(token.created_at, Timestamp::from_secs(1_795_500_000));
        assert_eq!(token.grant.claims["org"], json!({"id": 7}));
        assert_eq!(columns.id(&row).as_deref(), Some("65f1c0ffee65f1c0ffee0001"));
    }

    #[test]
    fn every_column_that_is_named_for_it_can_say_that_a_token_is_dead() {
        let named = [("revoked_at", "deletedAt"), ("revoked_at", "Revoked"), ("revoked", "isUsed")];
        let columns = columns(&named, &[], TokenForm::Clear);
        let good = json!({"userId": "ann", "token": TOKEN, "expiresAt": 1_795_600_000, "createdAt": 1_795_500_000});
        let is_revoked = |name: &str, value: Value| {
            let mut changed = good.clone();
            changed[name] = value;
            columns.read(&row(changed), NOW).map(|token| token.revoked)
        };
        for (name, value) in [
            ("deletedAt", json!("2026-11-24T00:00:00Z")),
            ("Revoked", json!("2026-11-24T00:00:00Z")),
            ("isUsed", json!(true)),
            ("revoked_at", json!("2026-11-24T00:00:00Z")),
            ("revoked", json!(1)),
        ] {
            assert_eq!(is_revoked(name, value), Ok(true), "{name}");
            assert_eq!(is_revoked(name, json!(null)), Ok(false), "{name}");
        }
        assert!(is_revoked("deletedAt", json!("maybe")).unwrap_err().starts_with("revoked_at (deletedAt): is no moment"));
    }
}
