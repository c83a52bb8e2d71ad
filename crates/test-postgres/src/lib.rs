//! A real PostgreSQL for tests.
//!
//! ```text
//!   test process ── pipe ──► sh (keeper) ──► postgres, as a user that is not root
//! ```
//! PostgreSQL refuses to run as root, and a test can end in ways in which no destructor runs. So a
//! shell holds the server: when the pipe from the test closes, for whatever reason, it stops the
//! server by its process id and removes its folder.
//!
//! A missing PostgreSQL is said loudly, and is a failure where `CAIRN_REQUIRE` names `postgres`.

#![allow(clippy::print_stderr, reason = "a skipped test must be seen")]

mod proxy;

use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

pub use proxy::{Fault, Proxy};

/// Longest wait for the server to start, or to be gone.
const BOUND: Duration = Duration::from_secs(60);
/// Pause between two looks.
const LOOK: Duration = Duration::from_millis(20);
/// Who the server runs as, when the tests run as root.
const USERS: [&str; 2] = ["postgres", "nobody"];
const SUPERUSER: &str = "cairn";

/// Options of the server beside those that every test wants.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    settings: Vec<(String, String)>,
    tls: Option<(PathBuf, PathBuf)>,
}

/// A running server. It stops when this is dropped, or when the process ends.
#[derive(Debug)]
pub struct Server {
    binaries: PathBuf,
    folder: PathBuf,
    port: u16,
    user: Option<&'static str>,
    settings: Vec<(String, String)>,
    running: Mutex<Option<Running>>,
    databases: AtomicU32,
}

#[derive(Debug)]
struct Running {
    keeper: Child,
    /// Closing it stops the server.
    pipe: Option<ChildStdin>,
    postmaster: Pid,
}

impl Plan {
    /// Sets a parameter of `postgresql.conf`.
    #[must_use]
    pub fn setting(mut self, name: &str, value: &str) -> Self {
        self.settings.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Takes TLS connections, with the certificate and key in these PEM files.
    #[must_use]
    pub fn tls(mut self, certificate: &Path, key: &Path) -> Self {
        self.tls = Some((certificate.to_owned(), key.to_owned()));
        self
    }

    /// Starts a server, or says why not and gives `None`.
    ///
    /// # Panics
    /// When PostgreSQL is required and missing, or does not start.
    pub fn start(self) -> Option<Server> {
        let binaries = find_binaries()?;
        let folder = tempfile::Builder::new().prefix("cairn-pg-").tempdir().expect("a folder");
        // The keeper removes it.
        let folder = folder.keep();
        let user = non_root();
        let mut settings = self.settings;
        if let Some((certificate, key)) = &self.tls {
            settings.push(("ssl".to_owned(), "on".to_owned()));
            for (setting, file, name) in
                [("ssl_cert_file", certificate, "server.pem"), ("ssl_key_file", key, "server.key")]
            {
                fs::copy(file, folder.join(name)).expect("copied");
                settings.push((setting.to_owned(), folder.join(name).display().to_string()));
            }
            run(Command::new("chmod").arg("600").arg(folder.join("server.key")));
        }
        if let Some(user) = user {
            run(Command::new("chown").arg("-R").arg(user).arg(&folder));
        }
        let mut initdb = as_user(user, &binaries.join("initdb"));
        initdb
            .args(["--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C"])
            .args(["--username", SUPERUSER, "--pgdata"])
            .arg(folder.join("data"));
        run(&mut initdb);
        let (port, running) = (free_port(), Mutex::new(None));
        let databases = AtomicU32::new(0);
        let server = Server { binaries, folder, port, user, settings, running, databases };
        server.start();
        Some(server)
    }
}

impl Server {
    /// The server that the tests of this process share, started by the first that asks. `None`, said
    /// loudly, where there is no PostgreSQL.
    ///
    /// # Panics
    /// When PostgreSQL is required and missing, or does not start.
    pub fn shared() -> Option<&'static Server> {
        static SHARED: OnceLock<Option<Server>> = OnceLock::new();
        SHARED.get_or_init(|| Plan::default().start()).as_ref()
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The URL of a new and empty database.
    ///
    /// # Panics
    /// When it cannot be made.
    pub fn new_database(&self) -> String {
        let name = format!("test{}", self.databases.fetch_add(1, Ordering::Relaxed));
        self.sql("postgres", &format!("CREATE DATABASE {name}"));
        self.url(&name)
    }

    /// The URL of a database, on TCP and in clear.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://{SUPERUSER}@127.0.0.1:{}/{database}?sslmode=disable", self.port)
    }

    /// Runs SQL through psql; gives what it prints, unaligned.
    ///
    /// # Panics
    /// When it fails.
    pub fn sql(&self, database: &str, sql: &str) -> String {
        let mut psql = Command::new(self.binaries.join("psql"));
        psql.args(["-X", "-A", "-t", "-q", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1"]).args([
            "-U",
            SUPERUSER,
            "-p",
            &self.port.to_string(),
            "-c",
            sql,
            database,
        ]);
        let output = psql.output().expect("psql runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{sql}: {said}");
        String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
    }

    /// Kills the server and all its processes like a power cut that spares the operating system.
    ///
    /// # Panics
    /// When it is not running.
    pub fn kill(&self) {
        let running = self.take_running();
        // Its processes notice that the postmaster is gone and end by themselves; the killing of all
        // of them makes sure that none ends in order.
        let children = children_of(running.postmaster);
        kill_process(running.postmaster, Signal::KILL).expect("the server ran");
        for child in &children {
            // It may have ended by itself.
            let _ = kill_process(*child, Signal::KILL);
        }
        self.wait_until_gone(running);
        // A server does not start on data that others still have open.
        within("its processes to be gone", &self.log(), || {
            children.iter().all(|child| !runs(*child))
        });
    }

    /// Stops the server in order, clients or not.
    ///
    /// # Panics
    /// When it is not running.
    pub fn stop(&self) {
        let running = self.take_running();
        kill_process(running.postmaster, Signal::INT).expect("the server ran");
        self.wait_until_gone(running);
    }

    /// Starts a server that was killed or stopped, on the same port and data.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start(&self) {
        let mut postgres = as_user(self.user, &self.binaries.join("postgres"));
        postgres.arg("-D").arg(self.folder.join("data"));
        let standard = [
            ("listen_addresses", "127.0.0.1".to_owned()),
            ("port", self.port.to_string()),
            ("unix_socket_directories", String::new()),
            ("max_connections", "300".to_owned()),
            ("shared_buffers", "64MB".to_owned()),
        ];
        let standard = standard.map(|(name, value)| (name.to_owned(), value));
        for (name, value) in standard.iter().chain(&self.settings) {
            postgres.arg("-c").arg(format!("{name}={value}"));
        }
        let log = fs::OpenOptions::new().create(true).append(true).open(self.log());
        let log = log.expect("a log file");
        let mut keeper = keeper(&postgres, &self.folder).stderr(log).spawn().expect("sh runs");
        let pipe = keeper.stdin.take();
        let mut said = String::new();
        let stdout = keeper.stdout.take().expect("piped");
        BufReader::new(stdout).read_line(&mut said).expect("the keeper speaks");
        let number = said.trim().parse().expect("the keeper tells the process id");
        let postmaster = Pid::from_raw(number).expect("a process id");
        let running = Running { keeper, pipe, postmaster };
        *self.running.lock().unwrap_or_else(PoisonError::into_inner) = Some(running);
        self.wait_until_ready();
    }

    fn log(&self) -> PathBuf {
        self.folder.join("log")
    }

    fn take_running(&self) -> Running {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.take().expect("the server is running")
    }

    fn wait_until_ready(&self) {
        let port = self.port.to_string();
        within("the server to start", &self.log(), || {
            let mut ready = Command::new(self.binaries.join("pg_isready"));
            ready.args(["-q", "-h", "127.0.0.1", "-p", &port, "-U", SUPERUSER, "-d", "postgres"]);
            ready.status().is_ok_and(|status| status.success())
        });
    }

    /// The keeper ends after the server, and leaves the folder if it is told to.
    fn wait_until_gone(&self, mut running: Running) {
        if let Some(mut pipe) = running.pipe.take() {
            // A keeper that ended with its server does not read it.
            let _ = pipe.write_all(b"keep\n");
        }
        running.keeper.wait().expect("the keeper ends");
        within("the port to be free", &self.log(), || {
            TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_err()
        });
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let running = self.running.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(running) = running.take() {
            let mut keeper = running.keeper;
            drop(running.pipe);
            // The keeper stops the server and removes the folder.
            let _ = keeper.wait();
        } else {
            let _ = fs::remove_dir_all(&self.folder);
        }
    }
}

/// A shell that starts the server, tells its process id, and waits for a word on the pipe. `keep`: the
/// test stops the server itself. The end of the pipe: the test is gone, so is all of this.
fn keeper(postgres: &Command, folder: &Path) -> Command {
    let script = r#"
        folder="$1"; shift
        "$@" </dev/null >&2 & server=$!
        echo $server; exec >&2
        read -r word
        if [ "$word" = keep ]; then wait $server; exit 0; fi
        kill -QUIT $server 2>/dev/null
        wait $server
        rm -rf "$folder"
    "#;
    let mut keeper = Command::new("sh");
    keeper.arg("-c").arg(script).arg("keeper").arg(folder);
    keeper.arg(postgres.get_program()).args(postgres.get_args());
    // A signal to the test's group must not stop the keeper before it has cleaned up.
    keeper.process_group(0);
    keeper.stdin(Stdio::piped()).stdout(Stdio::piped()).current_dir("/");
    keeper
}

/// The folder of the newest PostgreSQL on this machine.
fn find_binaries() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let number = |folder: &PathBuf| folder.file_name()?.to_str()?.parse::<u32>().ok();
    let mut folders: Vec<PathBuf> = versions.map(|version| version.path()).collect();
    folders.sort_by_key(|folder| std::cmp::Reverse(number(folder)));
    let mut folders: Vec<PathBuf> = folders.iter().map(|folder| folder.join("bin")).collect();
    folders.extend(["/usr/local/pgsql/bin", "/usr/local/bin", "/usr/bin"].map(PathBuf::from));
    let programs = ["initdb", "postgres", "pg_isready", "psql"];
    let is_whole = |folder: &&PathBuf| programs.iter().all(|name| folder.join(name).exists());
    let found = folders.iter().find(is_whole).cloned();
    let required = std::env::var("CAIRN_REQUIRE").unwrap_or_default();
    let required = required.split([',', ' ']).any(|tool| tool == "postgres");
    assert!(
        found.is_some() || !required,
        "PostgreSQL is required and missing: apt-get install postgresql"
    );
    if found.is_none() {
        eprintln!("SKIPPED: no PostgreSQL (apt-get install postgresql)");
    }
    found
}

/// Who to become: nobody else, unless we are root.
fn non_root() -> Option<&'static str> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let exists = |user: &&str| {
        let asked =
            Command::new("id").arg(user).stdout(Stdio::null()).stderr(Stdio::null()).status();
        asked.is_ok_and(|status| status.success())
    };
    Some(USERS.into_iter().find(exists).expect("a user that is not root"))
}

/// A command that replaces itself by `program`, run by `user`.
fn as_user(user: Option<&str>, program: &Path) -> Command {
    let Some(user) = user else { return Command::new(program) };
    let mut command = Command::new("setpriv");
    command.arg(format!("--reuid={user}")).arg("--regid").arg(group_of(user));
    command.arg("--clear-groups").arg(program);
    // Our own folder may be closed to that user.
    command.current_dir("/");
    command
}

fn group_of(user: &str) -> String {
    let output = Command::new("id").args(["-g", user]).output().expect("id runs");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// A port that was free a moment ago.
fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    listener.local_addr().expect("bound").port()
}

fn children_of(parent: Pid) -> Vec<Pid> {
    let parent = parent.as_raw_nonzero();
    let path = format!("/proc/{parent}/task/{parent}/children");
    let children = fs::read_to_string(path).unwrap_or_default();
    children.split_whitespace().filter_map(|child| Pid::from_raw(child.parse().ok()?)).collect()
}

/// Whether a process is neither gone nor only waiting to be buried.
fn runs(process: Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", process.as_raw_nonzero()));
    stat.is_ok_and(|stat| !stat.rsplit(')').next().unwrap_or_default().starts_with(" Z"))
}

fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
}

/// Waits for something that tells nobody when it happens.
#[expect(clippy::disallowed_methods, reason = "a test waits for another process")]
fn within(what: &str, log: &Path, mut happened: impl FnMut() -> bool) {
    let began = Instant::now();
    while !happened() {
        if began.elapsed() > BOUND {
            let log: io::Result<String> = fs::read_to_string(log);
            panic!("waited in vain for {what}: {}", log.unwrap_or_default());
        }
        thread::sleep(LOOK);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_keeps_its_data_through_kill_and_start_and_leaves_nothing_behind() {
        let Some(server) = Plan::default().start() else { return };
        let url = server.new_database();
        assert!(url.ends_with("/test0?sslmode=disable"), "{url}");
        server.sql("test0", "CREATE TABLE kept (number int); INSERT INTO kept VALUES (7)");
        server.kill();
        server.start();
        assert_eq!(server.sql("test0", "SELECT number FROM kept"), "7");
        server.stop();
        server.start();
        let (folder, port) = (server.folder.clone(), server.port);
        drop(server);
        assert!(!folder.exists());
        assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err());
    }
}
