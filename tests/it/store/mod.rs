//! What every store must do, shown for each of them.

#[macro_use]
mod conformance;
mod rig;

use rig::MemoryRig;

conformance_suite!(memory, MemoryRig);
