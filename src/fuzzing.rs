//! What is fuzzed: each reader of bytes from outside, with what must hold for it whatever the bytes are.
//!
//! Compiled for unit tests and under `cfg(fuzzing)`, which `cargo fuzz` sets, and never into a gateway. So what is checked stands in a
//! `fuzz` module beside the reader, which sees what is private to its layer, and nothing is public for the fuzzer's sake. The fuzzer
//! (`fuzz/`) and the tests here run the same functions: the former for as long as one likes, on a nightly compiler, the latter over
//! the seeds and some thousand of their mutations in every run of the tests.

macro_rules! targets {
    ($($(#[$doc:meta])* $name:ident = $check:path,)*) => {
        $($(#[$doc])* pub use $check as $name;)*

        /// By name, in the order above.
        pub const NAMES: &[&str] = &[$(stringify!($name)),*];

        #[cfg(test)]
        mod what_must_hold_does_for_seeds_and_their_mutations {
            $(
                #[test]
                fn $name() {
                    super::replay::run(stringify!($name), super::$name);
                }
            )*
        }
    };
}

targets! {
    // From clients.
    proxy_headers = crate::domain::proxy_protocol::fuzz::proxy_headers,
    path = crate::domain::fuzz::path,
    routes = crate::domain::fuzz::routes,
    host_and_origin = crate::domain::fuzz::host_and_origin,
    client_address = crate::domain::fuzz::client_address,
    request_head = crate::proxy::upstream::fuzz::request_head,
    question = crate::domain::question::fuzz::question,
    ext_authz_call = crate::proxy::request::ext_authz::fuzz::ext_authz_call,
    pipelined_heads = crate::proxy::fuzz::pipelined_heads,
    http2_frames = crate::domain::frame_meter::fuzz::http2_frames,
    sifted_frames = crate::proxy::fuzz::sifted_frames,
    presented_tokens = crate::proxy::fuzz::presented_tokens,
    cookies = crate::domain::cookies::fuzz::cookies,
    access_token = crate::crypto::fuzz::access_token,
    legacy_token = crate::crypto::fuzz::legacy_token,
    refresh_token = crate::crypto::fuzz::refresh_token,
    names = crate::domain::fuzz::names,
    json = crate::domain::fuzz::json,
    json_objects = crate::endpoints::fuzz::json_objects,
    credentials_of_calls = crate::endpoints::fuzz::credentials_of_calls,
    client_credentials = crate::endpoints::fuzz::client_credentials,
    accounts_in_bodies = crate::endpoints::fuzz::accounts_in_bodies,
    accounts_in_graphql = crate::endpoints::fuzz::accounts_in_graphql,
    // From upstreams and other issuers.
    upstream_response = crate::proxy::upstream::fuzz::upstream_response,
    chunked_body = crate::proxy::upstream::fuzz::chunked_body,
    websocket_frames = crate::proxy::client::tunnel::fuzz::websocket_frames,
    login_response = crate::endpoints::fuzz::login_response,
    key_set = crate::crypto::fuzz::key_set,
    public_key = crate::crypto::fuzz::public_key,
    // From stores.
    redis_records = crate::store::redis::fuzz::redis_records,
    redis_topology = crate::store::redis::fuzz::redis_topology,
    file_records = crate::store::embedded::fuzz::file_records,
    // From operators.
    settings = crate::config::fuzz::settings,
    redis_url = crate::store::redis::fuzz::redis_url,
    admin_calls = crate::admin::fuzz::admin_calls,
    import_csv = crate::cli::import_fuzz::import_csv,
    import_json = crate::cli::import_fuzz::import_json,
}

#[cfg(test)]
mod replay;
