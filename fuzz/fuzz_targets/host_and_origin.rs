#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tokengate::fuzzing::host_and_origin(bytes));
