//! What every store must do, shown for each of them.

#[macro_use]
mod conformance;
mod compare;
mod rig;

use rig::{EmbeddedRig, MemoryRig};

conformance_suite!(memory, MemoryRig);
conformance_suite!(embedded, EmbeddedRig);

#[test]
fn memory_and_the_embedded_store_agree_command_by_command() {
    compare::stores_agree::<MemoryRig, EmbeddedRig>(64);
}
