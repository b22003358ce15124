//! Secrets planted where administrators leave them: none of them is in a work directory afterwards, and each removal is recorded.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use std::{fs, path::Path};

use collectors::{
    contract::{Context, Evidence},
    host::{access::Host, built_in, config::HostConfig},
    recorder::{Recorder, WorkEvidence},
    testing::system_now,
};

const PLANTED: [(&str, &str); 9] = [
    ("etc/os-release", "ID=debian\n"),
    (
        "etc/crypttab",
        "a /dev/sda planted-key luks,keyscript=/k\nb /dev/sdb - pkcs11-uri=x;pin-value=planted-pin\n# c /dev/sdc planted-old luks\n",
    ),
    ("etc/rsyslog.conf", "action(type=\"ommysql\" pwd=\"planted-database\")\n*.* :ommysql:h,d,u,planted-legacy\n"),
    (
        "etc/rsyslog.d/50-cloud.conf",
        "$template t,\"[plantedtoken0123456789@41058 x]\"\naction(type=\"omhttp\" token='planted-http')\n",
    ),
    (
        "etc/pam.d/sshd",
        "auth required pam_yubico.so key=planted-yubico\nauth required pam_mysql.so passwd=planted-pam\n",
    ),
    ("etc/pam.d/sudo", "auth required pam_exec.so url=https://u:planted-url@h/\n"),
    ("etc/systemd/journal-upload.conf", "[Upload]\nURL=https://u:planted-upload@h/\n"),
    (
        "var/log/apt/history.log",
        "Start-Date: 2026-11-01  06:00:00\nCommandline: apt-get -o Acquire::http::Proxy=http://u:planted-proxy@p:1 upgrade\n",
    ),
    ("etc/shadow", "root:$6$planted$hash:19000:0:99999:7:::\n"),
];

fn files(directory: &Path, all: &mut Vec<(String, Vec<u8>)>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, all);
        } else {
            all.push((path.display().to_string(), fs::read(&path).unwrap()));
        }
    }
}

#[tokio::test]
async fn no_planted_secret_is_kept_and_each_removal_is_recorded() {
    let root = tempfile::tempdir().unwrap();
    for (path, text) in PLANTED {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let mut rules = Vec::new();
    for collector in built_in(&Host::new(root.path(), None), &HostConfig::default()) {
        if !collector.spec().inputs.is_empty() {
            continue;
        }
        let work = tempfile::tempdir().unwrap();
        let mut recorder = Recorder::new(work.path()).unwrap();
        let mut context = Context { recorder: &mut recorder, now: system_now(), inputs: Vec::new(), window: None };
        collector.collect(&mut context).await.unwrap();
        let mut kept = Vec::new();
        files(work.path(), &mut kept);
        for (path, bytes) in kept {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            assert!(!text.contains("planted"), "{}: {path}: {text}", collector.spec().id);
        }
        let evidence = WorkEvidence::new(work.path());
        let redactions = evidence.exchanges().flat_map(|exchange| exchange.unwrap().redactions);
        rules.extend(redactions.map(|redaction| redaction.rule));
    }
    for rule in [
        "crypttab-key-argument",
        "crypttab-pin",
        "rsyslog-secret",
        "rsyslog-database-action",
        "rsyslog-token",
        "pam-secret",
        "url-credentials",
    ] {
        assert!(rules.iter().any(|recorded| recorded == rule), "{rule} is not among {rules:?}");
    }
}
