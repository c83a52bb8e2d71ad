//! The gRPC side of a service: its own services, health (grpc.health.v1) and reflection.

use std::convert::Infallible;

use axum::Router;
use axum::extract::Request;
use axum::middleware::from_fn_with_state;
use axum::response::IntoResponse;
use tonic::body::Body;
use tonic::server::NamedService;
use tonic::service::{Routes, RoutesBuilder};
use tonic_health::ServingStatus;
use tonic_health::server::{HealthReporter, health_reporter};
use tonic_reflection::server::Builder as Reflection;
use tower::{Service, ServiceExt};

use crate::request::{Guard, guard, is_grpc};

/// Collects services.
#[derive(Debug)]
pub struct GrpcServices {
    routes: RoutesBuilder,
    health: HealthReporter,
    names: Vec<&'static str>,
}

impl GrpcServices {
    /// Health alone.
    pub fn new() -> Self {
        let (health, service) = health_reporter();
        let mut routes = Routes::builder();
        routes.add_service(service);
        Self { routes, health, names: vec![""] }
    }

    /// Adds a service.
    #[must_use]
    pub fn with<S>(mut self, service: S) -> Self
    where
        S: Service<http::Request<Body>, Error = Infallible>
            + NamedService
            + Clone
            + Send
            + Sync
            + 'static,
        S::Response: IntoResponse,
        S::Future: Send + 'static,
    {
        self.routes.add_service(service);
        self.names.push(S::NAME);
        self
    }

    /// The routes, behind [`guard`], and what tells clients of their health.
    pub fn build(mut self, guarded: Guard) -> (Router, Health) {
        let reflection = Reflection::configure()
            .register_encoded_file_descriptor_set(cairn_proto::DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            .build_v1();
        match reflection {
            Ok(service) => {
                self.routes.add_service(service);
            }
            Err(error) => tracing::error!(%error, "no reflection: descriptors cannot be read"),
        }
        let routes = self.routes.routes().into_axum_router();
        let health = Health { reporter: self.health, names: self.names };
        (routes.layer(from_fn_with_state(guarded, guard)), health)
    }
}

impl Default for GrpcServices {
    fn default() -> Self {
        Self::new()
    }
}

/// gRPC and plain HTTP on one port, told apart by the content type.
pub fn beside_http(grpc: Router, http: Router) -> Router {
    let by_content_type = move |request: Request| {
        let routes = if is_grpc(request.headers()) { grpc.clone() } else { http.clone() };
        routes.oneshot(request)
    };
    Router::new().fallback_service(tower::service_fn(by_content_type))
}

/// Tells clients whether the services serve.
#[derive(Debug, Clone)]
pub struct Health {
    reporter: HealthReporter,
    names: Vec<&'static str>,
}

impl Health {
    /// Sets all services and the whole ("") at once.
    pub async fn set_serving(&self, serving: bool) {
        let status = if serving { ServingStatus::Serving } else { ServingStatus::NotServing };
        for name in &self.names {
            self.reporter.set_service_status(*name, status).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use tonic::Code;
    use tonic_health::pb::HealthCheckRequest;
    use tonic_health::pb::health_check_response::ServingStatus as Told;
    use tonic_health::pb::health_client::HealthClient;

    use super::*;
    use crate::{Clock, Entropy};

    #[tokio::test]
    async fn clients_are_told_over_grpc_whether_a_service_serves() {
        let (clock, entropy) = (Clock::system(), Entropy::seeded(1));
        let guarded = Guard { service: "test", clock, entropy };
        let (routes, health) = GrpcServices::new().build(guarded);
        let mut client = HealthClient::new(routes);
        for (serving, told) in
            [(true, Told::Serving), (false, Told::NotServing), (true, Told::Serving)]
        {
            health.set_serving(serving).await;
            let answer = client.check(HealthCheckRequest::default()).await.expect("an answer");
            assert_eq!(answer.into_inner().status(), told);
        }
        let unknown = HealthCheckRequest { service: "nobody".to_owned() };
        let refused = client.check(unknown).await.expect_err("there is no such service");
        assert_eq!(refused.code(), Code::NotFound);
    }
}
