//! Manual pages and completions, read by what reads them.

use std::process::Stdio;

use super::*;

const EVERY_COMMAND: [&str; 4] = ["run", "check", "explain", "completions"];

fn printed(arguments: &[&str]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let said = tokengate(folder.path(), arguments, &[]);
    assert!(said.status.success(), "{}", err(&said));
    out(&said)
}

/// What a program says of a text that it reads from its standard input.
fn read_by(program: &str, arguments: &[&str], text: &str) -> Output {
    let mut command = Command::new(program);
    let mut reader = command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    reader.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    reader.wait_with_output().unwrap()
}

/// What a shell that has read the script offers for a line.
fn offered(shell: &str, script: &str, offer: &str) -> Vec<String> {
    let offered = read_by(shell, &[], &format!("{script}\n{offer}\n"));
    assert!(offered.status.success() && err(&offered).is_empty(), "{shell}: {}", err(&offered));
    out(&offered).lines().map(|line| line.split('\t').next().unwrap().trim().to_owned()).collect()
}

#[test]
fn bash_and_fish_complete_commands_and_flags() {
    let script = printed(&["completions", "bash"]);
    let bash = |words: &str, index: usize| {
        let last = words.rsplit(' ').next().unwrap();
        let before = words.split(' ').nth(index - 1).unwrap();
        let offer = format!(
            "COMP_WORDS=({words}); [ -z '{last}' ] && COMP_WORDS+=(''); COMP_CWORD={index}\n\
             _tokengate tokengate '{last}' '{before}'; printf '%s\\n' \"${{COMPREPLY[@]}}\""
        );
        offered("bash", &script, &offer)
    };
    let fish_script = printed(&["completions", "fish"]);
    let fish = |words: &str| offered("fish", &fish_script, &format!("complete -C '{words}'"));

    for commands in [bash("tokengate ", 1), fish("tokengate ")] {
        assert!(EVERY_COMMAND.iter().all(|command| commands.iter().any(|offered| offered == command)), "{commands:?}");
    }
    assert_eq!(bash("tokengate chec", 1), ["check"]);
    assert_eq!(fish("tokengate chec"), ["check"]);
    assert_eq!(bash("tokengate run --workers", 2), ["--workers"]);
    assert_eq!(fish("tokengate run --workers"), ["--workers"]);
    assert_eq!(bash("tokengate keys gen", 2), ["generate"]);
    assert_eq!(fish("tokengate keys gen"), ["generate"]);
}

#[test]
fn other_shells_have_scripts_and_zsh_can_read_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("_tokengate");
    std::fs::write(&place, printed(&["completions", "zsh"])).unwrap();
    let read = Command::new("zsh").arg("-n").arg(&place).output().unwrap();
    assert!(read.status.success() && err(&read).is_empty(), "{}", err(&read));
    for shell in ["zsh", "elvish", "powershell"] {
        let script = printed(&["completions", shell]);
        assert!(EVERY_COMMAND.iter().all(|command| script.contains(command)), "{shell}");
    }
    let refused = tokengate(folder.path(), &["completions", "tcsh"], &[]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(["bash", "zsh", "fish"].iter().all(|shell| err(&refused).contains(shell)), "{}", err(&refused));
}

#[test]
fn each_command_has_a_manual_page_that_can_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let written = tokengate(folder.path(), &["man", "--directory", "."], &[]);
    assert!(written.status.success(), "{}", err(&written));
    let pages: Vec<String> =
        std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    for command in EVERY_COMMAND.iter().map(|name| format!("tokengate-{name}.1")).chain(["tokengate-keys-generate.1".to_owned()])
    {
        assert!(pages.contains(&command), "{command}: {pages:?}");
    }
    for page in &pages {
        let text = std::fs::read_to_string(folder.path().join(page)).unwrap();
        let read = read_by("mandoc", &["-T", "lint", "-W", "error"], &text);
        assert!(read.status.success(), "{page}: {}", out(&read));
        let shown = out(&read_by("mandoc", &["-T", "html"], &text));
        assert!(shown.contains(">SYNOPSIS<"), "{page}: {shown}");
    }
    let main = std::fs::read_to_string(folder.path().join("tokengate.1")).unwrap();
    assert_eq!(printed(&["man"]), main);
    let shown = out(&read_by("mandoc", &["-T", "html"], &main));
    assert!(shown.contains("See it work, with an API of its own."), "{shown}");
    let refused = tokengate(folder.path(), &["man", "--directory", "nowhere"], &[]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(err(&refused).contains("cannot write to nowhere"), "{}", err(&refused));
}
