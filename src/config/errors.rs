//! `[errors]`: what refusals say beside their code.

use super::parse;
use super::section::Section;
use super::setting::open_settings;
use crate::domain::problem_code::ProblemTypes;

open_settings!(ProblemTypes);

#[derive(Clone, Debug)]
pub struct Errors {
    pub types: ProblemTypes,
}

impl Errors {
    pub(super) fn read(s: &mut Section<'_>) -> Self {
        const BASE: &str =
            "an absolute URI without credentials, to whose end codes are put, such as \"https://docs.example/errors#\"";
        Self { types: s.read("type_base", parse::or_off(parse::parsed(BASE))).unwrap_or_default() }
    }
}
