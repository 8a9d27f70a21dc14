//! `tokengate demo`: a gateway and an API behind it, on one machine, with nothing installed.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

pub mod api;
pub mod banner;
mod folder;
mod page;
pub mod users;

use api::DemoApi;
use folder::DataFolder;

use super::output::{Failure, complain, say};
use crate::admin::server::{self, Limits};
use crate::app::{self, Companion};
use crate::bounded::{Bounded, Bounds};
use crate::config::Settings;
use crate::crypto::entropy::Entropy;
use crate::domain::time::Clock;

/// Try it out: a gateway with a small API behind it, nothing to install.
#[derive(Clone, Debug, Args)]
pub struct Demo {
    /// Where the gateway listens.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    pub listen: SocketAddr,
    /// Keep sessions and keys in this folder. Left out: in a temporary one, removed at the end.
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
}

pub(super) fn run(args: &Demo) -> Result<(), Failure> {
    let set_up = async |clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>| {
        let stage = Stage::set(args, clock, entropy).await;
        stage.map_err(|error| io::Error::new(error.kind(), format!("cannot set the demo up: {error}")))
    };
    app::run_beside(set_up).map_err(|error| Failure::failed(&error))
}

/// Everything but the gateway: the API behind it, a folder for its data, and the settings to start it with.
#[derive(Debug)]
pub struct Stage {
    folder: DataFolder,
    api: Arc<DemoApi>,
    listener: TcpListener,
    address: SocketAddr,
    settings: Settings,
}

impl Stage {
    /// Binds the API to a free port of loopback: nobody but programs of this machine can reach it past the gateway.
    pub async fn set(demo: &Demo, clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>) -> io::Result<Self> {
        let folder = DataFolder::open(demo.data.as_deref(), entropy.as_ref())?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let settings = Settings::from_toml(&settings_file(demo.listen, address, folder.path())).map_err(io::Error::other)?;
        let api = tokio::task::spawn_blocking(move || DemoApi::new(clock, entropy)).await.map_err(io::Error::other)?;
        Ok(Self { folder, api: Arc::new(api), listener, address, settings })
    }

    /// Serves the API until `stop`. The data goes with the stage, unless it was to be kept: nothing may write to it any more then.
    async fn serve_api(&self, stop: CancellationToken) {
        let Self { api, listener, .. } = self;
        let api = Arc::clone(api);
        let calls = Bounded::new("demo", API_BOUNDS, &Handle::current(), move |request| {
            let api = Arc::clone(&api);
            async move { api.respond(request).await }
        });
        let handler = move |request, _peer| calls.call(request);
        let limits = Limits { connections_max: API_CONNECTIONS_MAX, drain_timeout: API_DRAIN_TIMEOUT, ..Limits::default() };
        server::serve(listener, limits, handler, stop).await;
    }
}

impl Companion for Stage {
    fn settings(&self) -> &Settings {
        &self.settings
    }

    fn gateway_started(&self, gateway: SocketAddr, admin: Option<SocketAddr>) {
        let keeps_data = !self.folder.is_temporary();
        let places = banner::Places { gateway, api: self.address, admin, data: self.folder.path(), keeps_data };
        // A reader that went away does not end the demo.
        say(&banner::banner(&places)).unwrap_or_else(|failure| complain(&failure.to_string()));
    }

    fn run(&self, stop: CancellationToken) -> impl Future<Output = ()> {
        self.serve_api(stop)
    }
}

/// The gateway's pooled connections and its event streams.
const API_CONNECTIONS_MAX: usize = 4096;
/// One call on each connection.
const API_BOUNDS: Bounds = Bounds { calls_max: API_CONNECTIONS_MAX, timeout: Duration::from_mins(1) };

/// Short: the gateway has stopped by then, and streams do not end by themselves.
const API_DRAIN_TIMEOUT: Duration = Duration::from_millis(100);

/// An ordinary settings file: what anyone would write to put a gateway in front of this API.
fn settings_file(listen: SocketAddr, api: SocketAddr, data: &Path) -> String {
    let data = toml::Value::String(data.display().to_string());
    format!(
        r#"[listen]
address = "{listen}"

[upstreams.api]
url = "http://{api}"

[[routes]]
name = "page"
prefix = "/"
exact = true
access = "public"

[[routes]]
name = "assets"
prefix = "/assets"
access = "public"

[[routes]]
name = "public"
prefix = "/public"
access = "public"

[[routes]]
name = "api"
prefix = "/"

# Scripts that try it out log in more often than people do.
[limits.login]
per_address = "6000/1m"
per_account = "6000/1m"

[limits.refresh]
per_address = "60000/1m"
per_account = "6000/1m"

[store]
kind = "embedded"

[store.embedded]
directory = {data}

[admin]
address = "127.0.0.1:0"

[log]
level = "warn"
"#
    )
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;

    use super::*;
    use crate::crypto::entropy::SystemEntropy;
    use crate::domain::route::Access;
    use crate::domain::time::Timestamp;

    struct Fixed;

    impl Clock for Fixed {
        fn now(&self) -> Timestamp {
            Timestamp::from_secs(1_790_000_000)
        }

        fn monotonic(&self) -> Duration {
            Duration::ZERO
        }
    }

    #[tokio::test]
    async fn the_api_answers_until_it_is_stopped_and_its_folder_goes_with_it() {
        let demo = Demo { listen: ([127, 0, 0, 1], 0).into(), data: None };
        let stage = Stage::set(&demo, Arc::new(Fixed), Arc::new(SystemEntropy::new())).await.unwrap();
        let (address, folder, stop) = (stage.address, stage.folder.path().to_owned(), CancellationToken::new());
        let client = async {
            let mut socket = TcpStream::connect(address).await.unwrap();
            socket.write_all(b"GET /public/hello HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await.unwrap();
            let mut response = String::new();
            socket.read_to_string(&mut response).await.unwrap();
            assert!(response.starts_with("HTTP/1.1 200 OK"), "{response}");
            assert!(folder.is_dir());
            stop.cancel();
        };
        tokio::join!(stage.serve_api(stop.clone()), client);
        drop(stage);
        assert!(!folder.exists());
    }

    #[test]
    fn the_settings_file_is_valid_whatever_the_folder_is_called() {
        let listen = ([127, 0, 0, 1], 8080).into();
        let api: SocketAddr = ([127, 0, 0, 1], 40000).into();
        let odd = Path::new("/tmp/a \"quoted\" \\ folder");
        let settings = Settings::from_toml(&settings_file(listen, api, odd)).unwrap();
        assert_eq!(settings.listeners.first().address, listen.into());
        let public: Vec<&str> = settings
            .routes
            .listed()
            .iter()
            .filter(|route| route.access == Access::Public)
            .map(|route| route.prefix.as_str())
            .collect();
        assert_eq!(public, ["/", "/assets", "/public"]);
        let crate::config::Store::Embedded(store) = settings.store else { panic!("{:?}", settings.store) };
        assert_eq!(store.directory, odd);
    }
}
