//! Environment variables that look like settings and are none.

use std::collections::BTreeSet;

use super::layers::VARIABLE_PREFIX;
use super::likeness::likeness;

/// What begins the name of everything that is meant for us.
const PREFIX: &str = "TOKENGATE_";

/// Read by the command line.
const KNOWN: [&str; 1] = ["TOKENGATE_CONFIG"];

/// Flags, under whose names variables are guessed.
const FLAGS: [(&str, &str); 3] =
    [("listen", "listen.address"), ("workers", "listen.workers"), ("upstream", "upstreams.default.url")];

/// How alike a variable must be to a key to be taken for it.
const LIKENESS_MIN: f64 = 0.85;

/// A warning for each variable that is not read. Values may be secrets, and are not repeated.
pub(super) fn warnings(environment: &[(String, String)], keys: &BTreeSet<String>) -> Vec<String> {
    let mut unread: Vec<&(String, String)> = environment.iter().filter(|(name, value)| is_unread(name, value)).collect();
    unread.sort();
    unread.into_iter().map(|(name, _)| warning(name, keys)).collect()
}

fn is_unread(name: &str, value: &str) -> bool {
    let upper = name.to_ascii_uppercase();
    let Some(rest) = upper.strip_prefix(PREFIX) else { return false };
    !upper.starts_with(VARIABLE_PREFIX) && !KNOWN.contains(&name) && !is_service_link(rest, value)
}

/// What Kubernetes sets for services whose names begin with ours, and Docker for links: `SERVICE_HOST`, `PORT`,
/// `PORT_8080_TCP_ADDR`, `ADMIN_SERVICE_PORT_HTTP`.
fn is_service_link(rest: &str, value: &str) -> bool {
    let of_service = |name: &str| rest == name || rest.ends_with(&format!("_{name}"));
    if of_service("SERVICE_HOST")
        || of_service("SERVICE_PORT")
        || rest.starts_with("SERVICE_PORT_")
        || rest.contains("_SERVICE_PORT_")
    {
        return true;
    }
    let is_address = ["tcp://", "udp://", "sctp://"].iter().any(|scheme| value.starts_with(scheme));
    if rest == "PORT" || (rest.ends_with("_PORT") && is_address) {
        return true;
    }
    let mut parts: Vec<&str> = rest.split('_').collect();
    if matches!(parts.last(), Some(&"ADDR" | &"PORT" | &"PROTO")) {
        parts.pop();
    }
    let ends_with_port = matches!(parts.as_slice(), [.., "PORT", number, "TCP" | "UDP" | "SCTP"]
        if !number.is_empty() && number.bytes().all(|digit| digit.is_ascii_digit()));
    ends_with_port
}

fn warning(name: &str, keys: &BTreeSet<String>) -> String {
    let guess = name.to_ascii_lowercase().get(PREFIX.len()..).unwrap_or_default().trim_matches('_').to_owned();
    let by_flag = FLAGS.iter().find(|(flag, _)| *flag == guess).map(|(_, key)| (*key).to_owned());
    let near = || {
        let alike = |key: &str| likeness(&key.replace('.', "_"), &guess);
        let best = keys.iter().filter(|key| !key.contains(['[', 'N'])).max_by(|a, b| alike(a).total_cmp(&alike(b)))?;
        (alike(best) >= LIKENESS_MIN).then(|| best.clone())
    };
    match by_flag.or_else(near) {
        Some(key) => {
            let variable = format!("{VARIABLE_PREFIX}{}", key.replace('.', "__").to_ascii_uppercase());
            format!("the environment variable {name} is not read; did you mean {variable}?")
        }
        None => format!(
            "the environment variable {name} is not read; settings begin with {VARIABLE_PREFIX}, as in {VARIABLE_PREFIX}LISTEN__ADDRESS"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(variables: &[(&str, &str)]) -> Vec<String> {
        let keys = ["listen.address", "log.level", "store.redis.url", "upstreams.NAME.url", "routes[].prefix"];
        let keys = keys.into_iter().map(str::to_owned).collect();
        let environment: Vec<_> = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        warnings(&environment, &keys)
    }

    #[test]
    fn a_variable_that_looks_like_a_setting_and_is_none_is_named_with_the_one_that_was_meant() {
        for (name, meant) in [
            ("TOKENGATE_LISTEN", "TOKENGATE__LISTEN__ADDRESS"),
            ("TOKENGATE_LISTEN_ADDRESS", "TOKENGATE__LISTEN__ADDRESS"),
            ("TOKENGATE_UPSTREAM", "TOKENGATE__UPSTREAMS__DEFAULT__URL"),
            ("tokengate_log_level", "TOKENGATE__LOG__LEVEL"),
            ("TOKENGATE_REDIS_URL", "settings begin with TOKENGATE__"),
            ("TOKENGATE_", "settings begin with TOKENGATE__"),
            ("TOKENGATE_LISTEN_PORT", "is not read"),
        ] {
            let said = named(&[(name, "hunter2")]);
            assert!(said.len() == 1 && said[0].contains(&format!("{name} ")) && said[0].contains(meant), "{name}: {said:?}");
            assert!(!said[0].contains("hunter2"));
        }
    }

    #[test]
    fn what_kubernetes_sets_by_itself_and_what_is_read_is_not_named() {
        let links = [
            ("TOKENGATE_PORT", "tcp://10.0.0.1:8080"),
            ("TOKENGATE_SERVICE_HOST", "10.0.0.1"),
            ("TOKENGATE_SERVICE_PORT", "8080"),
            ("TOKENGATE_SERVICE_PORT_HTTP", "8080"),
            ("TOKENGATE_PORT_8080_TCP", "tcp://10.0.0.1:8080"),
            ("TOKENGATE_PORT_8080_TCP_ADDR", "10.0.0.1"),
            ("TOKENGATE_PORT_8080_TCP_PORT", "8080"),
            ("TOKENGATE_PORT_8080_TCP_PROTO", "tcp"),
            ("TOKENGATE_PORT_53_UDP_PROTO", "udp"),
            ("TOKENGATE_ADMIN_SERVICE_HOST", "10.0.0.2"),
            ("TOKENGATE_ADMIN_SERVICE_PORT_METRICS", "9180"),
            ("TOKENGATE_ADMIN_PORT", "tcp://10.0.0.2:9180"),
            ("TOKENGATE_ADMIN_PORT_9180_TCP_ADDR", "10.0.0.2"),
            ("TOKENGATE_CONFIG", "tokengate.toml"),
            ("TOKENGATE__LISTEN__ADDRESS", "127.0.0.1:1"),
            ("TOKENGATEWAY", "another program's"),
            ("HOME", "/root"),
        ];
        assert_eq!(named(&links), Vec::<String>::new());
    }
}
