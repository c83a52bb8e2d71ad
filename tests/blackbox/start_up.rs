//! Beginning and end of a process.

use std::time::Duration;

use crate::harness::{Content, Http, Process, Raw, Up, UpPlan, eventually, within};

const FILE: Content = Content::new(3, 2_000_000);

#[tokio::test]
async fn without_open_nothing_starts() {
    let home = tempfile::tempdir().expect("a folder");
    let data = home.path().join("data");
    let data = data.to_str().expect("UTF-8");
    let any = "127.0.0.1:0";
    let edge = ["--listen", any, "--admin-listen", any];
    let master = ["--master", "http://127.0.0.1:1"];
    for arguments in [
        [&["up", "--data", data], &edge[..]].concat(),
        [&["master", "--data", data], &edge[..]].concat(),
        [&["gateway"], &edge[..], &master[..]].concat(),
        [&["node", "--data", data, "--zone", "a"], &edge[..2], &master[..]].concat(),
    ] {
        let (code, _, stderr) = Process::run(&arguments).await;
        assert_eq!(code, Some(2), "{arguments:?}: {stderr}");
        assert!(stderr.contains("--open"), "{arguments:?}: {stderr}");
        assert!(!home.path().join("data").exists(), "{arguments:?} wrote");
    }
}

#[tokio::test]
async fn open_to_the_network_is_said_twice_or_refused() {
    let home = tempfile::tempdir().expect("a folder");
    let data = home.path().join("data");
    let data = data.to_str().expect("UTF-8");
    let any = "0.0.0.0:0";
    let arguments = ["up", "--open", "--data", data, "--listen", any];
    let (code, _, stderr) = Process::run(&arguments).await;
    assert_eq!(code, Some(2), "{stderr}");
    assert!(stderr.contains("--open-to-network"), "{stderr}");
}

#[tokio::test]
async fn a_wrong_flag_is_told_with_exit_code_2() {
    for arguments in [
        &["up", "--open", "--nodes", "0"][..],
        &["up", "--open", "--nodes", "1", "--copies", "2"],
        &["up", "--open", "--chunk-size", "many"],
        &["up", "--open", "--condemn-for", "soon"],
        &["up", "--open", "--listen", "nowhere"],
        &["no-such-command"],
    ] {
        let (code, _, stderr) = Process::run(arguments).await;
        assert_eq!(code, Some(2), "{arguments:?}: {stderr}");
        assert!(!stderr.is_empty(), "{arguments:?}");
    }
}

/// The values are none, and the refusal names the one that was taken.
#[test]
fn the_command_line_wins_over_the_environment_and_that_over_the_file() {
    let home = tempfile::tempdir().expect("a folder");
    let file = home.path().join("up.toml");
    std::fs::write(&file, "chunk-size = \"file\"\n").expect("written");
    for (argument, variable, taken) in [
        (None, None, "'file'"),
        (None, Some("variable"), "'variable'"),
        (Some("--chunk-size=argument"), Some("variable"), "'argument'"),
    ] {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_cairn"));
        command.args(["up", "--open", "--config"]).arg(&file).args(argument);
        match variable {
            Some(value) => command.env("CAIRN_CHUNK_SIZE", value),
            None => command.env_remove("CAIRN_CHUNK_SIZE"),
        };
        let output = command.output().expect("the binary");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{stderr}");
        assert!(stderr.contains(taken), "{taken} is to be taken: {stderr}");
    }
}

#[tokio::test]
async fn two_processes_do_not_share_a_folder() {
    let up = Up::start().await;
    let data = up.data();
    let data = data.to_str().expect("UTF-8");
    let any = "127.0.0.1:0";
    let (code, _, stderr) =
        Process::run(&["up", "--open", "--data", data, "--listen", any, "--admin-listen", any])
            .await;
    assert_ne!(code, Some(0), "{stderr}");
    assert!(!stderr.is_empty());
    let put = up.edge.http().put("/v1/files/a", Content::new(1, 1)).await;
    put.expect(201);
}

#[tokio::test]
async fn files_are_taken_as_soon_as_it_says_that_it_is_ready() {
    let up = Up::plan().start_only().await;
    let put = up.edge.http().put("/v1/files/a", Content::new(1, 10)).await;
    put.expect(201);
}

async fn comes_back(up: &Up) {
    let got = up.edge.http().get("/v1/files/kept").await.expect(200);
    assert!(got.body == FILE.all());
}

#[tokio::test]
async fn data_survives_a_restart() {
    let up = Up::start().await;
    let http = up.edge.http();
    http.put("/v1/files/kept", FILE).await.expect(201);
    let mut up = up;
    up.process.terminate();
    assert_eq!(up.process.ended().await.code(), Some(0));
    let mut up = up.again().await;
    comes_back(&up).await;
    up.process.kill();
    let mut up = up.again().await;
    comes_back(&up).await;
    up.process.interrupt();
    assert_eq!(up.process.ended().await.code(), Some(0), "Ctrl-C");
}

/// The head of an upload and half of its body.
async fn half_an_upload(up: &Up) -> Raw {
    let mut raw = up.edge.raw().await;
    let length = FILE.length;
    let head =
        format!("PUT /v1/files/kept HTTP/1.1\r\nhost: cairn\r\ncontent-length: {length}\r\n\r\n");
    assert!(raw.send(head.as_bytes()).await);
    assert!(raw.send(&FILE.bytes(0, length / 2)).await);
    let mut admin = up.edge.admin().await;
    eventually(30, "the upload is open", async || {
        let open = admin.uploads().await.len();
        (open == 1).then_some(()).ok_or_else(|| format!("{open} are"))
    })
    .await;
    raw
}

fn small_chunks() -> UpPlan {
    Up::plan().chunk_size(64 << 10)
}

/// True once the gateway takes no more uploads: 503, or no connection at all.
async fn refuses(http: Http) -> Result<(), String> {
    let request = http.request("PUT", "/v1/files/late");
    match request.content(Content::new(1, 1)).try_send().await {
        Err(_) => Ok(()),
        Ok(answer) if answer.status == 503 => {
            answer.collect().await.problem(503);
            Ok(())
        }
        Ok(answer) => Err(format!("it answered {}", answer.status)),
    }
}

#[tokio::test]
async fn a_drain_lets_a_running_upload_finish_and_refuses_new_ones() {
    let mut up = small_chunks().start().await;
    let mut running = half_an_upload(&up).await;
    up.process.terminate();
    let http = up.edge.http();
    eventually(10, "new uploads are refused", async || refuses(http).await).await;
    assert!(up.process.runs(), "it ended before the upload");
    let rest = FILE.bytes(FILE.length / 2, FILE.length);
    assert!(running.send(&rest).await);
    let answer = running.answer().await;
    assert_eq!(answer.status, 201, "{}", answer.body);
    let ended = within(15, "it ends soon", up.process.ended()).await;
    assert_eq!(ended.code(), Some(0));
    let up = up.again().await;
    comes_back(&up).await;
}

#[tokio::test]
async fn a_reader_of_standard_output_that_goes_away_does_not_end_the_service() {
    let data = tempfile::tempdir().expect("a folder");
    let admin = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = admin.local_addr().expect("bound").port();
    drop(admin);
    let any = "127.0.0.1:0";
    let admin = format!("127.0.0.1:{port}");
    let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_cairn"))
        .args(["up", "--open", "--listen", any, "--admin-listen", &admin, "--data"])
        .arg(data.path())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("the binary");
    drop(child.stdout.take());
    let admin = Http::new(admin.parse().expect("an address"));
    eventually(30, "it is ready", async || {
        match admin.request("GET", "/readyz").try_send().await {
            Ok(answer) if answer.status == 200 => Ok(()),
            Ok(answer) => Err(format!("it answered {}", answer.status)),
            Err(error) => Err(error),
        }
    })
    .await;
    assert!(child.try_wait().expect("a child").is_none(), "it has ended");
    child.kill().expect("it runs");
    child.wait().expect("a child");
}

#[tokio::test]
async fn a_drain_does_not_wait_for_ever() {
    let mut up = small_chunks().flag("--drain-for", "1s").start().await;
    let running = half_an_upload(&up).await;
    up.process.terminate();
    let ended = within(20, "it ends at the deadline", up.process.ended()).await;
    assert_eq!(ended.code(), Some(0));
    drop(running);
    let up = up.again().await;
    up.edge.http().get("/v1/files/kept").await.problem(404);
    up.edge.settle().await;
}

#[tokio::test]
async fn operators_see_health_readiness_and_metrics() {
    let up = Up::start().await;
    let admin = Http::new(up.edge.admin);
    for path in ["/healthz", "/readyz"] {
        admin.get(path).await.expect(200);
    }
    up.edge.http().put("/v1/files/a", Content::new(1, 1)).await;
    let metrics = admin.get("/metrics").await.expect(200).text();
    assert!(metrics.contains("# TYPE"), "{metrics}");
}

#[tokio::test]
async fn json_logs_are_json_and_carry_the_request_id() {
    let mut up = Up::plan().flag("--log-format", "json").flag("--log", "debug").start().await;
    let request = up.edge.http().request("PUT", "/v1/files/a");
    let request = request.header("x-request-id", "black-box-42");
    let answer = request.content(Content::new(1, 1)).answer().await;
    let id = answer.expect(201).must_have("x-request-id").to_owned();
    up.process.terminate();
    up.process.ended().await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    let lines = up.process.logged();
    assert!(!lines.is_empty(), "no logs");
    for line in &lines {
        let read: Result<serde_json::Value, _> = serde_json::from_str(line);
        assert!(read.is_ok(), "not JSON: {line}");
    }
    let with_id = lines.iter().filter(|line| line.contains(&id)).count();
    assert!(with_id > 0, "no line with {id}");
}
