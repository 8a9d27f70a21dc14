//! The accounts that the readers come across.

use std::sync::LazyLock;

use super::ACCOUNTS_MAX;
use crate::config::AccountName;
use crate::domain::spelling;

/// An account that a login names.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in super::super) struct Named {
    /// In its one spelling.
    pub(in super::super) account: String,
    /// Where it stands, by the names that lead there: the same for all logins of one kind.
    pub(in super::super) places: Vec<String>,
    /// In how many logins of one request: a GraphQL document may hold many.
    pub(in super::super) attempts: usize,
    /// It may as well be something that is the same for all users: a client's id, the text of a button.
    pub(in super::super) is_doubtful: bool,
}

/// Gathers accounts.
pub(super) struct Found<'a> {
    names: &'a [AccountName],
    accounts: Vec<Account>,
    /// Whether a grant is asked for, as by RFC 6749.
    is_oauth: bool,
    /// `false`: what seemed to be a GraphQL document was not understood, or has more variables than are followed.
    is_followed: bool,
    /// What GraphQL's variables are used for.
    variables: Variables,
    /// The login that is being read, and how many there were.
    login: u32,
    logins: u32,
    /// How many texts that are JSON themselves lie around what is being read, and how many names lead to the innermost.
    nesting: u8,
    base: usize,
}

struct Account {
    name: String,
    places: Vec<String>,
    /// Different logins.
    logins: Vec<u32>,
    is_doubtful: bool,
}

/// An argument whose value is a variable.
#[derive(Clone)]
struct Use {
    variable: String,
    /// The names that lead to it from its field.
    argument: Vec<String>,
    login: u32,
}

enum Variables {
    /// They are being gathered.
    Unknown(Vec<Use>),
    Known(Vec<Use>),
}

/// How many uses of variables are followed.
const VARIABLES_MAX: usize = 32;

/// How deeply texts that are JSON may hold texts that are JSON. Each level costs one more reading of what is in it.
const NESTING_MAX: u8 = 3;

/// Objects that tell of something else than the user. What they hold is the same for many users, whom it would lock out together.
const ABOUT_OTHERS: [&str; 12] = [
    "device",
    "client",
    "app",
    "application",
    "platform",
    "browser",
    "os",
    "context",
    "metadata",
    "meta",
    "fingerprint",
    "tenant",
];

/// The member with the values of GraphQL's variables.
const VARIABLES: &str = "variables";

/// The name that accounts and the buttons of forms share.
const BUTTON: &str = "login";

/// What buttons say in one word, and what stands for "this form was sent".
const BUTTON_TEXTS: [&str; 36] = [
    "login",
    "log-in",
    "signin",
    "sign-in",
    "logon",
    "submit",
    "send",
    "go",
    "ok",
    "enter",
    "continue",
    "next",
    "start",
    "1",
    "true",
    "on",
    "yes",
    "y",
    "anmelden",
    "einloggen",
    "weiter",
    "connexion",
    "connecter",
    "entrar",
    "acceder",
    "ingresar",
    "accedi",
    "entra",
    "inloggen",
    "zaloguj",
    "giris",
    "войти",
    "вход",
    "登录",
    "ログイン",
    "로그인",
];

static FOLDED_BUTTON_TEXTS: LazyLock<Vec<String>> =
    LazyLock::new(|| BUTTON_TEXTS.iter().map(|text| spelling::account(text)).collect());

impl<'a> Found<'a> {
    pub(super) const fn new(names: &'a [AccountName]) -> Self {
        Self::with(names, Variables::Unknown(Vec::new()))
    }

    const fn with(names: &'a [AccountName], variables: Variables) -> Self {
        Self {
            names,
            accounts: Vec::new(),
            is_oauth: false,
            is_followed: true,
            variables,
            login: 0,
            logins: 0,
            nesting: 0,
            base: 0,
        }
    }

    /// For another reading of the same; `None` when there were no variables.
    pub(super) fn with_known_variables(&mut self) -> Option<Self> {
        match &mut self.variables {
            Variables::Unknown(uses) if !uses.is_empty() => {
                let variables = Variables::Known(std::mem::take(uses));
                Some(Self { is_followed: self.is_followed, ..Self::with(self.names, variables) })
            }
            Variables::Unknown(_) | Variables::Known(_) => None,
        }
    }

    pub(super) const fn asks_for_a_grant(&self) -> bool {
        self.is_oauth
    }

    pub(super) const fn is_followed(&self) -> bool {
        self.is_followed
    }

    /// How often all accounts together are named, each once for a login.
    pub(super) fn attempts(&self) -> usize {
        self.accounts.iter().map(|account| account.logins.len()).sum()
    }

    pub(super) fn into_accounts(self) -> Vec<Named> {
        let named = |Account { name: account, mut places, logins, is_doubtful }| {
            places.sort_unstable();
            Named { account, places, attempts: logins.len(), is_doubtful }
        };
        self.accounts.into_iter().map(named).collect()
    }

    /// From here on another login of the same request is told of: what it names is tried once more.
    pub(super) fn next_login(&mut self) {
        self.logins = self.logins.saturating_add(1);
        self.login = self.logins;
    }

    /// A value, and the names that lead to it, each in its one spelling.
    pub(super) fn value(&mut self, path: &[String], text: &str) {
        self.is_oauth |= matches!(path, [name] if name == "granttype");
        let variable = path.iter().position(|step| step == VARIABLES).map(|at| &path[at + 1..]);
        if variable.is_some_and(|variable| self.value_of_variable(variable, text)) {
            return;
        }
        self.value_at(self.login, path, self.base, text);
    }

    /// There is something that was not understood.
    pub(super) const fn leave_unfollowed(&mut self) {
        self.is_followed = false;
    }

    /// Reads what stands in a text, to which so many names lead. `None`: texts lie too deep in one another.
    pub(super) fn within<T>(&mut self, names: usize, read: impl FnOnce(&mut Self) -> T) -> Option<T> {
        if self.nesting >= NESTING_MAX {
            return None;
        }
        let base = std::mem::replace(&mut self.base, names);
        self.nesting += 1;
        let result = read(self);
        self.nesting -= 1;
        self.base = base;
        Some(result)
    }

    /// The value of an argument of a GraphQL field, by the names that lead there from the field.
    pub(super) fn argument(&mut self, path: &[String], text: &str) {
        self.value_at(self.login, path, 0, text);
    }

    /// An argument whose value is a variable.
    pub(super) fn argument_of_variable(&mut self, variable: String, argument: &[String]) {
        match &mut self.variables {
            Variables::Unknown(uses) if uses.len() < VARIABLES_MAX => {
                uses.push(Use { variable, argument: argument.to_vec(), login: self.login });
            }
            Variables::Unknown(_) => self.is_followed = false,
            Variables::Known(_) => {}
        }
    }

    /// A value within a variable, by the variable's name and the names below it. Whether it is an account by what it is used for.
    pub(super) fn value_of_variable(&mut self, path: &[String], text: &str) -> bool {
        let (Variables::Known(uses), [name, below @ ..]) = (&self.variables, path) else { return false };
        let places: Vec<(u32, Vec<String>)> = uses
            .iter()
            .filter(|used| used.variable == *name)
            .map(|used| (used.login, [used.argument.as_slice(), below].concat()))
            .filter(|(_, place)| self.is_account(place, 0))
            .collect();
        for (login, place) in &places {
            self.value_at(*login, place, 0, text);
        }
        !places.is_empty()
    }

    fn value_at(&mut self, login: u32, path: &[String], base: usize, text: &str) {
        if !self.is_account(path, base) {
            return;
        }
        let account = spelling::account(text);
        let is_doubtful = steps(path).next().is_some_and(|own| own == BUTTON) && is_of_a_button(&account);
        let place = path.iter().filter(|step| is_name(step)).map(String::as_str).collect::<Vec<_>>().join("/");
        self.note(login, place, account, is_doubtful);
    }

    /// `base`: how many names lead to where pointers begin.
    fn is_account(&self, path: &[String], base: usize) -> bool {
        let mut steps = steps(path);
        let Some(own) = steps.next() else { return false };
        let tells_of_others = steps.any(|step| ABOUT_OTHERS.contains(&step.as_str()));
        let (around, path) = path.split_at(base);
        let lies_in_others = around.iter().any(|step| ABOUT_OTHERS.contains(&step.as_str()));
        self.names.iter().any(|name| match name {
            AccountName::Anywhere(name) => name == own && !tells_of_others,
            AccountName::At(place) => {
                !lies_in_others && path.starts_with(place) && !path[place.len()..].iter().any(|step| is_name(step))
            }
        })
    }

    pub(super) fn account(&mut self, place: &str, text: &str) {
        self.note(self.login, place.to_owned(), spelling::account(text), false);
    }

    pub(super) fn doubtful_account(&mut self, place: &str, text: &str) {
        self.note(self.login, place.to_owned(), spelling::account(text), true);
    }

    fn note(&mut self, login: u32, place: String, account: String, is_doubtful: bool) {
        if account.is_empty() {
            return;
        }
        if let Some(known) = self.accounts.iter_mut().find(|known| known.name == account) {
            known.is_doubtful &= is_doubtful;
            if known.places.len() <= ACCOUNTS_MAX && !known.places.contains(&place) {
                known.places.push(place);
            }
            if known.logins.len() <= ACCOUNTS_MAX && !known.logins.contains(&login) {
                known.logins.push(login);
            }
        } else if self.accounts.len() <= ACCOUNTS_MAX {
            // One more than allowed is enough to know.
            self.accounts.push(Account { name: account, places: vec![place], logins: vec![login], is_doubtful });
        }
    }
}

/// In `{"email": ["a"]}`, `{"email": {"$eq": "a"}}` and `email[0]=a` the name is `email`.
fn is_name(step: &str) -> bool {
    !(step.is_empty() || step.starts_with('$') || step == "value" || step.bytes().all(|byte| byte.is_ascii_digit()))
}

/// The names of a path, the last one first.
pub(super) fn steps(path: &[String]) -> impl Iterator<Item = &String> {
    path.iter().rev().filter(|step| is_name(step))
}

/// Whether a button may say so. Accounts have no space in them, as a rule, and do not consist of arrows.
fn is_of_a_button(account: &str) -> bool {
    let words = account.trim_matches(|c: char| !c.is_alphanumeric());
    words.is_empty()
        || words.contains(char::is_whitespace) && !words.contains('@')
        || FOLDED_BUTTON_TEXTS.iter().any(|text| text == words)
}
