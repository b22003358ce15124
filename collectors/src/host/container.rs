//! Whether the agent runs inside a container, so that a container's files are never sealed as its host's. It reads a few facts of its own
//! process and judges them; it never guesses from one marker alone, since machines are made from container images too.

use std::{fs, path::Path};

use super::below;

/// The inode numbers of the kernel's first namespaces (`include/linux/proc_ns.h`).
const FIRST_PID: u64 = 0xEFFF_FFFC;
const FIRST_UTS: u64 = 0xEFFF_FFFE;
const FIRST_IPC: u64 = 0xEFFF_FFFF;

/// File systems that container engines lay over an image.
const LAYERED: [&str; 4] = ["overlay", "fuse-overlayfs", "fuse.fuse-overlayfs", "aufs"];

/// What can be seen from inside.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// The inode of `/proc/self/ns/pid`.
    pub pid_namespace: Option<u64>,
    /// The inode of `/proc/self/ns/uts`.
    pub uts_namespace: Option<u64>,
    /// The inode of `/proc/self/ns/ipc`.
    pub ipc_namespace: Option<u64>,
    /// What container engines leave behind: files and environment variables, by name.
    pub markers: Vec<String>,
    /// The file system type and the device of `/`, from `/proc/self/mountinfo`.
    pub root_mount: Option<(String, String)>,
}

/// A judgement and what it rests on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Whether this is a container.
    pub inside: bool,
    /// A sentence that says why.
    pub rests_on: String,
}

impl Facts {
    /// Reads the facts of this process.
    pub fn read() -> Self {
        let files = ["/.dockerenv", "/run/.containerenv"].into_iter().filter(|path| Path::new(path).exists());
        let variables =
            ["container", "KUBERNETES_SERVICE_HOST"].into_iter().filter(|name| std::env::var_os(name).is_some());
        Self {
            pid_namespace: below::namespace_inode("pid"),
            uts_namespace: below::namespace_inode("uts"),
            ipc_namespace: below::namespace_inode("ipc"),
            markers: files.map(String::from).chain(variables.map(|name| format!("${name}"))).collect(),
            root_mount: fs::read_to_string("/proc/self/mountinfo").ok().and_then(|text| root_mount(&text)),
        }
    }

    /// Judges them. What cannot be told counts as a container: a host job that does not run is seen, one that reads the wrong
    /// machine is not.
    pub fn judge(&self) -> Verdict {
        let verdict = |inside, rests_on| Verdict { inside, rests_on };
        let markers = if self.markers.is_empty() { "no marker".into() } else { self.markers.join(", ") };
        match self.pid_namespace {
            None => {
                return verdict(true, "/proc/self/ns/pid cannot be read, so nothing shows that this is a host".into());
            }
            Some(FIRST_PID) => {}
            Some(other) => {
                return verdict(
                    true,
                    format!("the PID namespace {other} is not the kernel's first ({FIRST_PID}); {markers}"),
                );
            }
        }
        let first = "the PID namespace is the kernel's first";
        let Some((kind, device)) = &self.root_mount else {
            return if self.markers.is_empty() {
                verdict(false, format!("{first}, and there is no marker of a container"))
            } else {
                verdict(true, format!("{first}, but {markers} is there and what / is mounted from cannot be read"))
            };
        };
        let root = format!("/ is {kind} from {device}");
        let apart = self.uts_namespace != Some(FIRST_UTS) && self.ipc_namespace != Some(FIRST_IPC);
        let layered = LAYERED.contains(&kind.as_str());
        if layered && !self.markers.is_empty() {
            verdict(true, format!("{root}, and {markers} is there, although {first}"))
        } else if layered && apart {
            verdict(true, format!("{root}, with UTS and IPC namespaces of its own, although {first}"))
        } else {
            verdict(false, format!("{first}, and {root} ({markers})"))
        }
    }
}

/// The type and the device of what is mounted on `/` (the last such line is on top).
fn root_mount(mountinfo: &str) -> Option<(String, String)> {
    let mut found = None;
    for line in mountinfo.lines() {
        let (place, kind) = line.split_once(" - ")?;
        if place.split(' ').nth(4) == Some("/") {
            let mut kind = kind.split(' ');
            found = Some((kind.next()?.to_string(), kind.next()?.to_string()));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn host() -> Facts {
        Facts {
            pid_namespace: Some(FIRST_PID),
            uts_namespace: Some(FIRST_UTS),
            ipc_namespace: Some(FIRST_IPC),
            markers: Vec::new(),
            root_mount: Some(("ext4".into(), "/dev/vda".into())),
        }
    }

    fn overlay() -> Option<(String, String)> {
        Some(("overlay".into(), "overlay".into()))
    }

    #[test]
    fn another_pid_namespace_is_a_container_whatever_else_is_seen() {
        let facts = Facts { pid_namespace: Some(4_026_532_200), ..host() };
        assert!(facts.judge().inside);
        assert!(facts.judge().rests_on.contains("4026532200"));
    }

    #[test]
    fn what_cannot_be_read_is_not_taken_for_a_host() {
        assert!(Facts { pid_namespace: None, ..host() }.judge().inside);
        assert!(Facts { markers: vec!["/.dockerenv".into()], root_mount: None, ..host() }.judge().inside);
    }

    #[test]
    fn a_container_that_shares_the_hosts_pids_is_seen_by_its_layered_root() {
        let marked = Facts { markers: vec!["$KUBERNETES_SERVICE_HOST".into()], root_mount: overlay(), ..host() };
        assert!(marked.judge().inside, "{}", marked.judge().rests_on);
        let unmarked = Facts { uts_namespace: Some(1), ipc_namespace: Some(2), root_mount: overlay(), ..host() };
        assert!(unmarked.judge().inside, "{}", unmarked.judge().rests_on);
    }

    #[test]
    fn a_machine_made_from_an_image_is_a_host() {
        let facts = Facts { markers: vec!["/.dockerenv".into()], ..host() };
        let verdict = facts.judge();
        assert!(!verdict.inside);
        assert_eq!(
            verdict.rests_on,
            "the PID namespace is the kernel's first, and / is ext4 from /dev/vda (/.dockerenv)"
        );
    }

    #[test]
    fn a_live_system_on_an_overlay_is_a_host() {
        assert!(!Facts { root_mount: overlay(), ..host() }.judge().inside);
        assert!(!host().judge().inside);
    }

    #[test]
    fn the_mount_on_top_is_the_root() {
        let text = "1 0 0:2 / / rw - rootfs rootfs rw\n27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw\n\
                    28 27 0:25 / /mnt ro - tmpfs t rw\n";
        assert_eq!(root_mount(text), Some(("ext4".into(), "/dev/vda".into())));
        assert_eq!(root_mount("28 27 0:25 / /mnt ro - tmpfs t rw\n"), None);
        assert_eq!(root_mount("nonsense"), None);
    }

    #[test]
    fn the_facts_of_this_process_are_read() {
        let facts = Facts::read();
        assert!(facts.pid_namespace.is_some() && facts.root_mount.is_some(), "{facts:?}");
    }
}
