//! What must hold for records in the file.

use super::codec;
use crate::domain::fuzz::Input;
use crate::domain::json;
use crate::domain::revocation::Revocation;
use crate::domain::session::Session;
use crate::domain::stats::{Day, Snapshot};

/// A kind of record, then one: damage is told and never a panic, and what is read is written so that it is read again.
pub fn file_records(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let kind = input.byte();
    let record = input.rest();
    match kind % 5 {
        0 => {
            let Ok(stored) = codec::decode_session(record) else { return };
            let written = codec::encode_session(&stored).expect("a record is written");
            assert_eq!(codec::decode_session(&written).ok(), Some(stored));
        }
        1 => {
            let Ok(revocation) = codec::decode::<Revocation>(record) else { return };
            let written = codec::encode(&revocation).expect("a revocation is written");
            assert_eq!(codec::decode(&written).ok(), Some(revocation));
        }
        2 => {
            let Ok(row) = codec::decode_row(Day(1), record) else { return };
            let written = codec::encode_row(&row).expect("a row is written");
            assert_eq!(codec::decode_row(Day(1), &written).ok(), Some(row));
        }
        3 => {
            let Ok(counts) = codec::decode::<Snapshot>(record) else { return };
            let written = codec::encode(&counts).expect("counts are written");
            assert_eq!(codec::decode(&written).ok(), Some(counts));
        }
        _ => claims(record),
    }
}

/// Whatever a token may bring along as claims is kept as it is.
fn claims(record: &[u8]) {
    const WITHOUT_CLAIMS: &[u8] = br#"{"id":"AAEAAAAAAAEJCQkJCQkJCQ","subject":"a","grant":{},"rotation":{"current":1,"parent":0,"acknowledged":false,"rotated_at":null},"lifetime":{"idle_ends_at":1,"absolute_ends_at":1},"client":{},"last_used_at":1}"#;
    let Ok(claims) = json::object(record, 16) else { return };
    let mut session: Session = codec::decode(WITHOUT_CLAIMS).expect("a session");
    session.grant.claims = claims;
    let written = codec::encode(&session).expect("a session is written");
    assert_eq!(codec::decode(&written).ok(), Some(session));
}
