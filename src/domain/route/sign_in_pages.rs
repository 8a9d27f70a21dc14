//! The pages where users log in, as far as requests for them are watched.

use super::{Asked, Route};
use crate::domain::host::HostPattern;
use crate::domain::sign_in::SignIn;

/// Of all routes, each page once.
#[derive(Clone, Default, Debug)]
pub(super) struct SignInPages(Vec<Page>);

#[derive(Clone, PartialEq, Eq, Debug)]
struct Page {
    /// `None`: every host.
    host: Option<HostPattern>,
    sign_in: SignIn,
}

impl SignInPages {
    pub(super) fn of<'a>(routes: impl Iterator<Item = &'a Route>) -> Self {
        let mut pages = Vec::new();
        for route in routes {
            let page = route.sign_in.clone().map(|sign_in| Page { host: route.host.clone(), sign_in });
            pages.extend(page.filter(|page| !pages.contains(page)));
        }
        Self(pages)
    }

    /// The query of a request for one of them without what leads elsewhere from there; `None`: nothing does.
    pub(super) fn mended(&self, asked: &Asked<'_>) -> Option<String> {
        if asked.target.query().is_empty() {
            return None;
        }
        let is_asked = |page: &&Page| page.is_at(asked) && page.sign_in.may_be_at(asked.target);
        // Several routes may send browsers to one page, by several parameters.
        self.0.iter().filter(is_asked).find_map(|page| page.sign_in.mended(asked.target.query()))
    }
}

impl Page {
    fn is_at(&self, asked: &Asked<'_>) -> bool {
        let hosts = || [asked.host, asked.told_host].into_iter().flatten();
        self.host.as_ref().is_none_or(|pattern| hosts().any(|host| pattern.matches(host)))
    }
}
