//! What the demo prints: where everything runs, and lines to paste into a shell.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;

use super::api::ADA;

/// Where the parts of a running demo are.
#[derive(Clone, Copy, Debug)]
pub struct Places<'a> {
    pub gateway: SocketAddr,
    pub api: SocketAddr,
    pub admin: Option<SocketAddr>,
    pub data: &'a Path,
    /// Whether `data` outlives the demo.
    pub keeps_data: bool,
}

/// The whole text. Every indented line can be pasted into `sh`, in this order; they need curl and sed alone.
pub fn banner(places: &Places<'_>) -> String {
    let mut text = String::new();
    let fate = if places.keeps_data { "kept" } else { "removed at the end" };
    // Writing to a string cannot fail.
    let _ = writeln!(text, "Tokengate demo\n");
    let _ =
        writeln!(text, "  gateway    http://{}  (open it in a browser, in two tabs: see what a session does)", places.gateway);
    let _ = writeln!(text, "  demo API   http://{}  (behind it, for the gateway alone)", places.api);
    if let Some(admin) = places.admin {
        let _ = writeln!(text, "  admin      http://{admin}/readyz");
    }
    let _ = writeln!(text, "  data       {}  ({fate})", places.data.display());
    let _ = writeln!(text, "  a user     {}, password \"{}\"", ADA.email, ADA.password);
    let _ = writeln!(text, "\nPaste these into another shell. Ctrl-C here ends the demo.");
    for Step { says, lines } in steps(places.gateway) {
        let _ = writeln!(text, "\n{says}");
        for line in lines {
            let _ = writeln!(text, "  {line}");
        }
    }
    text
}

struct Step {
    says: &'static str,
    lines: Vec<String>,
}

fn steps(gateway: SocketAddr) -> Vec<Step> {
    let json = "-H 'content-type: application/json'";
    let keep = |variable: &str, member: &str| {
        format!(r#"{variable}=$(printf '%s' "$reply" | sed -n 's/.*"{member}" *: *"\([^"]*\)".*/\1/p')"#)
    };
    let step = |says, lines: &[String]| Step { says, lines: lines.to_vec() };
    let base = format!("gateway=http://{gateway}");
    let (email, password) = (ADA.email, ADA.password);
    vec![
        step(
            "Log in. The API checks the password; the gateway adds the tokens:",
            &[
                base,
                format!(
                    r#"reply=$(curl -s "$gateway/login" {json} -d '{{"email":"{email}","password":"{password}"}}'); printf '%s\n' "$reply""#
                ),
                keep("access", "accessToken"),
                keep("refresh", "refreshToken"),
            ],
        ),
        step(
            "Call the API with the access token, then without one (401, with a challenge):",
            &[
                r#"curl -s "$gateway/api/me" -H "authorization: Bearer $access"; echo"#.to_owned(),
                r#"curl -s "$gateway/api/orders" -H "authorization: Bearer $access"; echo"#.to_owned(),
                r#"curl -si "$gateway/api/me"; echo"#.to_owned(),
            ],
        ),
        step("A public route needs none:", &[r#"curl -s "$gateway/public/hello"; echo"#.to_owned()]),
        step(
            "Refresh. The old token again within 30 seconds, as after a lost response, returns the very same new one:",
            &[
                format!(
                    r#"reply=$(curl -s "$gateway/refresh" {json} -d "{{\"refreshToken\":\"$refresh\"}}"); printf '%s\n' "$reply""#
                ),
                format!(r#"curl -s "$gateway/refresh" {json} -d "{{\"refreshToken\":\"$refresh\"}}"; echo"#),
                keep("access", "accessToken"),
                keep("refresh", "refreshToken"),
            ],
        ),
        step(
            "A stream of events, here for three seconds. Leave out the limit and log out elsewhere: it ends at once:",
            &[r#"curl -sN --max-time 3 "$gateway/api/events" -H "authorization: Bearer $access""#.to_owned()],
        ),
        step(
            "Log out. The access token is refused from that instant:",
            &[
                r#"curl -s -X POST "$gateway/logout" -H "authorization: Bearer $access"; echo"#.to_owned(),
                r#"curl -si "$gateway/api/me" -H "authorization: Bearer $access"; echo"#.to_owned(),
            ],
        ),
        step(
            "A user of your own:",
            &[
                format!(
                    r#"curl -s "$gateway/register" {json} -d '{{"email":"me@example.com","password":"a long secret","name":"Me"}}'; echo"#
                ),
                format!(r#"curl -s "$gateway/quick-register" {json} -d '{{"name":"Just me"}}'; echo"#),
            ],
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_banner_tells_where_everything_is_and_what_to_paste() {
        let places = Places {
            gateway: ([127, 0, 0, 1], 8080).into(),
            api: ([127, 0, 0, 1], 40000).into(),
            admin: Some(([127, 0, 0, 1], 9090).into()),
            data: Path::new("/tmp/demo"),
            keeps_data: false,
        };
        let text = banner(&places);
        for part in ["http://127.0.0.1:8080", "http://127.0.0.1:40000", "http://127.0.0.1:9090/readyz", "/tmp/demo", ADA.email] {
            assert!(text.contains(part), "{part} is missing:\n{text}");
        }
    }
}
