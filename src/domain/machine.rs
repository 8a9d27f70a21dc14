//! Machines: OAuth clients that get access tokens for themselves (RFC 6749, section 4.4).
//!
//! A machine is a subject of its own, told from users by a prefix that no user's name begins with. So whatever ends the tokens of a subject
//! ends those of a machine. Its tokens belong to no session.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::ids::Subject;
use super::scopes;
use super::subjects::SubjectPrefix;

/// Which machines there are. A token of any other is refused, whoever signed it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MachineRule {
    prefix: SubjectPrefix,
    ids: Arc<BTreeSet<String>>,
}

impl MachineRule {
    #[must_use]
    pub fn new(prefix: SubjectPrefix, ids: impl IntoIterator<Item = String>) -> Self {
        Self { prefix, ids: Arc::new(ids.into_iter().collect()) }
    }

    /// Whom the tokens of a machine name; `None`: there is no such machine.
    #[must_use]
    pub fn subject(&self, id: &str) -> Option<Subject> {
        self.ids.contains(id).then(|| subject(&self.prefix, id)).flatten()
    }
}

/// The name of a machine among all subjects; `None`: it is too long for one.
#[must_use]
pub fn subject(prefix: &SubjectPrefix, id: &str) -> Option<Subject> {
    Subject::new(&format!("{}{id}", prefix.as_str())).ok()
}

/// What the tokens of one machine may say.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MachineGrant {
    pub id: String,
    pub subject: Subject,
    pub scopes: Vec<String>,
    /// Never empty.
    pub audiences: Vec<String>,
}

/// What was asked for beyond a grant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Excess {
    Scope,
    Audience,
}

impl MachineGrant {
    /// The part of the grant that is asked for; where nothing is said, the whole. `scope` is words with spaces between them.
    ///
    /// # Errors
    /// Something is asked for that was not granted.
    pub fn narrowed(&self, scope: Option<&str>, audience: Option<&str>) -> Result<Self, Excess> {
        let scopes = match scope {
            Some(asked) => scopes::narrowed(&self.scopes, asked).ok_or(Excess::Scope)?,
            None => self.scopes.clone(),
        };
        let audiences = match audience {
            Some(asked) if self.audiences.iter().any(|one| one == asked) => vec![asked.to_owned()],
            Some(_) => return Err(Excess::Audience),
            None => self.audiences.clone(),
        };
        Ok(Self { scopes, audiences, ..self.clone() })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn grant() -> MachineGrant {
        let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let subject = subject(&SubjectPrefix::new("client:").unwrap(), "reports").unwrap();
        MachineGrant {
            id: "reports".to_owned(),
            subject,
            scopes: list(&["read", "write"]),
            audiences: list(&["orders", "bills"]),
        }
    }

    #[test]
    fn only_machines_that_are_named_are_subjects() {
        let rule = MachineRule::new(SubjectPrefix::new("client:").unwrap(), ["reports".to_owned()]);
        assert_eq!(rule.subject("reports").unwrap().as_str(), "client:reports");
        for other in ["", "Reports", "client:reports", "report"] {
            assert_eq!(rule.subject(other), None, "{other}");
        }
    }

    #[test]
    fn what_is_asked_for_is_given_and_what_exceeds_the_grant_is_named() {
        let given =
            |scope, audience| grant().narrowed(scope, audience).map(|given| (given.scopes.join(" "), given.audiences.join(" ")));
        assert_eq!(given(None, None), Ok(("read write".to_owned(), "orders bills".to_owned())));
        assert_eq!(given(Some("write"), Some("bills")), Ok(("write".to_owned(), "bills".to_owned())));
        assert_eq!(given(Some(" write  read "), None).unwrap().0, "read write");
        for excess in ["admin", "read admin", "READ", "read\twrite", "read,write"] {
            assert_eq!(given(Some(excess), None), Err(Excess::Scope), "{excess}");
        }
        for excess in ["", "Orders", "orders bills", "orders "] {
            assert_eq!(given(None, Some(excess)), Err(Excess::Audience), "{excess}");
        }
    }

    proptest! {
        #[test]
        fn nothing_is_given_beyond_the_grant(scope in "[a-z ]{0,20}|(read|write| |admin){0,5}", audience in "(orders|bills|x){1,2}") {
            if let Ok(given) = grant().narrowed(Some(&scope), Some(&audience)) {
                prop_assert!(given.scopes.iter().all(|scope| grant().scopes.contains(scope)));
                prop_assert_eq!(given.audiences, [audience]);
            }
        }
    }
}
