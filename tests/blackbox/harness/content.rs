//! Reproducible content that can be made from any offset, and a cheap source of random choices.

use bytes::Bytes;
use sha2::{Digest, Sha256};

/// Bytes made at once.
pub(crate) const FRAME: u64 = 256 << 10;

fn mixed(seed: u64, at: u64) -> u64 {
    let mut word = seed.wrapping_add(at.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    word ^ (word >> 31)
}

/// A file that exists as a rule: byte by byte determined by its seed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Content {
    pub(crate) seed: u64,
    pub(crate) length: u64,
}

impl Content {
    pub(crate) const fn new(seed: u64, length: u64) -> Self {
        Self { seed, length }
    }

    /// The bytes `from .. to`.
    pub(crate) fn bytes(&self, from: u64, to: u64) -> Bytes {
        assert!(from <= to && to <= self.length, "{from}..{to} of {self:?}");
        let first_word = from / 8;
        let words = to.div_ceil(8).saturating_sub(first_word);
        let mut made = Vec::with_capacity(words as usize * 8);
        for at in first_word..first_word + words {
            made.extend_from_slice(&mixed(self.seed, at).to_le_bytes());
        }
        let skipped = (from - first_word * 8) as usize;
        Bytes::from(made).slice(skipped..skipped + (to - from) as usize)
    }

    /// All of it, for small files.
    pub(crate) fn all(&self) -> Bytes {
        self.bytes(0, self.length)
    }

    /// All of it in frames.
    pub(crate) fn frames(self) -> impl Iterator<Item = Bytes> + Send + 'static {
        (0..self.length.div_ceil(FRAME)).map(move |nth| {
            let from = nth * FRAME;
            self.bytes(from, (from + FRAME).min(self.length))
        })
    }

    /// SHA-256 of all of it.
    pub(crate) fn sha256(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        self.frames().for_each(|frame| hash.update(&frame));
        hash.finalize().into()
    }
}

/// Random choices that can be had again by their seed.
#[derive(Debug)]
pub(crate) struct Draw {
    seed: u64,
    drawn: u64,
}

impl Draw {
    /// The seed is `CAIRN_TEST_SEED`, or `otherwise`; it is said, so that a failure can be repeated.
    pub(crate) fn new(otherwise: u64) -> Self {
        let seed = std::env::var("CAIRN_TEST_SEED")
            .ok()
            .and_then(|text| text.parse().ok())
            .unwrap_or(otherwise);
        eprintln!("random choices: CAIRN_TEST_SEED={seed}");
        Self { seed, drawn: 0 }
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.drawn += 1;
        mixed(self.seed, self.drawn) % end
    }
}

pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Standard base64 with padding, as `Repr-Digest` has it.
pub(crate) fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let word = three
            .iter()
            .chain([0, 0].iter())
            .take(3)
            .fold(0_usize, |word, byte| word << 8 | usize::from(*byte));
        for place in 0..4 {
            if place <= three.len() {
                text.push(char::from(LETTERS[word >> (18 - 6 * place) & 63]));
            } else {
                text.push('=');
            }
        }
    }
    text
}

#[test]
fn base64_is_the_standard_one() {
    let read = |text: &str| base64(text.as_bytes());
    assert_eq!((read("f"), read("fo")), ("Zg==".into(), "Zm8=".into()));
    assert_eq!((read(""), read("foobar")), ("".into(), "Zm9vYmFy".into()));
}

#[test]
fn content_is_the_same_from_any_offset() {
    let content = Content::new(7, 1000);
    let all = content.all();
    for (from, to) in [(0, 0), (0, 1), (3, 17), (8, 16), (993, 1000), (1000, 1000)] {
        assert_eq!(content.bytes(from, to), all[from as usize..to as usize]);
    }
}
