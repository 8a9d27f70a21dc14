//! Which requests have a line.

use std::fmt;
use std::time::Duration;

use http::StatusCode;

use crate::domain::meters::Outcome;
use crate::domain::stable_hash::stable_hash;

/// Which requests have a line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Keep {
    All,
    Sampled(Sampling),
}

/// A share of all requests, and every one that an operator looks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sampling {
    pub sample: Sample,
    /// What took longer has a line; `None`: slowness alone is no reason.
    pub slow: Option<Duration>,
}

/// How many of a million requests.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Sample(u32);

const MILLION: u32 = 1_000_000;

/// Digits behind the point of a percentage of a million.
const DECIMALS: usize = 4;

impl Sample {
    /// From a percentage with up to four decimals: `1%`, `0.25%`. `None` for anything else, and beyond 100.
    #[must_use]
    pub fn of_percentage(text: &str) -> Option<Self> {
        let number = text.strip_suffix('%')?;
        let (whole, decimals) = number.split_once('.').unwrap_or((number, "0"));
        let is_number = |digits: &str| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        if !is_number(whole) || !is_number(decimals) || decimals.len() > DECIMALS {
            return None;
        }
        let per_whole = MILLION / 100;
        let decimals: u32 = format!("{decimals:0<DECIMALS$}").parse().ok()?;
        let sample = whole.parse::<u32>().ok()?.checked_mul(per_whole)?.checked_add(decimals)?;
        (sample <= MILLION).then_some(Self(sample))
    }

    /// By the request's id: the same request is chosen by every gateway on its way, and after every restart.
    #[must_use]
    pub fn includes(self, request_id: &[u8]) -> bool {
        stable_hash(request_id) % u64::from(MILLION) < u64::from(self.0)
    }
}

impl fmt::Debug for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in {MILLION}", self.0)
    }
}

impl Keep {
    /// Whether a request that took so many nanoseconds has a line. `status`: of the response; `None`: there was none.
    #[must_use]
    pub fn keeps(self, request_id: &[u8], status: Option<StatusCode>, outcome: Outcome, nanos: u64) -> bool {
        match self {
            Self::All => true,
            Self::Sampled(Sampling { sample, slow }) => {
                let is_slow = slow.is_some_and(|slow| u128::from(nanos) > slow.as_nanos());
                is_slow || is_error(status, outcome) || sample.includes(request_id)
            }
        }
    }
}

fn is_error(status: Option<StatusCode>, outcome: Outcome) -> bool {
    let is_as_meant = matches!(outcome, Outcome::Forwarded | Outcome::Switched | Outcome::Answered);
    !is_as_meant || status.is_none_or(|status| status.as_u16() >= 400)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_a_percentage_with_few_decimals() {
        for (text, sample) in [("1%", 10_000), ("0%", 0), ("100%", MILLION), ("0.25%", 2_500), ("0.0001%", 1), ("12.5%", 125_000)]
        {
            assert_eq!(Sample::of_percentage(text), Some(Sample(sample)), "{text}");
        }
        for text in ["", "%", "1", ".5%", "1.%", "1.00001%", "100.1%", "101%", "-1%", "1 %", "1e1%", "99999999999%", "+1%"] {
            assert_eq!(Sample::of_percentage(text), None, "{text}");
        }
    }

    #[test]
    fn a_sample_includes_about_so_many_and_a_larger_one_all_of_a_smaller() {
        let ids: Vec<String> = (0..100_000).map(|id| format!("request-{id}")).collect();
        let within = |sample: Sample| ids.iter().filter(|id| sample.includes(id.as_bytes())).count();
        assert!(within(Sample(10_000)).abs_diff(1_000) < 150, "{}", within(Sample(10_000)));
        assert_eq!((within(Sample(0)), within(Sample(MILLION))), (0, ids.len()));
        assert!(ids.iter().all(|id| !Sample(10_000).includes(id.as_bytes()) || Sample(20_000).includes(id.as_bytes())));
    }

    #[test]
    fn errors_and_what_is_slow_have_a_line_whatever_the_sample_is() {
        let keep = Keep::Sampled(Sampling { sample: Sample(0), slow: Some(Duration::from_secs(1)) });
        let second = 1_000_000_000;
        let (ok, not_found, failed) = (StatusCode::OK, StatusCode::NOT_FOUND, StatusCode::BAD_GATEWAY);
        assert!(!keep.keeps(b"1", Some(ok), Outcome::Forwarded, second), "exactly as long as is allowed");
        assert!(keep.keeps(b"1", Some(ok), Outcome::Forwarded, second + 1));
        assert!(
            keep.keeps(b"1", Some(not_found), Outcome::Forwarded, 0) && keep.keeps(b"1", Some(failed), Outcome::Forwarded, 0)
        );
        assert!(keep.keeps(b"1", Some(ok), Outcome::ClientGone, 0) && keep.keeps(b"1", None, Outcome::ClientGone, 0));
        assert!(keep.keeps(b"1", Some(StatusCode::SEE_OTHER), Outcome::Denied, 0), "a browser that is sent to log in");
        let never_slow = Keep::Sampled(Sampling { sample: Sample(0), slow: None });
        assert!(
            !never_slow.keeps(b"1", Some(ok), Outcome::Answered, u64::MAX)
                && Keep::All.keeps(b"1", Some(ok), Outcome::Answered, 0)
        );
    }
}
