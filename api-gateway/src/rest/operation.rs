//! What the REST interface can do: one table that serves requests and describes itself (`openapi.rs`).
//!
//! A new endpoint is an [`Operation`] beside its handler and an entry of [`super::RESOURCES`].

use std::pin::Pin;

use axum::extract::Request;
use axum::response::Response;
use http::{Method, StatusCode};
use utoipa::openapi::{RefOr, Schema};

use super::path::{Names, captured};
use super::problem::{Kind, Problem};
use crate::files::Files;
use crate::master::CallContext;
use crate::namespace::MAX_PAGE;

/// Paths that mean the same thing, and what can be done there.
pub(super) struct Resource {
    /// `{name}` takes a segment; `{key}`, at the end, all that is left.
    pub(super) paths: &'static [&'static str],
    pub(super) operations: &'static [Operation],
}

/// A method on a resource.
pub(super) struct Operation {
    pub(super) method: Method,
    /// The name of the operation in the document.
    pub(super) id: &'static str,
    pub(super) summary: &'static str,
    pub(super) description: &'static str,
    pub(super) query: &'static [Field],
    pub(super) headers: &'static [Field],
    /// What is sent, when something is.
    pub(super) body: Option<Sent>,
    pub(super) answers: &'static [Answer],
    pub(super) problems: &'static [Kind],
    pub(super) run: fn(Call) -> Answering,
}

/// The name of a shape, and the shape.
pub(super) type JsonShape = fn() -> (&'static str, RefOr<Schema>);

/// The body of a request.
pub(super) struct Sent {
    pub(super) about: &'static str,
    /// Its shape when it is JSON, else any bytes.
    pub(super) json: Option<JsonShape>,
}

/// A header or a parameter.
pub(super) struct Field {
    pub(super) name: &'static str,
    pub(super) about: &'static str,
    pub(super) shape: Shape,
}

/// What values a field takes.
pub(super) enum Shape {
    Text,
    /// A whole number from, and to.
    Number(u64, Option<u64>),
    OneOf(&'static [&'static str]),
    /// A regular expression.
    Pattern(&'static str),
}

/// An answer that is no error.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) about: &'static str,
    pub(super) headers: &'static [Field],
    pub(super) content: Content,
}

/// The body of an answer.
pub(super) enum Content {
    Nothing,
    /// The file's bytes, under the type of the file.
    File,
    /// JSON of this shape.
    Json(JsonShape),
}

/// A request that has found its operation.
pub(super) struct Call {
    pub(super) files: Files,
    pub(super) context: CallContext,
    /// What the path names.
    pub(super) names: Names,
    pub(super) request: Request,
}

/// The answer in the making.
pub(super) type Answering = Pin<Box<dyn Future<Output = Result<Response, Problem>> + Send>>;

impl Field {
    /// Of a list: where its page begins.
    pub(super) const AFTER: Self =
        Self::text("after", "Only what comes after this: `next_after` of the page before.");
    /// Of a list: how long its page may be; read by [`page_limit`].
    pub(super) const LIMIT: Self = Self {
        name: "limit",
        about: "Most entries of the page; 1000 when it is not given.",
        shape: Shape::Number(1, Some(MAX_PAGE as u64)),
    };

    pub(super) const fn text(name: &'static str, about: &'static str) -> Self {
        Self { name, about, shape: Shape::Text }
    }
}

/// What [`Field::LIMIT`] says.
pub(super) fn page_limit(asked: Option<u32>) -> Result<u32, Problem> {
    let limit = asked.unwrap_or(MAX_PAGE);
    if !(1..=MAX_PAGE).contains(&limit) {
        return Err(Problem::bad_request(format!("limit {limit}: use 1 to {MAX_PAGE}")));
    }
    Ok(limit)
}

impl Resource {
    fn allowed(&self) -> String {
        let methods: Vec<_> = self.operations.iter().map(|one| one.method.as_str()).collect();
        methods.join(", ")
    }
}

/// The operation that a method and a path ask for, and the names in the path.
pub(super) fn find(
    resources: &'static [Resource],
    method: &Method,
    path: &str,
) -> Result<(&'static Operation, Names), Problem> {
    let on_path = resources.iter().find_map(|resource| {
        let names = resource.paths.iter().find_map(|template| captured(template, path));
        names.map(|names| (resource, names))
    });
    let (resource, names) = on_path.ok_or_else(Problem::no_route)?;
    let operation = resource.operations.iter().find(|operation| operation.method == *method);
    let operation = operation.ok_or_else(|| Problem::method(&resource.allowed()))?;
    Ok((operation, names))
}
