//! `cairn healthcheck`: is a service ready? For people, container health checks and scripts.

use std::time::Duration;

use cairn_core::names::BucketName;
use cairn_runtime::Clock;

use super::args::Healthcheck;
use super::block_on;
use super::error::{ClientError, Kind};
use super::http::{Api, base_url, empty};
use super::output::write_out;

/// Longest wait: a service that is well answers at once.
const BOUND: Duration = Duration::from_secs(5);

pub(crate) fn run(args: &Healthcheck) -> Result<(), ClientError> {
    block_on(async {
        let base = base_url("--url", &args.url)?;
        let doing = format!("healthcheck of {base}");
        let clock = Clock::system();
        let api = Api::new(base, BucketName::standard(), clock.clone(), 1);
        let answer = clock.timeout(BOUND, ask(&api, &doing)).await;
        answer.unwrap_or_else(|elapsed| Err(ClientError::failed(&doing, elapsed)))
    })
}

async fn ask(api: &Api, doing: &str) -> Result<(), ClientError> {
    // Whoever runs health checks knows 0 and 1 only.
    let plain = |error: ClientError| {
        let advice = "see that the service runs, and that --url names its admin port";
        error.counted_as(Kind::Failed).advise(advice)
    };
    let request = api.path("/readyz").body(empty());
    let request = request.map_err(|error| ClientError::usage(doing, error))?;
    let answer = api.exchange(doing, request).await.map_err(plain)?;
    let status = answer.status();
    let body = api.all(doing, answer.into_body()).await.map_err(plain)?;
    let said = String::from_utf8_lossy(&body);
    if status.is_success() {
        return write_out(b"ready\n");
    }
    let missing: Vec<&str> = said.lines().filter(|line| !line.is_empty()).collect();
    let problem = match missing[..] {
        _ if status.as_u16() != 503 => format!("the answer is {status}: is this the admin port?"),
        [] => "not ready".to_owned(),
        _ => format!("not ready: {}", missing.join("; ")),
    };
    Err(ClientError::failed(doing, problem))
}
