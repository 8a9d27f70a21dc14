//! How a value is read, and in what form it is written there: said in one place, so that the reader and `schema` do not differ.

use std::time::Duration;

use config::Value;

/// A reading of a value, or what is wrong with it and what is allowed.
pub(super) type Parsed<T> = Result<T, String>;

/// What a value looks like in a settings file. Whatever a reader takes has its form; a reader may refuse more than a form can say.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Form {
    /// `true` or `false`, in quotes too.
    Flag,
    /// A whole number within bounds, both included; in quotes too.
    Integer {
        min: u64,
        max: u64,
    },
    /// A whole number, below zero too.
    WholeNumber,
    /// A text in which a regular expression of ECMA-262 is found.
    Text {
        pattern: &'static str,
    },
    /// One of these texts.
    Words(Vec<String>),
    /// A span of time with its unit, within bounds, both included.
    Duration {
        min: Duration,
        max: Duration,
    },
    /// A number of bytes with its unit, within bounds, both included.
    Size {
        min: u64,
        max: u64,
    },
    /// In a text too, with commas between the items.
    List(Box<Form>),
    /// A table with keys of the operator's choice.
    Table(Box<Form>),
    Either(Vec<Form>),
}

/// A text of one line.
pub(super) const LINE: &str = r"^[^\x00-\x1f\x7f-\x9f]*$";

/// One that is not blank.
pub(super) const FILLED_LINE: &str = r"^[^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f][^\x00-\x1f\x7f-\x9f]*$";

impl Form {
    pub(super) fn words(words: &[&str]) -> Self {
        Self::Words(words.iter().map(|word| (*word).to_owned()).collect())
    }

    /// Also an empty text.
    pub(super) fn or_empty(self) -> Self {
        Self::Either(vec![Self::words(&[""]), self])
    }
}

/// A reader, and the form of what it reads.
pub(super) struct Reading<T> {
    pub(super) form: Form,
    pub(super) read: Reader<T>,
}

pub(super) type Reader<T> = Box<dyn Fn(&Value) -> Parsed<T>>;

impl<T: 'static> Reading<T> {
    pub(super) fn new(form: Form, read: impl Fn(&Value) -> Parsed<T> + 'static) -> Self {
        Self { form, read: Box::new(read) }
    }

    /// # Errors
    /// What is wrong with the value and what is allowed.
    pub(super) fn of(&self, value: &Value) -> Parsed<T> {
        (self.read)(value)
    }

    /// Reads further what was read.
    pub(super) fn then<U: 'static>(self, next: impl Fn(T) -> Parsed<U> + 'static) -> Reading<U> {
        let Self { form, read } = self;
        Reading::new(form, move |value| read(value).and_then(&next))
    }

    /// Refuses with this text, whatever is wrong.
    pub(super) fn or_say(self, allowed: impl Fn() -> String + 'static) -> Self {
        let Self { form, read } = self;
        Self::new(form, move |value| read(value).map_err(|_| allowed()))
    }

    /// Says more of the texts that are read: all of them have this pattern.
    pub(super) fn like(self, pattern: &'static str) -> Self {
        Self { form: Form::Text { pattern }, ..self }
    }

    /// Says more of what is read: all of it has this form.
    pub(super) fn written(self, form: Form) -> Self {
        Self { form, ..self }
    }
}
