//! How messages to the gateway begin, on a WebSocket that carries those of an application.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// Before a token in a message of a client, and before what the gateway answers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RenewalPrefix(Arc<str>);

/// Fewer characters may begin messages of an application by chance.
const CHARS_MIN: usize = 4;
const CHARS_MAX: usize = 32;

impl RenewalPrefix {
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl FromStr for RenewalPrefix {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if (CHARS_MIN..=CHARS_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic()) {
            Ok(Self(text.into()))
        } else {
            Err(format!(
                "allowed are {CHARS_MIN} to {CHARS_MAX} characters of visible ASCII, without spaces, such as \"tokengate:\""
            ))
        }
    }
}

impl fmt::Display for RenewalPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_visible_and_not_short() {
        for text in ["tokengate:", "$$$$", "/auth/renew#"] {
            assert_eq!(text.parse::<RenewalPrefix>().unwrap().as_bytes(), text.as_bytes());
        }
        for text in ["", "abc", "token gate:", "jeton-été:", "tokengate:\n", &"x".repeat(33)] {
            assert!(text.parse::<RenewalPrefix>().is_err(), "{text}");
        }
    }
}
