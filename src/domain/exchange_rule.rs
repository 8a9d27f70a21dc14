//! How often one token of somebody else becomes a session of ours.

/// Whether a token may be exchanged for a pair of ours.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ExchangeRule {
    Never,
    /// For one session. A repeated exchange gets the same pair.
    Once,
    /// For another session each time.
    Many,
}
