//! The demo as its user meets it: the printed lines, pasted into a shell.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};

struct Demo {
    process: Child,
    banner: Vec<String>,
}

impl Demo {
    fn start() -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_tokengate"))
            .args(["demo", "--listen", "127.0.0.1:0"])
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let mut banner = Vec::new();
        for line in lines {
            banner.push(line.unwrap());
            if banner.last().is_some_and(|line| line.contains("quick-register")) {
                return Self { process, banner };
            }
        }
        panic!("the demo ended early: {banner:#?}\n{:?}", process.wait());
    }

    /// What is indented below the invitation to paste.
    fn lines_to_paste(&self) -> Vec<&str> {
        let invitation = self.banner.iter().position(|line| line.starts_with("Paste these")).unwrap();
        self.banner[invitation..].iter().filter_map(|line| line.strip_prefix("  ")).collect()
    }

    fn data(&self) -> PathBuf {
        let line = self.banner.iter().find_map(|line| line.trim_start().strip_prefix("data ")).unwrap();
        PathBuf::from(line.rsplit_once("  (").unwrap().0.trim())
    }

    fn terminate(mut self) -> ExitStatus {
        assert!(Command::new("kill").args(["-TERM", &self.process.id().to_string()]).status().unwrap().success());
        self.process.wait().unwrap()
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Runs the lines in one shell; gives what each of them printed.
fn paste(lines: &[&str]) -> Vec<String> {
    const MARK: &str = "--- end of a line ---";
    let script: Vec<String> = lines.iter().map(|line| format!("{line}\necho '{MARK}'\n")).collect();
    let mut shell = Command::new("sh").args(["-u", "-c", &script.concat()]).stdout(Stdio::piped()).spawn().unwrap();
    let mut output = String::new();
    shell.stdout.take().unwrap().read_to_string(&mut output).unwrap();
    shell.wait().unwrap();
    let printed: Vec<String> = output.split(MARK).map(|part| part.trim().to_owned()).collect();
    assert_eq!(printed.len(), lines.len() + 1, "{output}");
    printed
}

#[test]
fn a_demo_that_cannot_start_says_why_and_leaves_nothing_behind() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let folder = tempfile::tempdir().unwrap();
    let refused = Command::new(env!("CARGO_BIN_EXE_tokengate"))
        .args(["demo", "--listen", &address])
        .env_clear()
        .env("TMPDIR", folder.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && said.contains(&format!("cannot listen at {address}")), "{said}");
    assert!(!said.contains("WARN") && folder.path().read_dir().unwrap().next().is_none(), "{said}");
}

#[test]
fn the_printed_lines_work_when_pasted() {
    let demo = Demo::start();
    let lines = demo.lines_to_paste();
    let printed = paste(&lines);
    let all: Vec<String> = lines.iter().zip(&printed).map(|(line, output)| format!("$ {line}\n{output}\n")).collect();
    let all = all.concat();
    let output_of = |part: &str, nth: usize| -> &str {
        let found = lines.iter().zip(&printed).filter(|(line, _)| line.contains(part)).nth(nth);
        found.unwrap_or_else(|| panic!("no line with {part}:\n{all}")).1
    };
    let member = |text: &str, name: &str| -> String {
        let json: serde_json::Value = serde_json::from_str(text).unwrap_or_else(|error| panic!("{error} in {text:?}\n{all}"));
        json[name].as_str().unwrap_or_else(|| panic!("no {name} in {text}\n{all}")).to_owned()
    };

    assert!(!member(output_of("/login", 0), "accessToken").is_empty());
    assert!(output_of("/api/me", 0).contains("ada@example.com"), "{all}");
    assert!(output_of("/api/orders", 0).contains("a difference engine"), "{all}");
    let refused = output_of("/api/me", 1).to_lowercase();
    assert!(refused.starts_with("http/1.1 401") && refused.contains("www-authenticate: bearer"), "{all}");
    assert!(output_of("/public/hello", 0).contains("hello"), "{all}");
    let (first, again) = (member(output_of("/refresh", 0), "refreshToken"), member(output_of("/refresh", 1), "refreshToken"));
    assert!(first == again && first != member(output_of("/login", 0), "refreshToken"), "{all}");
    assert!(output_of("/api/events", 0).contains("data: {\"tick\":1"), "{all}");
    let after_logout = output_of("/api/me", 2).to_lowercase();
    assert!(after_logout.starts_with("http/1.1 401") && after_logout.contains("token_revoked"), "{all}");
    assert!(!member(output_of("/register", 0), "accessToken").is_empty());
    assert!(!member(output_of("/quick-register", 0), "accessToken").is_empty());

    let data = demo.data();
    assert!(data.is_dir(), "{}", data.display());
    assert!(demo.terminate().success());
    assert!(!data.exists(), "{} was left behind", data.display());
}
