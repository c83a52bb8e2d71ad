//! `GET /openapi.json`: the table of [`super::RESOURCES`] as an OpenAPI 3.1 document.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use axum::response::IntoResponse;
use http::header::CONTENT_TYPE;
use http::{Method, StatusCode};
use utoipa::openapi::path::{
    HttpMethod, Operation as Documented, OperationBuilder, Parameter, ParameterBuilder, ParameterIn,
};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::schema::{AllOfBuilder, ObjectBuilder, Type};
use utoipa::openapi::{
    Components, ComponentsBuilder, Content as Media, Header, HeaderBuilder, Info, License, OpenApi,
    OpenApiBuilder, PathItem, PathsBuilder, Ref, Required, Response, ResponseBuilder,
    ResponsesBuilder,
};
use utoipa::{PartialSchema, ToSchema};

use super::operation::{Answer, Content, Field, Operation, Resource, Sent, Shape};
use super::problem::{Kind, ProblemJson};
use super::{RESOURCES, fields};

const PROBLEM_JSON: &str = "application/problem+json";
const DESCRIPTION: &str = "Files and buckets over HTTP. The same are served by gRPC (`cairn.v1.Files`, `cairn.v1.Buckets`) on the same port. \
    Every answer has `X-Request-Id`.";

/// Headers that problems have beside those of answers.
const OF_PROBLEMS: &[Field] = &[fields::REQUEST_ID, fields::RETRY_AFTER, fields::CONTENT_RANGE];

pub(super) const DESCRIBE: Operation = Operation {
    method: Method::GET,
    id: "describe",
    summary: "This document",
    description: "",
    query: &[],
    headers: &[],
    body: None,
    answers: &[Answer {
        status: StatusCode::OK,
        about: "An OpenAPI 3.1 document.",
        headers: &[fields::CONTENT_LENGTH],
        content: Content::Json(|| ("", ObjectBuilder::new().into())),
    }],
    problems: &[],
    run: |_| Box::pin(async { Ok(([(CONTENT_TYPE, "application/json")], text()).into_response()) }),
};

/// The document as JSON.
pub fn text() -> &'static str {
    // A document of texts always becomes JSON.
    static TEXT: LazyLock<String> =
        LazyLock::new(|| document().to_pretty_json().unwrap_or_default());
    TEXT.as_str()
}

fn document() -> OpenApi {
    let mut info = Info::new("Cairn", env!("CARGO_PKG_VERSION"));
    info.description = Some(DESCRIPTION.to_owned());
    let mut license = License::new("Apache-2.0");
    license.identifier = Some("Apache-2.0".to_owned());
    info.license = Some(license);
    let mut paths = PathsBuilder::new();
    for resource in RESOURCES {
        for path in resource.paths {
            paths = paths.path(*path, item(resource, path));
        }
    }
    OpenApiBuilder::new().info(info).paths(paths).components(Some(components())).build()
}

/// What operations share: headers of answers, and JSON.
fn components() -> Components {
    let mut shared = ComponentsBuilder::new().schema(ProblemJson::name(), ProblemJson::schema());
    for field in OF_PROBLEMS {
        shared = shared.header(field.name, header(field));
    }
    let operations = RESOURCES.iter().flat_map(|resource| resource.operations);
    for schema in operations.clone().filter_map(|operation| operation.body.as_ref()?.json) {
        let (name, schema) = schema();
        shared = shared.schema(name, schema);
    }
    for answer in operations.flat_map(|operation| operation.answers) {
        for field in answer.headers {
            shared = shared.header(field.name, header(field));
        }
        if let Content::Json(schema) = answer.content
            && let (name, schema) = schema()
            && !name.is_empty()
        {
            shared = shared.schema(name, schema);
        }
    }
    shared.build()
}

fn header_ref(field: &Field) -> Ref {
    Ref::new(format!("#/components/headers/{}", field.name))
}

fn item(resource: &Resource, path: &str) -> PathItem {
    let mut item = PathItem::default();
    for operation in resource.operations {
        let method = match operation.method {
            Method::PUT => HttpMethod::Put,
            Method::POST => HttpMethod::Post,
            Method::DELETE => HttpMethod::Delete,
            Method::HEAD => HttpMethod::Head,
            Method::PATCH => HttpMethod::Patch,
            Method::OPTIONS => HttpMethod::Options,
            _ => HttpMethod::Get,
        };
        item.merge_operations(PathItem::new(method, documented(operation, path)));
    }
    item
}

fn documented(operation: &Operation, path: &str) -> Documented {
    let mut responses = ResponsesBuilder::new();
    for answer in operation.answers {
        responses = responses.response(answer.status.as_str(), response(answer));
    }
    for (status, kinds) in by_status(operation.problems) {
        responses = responses.response(status.as_str(), refusal(status, &kinds, operation));
    }
    let described = Some(operation.description).filter(|text| !text.is_empty());
    let mut built = OperationBuilder::new()
        .operation_id(Some(operation_id(operation, path)))
        .summary(Some(operation.summary))
        .description(described)
        .parameters(Some(parameters(operation, path)))
        .responses(responses);
    if let Some(Sent { about, json }) = &operation.body {
        let (kind, content) = match json {
            None => ("*/*", bytes()),
            Some(schema) => {
                ("application/json", Media::new(Some(Ref::from_schema_name(schema().0))))
            }
        };
        let body = RequestBodyBuilder::new().description(Some(*about)).content(kind, content);
        built = built.request_body(Some(body.build()));
    }
    built.build()
}

/// An operation on two paths has two ids.
fn operation_id(operation: &Operation, path: &str) -> String {
    let suffix = if path.contains("{bucket}/") { "InBucket" } else { "" };
    format!("{}{suffix}", operation.id)
}

fn parameters(operation: &Operation, path: &str) -> Vec<Parameter> {
    let mut parameters = Vec::new();
    let named = path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    for name in named {
        parameters.push(in_path(name));
    }
    let query = operation.query.iter().map(|field| (field, ParameterIn::Query));
    let headers = operation.headers.iter().chain(&[fields::REQUEST_ID]);
    for (field, place) in query.chain(headers.map(|field| (field, ParameterIn::Header))) {
        let parameter = ParameterBuilder::new().name(field.name).parameter_in(place);
        let parameter = parameter.required(Required::False).description(Some(field.about));
        parameters.push(parameter.schema(Some(schema(&field.shape))).build());
    }
    parameters
}

fn in_path(name: &str) -> Parameter {
    let text = ObjectBuilder::new().schema_type(Type::String);
    let (about, text) = match name {
        "key" => (
            "1 to 1024 bytes of UTF-8 without NUL. `/` may be sent as it is or as `%2F`; send `.` and `..` as \
             `%2e` and `%2e%2e` where they stand between slashes.",
            text.min_length(Some(1)).max_length(Some(1024)),
        ),
        "bucket" => (
            "3 to 63 of `a-z 0-9 - .`, the rule of S3.",
            text.min_length(Some(3))
                .max_length(Some(63))
                .pattern(Some("^[a-z0-9][a-z0-9.-]*[a-z0-9]$")),
        ),
        _ => ("", text),
    };
    let parameter = ParameterBuilder::new().name(name).parameter_in(ParameterIn::Path);
    parameter.required(Required::True).description(Some(about)).schema(Some(text)).build()
}

fn schema(shape: &Shape) -> ObjectBuilder {
    let text = ObjectBuilder::new().schema_type(Type::String);
    match shape {
        Shape::Text => text,
        Shape::Pattern(pattern) => text.pattern(Some(*pattern)),
        Shape::OneOf(values) => text.enum_values(Some(values.iter().copied())),
        Shape::Number(least, most) => ObjectBuilder::new()
            .schema_type(Type::Integer)
            .minimum(Some(*least as f64))
            .maximum(most.map(|most| most as f64)),
    }
}

fn header(field: &Field) -> Header {
    HeaderBuilder::new().schema(Some(schema(&field.shape))).description(Some(field.about)).build()
}

/// Any bytes: content that is no JSON has no schema (OpenAPI 3.1, "Considerations for File Uploads").
fn bytes() -> Media {
    Media::default()
}

fn response(answer: &Answer) -> Response {
    let mut built = ResponseBuilder::new().description(answer.about);
    for field in answer.headers.iter().chain(&[fields::REQUEST_ID]) {
        built = built.header_ref(field.name, header_ref(field));
    }
    let built = match answer.content {
        Content::Nothing => built,
        Content::File => built.content("*/*", bytes()),
        Content::Json(schema) => {
            let (name, shape) = schema();
            let shape = if name.is_empty() { shape } else { Ref::from_schema_name(name).into() };
            built.content("application/json", Media::new(Some(shape)))
        }
    };
    built.build()
}

fn by_status(kinds: &[Kind]) -> BTreeMap<StatusCode, Vec<Kind>> {
    let mut by_status = BTreeMap::<_, Vec<_>>::new();
    // Whatever is asked, Cairn can have a defect.
    for kind in kinds.iter().chain(&[Kind::Internal]) {
        by_status.entry(kind.status()).or_default().push(*kind);
    }
    by_status
}

fn refusal(status: StatusCode, kinds: &[Kind], operation: &Operation) -> Response {
    let about: Vec<_> =
        kinds.iter().map(|kind| format!("`{}`: {}", kind.name(), kind.when())).collect();
    let mut built = ResponseBuilder::new()
        .description(about.join("\n\n"))
        .header_ref(fields::REQUEST_ID.name, header_ref(&fields::REQUEST_ID));
    if kinds.iter().any(|kind| kind.is_retryable()) {
        built = built.header_ref(fields::RETRY_AFTER.name, header_ref(&fields::RETRY_AFTER));
    }
    if status == StatusCode::RANGE_NOT_SATISFIABLE {
        built = built.header_ref(fields::CONTENT_RANGE.name, header_ref(&fields::CONTENT_RANGE));
    }
    if operation.method == Method::HEAD {
        return built.build();
    }
    let types = ObjectBuilder::new()
        .schema_type(Type::String)
        .enum_values(Some(kinds.iter().map(|kind| kind.urn())));
    let exact = AllOfBuilder::new()
        .item(Ref::from_schema_name(ProblemJson::name()))
        .item(ObjectBuilder::new().property("type", types));
    built.content(PROBLEM_JSON, Media::new(Some(exact))).build()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;

    #[test]
    fn the_document_has_every_method_of_every_path_that_is_served_and_no_other() {
        let document: Value = serde_json::from_str(text()).expect("JSON");
        let mut described = BTreeSet::new();
        for (path, item) in document["paths"].as_object().expect("paths") {
            for (method, operation) in item.as_object().expect("methods") {
                let id = operation["operationId"].as_str().expect("an id").to_owned();
                described.insert((path.clone(), method.to_uppercase(), id));
            }
        }
        let mut served = BTreeSet::new();
        for resource in RESOURCES {
            for (path, operation) in resource
                .paths
                .iter()
                .flat_map(|path| resource.operations.iter().map(move |one| (path, one)))
            {
                let id = operation_id(operation, path);
                served.insert((path.to_string(), operation.method.to_string(), id));
            }
        }
        assert_eq!(described, served);
        let ids: BTreeSet<_> = served.iter().map(|(_, _, id)| id).collect();
        assert_eq!(ids.len(), served.len(), "an id is used twice");
    }

    #[test]
    fn every_shared_part_that_is_referred_to_is_there() {
        let document: Value = serde_json::from_str(text()).expect("JSON");
        for part in text().split("\"$ref\": \"#").skip(1) {
            let pointer = part.split('"').next().unwrap_or_default();
            assert!(document.pointer(pointer).is_some(), "{pointer} is nowhere");
        }
    }
}
