//! A proxy in front of the server that understands just enough of its protocol (version 3.0) to break
//! a connection at the worst moment.

use std::collections::BTreeSet;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

/// What happens to the next commit of a transaction that may write. It happens once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The connection breaks before the server gets the COMMIT.
    CutBeforeCommit,
    /// The connection breaks after the server has committed, before the client learns of it.
    CutAfterCommit,
    /// The client's connection breaks; the server gets the COMMIT when [`Proxy::release`] is called.
    HoldCommit,
    /// The same, but the server gets none of the transaction's writes before either.
    HoldWritesAndCommit,
    /// Nothing more passes on this connection, and it stays open.
    Silence,
}

/// A running proxy. It takes no more connections once it is dropped.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    fault: Option<Fault>,
    /// Replaced in each statement without parameters.
    rewrite: Option<(String, String)>,
    /// Lets the connection go on whose bytes are held.
    held: Option<Sender<()>>,
    struck: u32,
    closed: bool,
}

impl Proxy {
    /// Starts a proxy to a server on this machine.
    ///
    /// # Panics
    /// When there is no port or no thread to be had.
    pub fn start(server: u16) -> Proxy {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let state = Arc::<Mutex<State>>::default();
        let shared = Arc::clone(&state);
        spawn(move || {
            for client in listener.incoming().flatten() {
                if lock(&shared).closed {
                    return;
                }
                // A server that is down: the client sees its connection end.
                if let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, server)) {
                    pass(&client, &server, &shared);
                }
            }
        });
        Proxy { port, state }
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Lets the next commit of a transaction that may write meet this fault.
    pub fn strike(&self, fault: Fault) {
        lock(&self.state).fault = Some(fault);
    }

    /// How many faults have struck.
    pub fn struck(&self) -> u32 {
        lock(&self.state).struck
    }

    /// Replaces a text in all statements without parameters from now on.
    pub fn rewrite(&self, from: &str, to: &str) {
        lock(&self.state).rewrite = Some((from.to_owned(), to.to_owned()));
    }

    /// Lets the server have what was held back.
    ///
    /// # Panics
    /// When nothing is.
    pub fn release(&self) {
        let held = lock(&self.state).held.take();
        held.expect("something is held").send(()).expect("someone holds it");
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        lock(&self.state).closed = true;
        // Wakes the one who waits for connections.
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn spawn(work: impl FnOnce() + Send + 'static) {
    thread::Builder::new().name("proxy".to_owned()).spawn(work).expect("a thread");
}

/// Starts the two threads of a connection.
fn pass(client: &TcpStream, server: &TcpStream, state: &Arc<Mutex<State>>) {
    let clone = |stream: &TcpStream| stream.try_clone().expect("cloned");
    let _ = client.set_nodelay(true);
    let _ = server.set_nodelay(true);
    let after_commit = Arc::<Mutex<AfterCommit>>::default();
    let requests = Requests {
        client: clone(client),
        server: clone(server),
        state: Arc::clone(state),
        after_commit: Arc::clone(&after_commit),
        writes: BTreeSet::new(),
        read_only: false,
        flight: Vec::new(),
    };
    let (client, server) = (clone(client), clone(server));
    spawn(move || {
        let _ = requests.serve();
    });
    spawn(move || {
        let _ = answer(&server, &client, &after_commit);
        let _ = client.shutdown(Shutdown::Both);
        let _ = server.shutdown(Shutdown::Both);
    });
}

/// What becomes of answers.
#[derive(Debug, Default, PartialEq, Eq)]
enum AfterCommit {
    #[default]
    Pass,
    /// Pass until the server says that it has committed, then cut.
    Cut,
    Swallow,
}

/// The way from the client to the server.
struct Requests {
    client: TcpStream,
    server: TcpStream,
    state: Arc<Mutex<State>>,
    after_commit: Arc<Mutex<AfterCommit>>,
    /// Names of prepared statements that write.
    writes: BTreeSet<Vec<u8>>,
    read_only: bool,
    /// The writes of a transaction, kept back while a fault wants them.
    flight: Vec<u8>,
}

/// Type and length of a message.
const HEADER: usize = 5;

impl Requests {
    fn serve(mut self) -> io::Result<()> {
        let startup = startup_message(&mut self.client)?;
        self.server.write_all(&startup)?;
        loop {
            let message = match message(&mut self.client) {
                Ok(message) => message,
                Err(error) => {
                    let _ = self.server.shutdown(Shutdown::Both);
                    return Err(error);
                }
            };
            let message = self.rewritten(message);
            self.note(&message);
            if !self.read_only && is_commit(&message) {
                let fault = {
                    let mut state = lock(&self.state);
                    let fault = state.fault.take();
                    state.struck += u32::from(fault.is_some());
                    fault
                };
                if let Some(fault) = fault {
                    return self.strike(fault, &message);
                }
            }
            if self.holds_back(&message) {
                self.flight.extend_from_slice(&message);
            } else {
                self.server.write_all(&message)?;
            }
        }
    }

    /// Learns what later messages mean.
    fn note(&mut self, message: &[u8]) {
        let body = &message[HEADER..];
        match message[0] {
            b'P' => {
                let mut parts = body.splitn(3, |byte| *byte == 0);
                let (name, text) = (parts.next().unwrap_or(body), parts.next().unwrap_or_default());
                if text.starts_with(b"INSERT") || text.starts_with(b"DELETE") {
                    self.writes.insert(name.to_vec());
                }
            }
            b'Q' if contains(body, b"BEGIN") => self.read_only = contains(body, b"READ ONLY"),
            _ => {}
        }
    }

    /// Whether this belongs to the writes of a transaction that a fault wants to keep from the server.
    fn holds_back(&self, message: &[u8]) -> bool {
        if lock(&self.state).fault != Some(Fault::HoldWritesAndCommit) {
            return false;
        }
        let mut parts = message[HEADER..].splitn(3, |byte| *byte == 0);
        let bound = parts.nth(1).unwrap_or_default();
        let begins = message[0] == b'B' && self.writes.contains(bound);
        begins || !self.flight.is_empty()
    }

    fn strike(mut self, fault: Fault, commit: &[u8]) -> io::Result<()> {
        match fault {
            Fault::CutBeforeCommit => {
                self.client.shutdown(Shutdown::Both)?;
                self.server.shutdown(Shutdown::Both)
            }
            Fault::CutAfterCommit => {
                *self.after_commit.lock().unwrap_or_else(PoisonError::into_inner) =
                    AfterCommit::Cut;
                self.server.write_all(commit)
            }
            Fault::HoldCommit | Fault::HoldWritesAndCommit => {
                let (release, released): (Sender<()>, Receiver<()>) = channel();
                lock(&self.state).held = Some(release);
                *self.after_commit.lock().unwrap_or_else(PoisonError::into_inner) =
                    AfterCommit::Swallow;
                self.client.shutdown(Shutdown::Both)?;
                if released.recv().is_ok() {
                    self.server.write_all(&self.flight)?;
                    self.server.write_all(commit)?;
                }
                self.server.shutdown(Shutdown::Write)
            }
            Fault::Silence => {
                *self.after_commit.lock().unwrap_or_else(PoisonError::into_inner) =
                    AfterCommit::Swallow;
                // Until the client loses patience.
                while self.client.read(&mut [0; 1024])? > 0 {}
                Ok(())
            }
        }
    }

    fn rewritten(&self, message: Vec<u8>) -> Vec<u8> {
        let rewrite = lock(&self.state).rewrite.clone();
        let Some((from, to)) = rewrite.filter(|_| message[0] == b'Q') else { return message };
        let text = String::from_utf8_lossy(&message[HEADER..]).replace(&from, &to);
        let length = u32::try_from(text.len() + 4).expect("a short statement");
        [&[b'Q'][..], &length.to_be_bytes(), text.as_bytes()].concat()
    }
}

/// The way back.
fn answer(
    mut server: &TcpStream,
    mut client: &TcpStream,
    after_commit: &Mutex<AfterCommit>,
) -> io::Result<()> {
    loop {
        let message = message(&mut server)?;
        let committed = message[0] == b'C' && message[HEADER..].starts_with(b"COMMIT");
        match &*after_commit.lock().unwrap_or_else(PoisonError::into_inner) {
            AfterCommit::Cut if committed => return Ok(()),
            AfterCommit::Swallow => {}
            AfterCommit::Pass | AfterCommit::Cut => client.write_all(&message)?,
        }
    }
}

fn is_commit(message: &[u8]) -> bool {
    message[0] == b'Q' && contains(message, b"COMMIT\0")
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

/// The first message has no type.
fn startup_message(stream: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let rest = (u32::from_be_bytes(length) as usize).saturating_sub(4);
    let mut message = length.to_vec();
    message.resize(4 + rest, 0);
    stream.read_exact(&mut message[4..])?;
    Ok(message)
}

fn message(stream: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut header = [0; HEADER];
    stream.read_exact(&mut header)?;
    let length = u32::from_be_bytes([header[1], header[2], header[3], header[4]]) as usize;
    let mut message = header.to_vec();
    message.resize(1 + length.max(4), 0);
    stream.read_exact(&mut message[HEADER..])?;
    Ok(message)
}
