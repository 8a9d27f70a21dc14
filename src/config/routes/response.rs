//! Redirects and fixed responses.

use bytes::Bytes;
use config::ValueKind;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, StatusCode};

use super::fields;
use crate::config::parse;
use crate::config::reading::{Form, Reading};
use crate::config::section::Section;
use crate::config::setting::open_settings;
use crate::domain::route::{Destination, FixedResponse, Redirect};

open_settings!(Destination);

/// The largest body of a fixed response, in bytes.
const BODY_BYTES_MAX: usize = 64 << 10;

/// `None` after a fault was noted.
pub(super) fn redirect(s: &mut Section<'_>) -> Option<Redirect> {
    s.section("redirect", |s| {
        let to = s.require("to", destination());
        let status = s.read("status", redirect_status());
        Some(Redirect { to: to?, status })
    })
}

/// `None` after a fault was noted.
pub(super) fn fixed(s: &mut Section<'_>) -> Option<FixedResponse> {
    s.section("respond", |s| {
        let status = s.read("status", response_status());
        let body = s.read("body", body());
        let content_type = s.read("content_type", field_value());
        let mut fields = fields::of_fixed_response(s);
        let has_no_body = [StatusCode::NO_CONTENT, StatusCode::RESET_CONTENT].contains(&status);
        if has_no_body && !body.is_empty() {
            s.fault("body", format!("must be empty with status = {}, which has none", status.as_u16()));
        }
        if !body.is_empty() && !content_type.is_empty() {
            fields.insert(CONTENT_TYPE, HeaderValue::from_str(&content_type).ok()?);
        }
        Some(FixedResponse { status, fields, body: Bytes::from(body) })
    })
}

fn destination() -> Reading<Destination> {
    parse::text().then(|text| text.parse().map_err(str::to_owned))
}

fn redirect_status() -> Reading<StatusCode> {
    let is_one = |status: StatusCode| [301, 302, 303, 307, 308].contains(&status.as_u16());
    parse::status(301, 308)
        .then(move |status| if is_one(status) { Ok(status) } else { Err(String::new()) })
        .or_say(|| "allowed: 301, 302, 303, 307, 308".to_owned())
}

fn response_status() -> Reading<StatusCode> {
    let form = Form::Either(vec![Form::Integer { min: 200, max: 299 }, Form::Integer { min: 400, max: 599 }]);
    parse::status(200, 599)
        .then(|status| if status.is_redirection() { Err(String::new()) } else { Ok(status) })
        .or_say(|| "allowed is a status from 200 to 299 or from 400 to 599; redirects have `redirect`".to_owned())
        .written(form)
}

/// Of any characters, those of control included.
fn body() -> Reading<String> {
    Reading::new(Form::Text { pattern: "" }, |value| match &value.kind {
        ValueKind::String(text) if text.len() <= BODY_BYTES_MAX => Ok(text.clone()),
        ValueKind::String(text) => Err(format!("has {} bytes; allowed are {BODY_BYTES_MAX}", text.len())),
        _ => Err("allowed is text in quotes".to_owned()),
    })
}

fn field_value() -> Reading<String> {
    parse::text().then(|text| {
        HeaderValue::from_str(&text).map_err(|_| "allowed is the value of a header field, such as \"text/html\"".to_owned())?;
        Ok(text)
    })
}
