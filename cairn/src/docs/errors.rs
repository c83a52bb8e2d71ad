//! `docs/errors.md`: everything a client can be refused with.

use cairn_api_gateway::rest::ProblemKind;
use cairn_proto::{DESCRIPTORS, Reason, error};
use prost::Message;
use prost_types::FileDescriptorSet;

use super::{check, table};
use crate::client::error::EXIT_CODES;

fn yes_or_no(yes: bool) -> String {
    if yes { "yes" } else { "no" }.to_owned()
}

fn problems() -> String {
    let row = |kind: &ProblemKind| {
        [
            kind.status().as_u16().to_string(),
            format!("`{}`", kind.name()),
            kind.when().to_owned(),
            yes_or_no(kind.is_retryable()),
            kind.next_step().to_owned(),
        ]
    };
    let mut rows: Vec<_> = ProblemKind::ALL.iter().map(row).collect();
    rows.sort_by(|one, other| one[0].cmp(&other[0]));
    table(["status", "type", "when", "repeat", "what to do"], &rows)
}

/// Every reason with the comment of its proto.
fn reasons() -> Vec<(Reason, String)> {
    let set = FileDescriptorSet::decode(DESCRIPTORS).expect("our own descriptors");
    let mut reasons = Vec::new();
    for file in set.file.iter().filter(|file| file.package() == "cairn.v1") {
        let info = file.source_code_info.as_ref().expect("comments are kept");
        for (at, of) in (0..).zip(&file.enum_type).filter(|(_, of)| of.name() == "ErrorReason") {
            for (nth, value) in (0..).zip(&of.value) {
                let comment = info.location.iter().find(|place| place.path == [5, at, 2, nth]);
                let comment = comment.map(|place| place.leading_comments().trim().to_owned());
                let reason = Reason::from_str_name(value.name()).expect("a reason");
                reasons.push((reason, comment.unwrap_or_default()));
            }
        }
    }
    reasons
}

/// The name that gRPC gives a code: `NotFound` is `NOT_FOUND`.
fn canonical(code: tonic::Code) -> String {
    let mut name = String::new();
    for letter in format!("{code:?}").chars() {
        if letter.is_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(letter.to_ascii_uppercase());
    }
    name
}

fn over_grpc() -> String {
    let row = |(reason, meaning): &(Reason, String)| {
        let name = reason.as_str_name().trim_start_matches("ERROR_REASON_");
        [
            format!("`{name}`"),
            format!("`{}`", canonical(error::code(*reason))),
            meaning.clone(),
            yes_or_no(error::is_retryable(*reason)),
            error::next_step(*reason).to_owned(),
            format!("`{}`", ProblemKind::of(*reason).name()),
        ]
    };
    let rows: Vec<_> = reasons().iter().map(row).collect();
    table(["reason", "gRPC code", "meaning", "repeat", "what to do", "over HTTP"], &rows)
}

fn exit_codes() -> String {
    let read = |line: &str| {
        let (code, meaning) = line.trim().split_once("  ")?;
        code.parse::<u8>().ok()?;
        Some([code.to_owned(), meaning.to_owned()])
    };
    let rows: Vec<_> = EXIT_CODES.lines().filter_map(read).collect();
    table(["code", "meaning"], &rows)
}

#[test]
fn the_errors_page_is_what_the_code_says() {
    assert!(reasons().len() > 20, "the reasons are found");
    assert!(reasons().iter().all(|(_, meaning)| !meaning.is_empty()), "each reason has a meaning");
    check(
        "errors.md",
        &[("problems", problems()), ("reasons", over_grpc()), ("exit codes", exit_codes())],
    );
}
