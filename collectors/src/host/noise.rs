//! Deriving from answers that nobody honest gave: cut, changed, exchanged or random. It must end, without a panic and without an
//! error: what an answer holds only ever makes lists unread or cut.
#![allow(clippy::unwrap_used)]

use proptest::{collection::vec, prelude::*};
use serde_json::{Value, json};

use super::{access::Host, built_in, config::HostConfig};
use crate::{
    contract::Answer,
    testing::{FakeEvidence, MemoryRecords},
};

const DIRECTORY: &str = r#"[{"name":"a.conf","type":"file","mode":"0644","uid":0,"gid":0,"size":1,"modified_at":"2026-11-22T03:00:00Z"},
    {"name":"x_security_InRelease","type":"file","modified_at":"2026-11-22T03:00:00Z"},{"name":"sshd","type":"file"}]"#;
const PROCESSES: &str = r#"[{"pid":1,"name":"systemd"},{"pid":2,"name":"auditd"}]"#;

/// Operation, request and an honest answer for all that the collectors of this directory ask.
fn exchanges() -> Vec<(&'static str, Value, &'static str)> {
    let file = |path: &str, text| ("read-file", json!({"path": path}), text);
    let directory = |path: &str| ("list-directory", json!({"path": path}), DIRECTORY);
    let command = |argv: &[&str], text| ("run-command", json!({"argv": argv, "env": []}), text);
    let lsblk = |columns: &str| {
        let columns = format!("NAME,KNAME,PATH,MAJ:MIN,TYPE,FSTYPE,SIZE,{columns},UUID,RO,RM");
        command(&["lsblk", "-J", "-b", "-o", &columns], include_str!("fixtures/disk/lsblk.luks.json"))
    };
    vec![
        command(&["sshd", "-T"], include_str!("fixtures/sshd/sshd-T.match.txt")),
        command(
            &["sshd", "-T", "-C", "user=root,host=client.invalid,addr=203.0.113.1"],
            include_str!("fixtures/sshd/sshd-T.match.txt"),
        ),
        file(
            "/etc/ssh/sshd_config",
            "Include sshd_config.d/*.conf\nMatch User a,b Address 10.0.0.0/8\nMatch Group x\n",
        ),
        directory("/etc/ssh"),
        directory("/etc/ssh/sshd_config.d"),
        lsblk("MOUNTPOINTS"),
        lsblk("MOUNTPOINT"),
        file("/proc/1/mountinfo", include_str!("fixtures/disk/mountinfo.luks")),
        file("/proc/swaps", include_str!("fixtures/disk/swaps.luks")),
        file("/etc/crypttab", "nvme0n1p3_crypt UUID=0 none luks\n"),
        file("/sys/class/block/dm-0/dm/uuid", "CRYPT-LUKS2-0\n"),
        file("/etc/os-release", "ID=debian\n"),
        directory("/var/lib/apt/lists"),
        directory("/var/log/apt"),
        directory("/etc/kernel/postinst.d"),
        command(
            &["apt-get", "-s", "-o", "Debug::NoLocking=1", "dist-upgrade"],
            include_str!("fixtures/patches/dist-upgrade.debian12.txt"),
        ),
        file("/var/log/apt/history.log", "Start-Date: 2026-11-01  06:00:01\nUpgrade: a:amd64 (1, 2)\n"),
        file("/var/log/dpkg.log", "2026-11-03 10:00:00 upgrade a:amd64 1 2\n"),
        command(&["dnf", "-q", "-C", "updateinfo", "list", "--security"], "A-1 Important/Sec. a-1\n"),
        directory("/var/cache/dnf"),
        command(&["apk", "version", "-l", "<"], "musl-1 < 2\n"),
        directory("/var/cache/apk"),
        command(&["chronyc", "-n", "-c", "tracking"], include_str!("fixtures/time_sync/chrony-tracking.txt")),
        command(&["chronyc", "-n", "-c", "sources"], include_str!("fixtures/time_sync/chrony-unsync-sources.txt")),
        command(&["timedatectl", "show"], "NTPSynchronized=yes\nNTP=yes\n"),
        command(&["ntpq", "-c", "rv"], "leap_none, sync_ntp, stratum=3, offset=0.1\n"),
        command(&["adjtimex", "--print"], "status: 64\n"),
        directory("/run/systemd/timesync"),
        ("list-processes", json!({"path": "/proc"}), PROCESSES),
        command(&["auditctl", "-s"], include_str!("fixtures/audit/auditctl-s.txt")),
        command(&["auditctl", "-l"], "-w /etc/shadow -p wa\n"),
        file("/etc/audit/auditd.conf", include_str!("fixtures/audit/auditd.conf")),
        file("/etc/systemd/journald.conf", "[Journal]\nStorage=auto\nMaxRetentionSec=90day\n"),
        file("/etc/rsyslog.conf", "*.* @@a:1;x\naction(type=\"omfwd\" target=\"x\")\n"),
        directory("/etc/rsyslog.d"),
        file("/etc/rsyslog.d/a.conf", "*.* @b\n"),
        directory("/etc/pam.d"),
        file(
            "/etc/pam.d/sshd",
            "auth [success=2 default=ignore] pam_unix.so\nauth include sshd\nauth required pam_u2f.so\n",
        ),
        ("configuration", json!({"name": "a", "repository": "/srv", "location": "local"}), ""),
        command(&["restic", "snapshots"], include_str!("fixtures/restic/snapshots.out")),
        command(&["restic", "check"], include_str!("fixtures/restic/check.out")),
    ]
}

/// What happens to one answer.
#[derive(Debug, Clone)]
enum Fate {
    Kept,
    Refused(Answer),
    CutAt(usize),
    Changed(usize, u8),
    Repeated,
    Random(Vec<u8>),
    Of(usize),
}

fn fate() -> impl Strategy<Value = Fate> {
    let answers = vec![Answer::Denied, Answer::Missing, Answer::Failed, Answer::TimedOut, Answer::CutShort];
    prop_oneof![
        3 => Just(Fate::Kept),
        1 => prop::sample::select(answers).prop_map(Fate::Refused),
        2 => (0usize..4000).prop_map(Fate::CutAt),
        2 => (0usize..4000, any::<u8>()).prop_map(|(at, byte)| Fate::Changed(at, byte)),
        1 => Just(Fate::Repeated),
        1 => vec(any::<u8>(), 0..200).prop_map(Fate::Random),
        1 => (0usize..100).prop_map(Fate::Of),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn deriving_ends_whatever_was_answered(fates in vec(fate(), 41)) {
        let exchanges = exchanges();
        let mut evidence = FakeEvidence::new();
        for ((operation, request, honest), fate) in exchanges.iter().zip(fates.iter().cycle()) {
            let mut body = honest.as_bytes().to_vec();
            let mut answer = Answer::Ok;
            match fate {
                Fate::Kept => {}
                Fate::Refused(refused) => (answer, body) = (*refused, Vec::new()),
                Fate::CutAt(at) => body.truncate(*at),
                Fate::Changed(at, byte) => {
                    let length = body.len().max(1);
                    if let Some(place) = body.get_mut(at % length) {
                        *place = *byte;
                    }
                }
                Fate::Repeated => body.extend_from_within(..),
                Fate::Random(bytes) => body.clone_from(bytes),
                Fate::Of(other) => body = exchanges[other % exchanges.len()].2.as_bytes().to_vec(),
            }
            let code = (*operation == "run-command").then_some(0);
            evidence = evidence.add(operation, request.clone(), answer, "said", code, body);
        }
        for collector in built_in(&Host::new("/", None), &HostConfig::default()) {
            let mut out = MemoryRecords::default();
            collector.derive(&evidence, &mut out).unwrap();
            for kind in &collector.spec().kinds {
                prop_assert!(out.populations.contains_key(kind), "{} says nothing of {kind}", collector.spec().id);
            }
            let mut again = MemoryRecords::default();
            collector.derive(&evidence, &mut again).unwrap();
            prop_assert_eq!(&out, &again);
        }
    }
}
