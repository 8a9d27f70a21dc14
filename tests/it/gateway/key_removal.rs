//! What stands on a token ends when the key that signed it is taken out.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::support::gateway::{Gateway, Tokens, generate_keys};
use crate::support::http::connect;
use crate::support::upstream::{Turn, Upstream};

/// A few ticks.
const A_WHILE: Duration = Duration::from_millis(400);

const BOUND: Duration = Duration::from_secs(5);

/// A `WebSocket` of the session, which the upstream has agreed to.
struct Socket(TcpStream);

impl Socket {
    fn open(gateway: &Gateway, tokens: &Tokens) -> Self {
        let mut stream = connect(gateway.address()).unwrap();
        let token = &tokens.access;
        write!(
            stream,
            "GET /socket HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        .unwrap();
        stream.set_read_timeout(Some(BOUND)).unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        assert!(head.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&head));
        Self(stream)
    }

    fn assert_open(&mut self) {
        self.0.set_read_timeout(Some(A_WHILE)).unwrap();
        let read = self.0.read(&mut [0; 64]);
        assert!(read.is_err(), "it said {read:?}");
        self.0.set_read_timeout(Some(BOUND)).unwrap();
    }

    /// The reason of the close frame that is next.
    fn farewell(&mut self) -> String {
        let mut header = [0; 4];
        self.0.read_exact(&mut header).unwrap();
        assert_eq!((header[0], &header[2..]), (0x88, &b"\x03\xf0"[..]), "a closing frame with code 1008");
        let mut reason = vec![0; usize::from(header[1]) - 2];
        self.0.read_exact(&mut reason).unwrap();
        String::from_utf8(reason).unwrap()
    }
}

fn agreeing() -> Upstream {
    const AGREED: &[u8] =
        b"HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-accept: x\r\n\r\n";
    const USER: &[u8] =
        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 24\r\n\r\n{\"user\":{\"id\":\"user-1\"}}";
    Upstream::taking_turns(|request, _| Turn::Response(if request.header("upgrade").is_some() { AGREED } else { USER }.to_vec()))
}

/// The keys that verify; the only private one signs.
fn key_files(directory: &Path) -> Vec<PathBuf> {
    fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "pem"))
        .collect()
}

#[test]
fn the_removal_of_a_key_ends_what_stands_on_it_whatever_was_seen_since() {
    let folder = tempfile::tempdir().unwrap();
    let directory = generate_keys(folder.path());
    let [former] = &key_files(&directory)[..] else { panic!("one key") };
    let upstream = agreeing();
    let gateway =
        Gateway::start_in(folder.path(), &upstream, &[("keys.directory", directory.to_str().unwrap()), ("refresh.leeway", "0s")]);
    let mut client = gateway.client();
    let (active, idle) = (client.log_in("active"), client.log_in("idle"));
    // Whoever has the key makes tokens of any session: one that its owner uses is no better than one that nobody does.
    let (mut of_active, mut of_idle) = (Socket::open(&gateway, &active), Socket::open(&gateway, &idle));
    of_active.assert_open();
    of_idle.assert_open();

    // A second key signs from now on; the first still verifies.
    generate_keys(folder.path());
    let next = key_files(&directory).into_iter().find(|file| file != former).expect("another key");
    let signing = next.file_stem().unwrap().to_str().unwrap();
    gateway.reload(|text| format!("{text}\n[keys]\nsigning = \"{signing}\"\n"));
    let newer = Tokens::of(&client.refresh(&active.refresh).expect(200));
    client.get("/me", Some(&newer.access)).expect(200);
    let mut of_newer = Socket::open(&gateway, &newer);
    of_newer.assert_open();
    of_active.assert_open();
    of_idle.assert_open();

    fs::remove_file(former).unwrap();
    gateway.reload(|text| text);
    assert_eq!(of_idle.farewell(), "token refused");
    assert_eq!(of_active.farewell(), "token refused");
    of_newer.assert_open();
    client.get("/me", Some(&active.access)).expect(401);
    client.get("/me", Some(&newer.access)).expect(200);
}
