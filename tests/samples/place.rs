//! Where a page's samples are run.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::page::{Block, Mark, Step, is_as_shown};

/// Longest wait for a service to be ready.
const BOUND: Duration = Duration::from_secs(60);
/// Longest time that a command may take.
const COMMAND_BOUND: &str = "120";
/// What a reader's clone holds.
const CLONE: [&str; 5] = ["README.md", "docs", "proto", "docker-compose.yml", "Cargo.toml"];
/// `curl` takes a refusal for a success unless it is told otherwise.
const CURL: &str = "#!/bin/sh\nexec \"$REAL_CURL\" ${SAMPLE_STRICT:+--fail-with-body} \"$@\"\n";

/// A folder that looks like the clone a reader stands in, and what runs there.
pub(crate) struct Place {
    home: TempDir,
    services: Vec<Child>,
    /// Printed address, and the one that stands for it.
    addresses: Vec<(&'static str, String)>,
    master: Option<String>,
    last_exit: i32,
}

/// What a service announces behind a word, and what is printed for it on pages.
fn printed(service: &str) -> &'static [(&'static str, &'static str)] {
    match service {
        "up" => &[("gateway on ", "127.0.0.1:8080"), ("admin on ", "127.0.0.1:8081")],
        "gateway" => &[("gateway on ", "127.0.0.1:8080")],
        "master" => &[("master on ", "127.0.0.1:7000"), ("admin on ", "127.0.0.1:8081")],
        "node" => &[("node on ", "127.0.0.1:7100")],
        other => panic!("{other:?} is no service"),
    }
}

impl Place {
    pub(crate) fn new(workspace: &Path) -> Self {
        let home = tempfile::tempdir().expect("a folder");
        let clone = home.path().join("cairn");
        fs::create_dir_all(&clone).expect("a folder");
        fs::create_dir_all(home.path().join("bin")).expect("a folder");
        fs::create_dir_all(home.path().join("srv")).expect("a folder");
        let mut copy = Command::new("cp");
        copy.arg("-r").args(CLONE.map(|name| workspace.join(name))).arg(&clone);
        assert!(copy.status().is_ok_and(|status| status.success()), "copy the clone");
        let built = env!("CARGO_BIN_EXE_cairn").into();
        let binary = std::env::var_os("CAIRN_BINARY").unwrap_or(built);
        symlink(binary, home.path().join("bin/cairn")).expect("a link");
        let curl = home.path().join("bin/curl");
        fs::write(&curl, CURL).expect("a script");
        fs::set_permissions(&curl, fs::Permissions::from_mode(0o755)).expect("a script");
        Self { home, services: Vec::new(), addresses: Vec::new(), master: None, last_exit: 0 }
    }

    fn clone_folder(&self) -> PathBuf {
        self.home.path().join("cairn")
    }

    /// What is run for what is printed.
    fn substituted(&self, command: &str) -> String {
        let mut command = command.replace("cargo run --release --", "cairn");
        command = command.replace("/srv/", &format!("{}/srv/", self.home.path().display()));
        for (printed, real) in &self.addresses {
            command = command.replace(printed, real);
        }
        command
    }

    /// A command that ends.
    fn shell(&self, command: &str) -> Command {
        let mut shell = Command::new("timeout");
        shell.args(["-k", "5", COMMAND_BOUND, "bash", "-u", "-o", "pipefail", "-c", command]);
        self.prepared(shell)
    }

    fn prepared(&self, mut shell: Command) -> Command {
        let bin = self.home.path().join("bin");
        let path = std::env::var("PATH").unwrap_or_default();
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("CAIRN_") {
                shell.env_remove(name);
            }
        }
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let real_curl = ["/usr/bin/curl", "/usr/local/bin/curl", "/bin/curl"];
        let real_curl = real_curl.into_iter().find(|path| Path::new(path).exists());
        shell
            .current_dir(self.clone_folder())
            .env("PATH", format!("{}:{path}", bin.display()))
            .env("HOME", self.home.path())
            .env("REAL_CURL", real_curl.expect("curl is installed"))
            .env("PYTHONPATH", workspace.join("target/python"))
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::null());
        for (printed, real) in &self.addresses {
            match *printed {
                "127.0.0.1:8080" => shell.env("CAIRN_URL", format!("http://{real}")),
                "127.0.0.1:8081" => shell.env("CAIRN_ADMIN_URL", format!("http://{real}")),
                _ => &mut shell,
            };
        }
        shell
    }

    /// True when a command succeeds here.
    pub(crate) fn runs(&self, command: &str) -> bool {
        let mut shell = self.shell(command);
        shell.stdout(Stdio::null()).stderr(Stdio::null());
        shell.status().is_ok_and(|status| status.success())
    }

    /// Runs the commands of a block, one after another.
    pub(crate) fn run(&mut self, block: &Block) -> Result<(), String> {
        self.make_files(block);
        for step in &block.steps {
            match &step.says {
                None => self.succeed(step)?,
                Some(says) => self.say(step, says)?,
            }
        }
        Ok(())
    }

    fn make_files(&self, block: &Block) {
        let names = block.marks.iter().filter_map(|mark| match mark {
            Mark::Files(names) => Some(names),
            Mark::NotRun(_) | Mark::Services | Mark::Needs(_) => None,
        });
        for name in names.flatten() {
            let path = self.clone_folder().join(name);
            fs::create_dir_all(path.parent().expect("within the folder")).expect("a folder");
            fs::write(path, format!("This is {name}.\n")).expect("a file");
        }
    }

    fn succeed(&self, step: &Step) -> Result<(), String> {
        let command = self.substituted(&step.command);
        let ran = self.shell(&command).env("SAMPLE_STRICT", "1").output();
        let ran = ran.map_err(|error| format!("{command}: {error}"))?;
        if ran.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&ran.stdout).into_owned();
        let complained = String::from_utf8_lossy(&ran.stderr);
        Err(format!("`{}` ended with {}\n{said}{complained}", step.command, ran.status))
    }

    fn say(&mut self, step: &Step, shown: &[String]) -> Result<(), String> {
        // `$?` is that of the command before.
        let command = format!("(exit {}); {}", self.last_exit, self.substituted(&step.command));
        let ran = self.shell(&format!("exec 2>&1; {command}")).output();
        let ran = ran.map_err(|error| format!("{command}: {error}"))?;
        self.last_exit = ran.status.code().unwrap_or(-1);
        let mut said = String::from_utf8_lossy(&ran.stdout).into_owned();
        for (printed, real) in &self.addresses {
            said = said.replace(real.as_str(), printed);
        }
        let lines: Vec<_> = said.lines().map(str::trim_end).collect();
        let alike = lines.len() == shown.len()
            && shown.iter().zip(&lines).all(|(shown, said)| is_as_shown(shown.trim_end(), said));
        if alike {
            return Ok(());
        }
        let shown = shown.join("\n");
        Err(format!("`{}` says\n{said}\ninstead of\n{shown}", step.command))
    }

    /// Starts a service for each command, and waits until all are ready.
    pub(crate) fn start(&mut self, block: &Block) -> Result<(), String> {
        let (mut health, mut nodes) = (Vec::new(), 0);
        for step in &block.steps {
            let command = self.substituted(&step.command);
            let service = command.split_whitespace().nth(1).ok_or("no service")?;
            nodes += usize::from(service == "node");
            health.push(self.start_one(&command, service)?);
        }
        for url in health {
            self.eventually(&format!("cairn healthcheck --url {url}"))?;
        }
        let up = r#"cairn admin nodes --json | grep -c '"state":"up"'"#;
        self.eventually(&format!("test $({up}) -ge {}", nodes.max(1)))
    }

    fn eventually(&self, command: &str) -> Result<(), String> {
        let until = Instant::now() + BOUND;
        while !self.runs(command) {
            if Instant::now() > until {
                return Err(format!("`{command}` did not succeed within {BOUND:?}"));
            }
            thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// Starts a service and waits for the addresses that it announces; where its health is asked for.
    fn start_one(&mut self, command: &str, service: &str) -> Result<String, String> {
        let mut shell = Command::new("bash");
        // The shell becomes the service, so that it can be ended.
        shell.args(["-c", &format!("exec {}", without_ports(command))]);
        let mut shell = self.prepared(shell);
        shell.env("CAIRN_LISTEN", "127.0.0.1:0").env("CAIRN_ADMIN_LISTEN", "127.0.0.1:0");
        if let Some(master) = &self.master {
            shell.env("CAIRN_MASTER", master);
        }
        let mut child = shell.stdout(Stdio::piped()).spawn().map_err(|error| error.to_string())?;
        let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        self.services.push(child);
        let mut health = String::new();
        for (word, printed) in printed(service) {
            let line = lines.next().and_then(Result::ok);
            let line = line.ok_or_else(|| format!("`{command}` ended"))?;
            let urls = line.strip_prefix(word).ok_or_else(|| format!("{word:?} in {line:?}"))?;
            let url = urls.split(',').next().unwrap_or_default();
            health = urls.rsplit(' ').next().unwrap_or_default().to_owned();
            if *word == "master on " {
                self.master = Some(url.to_owned());
            }
            self.addresses.retain(|(of, _)| of != printed);
            self.addresses.push((printed, url.trim_start_matches("http://").to_owned()));
        }
        // Whoever writes to a pipe that nobody reads stops in the end.
        thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
        Ok(health)
    }
}

/// The port of `--listen ADDRESS:PORT` is a free one.
fn without_ports(command: &str) -> String {
    let mut words: Vec<_> = command.split_whitespace().map(str::to_owned).collect();
    for at in 1..words.len() {
        if words[at - 1].ends_with("listen") {
            "127.0.0.1:0".clone_into(&mut words[at]);
        }
    }
    words.join(" ")
}

impl Drop for Place {
    fn drop(&mut self) {
        for child in &mut self.services {
            // An error means that it has ended already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
