//! Whose users there are: ours, and those of other issuers, who are told apart by what stands before their names.

use std::sync::Arc;

use super::ids::{NameError, SessionId, Subject, TokenMaker};

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
pub struct ReservedPrefixes(Arc<[Reserved]>);

#[derive(Clone, PartialEq, Eq, Debug)]
struct Reserved {
    prefix: SubjectPrefix,
    /// Whether tokens of its issuer become sessions of ours.
    is_exchanged: bool,
}

impl ReservedPrefixes {
    /// The prefix that the subject begins with.
    #[must_use]
    pub fn of(&self, subject: &Subject) -> Option<&SubjectPrefix> {
        self.found(subject).map(|reserved| &reserved.prefix)
    }

    /// The same, where a session may not have the subject. One that was made of an issuer's token may, while such tokens are exchanged.
    #[must_use]
    pub fn of_session(&self, subject: &Subject, session: SessionId) -> Option<&SubjectPrefix> {
        let may_have = |reserved: &&Reserved| reserved.is_exchanged && session.token_maker() == Some(TokenMaker::Issuer);
        self.found(subject).filter(|reserved| !may_have(reserved)).map(|reserved| &reserved.prefix)
    }

    /// And those of issuers whose tokens become sessions of ours.
    #[must_use]
    pub fn with_exchanged(self, prefixes: impl IntoIterator<Item = SubjectPrefix>) -> Self {
        let exchanged = prefixes.into_iter().map(|prefix| Reserved { prefix, is_exchanged: true });
        Self(self.0.iter().cloned().chain(exchanged).collect())
    }

    fn found(&self, subject: &Subject) -> Option<&Reserved> {
        self.0.iter().find(|reserved| subject.as_str().starts_with(reserved.prefix.as_str()))
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
        Self(prefixes.into_iter().map(|prefix| Reserved { prefix, is_exchanged: false }).collect())
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

    /// The same for a token of a session of ours, which may be one of an issuer's user.
    ///
    /// # Errors
    /// As [`SubjectRule::subject`].
    pub fn subject_of_session(&self, name: &str, session: SessionId) -> Result<Subject, SubjectError> {
        match self {
            Self::Ours(reserved) => {
                let subject = Subject::new(name)?;
                match reserved.of_session(&subject, session) {
                    Some(prefix) => Err(SubjectError::Reserved(prefix.clone())),
                    None => Ok(subject),
                }
            }
            Self::Prefixed(_) => self.subject(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::ids::{NAME_BYTES_MAX, Partition};

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
    fn a_session_has_the_name_of_an_issuers_user_where_it_was_made_of_the_issuers_token() {
        let reserved = [prefix("partner:")].into_iter().collect::<ReservedPrefixes>().with_exchanged([prefix("idp:")]);
        let rule = SubjectRule::Ours(reserved.clone());
        let id = |maker| SessionId::of_subject_token(maker, Partition(0), None, &[7; 32]);
        let (theirs, legacy) = (id(TokenMaker::Issuer), id(TokenMaker::Api));
        let login = SessionId::from_bytes([7; 16]);
        assert_eq!(rule.subject_of_session("idp:7", theirs).unwrap().as_str(), "idp:7");
        for (name, session) in [("idp:7", legacy), ("idp:7", login), ("partner:7", theirs), ("partner:7", login)] {
            assert!(matches!(rule.subject_of_session(name, session), Err(SubjectError::Reserved(_))), "{name} {session}");
            assert!(reserved.of_session(&Subject::new(name).unwrap(), session).is_some());
        }
        for session in [theirs, legacy, login] {
            assert!(rule.subject_of_session("7", session).is_ok());
        }
        assert!(rule.subject("idp:7").is_err(), "a login has it never");
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
