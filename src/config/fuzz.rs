//! What must hold for settings files.

use super::{DEFAULT_FILE, Inputs, SettingsFile, load};

/// A secret that stands in every file: no error and no print-out may hold it.
const SECRET: &str = "c2VjcmV0LXRoYXQtbm9ib2R5LW1heS1zZWUtcHJpbnRlZA";

/// A settings file: faults are reported without a panic, and what is in effect is printed as a file of the same meaning.
pub fn settings(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    // Files that it names would be read.
    if text.contains("_file") || text.len() > DEFAULT_FILE.len() {
        return;
    }
    let with_secret = format!("{text}\n[[clients]]\nid = \"fuzz-reports\"\nsecret = \"{SECRET}\"\n");
    let inputs = |text: &str| {
        let file = SettingsFile { name: "fuzz".to_owned(), text: text.to_owned() };
        Inputs { file: Some(file), ..Inputs::default() }
    };
    match load(&inputs(&with_secret)) {
        Err(invalid) => {
            assert!(!invalid.0.is_empty());
            assert!(!invalid.to_string().contains(SECRET), "an error shows a secret");
        }
        Ok(loaded) => {
            let printed = loaded.print();
            assert!(!printed.contains(SECRET) && !format!("{:?}", loaded.settings).contains(SECRET), "a secret is shown");
            let filled = printed.replace("\"[redacted]\"", &format!("\"{SECRET}\""));
            let again = load(&inputs(&filled)).unwrap_or_else(|invalid| panic!("{invalid}\n{filled}"));
            let values = |printed: &str| {
                printed
                    .lines()
                    .map(|line| line.rsplit_once(" # ").map_or(line, |(value, _)| value.trim_end()).to_owned())
                    .collect::<Vec<_>>()
            };
            assert_eq!(values(&again.print()), values(&printed), "it means something else");
        }
    }
}
