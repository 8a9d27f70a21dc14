//! The audit: a line for each thing that befalls a session, under the target `audit`.
//!
//! Lines are written by `audit` alone. It takes values and no debug output: what a value looks like in a line is said here, once for
//! its type, and text that users chose is text, which the log quotes.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use tracing::Value;
use tracing::field::{DisplayValue, display};

use crate::domain::ids::{Generation, SessionId, Subject, TokenId};

/// Writes a line: `audit!(info, "logout", subject = subject, ended = 1)`. A value that is not there leaves its field out.
macro_rules! audit {
    ($level:ident, $event:literal $(, $field:ident = $value:expr)* $(,)?) => {
        tracing::$level!(
            target: "audit",
            event = $event
            $(, $field = $crate::sessions::audit::AuditValue::recorded(&$value))*
        )
    };
}
pub(crate) use audit;

/// What may stand in a line.
pub trait AuditValue {
    type Recorded<'a>: Value
    where
        Self: 'a;

    fn recorded(&self) -> Self::Recorded<'_>;
}

impl<T: AuditValue + ?Sized> AuditValue for &T {
    type Recorded<'a>
        = T::Recorded<'a>
    where
        Self: 'a;

    fn recorded(&self) -> Self::Recorded<'_> {
        (**self).recorded()
    }
}

impl<T: AuditValue> AuditValue for Option<T> {
    type Recorded<'a>
        = Option<T::Recorded<'a>>
    where
        Self: 'a;

    fn recorded(&self) -> Self::Recorded<'_> {
        self.as_ref().map(AuditValue::recorded)
    }
}

/// Text: quoted and escaped by the log, whatever it holds.
macro_rules! as_text {
    ($($type:ty: $text:expr,)*) => {$(
        impl AuditValue for $type {
            type Recorded<'a> = &'a str;

            fn recorded(&self) -> &str {
                let text: fn(&Self) -> &str = $text;
                text(self)
            }
        }
    )*};
}

as_text! {
    str: |text| text,
    String: |text| text,
    Arc<str>: |text| text,
    Subject: |subject| subject.as_str(),
    TokenId: |token| token.as_str(),
}

/// What is made of a fixed alphabet of ours.
macro_rules! as_displayed {
    ($($type:ty,)*) => {$(
        impl AuditValue for $type {
            type Recorded<'a> = DisplayValue<&'a Self>;

            fn recorded(&self) -> Self::Recorded<'_> {
                display(self)
            }
        }
    )*};
}

as_displayed! { SessionId, IpAddr, SocketAddr, }

macro_rules! as_itself {
    ($($type:ty,)*) => {$(
        impl AuditValue for $type {
            type Recorded<'a> = Self;

            fn recorded(&self) -> Self {
                *self
            }
        }
    )*};
}

as_itself! { bool, u64, }

impl AuditValue for Generation {
    type Recorded<'a> = u32;

    fn recorded(&self) -> u32 {
        self.0
    }
}
