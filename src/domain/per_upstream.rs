//! Something for each upstream of one set of settings.

use super::route::UpstreamIndex;

/// Something for each upstream, in the order of the settings: how it is reached, or a worker's connections to it.
///
/// An [`UpstreamIndex`] of the same settings is the position of one. So routes and lists of one set of settings are kept together.
#[derive(Clone, Debug, Default)]
pub struct PerUpstream<T>(Vec<T>);

impl<T> PerUpstream<T> {
    /// `list` has one entry for each upstream of the settings, in their order.
    pub const fn new(list: Vec<T>) -> Self {
        Self(list)
    }

    /// What `index` leads to.
    ///
    /// # Panics
    /// When the index is of other settings, which have more upstreams.
    pub fn at(&self, index: UpstreamIndex) -> &T {
        &self.0[index.0]
    }

    /// For the same upstreams something else.
    pub fn map<U>(&self, each: impl FnMut(&T) -> U) -> PerUpstream<U> {
        PerUpstream(self.0.iter().map(each).collect())
    }

    pub fn iter(&self) -> std::slice::Iter<'_, T> {
        self.0.iter()
    }
}

impl<'a, T> IntoIterator for &'a PerUpstream<T> {
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}
