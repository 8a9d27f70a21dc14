//! Whose users there are: ours, and those of other issuers, who are told apart by what stands before their names.

use std::sync::Arc;

use super::ids::{NameError, Subject};

/// The longest prefix, in bytes: most of a subject is left for the name.
pub const PREFIX_BYTES_MAX: usize = 64;

/// What stands before the subjects of one issuer, and of nobody else.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SubjectPrefix(Arc<str>);

impl SubjectPrefix {
    /// # Errors
    /// Empty, longer than [`PREFIX_BYTES_MAX`] bytes, or with a control character.
    pub fn new(text: &str) -> Result<Self, NameError> {
        Subject::new(text)?;
        if text.len() > PREFIX_BYTES_MAX { Err(NameError::TooLong) } else { Ok(Self(text.into())) }
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a name with one of the two prefixes could be taken for a name with the other.
    #[must_use]
    pub fn meets(&self, other: &Self) -> bool {
        self.0.starts_with(&*other.0) || other.0.starts_with(&*self.0)
    }
}

/// The prefixes of all issuers, and that of machines. No subject of ours begins with one: it would be another issuer's user, or a
/// machine.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ReservedPrefixes(Arc<[SubjectPrefix]>);

impl ReservedPrefixes {
    /// The prefix that the subject begins with.
    #[must_use]
    pub fn of(&self, subject: &Subject) -> Option<&SubjectPrefix> {
        self.0.iter().find(|prefix| subject.as_str().starts_with(prefix.as_str()))
    }

    /// The subject, if it may be one of ours.
    ///
    /// # Errors
    /// It begins with the prefix of an issuer, or of machines.
    pub fn ours(&self, subject: Subject) -> Result<Subject, SubjectError> {
        match self.of(&subject) {
            Some(prefix) => Err(SubjectError::Reserved(prefix.clone())),
            None => Ok(subject),
        }
    }
}

impl FromIterator<SubjectPrefix> for ReservedPrefixes {
    fn from_iter<I: IntoIterator<Item = SubjectPrefix>>(prefixes: I) -> Self {
        Self(prefixes.into_iter().collect())
    }
}

/// Whom the name in a token means. The only way from the name to a [`Subject`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SubjectRule {
    /// One of our own users, and so nobody whose name is kept for an issuer's.
    Ours(ReservedPrefixes),
    /// Another issuer's user: its name, behind the issuer's prefix.
    Prefixed(SubjectPrefix),
}

/// Why a name is no subject.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SubjectError {
    #[error("{0}")]
    Name(#[from] NameError),
    #[error("begins with {:?}, which is kept for others", .0.as_str())]
    Reserved(SubjectPrefix),
}

impl SubjectRule {
    /// # Errors
    /// The name is none, is too long behind the prefix, or is kept for another issuer's users or for machines.
    pub fn subject(&self, name: &str) -> Result<Subject, SubjectError> {
        let subject = Subject::new(name)?;
        match self {
            Self::Ours(reserved) => reserved.ours(subject),
            Self::Prefixed(prefix) => Ok(Subject::new(&format!("{}{name}", prefix.as_str()))?),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::ids::NAME_BYTES_MAX;

    fn prefix(text: &str) -> SubjectPrefix {
        SubjectPrefix::new(text).unwrap()
    }

    #[test]
    fn a_prefix_is_the_beginning_of_a_name() {
        for bad in ["", "a\n", "\u{7f}", &"p".repeat(PREFIX_BYTES_MAX + 1)] {
            assert!(SubjectPrefix::new(bad).is_err(), "{bad:?}");
        }
        assert!(SubjectPrefix::new(&"p".repeat(PREFIX_BYTES_MAX)).is_ok());
        assert!(prefix("a:").meets(&prefix("a:b:")) && prefix("a:b:").meets(&prefix("a:")) && prefix("a:").meets(&prefix("a:")));
        assert!(!prefix("a:").meets(&prefix("b:")) && !prefix("ab").meets(&prefix("ac")));
    }

    #[test]
    fn a_name_is_judged_before_and_behind_its_prefix() {
        let rule = SubjectRule::Prefixed(prefix("partner:"));
        assert_eq!(rule.subject("7").unwrap().as_str(), "partner:7");
        assert_eq!(rule.subject(""), Err(SubjectError::Name(NameError::Empty)), "the prefix alone names nobody");
        assert_eq!(rule.subject("a\n"), Err(SubjectError::Name(NameError::ControlCharacter)));
        assert!(rule.subject(&"a".repeat(NAME_BYTES_MAX - 8)).is_ok());
        assert_eq!(rule.subject(&"a".repeat(NAME_BYTES_MAX - 7)), Err(SubjectError::Name(NameError::TooLong)));
    }

    #[test]
    fn names_kept_for_an_issuer_are_nobody_of_ours() {
        let ours = SubjectRule::Ours([prefix("partner:"), prefix("idp/")].into_iter().collect());
        for name in ["partner:7", "partner:", "idp/", "idp/partner:7"] {
            assert!(matches!(ours.subject(name), Err(SubjectError::Reserved(_))), "{name}");
        }
        for name in ["7", "partner", "Partner:7", "a partner:7", "idp"] {
            assert_eq!(ours.subject(name).unwrap().as_str(), name);
        }
    }

    proptest! {
        #[test]
        fn no_two_rules_give_the_same_subject(one in "[a-c:]{0,5}", other in "[a-c:]{0,5}", a in "[a-c:]{1,3}", b in "[a-c:]{1,3}") {
            let (a, b) = (prefix(&a), prefix(&b));
            prop_assume!(!a.meets(&b));
            let ours = SubjectRule::Ours([a.clone(), b.clone()].into_iter().collect());
            let rules = [ours, SubjectRule::Prefixed(a), SubjectRule::Prefixed(b)];
            for (i, left) in rules.iter().enumerate() {
                for right in &rules[i + 1..] {
                    if let (Ok(left), Ok(right)) = (left.subject(&one), right.subject(&other)) {
                        prop_assert_ne!(left, right);
                    }
                }
            }
        }
    }
}
