//! `state_dir/running/<job>`: which slot a job runs for, durable before the run begins. A start that finds one knows that the agent
//! ended during that run.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use signing::{layout::Job, time::Utc};

use crate::{blocking::blocking, durable::Disk};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Marker {
    pub job: Job,
    pub slot: Utc,
    pub started_at: Utc,
}

/// The markers of one `state_dir`.
#[derive(Debug, Clone)]
pub struct Markers {
    dir: PathBuf,
    disk: Disk,
}

impl Markers {
    pub fn new(state_dir: &Path, disk: Disk) -> io::Result<Self> {
        let dir = state_dir.join("running");
        disk.make_private_dirs(&dir)?;
        disk.sweep(&dir)?;
        Ok(Self { dir, disk })
    }

    /// MUST be durable when it returns.
    pub async fn set(&self, marker: Marker) -> io::Result<()> {
        let (this, bytes) = (self.clone(), serde_json::to_vec(&marker)?);
        blocking(move || this.disk.replace(&this.path(&marker.job), &bytes)).await
    }

    pub async fn clear(&self, job: &Job) -> io::Result<()> {
        let (this, path) = (self.clone(), self.path(job));
        blocking(move || this.disk.remove_file(&path)).await
    }

    /// All of them; one that cannot be read is named and passed over, since it only tells a cause.
    pub fn all(&self) -> io::Result<Vec<Marker>> {
        let mut markers = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let path = entry?.path();
            match fs::read(&path).and_then(|bytes| Ok(serde_json::from_slice(&bytes)?)) {
                Ok(marker) => markers.push(marker),
                Err(error) => tracing::warn!(path = %path.display(), %error, "a marker of a run cannot be read"),
            }
        }
        Ok(markers)
    }

    fn path(&self, job: &Job) -> PathBuf {
        self.dir.join(format!("{}.json", job.file_name()))
    }
}
