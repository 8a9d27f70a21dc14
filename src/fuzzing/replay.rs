//! Runs what is fuzzed without a fuzzer: over the seeds, and over mutations of them that are the same in every run.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};

/// Mutations that are tried of each target: some tens of thousands in a second, but for those that cost milliseconds each.
const MUTATIONS: usize = 10_000;
const MUTATIONS_OF_SLOW: usize = 1000;
const SLOW: [&str; 2] = ["import_csv", "settings"];

/// Changes that one mutation is made of, at most.
const CHANGES_MAX: u64 = 6;

/// Longer inputs are cut.
const INPUT_BYTES_MAX: usize = 4096;

/// Checks every seed, then mutations of the seeds.
pub(super) fn run(name: &str, check: fn(&[u8])) {
    let seeds = seeds(name);
    let tokens = dictionary();
    let checked = |input: &[u8]| {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| check(input))) {
            let message = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
            if let Some(message) = message {
                panic!("{name} does not hold for b\"{}\": {message}", input.escape_ascii());
            }
            resume_unwind(panic);
        }
    };
    for seed in &seeds {
        checked(seed);
    }
    checked(b"");
    let mut random = Random(name.bytes().fold(1, |state: u64, byte| state.wrapping_mul(31).wrapping_add(byte.into())));
    for _ in 0..if SLOW.contains(&name) { MUTATIONS_OF_SLOW } else { MUTATIONS } {
        let mut input = random.one_of(&seeds).clone();
        for _ in 0..=random.below(CHANGES_MAX) {
            change(&mut input, &seeds, &tokens, &mut random);
        }
        input.truncate(INPUT_BYTES_MAX);
        checked(&input);
    }
}

fn change(input: &mut Vec<u8>, seeds: &[Vec<u8>], tokens: &[Vec<u8>], random: &mut Random) {
    let at = random.index(input.len() + 1);
    let end = at + random.index(input.len() - at + 1).min(random.index(64));
    match random.below(8) {
        0 => input.truncate(at),
        1 => drop(input.drain(at..end)),
        2 => drop(input.splice(at..at, random.one_of(tokens).iter().copied())),
        3 => drop(input.splice(at..end, random.one_of(tokens).iter().copied())),
        4 => {
            let other = random.one_of(seeds);
            let from = random.index(other.len() + 1);
            input.splice(at..end, other[from..].iter().copied());
        }
        5 => {
            let again = input[at..end].to_vec();
            input.splice(at..at, again);
        }
        6 => input.insert(at, random.byte()),
        _ => {
            if let Some(byte) = input.get_mut(at) {
                *byte ^= 1 << random.below(8);
            }
        }
    }
}

fn fuzz_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz")
}

fn seeds(name: &str) -> Vec<Vec<u8>> {
    let folder = fuzz_folder().join("seeds").join(name);
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(!paths.is_empty(), "{} is empty", folder.display());
    paths.into_iter().map(|path| fs::read(path).unwrap()).collect()
}

/// The lines `"…"` of the fuzzer's own dictionary, `\xNN`, `\\` and `\"` undone.
fn dictionary() -> Vec<Vec<u8>> {
    let text = fs::read_to_string(fuzz_folder().join("dictionary")).unwrap();
    let quoted = text.lines().filter_map(|line| line.strip_prefix('"')?.strip_suffix('"'));
    let undone = |quoted: &str| {
        let mut bytes = quoted.bytes();
        let mut token = Vec::new();
        while let Some(byte) = bytes.next() {
            token.push(match byte {
                b'\\' => match bytes.next().unwrap() {
                    b'x' => {
                        let digits = [bytes.next().unwrap(), bytes.next().unwrap()];
                        u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap()
                    }
                    escaped => escaped,
                },
                plain => plain,
            });
        }
        token
    };
    quoted.map(undone).collect()
}

/// `SplitMix64`: the same in every run, on every machine.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn index(&mut self, bound: usize) -> usize {
        usize::try_from(self.below(bound as u64)).unwrap()
    }

    fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[0]
    }

    fn one_of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.index(all.len())]
    }
}

#[test]
fn the_fuzzer_has_every_target() {
    let manifest = fs::read_to_string(fuzz_folder().join("Cargo.toml")).unwrap();
    let named: Vec<&str> = manifest.lines().filter_map(|line| line.strip_prefix("name = \"")?.strip_suffix('"')).collect();
    assert_eq!(&named[1..], super::NAMES, "the package, then a [[bin]] for each target in its order");
    for name in super::NAMES {
        let target = fs::read_to_string(fuzz_folder().join(format!("fuzz_targets/{name}.rs"))).unwrap();
        assert!(target.contains(&format!("tokengate::fuzzing::{name}(")), "{name}");
    }
}
