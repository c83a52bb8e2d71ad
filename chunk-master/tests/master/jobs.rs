//! Jobs: what they show of themselves, pausing and resuming them, and masters that go on with each other's.

use std::sync::Arc;
use std::time::Duration;

use cairn_chunk_master::Config;
use cairn_kv::simulated::SimulatedStore;
use cairn_proto::{Reason, RemoteError, v1};
use cairn_runtime::{Clock, LocalDial, NetworkDial};

use crate::cluster::{CAPACITY, CHUNK, Cluster, Upload, config, reason};

const PHOTOS: &str = "delete-bucket/default/photos";
const SECOND: Duration = Duration::from_secs(1);

async fn pause(cluster: &mut Cluster, job: &str) -> Result<v1::Job, RemoteError> {
    let request = v1::PauseJobRequest { job: job.into() };
    Ok(cluster.admin.pause_job(request).await?.into_inner().job.unwrap())
}

async fn resume(cluster: &mut Cluster, job: &str) -> Result<v1::Job, RemoteError> {
    let request = v1::ResumeJobRequest { job: job.into() };
    Ok(cluster.admin.resume_job(request).await?.into_inner().job.unwrap())
}

async fn cancel(cluster: &mut Cluster, job: &str) -> Result<v1::Job, RemoteError> {
    let request = v1::CancelJobRequest { job: job.into() };
    Ok(cluster.admin.cancel_job(request).await?.into_inner().job.unwrap())
}

/// All jobs, one page each.
async fn jobs(cluster: &mut Cluster) -> Vec<v1::Job> {
    let mut jobs: Vec<v1::Job> = Vec::new();
    loop {
        let after = jobs.last().map(|last| last.name.clone()).unwrap_or_default();
        let request = v1::ListJobsRequest { after, limit: 1 };
        let page = cluster.admin.list_jobs(request).await.unwrap().into_inner();
        assert!(page.jobs.len() <= 1);
        jobs.extend(page.jobs);
        if !page.more {
            return jobs;
        }
    }
}

async fn job(cluster: &mut Cluster, name: &str) -> v1::Job {
    let mut jobs = jobs(cluster).await;
    jobs.retain(|job| job.name == name);
    jobs.pop().unwrap()
}

/// A bucket with three files of a chunk and an upload, of which the deletion has begun.
async fn doom(cluster: &mut Cluster, bucket: &str) {
    cluster.make_bucket(bucket, v1::BucketSettings::default()).await.unwrap();
    for key in ["a", "b", "c"] {
        cluster.put_in(bucket, key, CHUNK).await.unwrap();
    }
    cluster.begin_in(bucket, "open", CHUNK).await.unwrap();
    assert!(!cluster.remove_bucket(bucket, true).await.unwrap());
}

async fn sweeps(cluster: &mut Cluster, times: usize) {
    for _ in 0..times {
        cluster.pass_time(Duration::from_secs(60)).await;
        cluster.sweep().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_deletion_shows_what_is_left_and_ends_as_done() {
    let mut cluster = Cluster::small().await;
    assert_eq!(jobs(&mut cluster).await.len(), 2, "repair and rebalance stand");
    doom(&mut cluster, "photos").await;
    let begun = job(&mut cluster, PHOTOS).await;
    assert_eq!((begun.state(), begun.done, begun.left), (v1::JobState::Running, 0, None));
    assert_eq!((begun.kind(), &*begun.bucket), (v1::JobKind::DeleteBucket, "photos"));

    // Files are condemned now, and purged only once nobody can read them.
    cluster.sweep().await;
    let going = job(&mut cluster, PHOTOS).await;
    assert_eq!((going.state(), going.done, going.left), (v1::JobState::Running, 0, Some(3)));
    assert_eq!(going.left_bytes, Some(3 * CHUNK));

    sweeps(&mut cluster, 3).await;
    assert_eq!(reason(cluster.stat_bucket("photos").await), Reason::BucketNotFound);
    let done = job(&mut cluster, PHOTOS).await;
    assert_eq!((done.state(), done.done, done.left), (v1::JobState::Done, 3, Some(0)));
    assert_eq!((done.done_bytes, &*done.problem), (3 * CHUNK, ""));
}

#[tokio::test(start_paused = true)]
async fn a_deletion_that_is_paused_gets_no_further_until_it_is_resumed() {
    let mut cluster = Cluster::small().await;
    doom(&mut cluster, "photos").await;
    for _ in 0..2 {
        assert_eq!(pause(&mut cluster, PHOTOS).await.unwrap().state(), v1::JobState::Paused);
    }
    sweeps(&mut cluster, 5).await;
    let state = cluster.stat_bucket("photos").await.unwrap();
    assert_eq!(state.state(), v1::BucketState::Deleting);
    assert_eq!(state.usage.unwrap().used_objects, 3, "nothing was touched");
    for _ in 0..2 {
        assert_eq!(resume(&mut cluster, PHOTOS).await.unwrap().state(), v1::JobState::Running);
    }
    sweeps(&mut cluster, 5).await;
    assert_eq!(job(&mut cluster, PHOTOS).await.state(), v1::JobState::Done);
    for refused in [pause(&mut cluster, PHOTOS).await, resume(&mut cluster, PHOTOS).await] {
        let refused = refused.expect_err("it is over");
        assert_eq!(
            (refused.reason, refused.message.ends_with("is done")),
            (Reason::JobRefuses, true)
        );
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_final_or_stands_cannot_be_cancelled_and_unknown_jobs_are_told_apart() {
    let mut cluster = Cluster::small().await;
    doom(&mut cluster, "photos").await;
    for job in [PHOTOS, "repair", "rebalance"] {
        assert_eq!(reason(cancel(&mut cluster, job).await), Reason::JobRefuses);
    }
    let absent = "delete-bucket/default/absent";
    assert_eq!(reason(pause(&mut cluster, absent).await), Reason::JobNotFound);
    assert_eq!(reason(pause(&mut cluster, "photos").await), Reason::InvalidField);
    assert_eq!(job(&mut cluster, PHOTOS).await.state(), v1::JobState::Running);
}

#[tokio::test(start_paused = true)]
async fn a_second_deletion_of_a_name_is_a_job_of_its_own() {
    let mut cluster = Cluster::small().await;
    doom(&mut cluster, "films").await;
    for _ in 0..2 {
        doom(&mut cluster, "photos").await;
        assert_eq!(job(&mut cluster, PHOTOS).await.state(), v1::JobState::Running);
        sweeps(&mut cluster, 5).await;
        let done = job(&mut cluster, PHOTOS).await;
        assert_eq!((done.state(), done.done), (v1::JobState::Done, 3));
        assert_eq!(reason(cluster.stat_bucket("photos").await), Reason::BucketNotFound);
    }
    let jobs = jobs(&mut cluster).await;
    let names: Vec<_> = jobs.iter().map(|job| job.name.as_str()).collect();
    assert_eq!(names, ["repair", "rebalance", "delete-bucket/default/films", PHOTOS]);
}

#[tokio::test(start_paused = true)]
async fn a_job_that_has_ended_is_shown_for_seven_days() {
    let mut cluster = Cluster::small().await;
    doom(&mut cluster, "photos").await;
    sweeps(&mut cluster, 5).await;
    cluster.pass_time(Duration::from_secs(7 * 24 * 60 * 60 - 3600)).await;
    cluster.sweep().await;
    assert_eq!(jobs(&mut cluster).await.len(), 3);
    cluster.pass_time(Duration::from_secs(2 * 60 * 60)).await;
    cluster.sweep().await;
    assert_eq!(jobs(&mut cluster).await.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn repair_that_is_paused_makes_no_copy_until_it_is_resumed() {
    let quick = Config { sweep_every: SECOND, ..config() };
    let mut cluster = Cluster::with(quick, &["a", "b"]).await;
    let kept = cluster.put("kept", CHUNK).await.unwrap();
    cluster.add_node("c").await;
    pause(&mut cluster, "repair").await.unwrap();
    is_bad(&mut cluster, &kept, 0).await;
    seconds(&mut cluster, 10).await;
    assert!(cluster.nodes[2].state.lock().unwrap().copied.is_empty());
    assert_eq!(job(&mut cluster, "repair").await.state(), v1::JobState::Paused);
    resume(&mut cluster, "repair").await.unwrap();
    seconds(&mut cluster, 10).await;
    assert_eq!(cluster.nodes[2].state.lock().unwrap().copied.len(), 1);
    let repair = job(&mut cluster, "repair").await;
    assert_eq!((repair.state(), repair.done, repair.done_bytes), (v1::JobState::Running, 1, CHUNK));
}

/// A reader found the copy of a file's first chunk on a node corrupt.
async fn is_bad(cluster: &mut Cluster, file: &Upload, node: usize) {
    let chunk = v1::ChunkId { blob_id: file.blob.clone(), index: 0 };
    let report = v1::CopyReport {
        chunk: Some(chunk),
        node_id: cluster.nodes[node].id_bytes(),
        finding: v1::CopyFinding::Corrupt.into(),
    };
    let request = v1::ReportCopiesRequest { reports: vec![report], ..Default::default() };
    cluster.client.report_copies(request).await.unwrap();
}

/// Three files of a chunk in one zone, and then a node in another one; the first file.
async fn too_close(config: Config) -> (Cluster, Upload) {
    let mut cluster = Cluster::with(config, &["a", "a"]).await;
    let first = cluster.put("first", CHUNK).await.unwrap();
    for key in ["second", "third"] {
        cluster.put(key, CHUNK).await.unwrap();
    }
    cluster.add_node("b").await;
    (cluster, first)
}

fn copied_to(cluster: &Cluster, node: usize) -> usize {
    cluster.nodes[node].state.lock().unwrap().copied.len()
}

#[tokio::test(start_paused = true)]
async fn rebalance_that_is_paused_spreads_nothing_while_repair_goes_on() {
    let (mut cluster, first) = too_close(Config { sweep_every: SECOND, ..config() }).await;
    let paused = pause(&mut cluster, "rebalance").await.unwrap();
    assert_eq!((paused.kind(), paused.state()), (v1::JobKind::Rebalance, v1::JobState::Paused));
    seconds(&mut cluster, 10).await;
    assert_eq!(copied_to(&cluster, 2), 0);
    is_bad(&mut cluster, &first, 0).await;
    seconds(&mut cluster, 10).await;
    assert_eq!(copied_to(&cluster, 2), 1, "a copy that is missing is made, where it is best");
    let (repair, rebalance) =
        (job(&mut cluster, "repair").await, job(&mut cluster, "rebalance").await);
    assert_eq!((repair.state(), repair.done), (v1::JobState::Running, 1));
    assert_eq!((rebalance.state(), rebalance.done), (v1::JobState::Paused, 0));
    assert_eq!(rebalance.left, None, "what is paused is not counted");

    resume(&mut cluster, "rebalance").await.unwrap();
    seconds(&mut cluster, 10).await;
    let rebalance = job(&mut cluster, "rebalance").await;
    assert_eq!((rebalance.state(), rebalance.done), (v1::JobState::Running, 2));
    assert_eq!((rebalance.done_bytes, rebalance.left), (2 * CHUNK, Some(0)));
    assert_eq!(cluster.audited().await, Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn rebalance_that_is_paused_moves_nothing_from_a_node_that_is_too_full() {
    let mut cluster = Cluster::with(Config { sweep_every: SECOND, ..config() }, &["a", "b"]).await;
    cluster.put("kept", 10 * CHUNK).await.unwrap();
    cluster.nodes[0].state.lock().unwrap().used = CAPACITY / 2;
    cluster.beat(0).await.unwrap();
    cluster.add_node("c").await;
    pause(&mut cluster, "rebalance").await.unwrap();
    seconds(&mut cluster, 10).await;
    assert_eq!(copied_to(&cluster, 2), 0);
    let rebalance = job(&mut cluster, "rebalance").await;
    assert_eq!((rebalance.left, rebalance.seconds_left), (None, None), "nobody has counted it");
    resume(&mut cluster, "rebalance").await.unwrap();
    seconds(&mut cluster, 10).await;
    assert!(copied_to(&cluster, 2) > 0);
}

#[tokio::test(start_paused = true)]
async fn while_repair_is_paused_nothing_is_evened_out_either() {
    let (mut cluster, _) = too_close(Config { sweep_every: SECOND, ..config() }).await;
    pause(&mut cluster, "repair").await.unwrap();
    seconds(&mut cluster, 10).await;
    assert_eq!(copied_to(&cluster, 2), 0);
    let rebalance = job(&mut cluster, "rebalance").await;
    assert_eq!((rebalance.state(), rebalance.left), (v1::JobState::Running, Some(3)));
}

#[tokio::test(start_paused = true)]
async fn without_a_rate_nothing_is_evened_out_and_repair_is_not_held_up() {
    let config = Config { sweep_every: SECOND, rebalance_rate: 0, ..config() };
    let (mut cluster, first) = too_close(config).await;
    seconds(&mut cluster, 10).await;
    assert_eq!(copied_to(&cluster, 2), 0);
    is_bad(&mut cluster, &first, 0).await;
    seconds(&mut cluster, 10).await;
    assert_eq!(copied_to(&cluster, 2), 1);
}

#[tokio::test(start_paused = true)]
async fn repair_tells_what_is_left_and_how_long_it_takes_once_it_has_copied_something() {
    let config = Config { sweep_every: SECOND, repair_rate: CHUNK / 2, ..config() };
    let mut cluster = Cluster::with(config, &["a", "b"]).await;
    cluster.put("kept", 20 * CHUNK).await.unwrap();
    cluster.add_node("c").await;
    seconds(&mut cluster, 2).await;
    let idle = job(&mut cluster, "repair").await;
    assert_eq!((idle.done, idle.left, idle.seconds_left), (0, Some(0), Some(0)));

    cluster.nodes[0].has_disks(&[999]);
    cluster.register(0).await.unwrap();
    for _ in 0..3 {
        seconds(&mut cluster, 5).await;
        let repair = job(&mut cluster, "repair").await;
        let left = repair.left.unwrap();
        assert!(left > 0 && repair.done > 0, "{repair:?}");
        // One may be made in the moment of the count.
        assert!(
            (20..=21).contains(&(repair.done + left)),
            "what was copied is not left: {repair:?}"
        );
        assert_eq!(repair.left_bytes, Some(left * CHUNK));
        assert_eq!(repair.seconds_left, Some(2 * left), "no faster than the rate that is set");
    }
    let paused = pause(&mut cluster, "repair").await.unwrap();
    assert_eq!(paused.seconds_left, None);
    resume(&mut cluster, "repair").await.unwrap();
    seconds(&mut cluster, 45).await;
    let done = job(&mut cluster, "repair").await;
    assert_eq!((done.done, done.left, done.seconds_left), (20, Some(0), Some(0)));
}

#[tokio::test(start_paused = true)]
async fn a_drain_tells_what_is_left_and_how_long_it_takes() {
    let config = Config { sweep_every: SECOND, repair_rate: CHUNK / 2, ..config() };
    let mut cluster = Cluster::with(config, &["a", "b"]).await;
    cluster.put("kept", 20 * CHUNK).await.unwrap();
    cluster.add_node("c").await;
    let node_id = cluster.nodes[0].id_bytes();
    cluster.admin.drain_node(v1::DrainNodeRequest { node_id }).await.unwrap();
    seconds(&mut cluster, 10).await;
    let mut jobs = jobs(&mut cluster).await;
    let drain = jobs.pop().unwrap();
    assert_eq!((drain.kind(), drain.state()), (v1::JobKind::Drain, v1::JobState::Running));
    let left = drain.left.unwrap();
    assert!(left > 0 && drain.done > 0, "{drain:?}");
    assert_eq!(drain.left_bytes, Some(left * CHUNK));
    assert!(drain.seconds_left.is_some_and(|seconds| seconds > 0), "{drain:?}");
    assert_eq!((jobs[0].done, jobs[0].left), (0, Some(0)), "it is no repair");
}

/// The loops run for so long, and nodes are heard.
async fn seconds(cluster: &mut Cluster, seconds: u32) {
    for _ in 0..seconds {
        Clock::system().sleep(SECOND).await;
        cluster.beat_all().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_master_that_takes_the_duties_over_goes_on_with_the_jobs() {
    let store = SimulatedStore::new(|_| 0);
    let quick = Config { sweep_every: SECOND, ..config() };
    let join = async |life: u32| {
        let dial = Arc::new(LocalDial::new(Arc::new(NetworkDial::tcp(1))));
        Cluster::on(quick.clone(), store.open_shared(), dial, life).await
    };
    let mut first = join(1).await;
    for zone in ["a", "b"] {
        first.add_node(zone).await;
    }
    doom(&mut first, "photos").await;
    seconds(&mut first, 3).await;
    let left = job(&mut first, PHOTOS).await;
    assert_eq!((left.state(), left.left), (v1::JobState::Running, Some(3)), "its steps have begun");
    first.master.stop();

    let mut second = join(2).await;
    second.nodes = first.nodes.clone();
    for node in 0..second.nodes.len() {
        second.register(node).await.unwrap();
    }
    seconds(&mut second, 60).await;
    let done = job(&mut second, PHOTOS).await;
    assert_eq!((done.state(), done.done), (v1::JobState::Done, 3));
    assert_eq!(reason(second.stat_bucket("photos").await), Reason::BucketNotFound);
}

#[tokio::test(start_paused = true)]
async fn the_loop_sees_a_pause_that_another_master_was_asked_for() {
    let store = SimulatedStore::new(|_| 0);
    let quick = Config { sweep_every: SECOND, ..config() };
    let join = async |life: u32| {
        let dial = Arc::new(LocalDial::new(Arc::new(NetworkDial::tcp(1))));
        Cluster::on(quick.clone(), store.open_shared(), dial, life).await
    };
    let mut first = join(1).await;
    for zone in ["a", "b"] {
        first.add_node(zone).await;
    }
    let mut second = join(2).await;
    doom(&mut first, "photos").await;
    pause(&mut second, PHOTOS).await.unwrap();
    seconds(&mut first, 60).await;
    assert_eq!(job(&mut first, PHOTOS).await.state(), v1::JobState::Paused);
    assert!(first.stat_bucket("photos").await.is_ok());
    resume(&mut second, PHOTOS).await.unwrap();
    seconds(&mut first, 60).await;
    assert_eq!(job(&mut first, PHOTOS).await.state(), v1::JobState::Done);
}
