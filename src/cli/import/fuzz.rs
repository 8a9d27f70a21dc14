//! What must hold for files of tokens to import.

use std::io::BufReader;

use serde_json::Value;

use super::columns::{Columns, Mapping};
use super::csv::CsvRecords;
use super::json::JsonRecords;
use super::record::{FIELDS_MAX, RECORD_BYTES_MAX};
use super::token_form::TokenForm;
use crate::crypto::imported_token::read_digest;
use crate::domain::fuzz::Input;
use crate::domain::time::Timestamp;

/// What no text of the gateway's holds: put into a token, it tells where that is shown.
const MARK: &str = "\u{1f511}";

const NOW: Timestamp = Timestamp::from_secs(1_795_536_000);

/// How much is read at a time, then CSV: the rows do not depend on it, and a row that is set aside can be read again.
pub fn import_csv(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let buffer = 1 + usize::from(input.byte());
    let mut file = input.rest();
    // The parser takes a byte order mark away when it comes in one piece, the reading of the header any.
    while let Some(rest) = file.strip_prefix(b"\xef\xbb\xbf") {
        file = rest;
    }
    let whole = csv_rows(file, file.len().max(1));
    assert_eq!(csv_rows(file, buffer), whole, "it depends on the pieces");
    let lines = 1 + memchr::memchr_iter(b'\n', file).count() as u64;
    let mut last = 0;
    for (line, raw, fields) in &whole {
        assert!((last..=lines).contains(line) && *line > 0 && raw.len() <= RECORD_BYTES_MAX, "line {line}");
        last = *line;
        let Ok(fields) = fields else { continue };
        assert!(!fields.is_empty() && fields.len() <= FIELDS_MAX);
        // As it goes into the file of rows that were set aside: behind a header.
        let aside = [b"header\n", raw.as_slice()].concat();
        let again = csv_rows(&aside, aside.len());
        assert_eq!(again.len(), 2, "{}", raw.escape_ascii());
        assert_eq!(again[1].2.as_ref().ok(), Some(fields), "{}", raw.escape_ascii());
    }
}

type Row = (u64, Vec<u8>, Result<Vec<String>, String>);

fn csv_rows(file: &[u8], buffer: usize) -> Vec<Row> {
    let mut records = CsvRecords::new(BufReader::with_capacity(buffer, file), b',');
    std::iter::from_fn(|| records.next().expect("memory can be read")).map(|row| (row.line, row.raw, row.content)).collect()
}

/// How much is read at a time, then JSON, in lines or in a list: the rows do not depend on it, one that is set aside can be read again,
/// and a row is a token or an error that does not show the token.
pub fn import_json(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let buffer = 1 + usize::from(input.byte());
    let form = if input.byte() & 1 == 1 { TokenForm::Sha256 } else { TokenForm::Clear };
    let file = input.rest();
    let rows_of = |file: &[u8], buffer| {
        let mut records = JsonRecords::open(BufReader::with_capacity(buffer, file)).expect("memory can be read");
        let records = std::iter::from_fn(|| records.next().expect("memory can be read"));
        records.map(|record| (record.line, record.raw, record.content)).collect::<Vec<_>>()
    };
    let whole = rows_of(file, file.len().max(1));
    assert_eq!(rows_of(file, buffer), whole, "it depends on the pieces");
    let claims = [("role".to_owned(), "role".to_owned())];
    let mapping = Mapping { columns: &[], claims: &claims, scopes: Some("scopes"), form, token_bytes_min: 4 };
    let columns = Columns::new(&mapping).expect("a mapping");
    for (_, raw, members) in whole {
        assert!(raw.len() <= RECORD_BYTES_MAX + 1);
        let Ok(mut members) = members else { continue };
        let again = rows_of(&raw, raw.len());
        assert!(matches!(again.as_slice(), [(1, _, Ok(again))] if *again == members), "{}", raw.escape_ascii());
        if let Some(Value::String(token)) = members.get_mut("token")
            && (form == TokenForm::Clear || read_digest(token).is_none())
        {
            token.push_str(MARK);
        }
        let row: Vec<(String, Value)> = members.into_iter().collect();
        match columns.read(&row, NOW) {
            Ok(token) => assert!(!token.subject.as_str().is_empty()),
            Err(error) => assert!(!error.contains(MARK), "{error}"),
        }
        if let Some(id) = columns.id(&row) {
            assert!(!id.chars().any(char::is_control));
        }
    }
}
