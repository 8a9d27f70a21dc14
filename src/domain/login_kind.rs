//! The calls that an upstream judges, and whose responses may become sessions.

/// Which of them it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LoginKind {
    Login,
    Register,
    QuickRegister,
}

impl LoginKind {
    /// As settings and the audit log have it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Login => "login",
            Self::Register => "register",
            Self::QuickRegister => "quick_register",
        }
    }
}
