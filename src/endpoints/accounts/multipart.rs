//! `multipart/form-data` (RFC 7578), read where all readers agree: what some would read otherwise is refused.

use super::content_type::{ContentType, unquoted};
use super::found::Found;
use super::{Unreadable, form};

const MALFORMED: Unreadable = Unreadable::Malformed("The parts of the body cannot be told apart.");

pub(super) fn read(body: &[u8], boundary: &str, found: &mut Found<'_>) -> Result<(), Unreadable> {
    let delimiter = format!("--{boundary}");
    let mut places = memchr::memmem::find_iter(body, delimiter.as_bytes());
    let mut place = places.next().ok_or(MALFORMED)?;
    // A preamble is read by nobody; still, nothing but an empty line stands there.
    if !body[..place].trim_ascii().is_empty() {
        return Err(MALFORMED);
    }
    loop {
        let rest = &body[place + delimiter.len()..];
        if rest.starts_with(b"--") {
            // What follows the end is read by nobody.
            return Ok(());
        }
        let next = places.next().ok_or(MALFORMED)?;
        let part = &body[place + delimiter.len()..next];
        let part = part.strip_prefix(b"\r\n").and_then(|part| part.strip_suffix(b"\r\n")).ok_or(MALFORMED)?;
        read_part(part, found)?;
        place = next;
    }
}

fn read_part(part: &[u8], found: &mut Found<'_>) -> Result<(), Unreadable> {
    let end = memchr::memmem::find(part, b"\r\n\r\n").ok_or(MALFORMED)?;
    let (head, value) = (String::from_utf8_lossy(&part[..end]), String::from_utf8_lossy(&part[end + 4..]));
    let mut disposition = None;
    for line in head.split("\r\n") {
        // A folded line, or one that ends otherwise.
        if line.contains(['\r', '\n']) || line.starts_with([' ', '\t']) {
            return Err(MALFORMED);
        }
        let (name, field) = line.split_once(':').ok_or(MALFORMED)?;
        match name.trim().to_ascii_lowercase().as_str() {
            "content-disposition" if disposition.replace(field).is_some() => return Err(MALFORMED),
            "content-transfer-encoding" if !["7bit", "8bit", "binary"].contains(&field.trim().to_ascii_lowercase().as_str()) => {
                return Err(Unreadable::Encoded);
            }
            "content-encoding" => return Err(Unreadable::Encoded),
            "content-type" => {
                let content_type = ContentType::parse(field.as_bytes());
                if !content_type.has_known_charset() {
                    return Err(Unreadable::Encoded);
                }
                if content_type.is("multipart") {
                    return Err(MALFORMED);
                }
            }
            _ => {}
        }
    }
    for name in names(disposition.ok_or(MALFORMED)?)? {
        form::read_field(&name, &value, found);
    }
    Ok(())
}

/// What the part may be called, in whichever way a reader finds the end of the quotes before: some undo escapes, some do not; some take
/// the first of two names, some the last.
fn names(disposition: &str) -> Result<Vec<String>, Unreadable> {
    let lower = disposition.to_ascii_lowercase();
    let (mut names, mut count) = (Vec::new(), 0);
    for (at, word) in lower.match_indices("name") {
        if lower[..at].ends_with(|c: char| c.is_ascii_alphanumeric()) {
            continue;
        }
        let after = disposition[at + word.len()..].trim_start();
        if is_extended(after) {
            return Err(MALFORMED);
        }
        let Some(value) = after.strip_prefix('=').map(str::trim_start) else { continue };
        count += 1;
        if count > NAMES_MAX {
            return Err(MALFORMED);
        }
        names.push(unquoted(value.split(';').next().unwrap_or_default().trim_end()));
        names.push(unquoted(value));
        names.extend(value.strip_prefix('"').and_then(|quoted| quoted.split('"').next()).map(str::to_owned));
    }
    Ok(names)
}

/// How many times one part may say its name. Each may be as long as the part, so that all of many would be far more than the body.
const NAMES_MAX: usize = 4;

/// Extended and continued parameters (`name*=`, `name*0=`; RFC 2231), which no browser sends for a name.
fn is_extended(after_name: &str) -> bool {
    let rest = after_name.strip_prefix('*').map(|rest| rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == '*'));
    rest.is_some_and(|rest| rest.trim_start().starts_with('='))
}
