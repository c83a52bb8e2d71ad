//! A record in text that says what a store is.
//!
//! ```text
//! cairn chunk store      the title
//! format 1
//! disk 0197f3a2-…        facts, one to a line
//! crc32c 1a2b3c4d        over the lines before
//! ```

use std::str::Lines;

use cairn_core::digest::plain_crc;

/// Most bytes that the record can have.
pub(crate) const MOST_BYTES: usize = 1024;

const FORMAT: &str = "1";

/// The record is not what a store of this version writes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Unreadable {
    /// It has another title: something else is there.
    OtherTitle(String),
    UnknownFormat(String),
    Damaged,
}

/// The record of a store of this kind.
pub(crate) fn encode(title: &str, facts: &[(&str, &str)]) -> String {
    let mut text = format!("{title}\nformat {FORMAT}\n");
    for (name, value) in facts {
        text.push_str(&format!("{name} {value}\n"));
    }
    let crc = plain_crc(text.as_bytes());
    format!("{text}crc32c {crc:08x}\n")
}

/// The facts, by the names that are wanted, of a record of this kind.
pub(crate) fn decode<const N: usize>(
    bytes: &[u8],
    title: &str,
    names: [&str; N],
) -> Result<[String; N], Unreadable> {
    let (text, mut lines) = facts_of(bytes, title)?;
    let mut value = |name: &str| lines.next()?.strip_prefix(name)?.strip_prefix(' ');
    let values = names.map(|name| value(name).unwrap_or_default().to_owned());
    let mut facts = names.iter().zip(&values).map(|(name, value)| (*name, value.as_str()));
    let facts: [(&str, &str); N] = std::array::from_fn(|_| facts.next().unwrap_or_default());
    if encode(title, &facts) == text { Ok(values) } else { Err(Unreadable::Damaged) }
}

/// The facts of a record of this kind in which all have one name.
pub(crate) fn decode_list(
    bytes: &[u8],
    title: &str,
    name: &str,
) -> Result<Vec<String>, Unreadable> {
    let (text, lines) = facts_of(bytes, title)?;
    let value = |line: &str| Some(line.strip_prefix(name)?.strip_prefix(' ')?.to_owned());
    let values: Vec<_> = lines.map_while(value).collect();
    let facts: Vec<_> = values.iter().map(|value| (name, value.as_str())).collect();
    if encode(title, &facts) == text { Ok(values) } else { Err(Unreadable::Damaged) }
}

/// The text, and its lines behind the format.
fn facts_of<'a>(bytes: &'a [u8], title: &str) -> Result<(&'a str, Lines<'a>), Unreadable> {
    let text = str::from_utf8(bytes).map_err(|_| Unreadable::Damaged)?;
    let mut lines = text.lines();
    let found = lines.next().unwrap_or_default();
    if found != title {
        return Err(Unreadable::OtherTitle(found.to_owned()));
    }
    // The format is looked at first: a newer one may have other lines.
    match lines.next().and_then(|line| line.strip_prefix("format ")) {
        Some(FORMAT) => Ok((text, lines)),
        Some(format) => Err(Unreadable::UnknownFormat(format.to_owned())),
        None => Err(Unreadable::Damaged),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TITLE: &str = "cairn chunk store";

    #[test]
    fn a_record_survives_its_text_and_every_flipped_bit_is_noticed() {
        let text = encode(TITLE, &[("disk", "7"), ("keys", "plain")]);
        let read = |bytes: &[u8]| decode(bytes, TITLE, ["disk", "keys"]);
        assert_eq!(read(text.as_bytes()), Ok(["7".to_owned(), "plain".to_owned()]));
        for bit in 0..text.len() * 8 {
            let mut bytes = text.clone().into_bytes();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(read(&bytes).is_err(), "bit {bit} went unnoticed");
        }
        assert_eq!(decode(text.as_bytes(), TITLE, ["disk"]), Err(Unreadable::Damaged));
        let other = decode(text.as_bytes(), "another", ["disk", "keys"]);
        assert_eq!(other, Err(Unreadable::OtherTitle(TITLE.to_owned())));
    }

    #[test]
    fn facts_of_one_name_are_as_many_as_there_are() {
        for facts in [&[][..], &["1"], &["1", "two words "]] {
            let named: Vec<_> = facts.iter().map(|fact| ("disk", *fact)).collect();
            let text = encode(TITLE, &named);
            let read = decode_list(text.as_bytes(), TITLE, "disk").expect("our own text");
            assert_eq!(read, facts);
        }
        let other = encode(TITLE, &[("disk", "1"), ("keys", "plain")]);
        assert_eq!(decode_list(other.as_bytes(), TITLE, "disk"), Err(Unreadable::Damaged));
    }

    #[test]
    fn another_format_is_named() {
        let text = "cairn chunk store\nformat 2\nwhatever\n";
        let read = decode(text.as_bytes(), TITLE, ["disk"]);
        assert_eq!(read, Err(Unreadable::UnknownFormat("2".to_owned())));
    }
}
