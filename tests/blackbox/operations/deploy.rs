//! What `deploy/` holds is sound: each kind of file is checked by the tool that it is for.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::harness::{Edge, Process, said, tool, workspace};

fn deploy(what: &str) -> PathBuf {
    workspace().join("deploy").join(what)
}

fn read(path: impl AsRef<Path>) -> String {
    let path = path.as_ref();
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The files of a folder with this ending, in order.
fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let listed = fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut files: Vec<_> = listed.map(|entry| entry.expect("an entry").path()).collect();
    files.retain(|file| file.to_string_lossy().ends_with(ending));
    files.sort();
    assert!(!files.is_empty(), "no {ending} in {}", folder.display());
    files
}

/// promtool, of the system or where `.ci/run` unpacks it.
fn promtool() -> Option<Command> {
    let unpacked = workspace().join("target/prometheus/usr/bin/promtool");
    let program = if unpacked.exists() { unpacked } else { "promtool".into() };
    tool("promtool", Command::new(program), &["--version"], "Debian package prometheus")
}

fn python_module(name: &str, module: &str) -> Option<Command> {
    let mut command = Command::new("python3");
    command.env("PYTHONPATH", workspace().join("target/python"));
    command.env("PYTHONDONTWRITEBYTECODE", "1");
    let how = format!("pip install --target target/python {name}");
    tool(name, command, &["-c", &format!("import {module}, yaml")], &how)
}

#[test]
fn promtool_takes_rules_and_scrape_example_and_the_rules_pass_their_tests() {
    for arguments in [
        ["check", "rules", "prometheus/rules.yml"],
        ["check", "config", "prometheus/prometheus.yml"],
        ["test", "rules", "prometheus/rules.test.yml"],
    ] {
        let Some(mut promtool) = promtool() else { return };
        let (content, text) = said(promtool.args(arguments).current_dir(deploy("")));
        assert!(content, "{arguments:?}: {text}");
    }
}

fn collect_expressions(value: &Value, into: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            if let Some(expression) = fields.get("expr").and_then(Value::as_str) {
                into.push(expression.to_owned());
            }
            fields.values().for_each(|value| collect_expressions(value, into));
        }
        Value::Array(values) => values.iter().for_each(|value| collect_expressions(value, into)),
        _ => {}
    }
}

/// All PromQL of the dashboard.
pub(super) fn expressions_of_dashboard() -> Vec<String> {
    let dashboard: Value =
        serde_json::from_str(&read(deploy("grafana/cairn.json"))).expect("the dashboard is JSON");
    let mut expressions = Vec::new();
    collect_expressions(&dashboard, &mut expressions);
    expressions
}

#[test]
fn every_expression_of_the_dashboard_is_promql() {
    let expressions = expressions_of_dashboard();
    assert!(expressions.len() > 40, "the panels are read: {expressions:?}");
    let rule = |(n, expression): (usize, &String)| {
        let expression = expression.replace("$__rate_interval", "5m");
        let expression = Value::String(expression);
        format!("      - {{ record: 'panel:{n}', expr: {expression} }}\n")
    };
    let rules: String = expressions.iter().enumerate().map(rule).collect();
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("panels.yml");
    fs::write(&file, format!("groups:\n  - name: panels\n    rules:\n{rules}")).expect("written");
    let Some(mut promtool) = promtool() else { return };
    let (content, text) = said(promtool.args(["check", "rules"]).arg(&file));
    assert!(content, "{text}");
}

#[test]
fn each_alert_says_what_is_wrong_and_its_section_says_what_to_do() {
    let (rules, guide) =
        (read(deploy("prometheus/rules.yml")), read(workspace().join("docs/operations.md")));
    let alerts: Vec<_> = rules.split("      - alert: ").skip(1).collect();
    assert!(alerts.len() > 15);
    for alert in alerts {
        let name = alert.lines().next().expect("a name");
        for part in ["summary: ", "description: ", "severity: "] {
            assert!(alert.contains(part), "{name} has no {part:?}");
        }
        let runbook = format!("runbook: docs/operations.md#{}", name.to_lowercase());
        assert!(alert.contains(&runbook), "{name} does not name {runbook:?}");
        assert!(guide.lines().any(|line| line == format!("### {name}")), "no section {name}");
    }
}

#[test]
fn systemd_takes_the_units() {
    let units = tempfile::tempdir().expect("a folder");
    let built = env!("CARGO_BIN_EXE_cairn");
    for unit in files(&deploy("systemd"), ".service") {
        let text = read(&unit).replace("/usr/bin/cairn", built);
        fs::write(units.path().join(unit.file_name().expect("a name")), text).expect("written");
    }
    let how = "Debian package systemd";
    let analyze = Command::new("systemd-analyze");
    let Some(mut analyze) = tool("systemd-analyze", analyze, &["--version"], how) else { return };
    let (content, text) = said(analyze.arg("verify").args(files(units.path(), ".service")));
    assert!(content && text.is_empty(), "{text}");
}

/// The command that a unit runs, with its example of a configuration.
fn exec_start(unit: &str, instance: &str) -> Vec<String> {
    let text = read(deploy("systemd").join(unit));
    let line = text.lines().find_map(|line| line.strip_prefix("ExecStart=/usr/bin/cairn "));
    let line = line.unwrap_or_else(|| panic!("{unit} does not run cairn")).replace("%i", instance);
    let config = deploy("config").display().to_string();
    line.split(' ').map(|word| word.replace("/etc/cairn", &config)).collect()
}

#[tokio::test]
async fn the_units_commands_make_a_cluster_of_their_example_configurations() {
    let home = tempfile::tempdir().expect("a folder");
    let data = |name: &str| home.path().join(name).display().to_string();
    let run = |name: &str, mut command: Vec<String>, more: &[&str]| {
        // Ports and folders of the test; everything else is the file's.
        command.extend(more.iter().map(ToString::to_string));
        Process::start(name, &command)
    };
    let any = "127.0.0.1:0";
    let edge = ["--listen", any, "--admin-listen", any];
    let master_data = data("master");
    let more = [&edge[..], &["--data", &master_data]].concat();
    let master = run("master", exec_start("cairn-master.service", ""), &more);
    let at = format!("http://{}", master.announced("master").await);
    let mut nodes = Vec::new();
    for n in ["1", "2", "3"] {
        let node_data = data(n);
        let more = ["--listen", any, "--data", &node_data, "--master", &at];
        let node = run("node", exec_start("cairn-node@.service", n), &more);
        Edge::ready(node.announced("node").await).await;
        nodes.push(node);
    }
    let more = [&edge[..], &["--master", &at]].concat();
    let gateway = run("gateway", exec_start("cairn-gateway.service", ""), &more);
    Edge::ready(gateway.announced("health").await).await;
    let zones = master.announced("admin").await;
    let edge = Edge { gateway: gateway.announced("gateway").await, admin: zones };
    let zones: Vec<_> =
        edge.admin().await.nodes().await.into_iter().map(|node| node.zone).collect();
    for zone in ["rack-1", "rack-2", "rack-3"] {
        assert!(zones.iter().any(|there| there == zone), "{zones:?}");
    }
    let file = crate::harness::Content::new(4, 1000);
    edge.http().put("/v1/files/a", file).await.expect(201);
    for mut process in [gateway].into_iter().chain(nodes).chain([master]) {
        process.terminate();
        assert_eq!(process.ended().await.code(), Some(0));
    }
}

/// Versions whose schemas the manifests must satisfy: the oldest and the newest meant.
const KUBERNETES: [&str; 2] = ["1.30", "1.37"];

fn manifests() -> Vec<PathBuf> {
    let mut manifests = files(&deploy("kubernetes"), ".yaml");
    // Kustomize's own file is no resource.
    manifests.retain(|file| !file.ends_with("kustomization.yaml"));
    manifests
}

fn validated(version: &str, files: &[PathBuf]) -> Option<(bool, String)> {
    let mut python = python_module("kubernetes-validate", "kubernetes_validate")?;
    let arguments = ["-m", "kubernetes_validate", "--strict", "-k", version];
    Some(said(python.args(arguments).args(files)))
}

#[test]
fn the_manifests_satisfy_the_schemas_of_kubernetes() {
    for version in KUBERNETES {
        let Some((content, text)) = validated(version, &manifests()) else { return };
        assert!(content, "{version}: {text}");
        let passed = text.lines().filter(|line| line.contains(" passed for resource ")).count();
        assert!(passed >= 16, "{version}: only {passed} resources were checked: {text}");
    }
}

#[test]
fn a_manifest_that_is_wrong_does_not_satisfy_them() {
    let folder = tempfile::tempdir().expect("a folder");
    for (file, right, wrong) in [
        ("gateway.yaml", "containerPort: 8080", "containerPort: http"),
        ("autoscaler.yaml", "maxReplicas: 10", "maxReplica: 10"),
        ("disruption.yaml", "maxUnavailable: 1", "maxUnavailable: [1]"),
        ("nodes.yaml", "readinessProbe:", "readynessProbe:"),
    ] {
        let text = read(deploy("kubernetes").join(file));
        assert!(text.contains(right), "{file} has no {right:?}");
        let broken = folder.path().join(file);
        fs::write(&broken, text.replacen(right, wrong, 1)).expect("written");
        let Some((content, text)) = validated(KUBERNETES[1], &[broken]) else { return };
        assert!(!content, "{wrong:?} in {file} was taken: {text}");
    }
}

#[test]
fn what_the_autoscaler_asks_for_is_what_the_adapter_makes() {
    let [autoscaler, adapter] = ["autoscaler.yaml", "prometheus-adapter.yaml"]
        .map(|file| read(deploy("kubernetes").join(file)));
    let named = |line: &str| {
        let name = line.trim().strip_prefix("metric: { name: ")?.strip_suffix(" }")?;
        Some(name.to_owned())
    };
    let asked: Vec<String> = autoscaler.lines().filter_map(named).collect();
    assert!(asked.len() >= 2, "the metrics are read: {asked:?}");
    for name in asked {
        let made = format!("name: {{ as: {name} }}\n");
        assert!(adapter.contains(&made), "the adapter makes no {name}");
    }
}

#[test]
fn kustomize_lists_every_manifest() {
    let list = read(deploy("kubernetes/kustomization.yaml"));
    for manifest in manifests() {
        let name = manifest.file_name().expect("a name").to_string_lossy().into_owned();
        assert!(list.contains(&format!("  - {name}\n")), "{name} is not listed");
    }
}
