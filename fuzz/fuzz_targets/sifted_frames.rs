#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tokengate::fuzzing::sifted_frames(bytes));
