//! `cairn bucket`: creates, lists, shows, changes and deletes buckets.

pub(crate) mod args;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{Method, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use self::args::{Bucket, Create, Do, Ls, Rm, Set, Show};
use super::args::{Connection, Telling};
use super::error::ClientError;
use super::http::{empty, full, read_json};
use super::names::query_of;
use super::{Client, block_on};
use crate::human::{Side, Table, bytes_as};

/// A bucket, as its JSON describes it.
#[derive(Debug, Serialize, Deserialize)]
struct Described {
    bucket: String,
    state: String,
    created: String,
    settings: Value,
    effective: Value,
    usage: Usage,
}

#[derive(Debug, Serialize, Deserialize)]
struct Usage {
    used: Amount,
    reserved: Amount,
    condemned: Amount,
}

#[derive(Debug, Serialize, Deserialize)]
struct Amount {
    bytes: u64,
    objects: u64,
}

/// A page of buckets.
#[derive(Debug, Deserialize)]
struct Page {
    buckets: Vec<Described>,
    #[serde(default)]
    next_after: Option<String>,
}

pub(crate) fn run(args: &Bucket) -> Result<(), ClientError> {
    block_on(async {
        match &args.what {
            Do::Create(create) => create_one(args, create).await,
            Do::Ls(ls) => list(args, ls).await,
            Do::Show(show) => show_one(args, show).await,
            Do::Set(set) => change(args, set).await,
            Do::Rm(rm) => delete(args, rm).await,
        }
    })
}

/// A client of one bucket.
fn open(args: &Bucket, bucket: &str, json: bool) -> Result<Client, ClientError> {
    let connection = Connection { url: args.url.clone(), bucket: bucket.to_owned() };
    Client::open(&connection, Telling { quiet: true, json }, 1)
}

/// Sends a request about the client's bucket; the status, and the body.
async fn ask(
    client: &Client,
    doing: &str,
    method: &Method,
    query: &str,
    body: Option<&Value>,
) -> Result<(StatusCode, Bytes), ClientError> {
    let text = body.map(Value::to_string);
    let request = || {
        let built = client.api.of_bucket(method.clone(), query);
        match &text {
            Some(text) => {
                built.header(CONTENT_TYPE, "application/json").body(full(text.clone().into()))
            }
            None => built.body(empty()),
        }
    };
    let answer = client.api.ask(doing, *method == Method::GET, request).await?;
    let status = answer.status();
    Ok((status, client.api.all(doing, answer.into_body()).await?))
}

async fn create_one(args: &Bucket, create: &Create) -> Result<(), ClientError> {
    let client = open(args, &create.bucket, create.json)?;
    let doing = format!("create bucket {}", create.bucket);
    let settings = create.settings.json();
    let (_, body) = ask(&client, &doing, &Method::PUT, "", Some(&settings)).await?;
    let bucket: Described = read_json(&doing, &body)?;
    if create.json {
        return client.output.json(&bucket);
    }
    client.output.line(&format!("created {}", bucket.bucket))
}

async fn change(args: &Bucket, set: &Set) -> Result<(), ClientError> {
    let client = open(args, &set.bucket, set.json)?;
    let doing = format!("change bucket {}", set.bucket);
    let settings = set.settings.json();
    let (_, body) = ask(&client, &doing, &Method::PATCH, "", Some(&settings)).await?;
    tell(&client, set.json, &read_json(&doing, &body)?)
}

async fn show_one(args: &Bucket, show: &Show) -> Result<(), ClientError> {
    let client = open(args, &show.bucket, show.json)?;
    let doing = format!("show bucket {}", show.bucket);
    let (_, body) = ask(&client, &doing, &Method::GET, "", None).await?;
    tell(&client, show.json, &read_json(&doing, &body)?)
}

async fn delete(args: &Bucket, rm: &Rm) -> Result<(), ClientError> {
    let client = open(args, &rm.bucket, false)?;
    let doing = format!("delete bucket {}", rm.bucket);
    let query = if rm.contents { "?contents=delete" } else { "" };
    let (status, _) = ask(&client, &doing, &Method::DELETE, query, None).await?;
    if status == StatusCode::ACCEPTED {
        let bucket = &rm.bucket;
        let text = format!("{bucket} is being deleted; see how far: cairn bucket show {bucket}");
        return client.output.line(&text);
    }
    client.output.line(&format!("deleted {}", rm.bucket))
}

async fn list(args: &Bucket, ls: &Ls) -> Result<(), ClientError> {
    let client = open(args, "default", ls.json)?;
    let doing = "list buckets";
    let (mut buckets, mut after) = (Vec::new(), String::new());
    loop {
        let path =
            format!("/v1/buckets?prefix={}&after={}", query_of(&ls.prefix), query_of(&after));
        let answer = client.api.ask(doing, true, || client.api.path(&path).body(empty())).await?;
        let body = client.api.all(doing, answer.into_body()).await?;
        let page: Page = read_json(doing, &body)?;
        buckets.extend(page.buckets);
        match page.next_after {
            Some(next) => after = next,
            None => break,
        }
    }
    if ls.json {
        return buckets.iter().try_for_each(|bucket| client.output.json(bucket));
    }
    let (left, right) = (Side::Left, Side::Right);
    let mut table = Table::new(&[
        ("NAME", left),
        ("STATE", left),
        ("FILES", right),
        ("USED", right),
        ("LIMIT", right),
        ("COPIES", right),
    ]);
    for bucket in &buckets {
        let limit = bucket.settings["quota_bytes"].as_u64();
        table.row(vec![
            bucket.bucket.clone(),
            bucket.state.clone(),
            bucket.usage.used.objects.to_string(),
            bytes_as(bucket.usage.used.bytes, ls.bytes),
            limit.map_or_else(|| "none".to_owned(), |limit| bytes_as(limit, ls.bytes)),
            text(&bucket.effective["copies"]),
        ]);
    }
    table.lines().iter().try_for_each(|line| client.output.line(line))
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Bool(true) => "on".to_owned(),
        Value::Bool(false) => "off".to_owned(),
        Value::Null => "none".to_owned(),
        other => other.to_string(),
    }
}

/// A bucket line by line: what counts, and whether it was set.
fn tell(client: &Client, json: bool, bucket: &Described) -> Result<(), ClientError> {
    if json {
        return client.output.json(bucket);
    }
    let line = |name: &str, value: &str| -> Result<(), ClientError> {
        client.output.line(&format!("{name:<14}{}", super::error::printable(value)))
    };
    line("bucket", &bucket.bucket)?;
    line("state", &bucket.state)?;
    line("created", &bucket.created)?;
    for (name, field) in [
        ("copies", "copies"),
        ("zones", "zones"),
        ("least copies", "least_copies"),
        ("durability", "durability"),
        ("sha256", "sha256"),
        ("retention", "retention_seconds"),
        ("write", "write"),
        ("read", "read"),
    ] {
        let unit = if field == "retention_seconds" { " s" } else { "" };
        let set = if bucket.settings[field].is_null() { " (default)" } else { "" };
        line(name, &format!("{}{unit}{set}", text(&bucket.effective[field])))?;
    }
    line("quota", &text(&bucket.settings["quota_bytes"]))?;
    line("file quota", &text(&bucket.settings["quota_objects"]))?;
    for (name, amount) in [
        ("files", &bucket.usage.used),
        ("open uploads", &bucket.usage.reserved),
        ("deleted", &bucket.usage.condemned),
    ] {
        line(name, &format!("{}, {} bytes", amount.objects, amount.bytes))?;
    }
    Ok(())
}
