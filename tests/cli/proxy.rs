//! Stands between a command and its server: lets answers stall, break off, or arrive with a wrong byte.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

/// What happens to a stream of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mischief {
    /// After so many bytes of all answers nothing more comes, until it is lifted: then the connections break.
    StallAnswers(u64),
    /// One bit of the byte after so many of an answer is another one.
    FlipInAnswer(u64),
    /// Answers lack this header: it comes under another name.
    HideHeader(&'static str),
    /// One bit of the byte after so many of a request is another one.
    FlipInRequest(u64),
}

struct Shared {
    mischief: Mischief,
    passed: AtomicU64,
    flipped: AtomicBool,
    lifted: Mutex<bool>,
    on_lift: Condvar,
}

/// A proxy at work. Its threads end with the test's process.
pub(crate) struct Proxy {
    pub(crate) url: String,
    shared: Arc<Shared>,
}

impl Proxy {
    pub(crate) fn before(url: &str, mischief: Mischief) -> Self {
        let server = url.strip_prefix("http://").expect("an http URL").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let shared = Arc::new(Shared {
            mischief,
            passed: AtomicU64::new(0),
            flipped: AtomicBool::new(false),
            lifted: Mutex::new(false),
            on_lift: Condvar::new(),
        });
        let accepting = Arc::clone(&shared);
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let Ok(server) = TcpStream::connect(&server) else { return };
                let (client2, server2) = (copy_of(&client), copy_of(&server));
                let (up, down) = (Arc::clone(&accepting), Arc::clone(&accepting));
                thread::spawn(move || up.pass(client2, server2, false));
                thread::spawn(move || down.pass(server, client, true));
            }
        });
        Self { url, shared }
    }

    /// Breaks the connections that stall; others work from now on.
    pub(crate) fn lift(&self) {
        *self.shared.lifted.lock().expect("no panic") = true;
        self.shared.on_lift.notify_all();
    }
}

fn copy_of(stream: &TcpStream) -> TcpStream {
    stream.try_clone().expect("a handle")
}

impl Shared {
    /// Passes bytes on to the end of the connection.
    fn pass(&self, mut from: TcpStream, mut to: TcpStream, answers: bool) {
        let mut buffer = vec![0; 64 << 10];
        let mut at = 0;
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            self.flip(at, &mut buffer[..count], answers);
            self.hide(&mut buffer[..count], answers);
            at += count as u64;
            if (answers && self.stalls(count as u64)) || to.write_all(&buffer[..count]).is_err() {
                break;
            }
        }
        for end in [from, to] {
            // The other direction may have closed it.
            let _ = end.shutdown(Shutdown::Both);
        }
    }

    fn flip(&self, at: u64, bytes: &mut [u8], answers: bool) {
        let place = match self.mischief {
            Mischief::FlipInAnswer(place) if answers => place,
            Mischief::FlipInRequest(place) if !answers => place,
            _ => return,
        };
        let within = place.checked_sub(at).and_then(|place| usize::try_from(place).ok());
        let byte = within.and_then(|within| bytes.get_mut(within));
        if let Some(byte) = byte
            && !self.flipped.swap(true, Ordering::Relaxed)
        {
            *byte ^= 1;
        }
    }

    /// The head of an answer comes in one piece here, because the server writes it at once.
    fn hide(&self, bytes: &mut [u8], answers: bool) {
        let Mischief::HideHeader(name) = self.mischief else { return };
        let found = bytes.windows(name.len()).position(|window| window == name.as_bytes());
        if let Some(at) = found.filter(|_| answers) {
            bytes[at] = b'x';
        }
    }

    /// Waits when it is time to stall; true when the connection is to break.
    fn stalls(&self, count: u64) -> bool {
        let Mischief::StallAnswers(after) = self.mischief else { return false };
        let mut lifted = self.lifted.lock().expect("no panic");
        if *lifted || self.passed.fetch_add(count, Ordering::Relaxed) + count < after {
            return false;
        }
        while !*lifted {
            lifted = self.on_lift.wait(lifted).expect("no panic");
        }
        true
    }
}
