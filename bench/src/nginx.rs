//! nginx as Debian ships it: WebDAV PUT and DELETE, static GET.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use cairn_runtime::Clock;
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;

use crate::load::Failure;
use crate::server::Server;

/// Starts nginx on a free port, with its data in `folder`.
pub(crate) async fn start(folder: &Path) -> Result<Server, Failure> {
    for name in ["files", "tmp"] {
        fs::create_dir_all(folder.join(name))?;
    }
    let port = TcpListener::bind("127.0.0.1:0").await?.local_addr()?.port();
    let authority = format!("127.0.0.1:{port}");
    let config = folder.join("nginx.conf");
    fs::write(&config, configuration(folder, &authority))?;
    let child = Command::new("nginx")
        .arg("-c")
        .arg(&config)
        .stderr(Stdio::inherit())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| format!("start nginx: {error}"))?;
    answers(&authority).await?;
    Ok(Server::of(child, authority))
}

fn configuration(folder: &Path, authority: &str) -> String {
    let folder = folder.display();
    format!(
        "daemon off; master_process on; worker_processes 2; user root;
pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ worker_connections 1024; }}
http {{
  access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000;
  client_body_temp_path {folder}/tmp; client_max_body_size 0; client_body_buffer_size 1m;
  server {{
    listen {authority};
    root {folder};
    location /files/ {{ dav_methods PUT DELETE; create_full_put_path on; }}
  }}
}}
"
    )
}

async fn answers(authority: &str) -> Result<(), Failure> {
    const TRIES: u32 = 200;
    let clock = Clock::system();
    for _ in 0..TRIES {
        if TcpStream::connect(authority).await.is_ok() {
            return Ok(());
        }
        clock.sleep(Duration::from_millis(20)).await;
    }
    Err("nginx does not answer".into())
}

/// Everything written to the file system of `folder` is on its disk when this returns.
pub(crate) fn sync(folder: &Path) -> Result<(), Failure> {
    let folder = fs::File::open(folder)?;
    rustix::fs::syncfs(&folder)?;
    Ok(())
}
