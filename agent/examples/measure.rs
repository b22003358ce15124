//! Measures what grows: `measure catch-up N` spools N runs of 40 jobs and drains them into an archive in a directory, `measure upload N
//! ENDPOINT BUCKET` into one in S3, without locks; `measure cold N` starts on an empty disk with a log of N leaves and its newest days.
//! Seconds, on standard output. The tests prove what must hold; this says how long it takes here.
#![allow(missing_docs, dead_code, clippy::unwrap_used, clippy::disallowed_methods)]

use std::time::Instant;

use chrono::TimeDelta;
use evidenced::{
    archive::{
        S3Archive,
        s3::{self, LockMode, ObjectLock, S3Config},
    },
    clock::Clock as _,
    durable::Disk,
    pipeline::Pipeline,
};

#[path = "../tests/pipeline/double.rs"]
mod double;
#[path = "../tests/pipeline/long.rs"]
mod long;
#[path = "../tests/pipeline/support.rs"]
mod support;

use support::{Place, counts, epoch, facts};

#[tokio::main]
async fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize| words.get(at).and_then(|word| word.parse().ok()).expect("a number");
    match words.first().map(String::as_str) {
        Some("catch-up") => {
            let dir = tempfile::tempdir().unwrap();
            let place = Place::new(dir.path());
            let pipeline = place.open(&Disk::new(), "one").await.unwrap();
            catch_up(number(1), &place, pipeline).await;
        }
        Some("upload") => {
            let dir = tempfile::tempdir().unwrap();
            let place = Place::new(dir.path());
            let (endpoint, bucket) = (words.get(2).expect("an endpoint"), words.get(3).expect("a bucket"));
            let config = S3Config {
                region: Some("us-east-1".into()),
                endpoint: Some(endpoint.clone()),
                path_style: true,
                object_lock: ObjectLock { mode: Some(LockMode::None), ..ObjectLock::default() },
                ..S3Config::new(bucket)
            };
            let open = s3::Open {
                config: &config,
                origin: support::ORIGIN,
                state_dir: &place.state_dir(),
                disk: &Disk::new(),
                clock: place.clock.clone(),
                own: None,
            };
            let archive = S3Archive::connect(open).await.unwrap();
            let pipeline = place.open_in(archive, &Disk::new(), "one").await.unwrap();
            catch_up(number(1), &place, pipeline).await;
        }
        Some("cold") => cold(number(1)).await,
        _ => panic!("measure catch-up N | upload N ENDPOINT BUCKET | cold N"),
    }
}

async fn catch_up(runs: i64, place: &Place, pipeline: Pipeline) {
    let plan = pipeline.spool_plan(|basis| support::make_plan(&basis)).await.unwrap();
    let facts = facts(support::EVERY_FIVE_MINUTES, None, plan);
    let work = place.work(&facts);
    let begun = Instant::now();
    for n in 0..runs {
        let mut facts = facts.clone();
        facts.job = format!("host/accounts@h{}", n % 40).parse().unwrap();
        (facts.started_at, facts.ended_at) = (epoch() + TimeDelta::seconds(n), epoch() + TimeDelta::seconds(n + 1));
        place.at(facts.ended_at);
        std::fs::write(work.join("run.json"), serde_json::to_vec(&facts).unwrap()).unwrap();
        pipeline.spool_run(&work, &facts, &counts()).await.unwrap();
    }
    let spooled = begun.elapsed();
    let bytes = pipeline.spool_bytes();
    let begun = Instant::now();
    let logged = support::nothing_held(pipeline.drain().await.unwrap());
    let drained = begun.elapsed();
    drop(pipeline);
    println!(
        "{runs} runs, {bytes} bytes: spooled in {:.1} s, {logged} logged in {:.1} s ({:.0} a second); the clock shows {}",
        spooled.as_secs_f64(),
        drained.as_secs_f64(),
        logged as f64 / drained.as_secs_f64(),
        place.clock.now()
    );
}

async fn cold(leaves: i64) {
    let dir = tempfile::tempdir().unwrap();
    let place = Place::new(dir.path());
    let begun = Instant::now();
    let store = long::log(&place, leaves.unsigned_abs(), 3, 300).await;
    store.dump(&place.archive());
    let made = begun.elapsed().as_secs_f64();
    drop(place.open_in(store.clone(), &Disk::new(), "counted").await.unwrap());
    std::fs::remove_dir_all(place.state_dir()).unwrap();
    let reads = store.reads.load(std::sync::atomic::Ordering::SeqCst);
    println!(
        "a log of {leaves} leaves and three days made in {made:.1} s; a cold start asks for {reads} objects and listings"
    );
    for start in ["cold", "warm"] {
        let begun = Instant::now();
        let pipeline = place.open(&Disk::new(), start).await.unwrap();
        println!(
            "{start} start: {:.2} s, {} entries",
            begun.elapsed().as_secs_f64(),
            pipeline.checkpoint().unwrap().size
        );
    }
}
