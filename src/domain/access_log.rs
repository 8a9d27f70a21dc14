//! Lines of the access log: what they can tell, which requests have one, and how it is written.
//!
//! Much of a line was chosen by others: paths, user agents, names of users. So nothing here can end a line or a field before its end,
//! and no line is longer than what a pipe takes at once.

mod entry;
mod field;
mod keep;
mod layout;
mod redacted;
mod text;

pub use entry::{Entry, Last};
pub use field::Field;
pub use keep::{Keep, Sample, Sampling};
pub use layout::Layout;
pub use redacted::{QueryValues, query, referer};
pub use text::{Format, LINE_BYTES_MAX};
