//! `cairn ls`: names, a level at a time as folders are shown, or all of them. A name is a folder when it is one, else the
//! beginning of keys.

use serde::Serialize;

use super::args::{Ls, Telling};
use super::error::{ClientError, Kind, printable};
use super::names::folder;
use super::remote::{Described, Page, page};
use super::{Client, block_on};
use crate::human;

/// A folder, in JSON.
#[derive(Serialize)]
struct Folder<'a> {
    prefix: &'a str,
}

pub(crate) fn run(args: &Ls) -> Result<(), ClientError> {
    block_on(async {
        let client = Client::open(&args.connection, Telling { quiet: true, json: args.json }, 1)?;
        let delimiter = if args.recursive { "" } else { "/" };
        let mut prefix = folder(&args.prefix);
        let mut shown = page(&client, &prefix, delimiter, "").await?;
        if shown.is_empty() && !prefix.is_empty() && prefix != args.prefix {
            prefix.clone_from(&args.prefix);
            shown = page(&client, &prefix, delimiter, "").await?;
        }
        if shown.is_empty() && !prefix.is_empty() {
            let error =
                ClientError::new(Kind::NotFound, format!("ls {prefix}"), "nothing is there");
            return Err(error.advise("see what is there: cairn ls"));
        }
        loop {
            show(&client, args, &shown)?;
            let Some(after) = shown.next_after else { return Ok(()) };
            shown = page(&client, &prefix, delimiter, &after).await?;
        }
    })
}

/// Files and folders of a page in the order of their names.
fn show(client: &Client, args: &Ls, page: &Page) -> Result<(), ClientError> {
    let mut folders = page.prefixes.iter().peekable();
    for file in &page.files {
        while let Some(folder) = folders.next_if(|folder| **folder < file.key) {
            show_folder(client, args, folder)?;
        }
        show_file(client, args, file)?;
    }
    folders.try_for_each(|folder| show_folder(client, args, folder))
}

fn show_folder(client: &Client, args: &Ls, folder: &str) -> Result<(), ClientError> {
    match (args.json, args.long) {
        (true, _) => client.output.json(&Folder { prefix: folder }),
        (false, true) => client.output.line(&long(args.bytes, "", "folder", folder)),
        (false, false) => client.output.line(&printable(folder)),
    }
}

fn show_file(client: &Client, args: &Ls, file: &Described) -> Result<(), ClientError> {
    if args.json {
        return client.output.json(file);
    }
    if !args.long {
        return client.output.line(&printable(&file.key));
    }
    let modified = file.modified.as_deref().map(timestamp).unwrap_or_default();
    let length = human::bytes_as(file.length, args.bytes);
    client.output.line(&long(args.bytes, &modified, &length, &file.key))
}

/// A line of `-l`: when, how long, which.
fn long(exact: bool, modified: &str, length: &str, name: &str) -> String {
    // The most that a file may be has 14 digits.
    let width = if exact { 14 } else { 10 };
    format!("{modified:<20}  {length:>width$}  {}", printable(name))
}

/// The time of an HTTP date in the form that sorts; as it is when it is none.
fn timestamp(text: &str) -> String {
    match httpdate::parse_http_date(text) {
        Ok(time) => humantime::format_rfc3339_seconds(time).to_string(),
        Err(_) => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_long_form_lines_up() {
        let file = long(false, &timestamp("Sat, 21 Nov 2026 04:02:11 GMT"), "1.5 KiB", "a");
        assert_eq!(file, "2026-11-21T04:02:11Z     1.5 KiB  a");
        assert_eq!(long(false, "", "folder", "b/").find("b/"), file.find('a'));
        assert_eq!(timestamp("yesterday"), "yesterday");
    }
}
