//! A hash that is the same on every node and in every version, for what nodes must agree on without asking each other.

/// FNV-1a, and a mixer after it (that of `MurmurHash3`), because FNV alone spreads short names unevenly. Whoever chooses what is hashed
/// can make two hashes equal: it decides nothing but places.
#[must_use]
pub fn stable_hash(bytes: &[u8]) -> u64 {
    let hash =
        bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    mixed(hash)
}

/// Each bit of the outcome depends on all bits of what is given.
#[must_use]
pub const fn mixed(hash: u64) -> u64 {
    let hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    let hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_those_of_every_version() {
        let hashes: Vec<u64> = ["", "1", "bob@example.com"].iter().map(|text| stable_hash(text.as_bytes()) % 100).collect();
        assert_eq!(hashes[1..], [82, 1], "changing this moves callers to other servers");
    }
}
