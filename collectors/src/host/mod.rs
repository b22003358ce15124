//! Collectors that read the machine itself, or one whose root file system is mounted into the agent's container. They never change it.

pub mod access;
pub mod accounts;
pub mod audit;
mod below;
pub mod config;
pub mod container;
pub mod disk;
mod kept;
pub mod mfa;
#[cfg(test)]
mod noise;
mod pam;
pub mod patches;
pub mod privileged;
pub mod restic;
mod scrub;
pub mod sshd;
pub mod time_sync;

use std::{path::PathBuf, sync::Arc};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use self::{access::Host, config::HostConfig, container::Facts};
use crate::contract::{Collector, Source};

/// Opens the host as a source. `helper` is this program's own path (`/proc/self/exe`), which runs programs below another root: see
/// [`access::host_exec`].
pub fn open(config: &HostConfig, name: &str, helper: PathBuf) -> Source {
    let host = Host::new(&config.root, Some(helper));
    Source {
        name: name.into(),
        kind: "host".into(),
        identity: identity(&host),
        collectors: all(&host, config),
        not_run: not_run(&host, &Facts::read()),
    }
}

/// Every collector of this host: those of backups only where repositories are configured.
pub fn all(host: &Host, config: &HostConfig) -> Vec<Arc<dyn Collector>> {
    let mut all = built_in(host, config);
    if config.restic.is_empty() {
        all.retain(|collector| collector.spec().id != "host/backups-restic");
    }
    all
}

/// Every collector of hosts, configured or not: what derives again needs no configuration.
pub fn built_in(host: &Host, config: &HostConfig) -> Vec<Arc<dyn Collector>> {
    vec![
        Arc::new(accounts::Accounts::new(host.clone())),
        Arc::new(audit::Audit::new(host.clone())),
        Arc::new(disk::Disk::new(host.clone())),
        Arc::new(mfa::Mfa::new(host.clone())),
        Arc::new(patches::Patches::new(host.clone())),
        Arc::new(privileged::PrivilegedChanges::default()),
        Arc::new(restic::Restic::new(host.clone(), config.restic.clone())),
        Arc::new(sshd::Sshd::new(host.clone())),
        Arc::new(time_sync::TimeSync::new(host.clone())),
    ]
}

/// Why host jobs may not run.
fn not_run(host: &Host, facts: &Facts) -> Option<String> {
    if !host.is_this() {
        let missing = below::looks_like_a_root(host.root()).err()?;
        let root = host.root().display();
        return Some(format!("{root} is no host's root file system ({missing}); mount the host's / there, read-only"));
    }
    let verdict = facts.judge();
    verdict.inside.then(|| {
        format!(
            "this is a container: {}; mount the host's / read-only and set the source's `root` to it",
            verdict.rests_on
        )
    })
}

/// What the host says of itself; what cannot be read is `null`.
fn identity(host: &Host) -> Value {
    let read = |path| below::read_small(host.root(), path);
    let uname = rustix::system::uname();
    let os = read("/etc/os-release").or_else(|| read("/usr/lib/os-release")).and_then(|text| {
        let name = text.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="))?;
        Some(name.trim_matches(['"', '\'']).to_string())
    });
    json!({
        "host_name": host.name(),
        "os": os,
        "kernel": uname.release().to_str().ok(),
        "machine_id": read("/etc/machine-id").and_then(|text| machine_id(&text)),
        "boot_id": below::read_small("/".as_ref(), "/proc/sys/kernel/random/boot_id").map(|text| text.trim().to_string()),
    })
}

/// The machine's id as this program shows it: machine-id(5) asks that the id itself be kept from untrusted places.
fn machine_id(text: &str) -> Option<String> {
    let id = text.trim();
    let good = id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    good.then(|| hex::encode(&Sha256::digest(format!("evidenced host identity\n{id}"))[..16]))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::disallowed_methods)]
    use std::fs;

    use super::*;

    #[test]
    fn the_machine_id_is_shown_only_hashed() {
        let id = "3d1219c7c4c5404aaa1f6d2a48adfda4";
        let shown = machine_id(&format!("{id}\n")).unwrap();
        assert_eq!(shown.len(), 32);
        assert_ne!(shown, id);
        assert_eq!(machine_id("uninitialized\n"), None);
        assert_eq!(machine_id(""), None);
    }

    #[test]
    fn in_a_container_host_jobs_do_not_run_and_say_what_to_do() {
        let facts = Facts { pid_namespace: Some(1), ..Facts::default() };
        let reason = not_run(&Host::new("/", None), &facts).unwrap();
        assert!(reason.contains("container") && reason.contains("mount the host's /"), "{reason}");
    }

    #[test]
    fn with_a_mounted_host_root_they_run_even_in_a_container() {
        let root = tempfile::tempdir().unwrap();
        let facts = Facts { pid_namespace: Some(1), ..Facts::default() };
        let reason = not_run(&Host::new(root.path(), None), &facts).unwrap();
        assert!(reason.contains("no host's root file system"), "{reason}");
        fs::create_dir(root.path().join("etc")).unwrap();
        fs::write(root.path().join("etc/passwd"), "").unwrap();
        assert_eq!(not_run(&Host::new(root.path(), None), &facts), None);
    }

    #[test]
    fn a_host_is_identified_by_its_own_files() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("etc")).unwrap();
        fs::write(root.path().join("etc/hostname"), "db1\n").unwrap();
        fs::write(root.path().join("etc/os-release"), "NAME=x\nPRETTY_NAME=\"Some Linux 1\"\n").unwrap();
        let identity = identity(&Host::new(root.path(), None));
        assert_eq!((&identity["host_name"], &identity["os"]), (&json!("db1"), &json!("Some Linux 1")));
        assert_eq!(identity["machine_id"], Value::Null);
    }
}
