//! The process kills itself (SIGKILL) at each write in turn; another start then does what is left.

use std::{
    io::Write,
    os::unix::process::ExitStatusExt,
    path::Path,
    process::{Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use chrono::TimeDelta;
use evidenced::durable::{Disk, Step, Verdict, Watch};
use signing::{digest::Digest, time::Utc};

use crate::support::{self, Place, epoch};

/// In the child's environment: the directory, and the step at which it dies.
const DIRECTORY: &str = "EVIDENCED_TEST_DIRECTORY";
const STEP: &str = "EVIDENCED_TEST_STEP";
const SIGKILL: i32 = 9;

struct KillAt {
    at: usize,
    seen: AtomicUsize,
}

impl Watch for KillAt {
    fn before(&self, _: Step, _: &Path) -> Verdict {
        if self.seen.fetch_add(1, Ordering::SeqCst) == self.at {
            let me = rustix::process::getpid();
            rustix::process::kill_process(me, rustix::process::Signal::KILL).unwrap();
            loop {
                std::thread::park();
            }
        }
        Verdict::Go
    }
}

fn end() -> Utc {
    epoch() + TimeDelta::minutes(5)
}

async fn scenario(dir: &Path, disk: &Disk, instance: &str) {
    let place = Place::new(dir);
    let acknowledged =
        Mutex::new(std::fs::File::options().create(true).append(true).open(dir.join("acknowledged")).unwrap());
    let pipeline = place.open(disk, instance).await.unwrap();
    support::scenario(&place, &pipeline, end(), &mut |leaf| writeln!(acknowledged.lock().unwrap(), "{leaf}").unwrap())
        .await
        .unwrap();
}

/// What the child process runs; by itself it proves that the scenario comes to its end.
#[tokio::test(start_paused = true)]
async fn the_scenario_comes_to_its_end() {
    match (std::env::var_os(DIRECTORY), std::env::var(STEP)) {
        (Some(dir), Ok(step)) => {
            let watch = KillAt { at: step.parse().unwrap(), seen: AtomicUsize::new(0) };
            scenario(Path::new(&dir), &Disk::watched(Arc::new(watch)), "killed").await;
        }
        _ => {
            let dir = tempfile::tempdir().unwrap();
            scenario(dir.path(), &Disk::new(), "whole").await;
            assert_eq!(support::check(&Place::new(dir.path()), end()).len(), 6);
        }
    }
}

/// Runs the scenario in a process that dies at `step`; whether it died.
fn killed_at(dir: &Path, step: usize) -> bool {
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "kill::the_scenario_comes_to_its_end", "--test-threads=1"])
        .env(DIRECTORY, dir)
        .env(STEP, step.to_string())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap();
    if status.success() {
        return false;
    }
    assert_eq!(status.signal(), Some(SIGKILL), "the child failed by itself at step {step}: {status}");
    true
}

/// Every fourth step, so that four tests share the work.
async fn killed_at_each_step_from(first: usize) {
    let mut step = first;
    loop {
        let dir = tempfile::tempdir().unwrap();
        // Keys are made beforehand: their steps have a test of their own.
        Place::new(dir.path()).keys(&Disk::new()).unwrap();
        if !killed_at(dir.path(), step) {
            break;
        }
        // Sometimes the second start dies too, at the same step of its own.
        if step.is_multiple_of(3) {
            killed_at(dir.path(), step);
        }
        scenario(dir.path(), &Disk::new(), "restarted").await;
        let leaves = support::check(&Place::new(dir.path()), end());
        let acknowledged = std::fs::read_to_string(dir.path().join("acknowledged")).unwrap();
        for leaf in acknowledged.lines().map(|line| line.parse::<Digest>().unwrap()) {
            assert_eq!(
                leaves.iter().filter(|l| **l == leaf).count(),
                1,
                "acknowledged, then lost by a kill at step {step}"
            );
        }
        step += 4;
    }
    assert!(step > 150, "only {step} steps");
}

#[tokio::test(start_paused = true)]
async fn killed_at_any_write_and_started_again_nothing_is_lost_and_nothing_doubled() {
    killed_at_each_step_from(0).await;
}

#[tokio::test(start_paused = true)]
async fn killed_at_any_write_and_started_again_nothing_is_lost_and_nothing_doubled_2() {
    killed_at_each_step_from(1).await;
}

#[tokio::test(start_paused = true)]
async fn killed_at_any_write_and_started_again_nothing_is_lost_and_nothing_doubled_3() {
    killed_at_each_step_from(2).await;
}

#[tokio::test(start_paused = true)]
async fn killed_at_any_write_and_started_again_nothing_is_lost_and_nothing_doubled_4() {
    killed_at_each_step_from(3).await;
}
