//! Something for each upstream of one set of settings.

/// Position of an upstream in a list of all. Lists alone make them: [`PerUpstream::position`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct UpstreamIndex(usize);

impl UpstreamIndex {
    /// Of the upstream that comes first.
    pub const FIRST: Self = Self(0);
}

/// Something for each upstream, in the order of the settings: how it is reached, or a worker's connections to it.
#[derive(Clone, Debug, Default)]
pub struct PerUpstream<T>(Vec<T>);

impl<T> PerUpstream<T> {
    /// `list` has one entry for each upstream of the settings, in their order.
    #[must_use]
    pub const fn new(list: Vec<T>) -> Self {
        Self(list)
    }

    /// Where the first is that is meant.
    pub fn position(&self, is_meant: impl FnMut(&T) -> bool) -> Option<UpstreamIndex> {
        self.0.iter().position(is_meant).map(UpstreamIndex)
    }

    /// `None`: the index is of another list, which has more upstreams.
    pub fn get(&self, index: UpstreamIndex) -> Option<&T> {
        self.0.get(index.0)
    }

    pub fn get_mut(&mut self, index: UpstreamIndex) -> Option<&mut T> {
        self.0.get_mut(index.0)
    }

    /// For the same upstreams something else.
    pub fn map<U>(&self, each: impl FnMut(&T) -> U) -> PerUpstream<U> {
        PerUpstream(self.0.iter().map(each).collect())
    }

    /// For the same upstreams something else, where it can be had for all of them.
    ///
    /// # Errors
    /// The first for which it cannot.
    pub fn try_map<U, E>(&self, each: impl FnMut(&T) -> Result<U, E>) -> Result<PerUpstream<U>, E> {
        self.0.iter().map(each).collect::<Result<_, _>>().map(PerUpstream)
    }

    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
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
