//! Why a command was not done: what the server said, or that it said nothing.
//!
//! An error of a server is read here, once; everyone else matches on its [`Code`].

use fred::error::{Error, ErrorKind};

use super::options::Address;
use crate::store::StoreError;

/// Why there is no reply to a command.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Failure {
    /// The server replied with an error.
    Refused(ServerError),
    /// No reply within the deadline: the command may have been done.
    TimedOut,
    /// There is no connection, or it ended before the reply: the command may have been done.
    Disconnected,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        if *error.kind() == ErrorKind::Timeout {
            return Self::TimedOut;
        }
        // What fred says itself begins with no code.
        ServerError::read(error.details()).map_or(Self::Disconnected, Self::Refused)
    }
}

impl Failure {
    pub(super) fn code(&self) -> Option<Code> {
        match self {
            Self::Refused(error) => Some(error.code),
            Self::TimedOut | Self::Disconnected => None,
        }
    }
}

/// An error that a server replied with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct ServerError {
    pub(super) code: Code,
    /// For people, code included.
    pub(super) text: String,
}

/// What kind of error it is: the word that it begins with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Code {
    /// `MOVED`: another node of the Cluster has the slot.
    Moved,
    /// `ASK`: the slot is being moved, and this command belongs to the node that it is moved to.
    Ask,
    /// `TRYAGAIN`: the slot is being moved, and some of the keys are here, some there.
    TryAgain,
    /// `CLUSTERDOWN`: nobody serves the slot, or the Cluster has no majority.
    ClusterDown,
    /// `READONLY`: a replica, which takes no writes.
    ReadOnly,
    /// `MASTERDOWN`: a replica that has lost its primary.
    PrimaryDown,
    /// `NOREPLICAS`: a primary that has too few replicas to take writes.
    NoReplicas,
    /// `LOADING`: it reads its data from disk.
    Loading,
    /// `BUSY`: a script has been running for too long.
    Busy,
    /// `MISCONF`: it cannot persist, and takes no writes.
    CannotPersist,
    /// `OOM`: its memory is full.
    OutOfMemory,
    /// `NOSCRIPT`: it does not know the script of this digest.
    NoScript,
    /// `NOAUTH` or `WRONGPASS`: it does not know who asks.
    NotAuthenticated,
    /// `NOPERM`: this user may not do this.
    NotPermitted,
    /// `WRONGTYPE`: the key holds something else.
    WrongType,
    /// `ERR no such key`: the command wants a key that is there.
    NoSuchKey,
    /// `ERR`, and whatever else there is.
    Other,
}

impl Code {
    fn of(word: &str) -> Self {
        match word {
            "MOVED" => Self::Moved,
            "ASK" => Self::Ask,
            "TRYAGAIN" => Self::TryAgain,
            "CLUSTERDOWN" => Self::ClusterDown,
            "READONLY" => Self::ReadOnly,
            "MASTERDOWN" => Self::PrimaryDown,
            "NOREPLICAS" => Self::NoReplicas,
            "LOADING" => Self::Loading,
            "BUSY" => Self::Busy,
            "MISCONF" => Self::CannotPersist,
            "OOM" => Self::OutOfMemory,
            "NOSCRIPT" => Self::NoScript,
            "NOAUTH" | "WRONGPASS" => Self::NotAuthenticated,
            "NOPERM" => Self::NotPermitted,
            "WRONGTYPE" => Self::WrongType,
            _ => Self::Other,
        }
    }
}

impl ServerError {
    /// `None`: this is no error of a server, which begins with a word of capital letters.
    pub(super) fn read(text: &str) -> Option<Self> {
        let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
        let is_code = word.len() >= 2 && word.bytes().all(|byte| byte.is_ascii_uppercase());
        let code = match (word, rest) {
            ("ERR", "no such key") => Code::NoSuchKey,
            // Before Redis 7, an error within a script comes wrapped: `ERR Error running script (…): @user_script:1: … -OOM …`.
            ("ERR", wrapped) => wrapped.rsplit_once(": -").map_or(Code::Other, |(_, error)| Self::code_within(error)),
            (word, _) => Code::of(word),
        };
        is_code.then(|| Self { code, text: text.to_owned() })
    }

    fn code_within(error: &str) -> Code {
        Code::of(error.split(' ').next().unwrap_or_default())
    }

    /// What the caller of the store is told.
    pub(super) fn to_store_error(&self) -> StoreError {
        let text = self.text.clone();
        match self.code {
            Code::OutOfMemory => StoreError::Full(text),
            Code::WrongType => StoreError::Unreadable(text),
            Code::Moved
            | Code::Ask
            | Code::TryAgain
            | Code::ClusterDown
            | Code::ReadOnly
            | Code::PrimaryDown
            | Code::NoReplicas
            | Code::Loading
            | Code::Busy
            | Code::CannotPersist
            | Code::NoScript
            | Code::NotAuthenticated
            | Code::NotPermitted
            | Code::NoSuchKey
            | Code::Other => StoreError::Unavailable(text),
        }
    }
}

/// Where a node of a Cluster sends a command that it does not run itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Redirection {
    /// The slot belongs to this node now.
    Moved(Address),
    /// The slot is being moved there: this one command belongs there, after `ASKING`.
    Ask(Address),
    /// The slot is being moved, and some of the keys are here, some there.
    Wait,
}

impl Redirection {
    /// `from` is who replied: a node that knows no name for another leaves the host out, and means its own.
    pub(super) fn of(error: &ServerError, from: &Address) -> Option<Self> {
        // `MOVED <slot> <host>:<port>`, and so for `ASK`.
        let target = || {
            let address = error.text.split(' ').nth(2)?;
            match address.strip_prefix(':').and_then(|port| port.parse().ok()) {
                Some(port) => Some(Address { host: from.host.clone(), port }),
                None => Address::parse(address),
            }
        };
        match error.code {
            Code::Moved => target().map(Self::Moved),
            Code::Ask => target().map(Self::Ask),
            Code::TryAgain => Some(Self::Wait),
            Code::ClusterDown
            | Code::ReadOnly
            | Code::PrimaryDown
            | Code::NoReplicas
            | Code::Loading
            | Code::Busy
            | Code::CannotPersist
            | Code::OutOfMemory
            | Code::NoScript
            | Code::NotAuthenticated
            | Code::NotPermitted
            | Code::WrongType
            | Code::NoSuchKey
            | Code::Other => None,
        }
    }
}

/// Why there is no connection, for people. fred keeps what `Debug` made of the cause; the cause is taken out of that.
pub(super) fn in_words(error: &Error) -> String {
    let details = error.details();
    let within = |before: &str, after: &str| details.split_once(before)?.1.strip_suffix(after);
    if details.starts_with("Os {") {
        within("message: \"", "\" }").map(str::to_owned)
    } else if details.starts_with("Custom { kind: InvalidData,") {
        // As tokio-rustls has it.
        within("error: ", " }").map(|cause| format!("TLS: {cause}"))
    } else if details.starts_with("Custom {") {
        within("error: ", " }").map(|cause| cause.trim_matches('"').to_owned())
    } else {
        None
    }
    .unwrap_or_else(|| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> ServerError {
        ServerError::read(text).unwrap_or_else(|| panic!("no error of a server: {text}"))
    }

    #[test]
    fn an_error_is_known_by_the_word_that_it_begins_with() {
        for (text, code) in [
            ("MOVED 3999 127.0.0.1:6381", Code::Moved),
            ("ASK 3999 127.0.0.1:6381", Code::Ask),
            ("TRYAGAIN Multiple keys request during rehashing of slot", Code::TryAgain),
            ("CLUSTERDOWN Hash slot not served", Code::ClusterDown),
            ("READONLY You can't write against a read only replica.", Code::ReadOnly),
            ("MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.", Code::PrimaryDown),
            ("NOREPLICAS Not enough good replicas to write.", Code::NoReplicas),
            ("LOADING Redis is loading the dataset in memory", Code::Loading),
            ("BUSY Redis is busy running a script.", Code::Busy),
            (
                "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk.",
                Code::CannotPersist,
            ),
            ("OOM command not allowed when used memory > 'maxmemory'. script: 17, on @user_script:1.", Code::OutOfMemory),
            ("NOSCRIPT No matching script. Please use EVAL.", Code::NoScript),
            ("NOAUTH Authentication required.", Code::NotAuthenticated),
            ("WRONGPASS invalid username-password pair or user is disabled.", Code::NotAuthenticated),
            ("NOPERM this user has no permissions to run the 'xinfo|stream' command", Code::NotPermitted),
            ("WRONGTYPE Operation against a key holding the wrong kind of value", Code::WrongType),
            ("ERR no such key", Code::NoSuchKey),
            ("ERR unknown command 'no such key'", Code::Other),
            ("EXECABORT Transaction discarded because of previous errors.", Code::Other),
        ] {
            assert_eq!(read(text), ServerError { code, text: text.to_owned() });
        }
    }

    #[test]
    fn an_error_within_a_script_is_known_however_it_is_wrapped() {
        let wrapped = "ERR Error running script (call to f_17): @user_script:17: @user_script: 17: -OOM command not allowed when used \
                       memory > 'maxmemory'.";
        assert_eq!(read(wrapped).code, Code::OutOfMemory);
        assert!(matches!(read(wrapped).to_store_error(), StoreError::Full(text) if text == wrapped));
        assert_eq!(read("ERR Error running script (call to f_17): @user_script:1: user_script:1: Script: -1").code, Code::Other);
    }

    #[test]
    fn what_fred_says_itself_is_no_error_of_a_server() {
        let failure = |kind, details: &'static str| Failure::from(Error::new(kind, details));
        assert_eq!(failure(ErrorKind::Timeout, "Request timed out."), Failure::TimedOut);
        for details in ["Failed to route command.", "Connection closed.", "", "E", "Err x"] {
            assert_eq!(failure(ErrorKind::IO, details), Failure::Disconnected, "{details}");
        }
        assert_eq!(failure(ErrorKind::Unknown, "LOADING x").code(), Some(Code::Loading));
    }

    #[test]
    fn only_a_full_server_is_full() {
        assert!(matches!(read("OOM command not allowed").to_store_error(), StoreError::Full(_)));
        for unavailable in ["LOADING x", "READONLY x", "MOVED 1 a:1", "ASK 1 a:1", "BUSY x", "MISCONF x", "MASTERDOWN x", "ERR x"]
        {
            let told = read(unavailable).to_store_error();
            assert!(matches!(told, StoreError::Unavailable(text) if text == unavailable), "{unavailable}");
        }
        assert!(matches!(read("WRONGTYPE x").to_store_error(), StoreError::Unreadable(_)));
    }

    #[test]
    fn what_went_wrong_is_told_without_wrapping() {
        for (details, told) in [
            ("Os { code: 111, kind: ConnectionRefused, message: \"Connection refused\" }", "Connection refused"),
            ("Custom { kind: InvalidData, error: AlertReceived(UnknownCA) }", "TLS: AlertReceived(UnknownCA)"),
            ("Custom { kind: Uncategorized, error: \"failed to lookup address\" }", "failed to lookup address"),
            ("Kind(UnexpectedEof)", "IO Error: Kind(UnexpectedEof)"),
            ("Os { strange }", "IO Error: Os { strange }"),
        ] {
            assert_eq!(in_words(&Error::new(ErrorKind::IO, details)), told);
        }
    }

    #[test]
    fn a_redirection_names_its_target() {
        let from = Address { host: "a".into(), port: 1 };
        let of = |text: &str| Redirection::of(&read(text), &from);
        assert_eq!(of("MOVED 3999 127.0.0.1:6381"), Address::parse("127.0.0.1:6381").map(Redirection::Moved));
        assert_eq!(of("MOVED 3999 :6381"), Address::parse("a:6381").map(Redirection::Moved));
        assert_eq!(of("ASK 3999 ::1:6381"), Address::parse("[::1]:6381").map(Redirection::Ask));
        assert_eq!(of("TRYAGAIN Multiple keys request during rehashing of slot"), Some(Redirection::Wait));
        for other in ["MOVED", "MOVED 1", "MOVED 1 a:b", "CLUSTERDOWN Hash slot not served", "ERR MOVED 1 a:1"] {
            assert_eq!(of(other), None, "{other}");
        }
    }
}
