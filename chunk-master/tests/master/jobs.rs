//! Jobs: what they show of themselves, pausing and resuming them, and masters that go on with each other's.

use std::sync::Arc;
use std::time::Duration;

use cairn_chunk_master::Config;
use cairn_kv::simulated::SimulatedStore;
use cairn_proto::{Reason, RemoteError, v1};
use cairn_runtime::{Clock, LocalDial, NetworkDial};

use crate::cluster::{CHUNK, Cluster, config, reason};

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
    assert_eq!(jobs(&mut cluster).await.len(), 1, "repair stands");
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
    for job in [PHOTOS, "repair"] {
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
    assert_eq!(names, ["repair", "delete-bucket/default/films", PHOTOS]);
}

#[tokio::test(start_paused = true)]
async fn a_job_that_has_ended_is_shown_for_seven_days() {
    let mut cluster = Cluster::small().await;
    doom(&mut cluster, "photos").await;
    sweeps(&mut cluster, 5).await;
    cluster.pass_time(Duration::from_secs(7 * 24 * 60 * 60 - 3600)).await;
    cluster.sweep().await;
    assert_eq!(jobs(&mut cluster).await.len(), 2);
    cluster.pass_time(Duration::from_secs(2 * 60 * 60)).await;
    cluster.sweep().await;
    assert_eq!(jobs(&mut cluster).await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn repair_that_is_paused_makes_no_copy_until_it_is_resumed() {
    let quick = Config { sweep_every: SECOND, ..config() };
    let mut cluster = Cluster::with(quick, &["a", "b"]).await;
    let kept = cluster.put("kept", CHUNK).await.unwrap();
    cluster.add_node("c").await;
    pause(&mut cluster, "repair").await.unwrap();
    let chunk = v1::ChunkId { blob_id: kept.blob.clone(), index: 0 };
    let report = v1::CopyReport {
        chunk: Some(chunk),
        node_id: cluster.nodes[0].id_bytes(),
        finding: v1::CopyFinding::Corrupt.into(),
    };
    let request = v1::ReportCopiesRequest { reports: vec![report], ..Default::default() };
    cluster.client.report_copies(request).await.unwrap();
    seconds(&mut cluster, 10).await;
    assert!(cluster.nodes[2].state.lock().unwrap().copied.is_empty());
    assert_eq!(job(&mut cluster, "repair").await.state(), v1::JobState::Paused);
    resume(&mut cluster, "repair").await.unwrap();
    seconds(&mut cluster, 10).await;
    assert_eq!(cluster.nodes[2].state.lock().unwrap().copied.len(), 1);
    let repair = job(&mut cluster, "repair").await;
    assert_eq!((repair.state(), repair.done, repair.done_bytes), (v1::JobState::Running, 1, CHUNK));
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
