//! A host that is read through its mounted root, as from a container: its files below that root and its own programs in a chroot there
//! (which only root may do), and what it does not have is named, never taken from the machine that the agent runs on.
#![allow(missing_docs, clippy::unwrap_used, clippy::disallowed_methods)]

use std::{
    collections::BTreeSet,
    fs,
    io::Read as _,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;
use tests::program::{Place, files, text};

/// A root file system with an `lsblk` of its own, which tells where it runs.
fn mounted(place: &Place) -> PathBuf {
    let root = place.path().join("host");
    for directory in ["etc", "proc", "usr/bin", "tmp"] {
        fs::create_dir_all(root.join(directory)).unwrap();
    }
    // Not UTF-8, as an old system may have it.
    fs::write(
        root.join("etc/passwd"),
        b"root:x:0:0:root:/root:/bin/sh\nzo\xeb:x:1000:1000:Zo\xeb \xff\xfe:/home/zoe:/bin/sh\nalice:x:1001:1001::/home/alice:/bin/sh\n",
    )
    .unwrap();
    fs::write(root.join("etc/group"), "root:x:0:\nsudo:x:27:alice\n").unwrap();
    fs::write(root.join("etc/shadow"), "root:*:19000:0:99999:7:::\nalice:$6$salt$plantedhash:19000:0:99999:7:::\n")
        .unwrap();
    fs::set_permissions(root.join("etc/shadow"), fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(root.join("only-on-the-host"), "").unwrap();
    let script = "#!/bin/sh\n[ -e /only-on-the-host ] || { echo 'not in the host root' >&2; exit 9; }\n\
                  echo '{\"blockdevices\":[{\"name\":\"hostdisk\",\"kname\":\"hostdisk\",\"path\":\"/dev/hostdisk\",\"maj:min\":\"8:0\",\
                  \"type\":\"disk\",\"fstype\":null,\"size\":\"1G\",\"mountpoints\":[null],\"uuid\":null,\"ro\":false,\"rm\":false}]}'\n";
    fs::write(root.join("usr/bin/lsblk"), script).unwrap();
    fs::set_permissions(root.join("usr/bin/lsblk"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(
        place.path().join("evidenced.yaml"),
        format!("sources: [{{name: this, host: {{root: {}}}}}]\n", root.display()),
    )
    .unwrap();
    place.expect(0, ["keys", "init"]);
    root
}

/// Puts this machine's shell, with the libraries that it needs, into the root.
fn install_shell(root: &Path) {
    let shell = fs::canonicalize("/bin/sh").unwrap();
    let listed = Command::new("ldd").arg(&shell).output().unwrap();
    let libraries = text(&listed.stdout);
    let needed: BTreeSet<&str> = libraries.split_whitespace().filter(|word| word.starts_with('/')).collect();
    for library in needed {
        let target = root.join(library.trim_start_matches('/'));
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::copy(library, target).unwrap();
    }
    fs::create_dir_all(root.join("bin")).unwrap();
    fs::copy(shell, root.join("bin/sh")).unwrap();
}

/// A file of the only bundle of a job.
fn bundled(place: &Place, job: &str, name: &str) -> Vec<u8> {
    let bundle = files(&place.origin().join("bundle"))
        .into_iter()
        .find(|path| path.file_name().unwrap().to_string_lossy().contains(job))
        .unwrap();
    let mut zip = zip::ZipArchive::new(fs::File::open(bundle).unwrap()).unwrap();
    let mut bytes = Vec::new();
    zip.by_name(name).unwrap().read_to_end(&mut bytes).unwrap();
    bytes
}

fn jobs(place: &Place, only: &[&str]) -> Vec<Value> {
    let said = place.expect(0, ["collect", "--json"].iter().chain(only));
    let report: Value = serde_json::from_str(&said).unwrap();
    report["jobs"].as_array().unwrap().clone()
}

#[test]
fn a_mounted_host_is_read_below_its_root_and_what_it_lacks_is_named() {
    let place = Place::new();
    mounted(&place);
    let ran = jobs(&place, &["host/accounts", "host/patches", "host/time-sync"]);
    assert_eq!(ran.len(), 3);
    for job in &ran {
        assert_ne!(job["outcome"], "collected", "{job}");
        assert!(!job["note"].as_str().unwrap().is_empty(), "{job}");
    }
    let time = ran.iter().find(|job| job["job"] == "host/time-sync@this").unwrap();
    assert!(time["note"].as_str().unwrap().contains("no program chronyc"), "{time}");

    let accounts = text(&bundled(&place, "host+accounts", "records/account.jsonl"));
    let names: Vec<String> = accounts
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["name"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(names, ["root", "zo\u{fffd}", "alice"], "the mounted host's accounts, and no other's");
    place.expect(0, ["verify", "./evidence", "--trust", &place.root(), "--deep"]);
    for file in files(place.path()).iter().filter(|file| !file.starts_with(place.path().join("host"))) {
        assert!(!fs::read(file).unwrap().windows(11).any(|bytes| bytes == b"plantedhash"), "{}", file.display());
    }
}

#[test]
fn a_mounted_host_s_own_programs_run_in_a_chroot_there_for_root_and_for_others_are_refused_by_name() {
    let place = Place::new();
    install_shell(&mounted(&place));
    let ran = jobs(&place, &["host/disk-encryption"]);
    if rustix::process::geteuid().is_root() {
        let devices = text(&bundled(&place, "host+disk-encryption", "exchanges.jsonl"));
        let lsblk: Value = devices
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .find(|line: &Value| line["request"]["argv"][0] == "lsblk")
            .unwrap();
        assert_eq!(lsblk["answer"], "ok", "{lsblk}");
        let body = bundled(&place, "host+disk-encryption", lsblk["body"].as_str().unwrap());
        assert!(text(&body).contains("hostdisk"), "{}", text(&body));
    } else {
        let note = ran[0]["note"].as_str().unwrap();
        assert!(note.contains("lsblk") && note.contains("root"), "{note}");
    }
    place.expect(0, ["verify", "./evidence", "--trust", &place.root(), "--deep"]);
}

#[test]
fn a_host_root_that_is_none_runs_no_job_and_says_so() {
    let place = Place::new();
    let empty = place.path().join("empty");
    fs::create_dir(&empty).unwrap();
    fs::write(
        place.path().join("evidenced.yaml"),
        format!("sources: [{{name: this, host: {{root: {}}}}}]\n", empty.display()),
    )
    .unwrap();
    place.expect(0, ["keys", "init"]);
    let output = place.run(["collect"]);
    assert_eq!(output.status.code(), Some(2));
    let out = text(&output.stdout);
    assert!(out.contains("is no host's root file system") && out.contains("host/accounts@this"), "{out}");
}
