//! The scripts: one for each kind of change, every key declared and of one slot.

use std::sync::LazyLock;

use fred::util::sha1_hash;

/// A Lua script and the digest by which the server knows it once it has seen it.
#[derive(Debug)]
pub(super) struct Script {
    pub(super) text: &'static str,
    pub(super) digest: String,
}

impl Script {
    fn new(text: &'static str) -> Self {
        Self { text, digest: sha1_hash(text) }
    }
}

macro_rules! script {
    ($name:ident, $($file:literal),+) => {
        pub(super) static $name: LazyLock<Script> =
            LazyLock::new(|| Script::new(concat!($(include_str!(concat!("scripts/", $file))),+)));
    };
}

script!(CREATE, "log.lua", "create.lua");
script!(SWAP, "swap.lua");
script!(ACKNOWLEDGE, "acknowledge.lua");
script!(REVOKE_SESSION, "log.lua", "revoke_session.lua");
script!(REVOKE_SUBJECT, "log.lua", "revoke_subject.lua");
script!(REVOKE_TOKEN, "log.lua", "revoke_token.lua");
script!(SWEEP, "guard.lua", "sweep.lua");
script!(ORPHANS, "guard.lua", "orphans.lua");
script!(FORGET, "guard.lua", "forget.lua");
script!(TALLY, "tally.lua");
script!(END, "end.lua");
script!(HEARTBEAT, "heartbeat.lua");
script!(NODES, "nodes.lua");
script!(CANARY, "canary.lua");
script!(RECEIPT, "receipt.lua");
script!(IMPORT, "import.lua");
script!(POINT, "point.lua");
script!(LEASE, "lease.lua");
script!(RELEASE, "release.lua");
script!(RECORD, "record.lua");
script!(COUNT, "count.lua");
script!(KEEP_TICKET, "keep_ticket.lua");
script!(SPEND_TICKET, "spend_ticket.lua");
script!(CHECK, "check.lua");
script!(EPOCH, "epoch.lua");
