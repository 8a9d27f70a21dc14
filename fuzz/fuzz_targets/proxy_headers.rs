#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tokengate::fuzzing::proxy_headers(bytes));
