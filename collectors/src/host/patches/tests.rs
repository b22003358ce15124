//! What `host/patches` derives, failure first.
#![allow(clippy::unwrap_used)]
use super::*;
use crate::{
    contract::Answer,
    testing::{FakeEvidence, MemoryRecords},
};

const UPGRADE: &str = include_str!("../fixtures/patches/dist-upgrade.debian12.txt");
const DEBIAN: &str = "ID=debian\nVERSION_ID=\"12\"\n";
const SECURITY: &str = "deb.debian.org_debian-security_dists_bookworm-security_InRelease";
const MAIN: &str = "deb.debian.org_debian_dists_bookworm_InRelease";
const UP_TO_DATE: &str = "0 upgraded, 0 newly installed, 0 to remove and 0 not upgraded.\n";

fn run(evidence: &FakeEvidence) -> (MemoryRecords, Value, Population) {
    let mut out = MemoryRecords::default();
    Patches::new(Host::new("/", None)).derive(evidence, &mut out).unwrap();
    let (state, population) = (out.get("patch_state", "host"), out.populations["pending_update"].clone());
    (out, state, population)
}

/// The fake's exchanges are of 2026-11-22 about 04:00.
fn lists(evidence: FakeEvidence, files: &[(&str, &str)]) -> FakeEvidence {
    let rows: Vec<Value> =
        files.iter().map(|(name, at)| json!({"name": name, "type": "file", "modified_at": at})).collect();
    let request = json!({"path": APT_LISTS});
    evidence.add("list-directory", request, Answer::Ok, "", None, Value::from(rows).to_string().into())
}

fn debian() -> FakeEvidence {
    let files = [(SECURITY, "2026-11-21T20:00:00Z"), (MAIN, "2026-09-01T00:00:00Z")];
    lists(FakeEvidence::new().file(OS_RELEASE, DEBIAN), &files)
}

#[test]
fn pending_updates_of_a_real_host_are_all_listed_and_marked() {
    let (out, state, population) = run(&debian().command(&APT, 0, UPGRADE));
    assert_eq!(population, Population::Whole);
    let upgraded = UPGRADE.lines().find(|line| line.contains(" upgraded, ")).unwrap();
    let count: usize = upgraded.split(' ').next().unwrap().parse().unwrap();
    assert_eq!(out.of("pending_update").len(), count);
    assert_eq!(state["pending_count"], json!(count));
    let security = UPGRADE
        .lines()
        .filter(|l| l.starts_with("Inst ") && l.contains("] (") && l.contains("Debian-Security"))
        .count();
    assert!(security > 0);
    assert_eq!(state["pending_security_count"], json!(security));
    let one = out.get("pending_update", "libgcrypt20 1.10.1-3+deb12u1");
    assert_eq!((&one["installed"], &one["security"]), (&json!("1.10.1-3"), &json!(true)));
    assert_eq!(out.get("pending_update", "bash 5.2.15-2+b13")["security"], json!(false));
    assert_eq!(state["lists_age_hours"], json!(8.0));
    assert_eq!(state["as_of"], "2026-11-21T20:00:00Z");
}

#[test]
fn without_lists_pending_updates_are_unread_though_apt_says_none() {
    for files in [&[][..], &[("lock", "2026-11-22T03:00:00Z"), ("partial", "2026-11-22T03:00:00Z")][..]] {
        let evidence = lists(FakeEvidence::new().file(OS_RELEASE, DEBIAN), files).command(&APT, 0, UP_TO_DATE);
        let (out, state, population) = run(&evidence);
        assert!(matches!(&population, Population::Unread(why) if why.contains("never run")), "{population:?}");
        assert!(out.of("pending_update").is_empty());
        assert!(state["pending_security_count"].is_null() && state["lists_age_hours"].is_null());
    }
}

#[test]
fn stale_lists_cut_the_list_of_pending_updates() {
    let old = [(SECURITY, "2026-11-12T04:00:00Z"), (MAIN, "2026-11-22T03:00:00Z")];
    let (_, state, population) =
        run(&lists(FakeEvidence::new().file(OS_RELEASE, DEBIAN), &old).command(&APT, 0, UP_TO_DATE));
    assert_eq!(state["lists_age_hours"], json!(240.0));
    assert!(matches!(&population, Population::Cut(why) if why.contains("240 hours old")));
    let future = [(SECURITY, "2027-11-12T04:00:00Z")];
    let (_, state, population) =
        run(&lists(FakeEvidence::new().file(OS_RELEASE, DEBIAN), &future).command(&APT, 0, UP_TO_DATE));
    assert!(state["lists_age_hours"].is_null() && matches!(population, Population::Cut(_)));
}

#[test]
fn an_answer_without_its_end_or_with_another_count_is_cut() {
    let whole = UPGRADE.lines().filter(|line| !line.contains(" upgraded, ")).collect::<Vec<_>>().join("\n");
    let (_, state, population) = run(&debian().command(&APT, 0, whole));
    assert!(matches!(&population, Population::Cut(why) if why.contains("summary line")));
    assert!(state["pending_security_count"].is_null());
    let fewer = UPGRADE.replacen("Inst base-files", "Gone base-files", 1);
    assert!(matches!(run(&debian().command(&APT, 0, fewer)).2, Population::Cut(why) if why.contains("listed")));
    for answer in ["", "\u{1}\u{2}", "Inst (((\n"] {
        assert!(matches!(run(&debian().command(&APT, 0, answer)).2, Population::Cut(_)), "{answer:?}");
    }
    assert!(matches!(run(&debian().command(&APT, 0, b"\xff".to_vec())).2, Population::Unread(_)));
    let failed = debian().command(&APT, 100, "").stderr("E: The package cache file is corrupted\n");
    assert!(matches!(run(&failed).2, Population::Unread(why) if why.contains("corrupted")));
    let slow = debian().no_command(&APT, Answer::TimedOut, "no end within 180 s: killed");
    assert!(matches!(run(&slow).2, Population::Unread(why) if why.contains("180 s")));
}

#[test]
fn held_back_packages_are_pending_with_unknown_security() {
    let text = format!("The following packages have been kept back:\n  linux-image-amd64 snapd\n{UP_TO_DATE}");
    let (out, state, population) = run(&debian().command(&APT, 0, text));
    assert_eq!((out.of("pending_update").len(), population), (2, Population::Whole));
    assert!(out.get("pending_update", "snapd held back")["security"].is_null());
    assert!(state["pending_security_count"].is_null());
}

#[test]
fn up_to_date_is_none_pending() {
    let (_, state, population) = run(&debian().command(&APT, 0, UP_TO_DATE));
    assert_eq!((&state["pending_security_count"], population), (&json!(0), Population::Whole));
    let no_security = lists(FakeEvidence::new().file(OS_RELEASE, DEBIAN), &[(MAIN, "2026-11-22T03:00:00Z")]);
    assert_eq!(run(&no_security.command(&APT, 0, UP_TO_DATE)).1["security_source"], json!(false));
}

#[test]
fn the_last_upgrade_is_no_installation() {
    let history = "Start-Date: 2026-11-01  06:00:01\nUpgrade: a:amd64 (1, 2)\nEnd-Date: x\n\n\
                   Start-Date: 2026-11-20  06:00:01\nInstall: b:amd64 (1)\n";
    let (_, state, _) = run(&debian().command(&APT, 0, UP_TO_DATE).file(APT_HISTORY, history));
    assert_eq!(
        (state["last_patch"].as_str(), state["days_since_patch"].as_i64()),
        (Some("2026-11-01 06:00:01"), Some(21))
    );
    let dpkg = "2026-11-03 10:00:00 upgrade a:amd64 1 2\n2026-11-04 10:00:00 install b:amd64 <none> 1\n";
    let (_, state, _) = run(&debian().command(&APT, 0, UP_TO_DATE).file(APT_HISTORY, history).file(DPKG_LOGS[0], dpkg));
    assert_eq!(state["last_patch_from"], DPKG_LOGS[0]);
    assert!(run(&debian().command(&APT, 0, UP_TO_DATE)).1["last_patch"].is_null());
}

#[test]
fn no_restart_file_says_something_only_where_something_writes_it() {
    let quiet = debian().command(&APT, 0, UP_TO_DATE).no_file(REBOOT, Answer::Missing, "no such file");
    assert!(run(&quiet).1["reboot_required"].is_null());
    let hooked = quiet.clone().directory(REBOOT_HOOKS, &["unattended-upgrades"]);
    assert_eq!(run(&hooked).1["reboot_required"], json!(false));
    assert!(run(&quiet.directory(REBOOT_HOOKS, &["zz-update-grub"])).1["reboot_required"].is_null());
    assert_eq!(run(&debian().file(REBOOT, "*** System restart required ***\n")).1["reboot_required"], json!(true));
}

#[test]
fn an_unknown_distribution_is_unread() {
    for os in ["ID=plan9\n", "", "nonsense"] {
        let (out, _, population) = run(&FakeEvidence::new().file(OS_RELEASE, os));
        assert!(matches!(population, Population::Unread(_)) && out.rows.is_empty());
    }
    let (_, _, population) = run(&FakeEvidence::new().no_file(OS_RELEASE, Answer::Denied, "permission denied"));
    assert!(matches!(population, Population::Unread(why) if why.contains("permission denied")));
}

#[test]
fn only_the_distributions_own_archive_is_its_security_archive() {
    for (name, is) in [
        ("security.debian.org_debian-security_dists_bookworm-security_InRelease", true),
        ("mirror.example_ubuntu_dists_jammy-security_InRelease", true),
        ("deb.debian.org_debian-security_dists_bookworm-security_Release", true),
        ("download.opensuse.org_repositories_security:_zeek_Debian%5f12_InRelease", false),
        ("packages.security-tools.example_dists_stable_InRelease", false),
    ] {
        assert_eq!(of_security_archive(name), is, "{name}");
    }
}

#[test]
fn no_security_update_among_no_advisories_is_unknown() {
    let host = |files: &str| {
        FakeEvidence::new()
            .file(OS_RELEASE, "ID=centos\n")
            .add("list-directory", json!({"path": DNF_CACHES[0]}), Answer::Ok, "", None, files.into())
            .command(&DNF, 0, "")
    };
    let solv = r#"{"name":"base-1.solv","type":"file","modified_at":"2026-11-22T03:00:00Z"}"#;
    let (_, state, population) = run(&host(&format!("[{solv}]")));
    assert!(state["pending_security_count"].is_null());
    assert!(matches!(population, Population::Cut(why) if why.contains("advisories")));
    let (_, state, _) = run(&host(&format!(r#"[{solv},{{"name":"base-updateinfo.solvx","type":"file"}}]"#)));
    assert_eq!(state["pending_security_count"], json!(0));
}

#[test]
fn an_empty_answer_of_apk_is_no_list() {
    let rows = r#"[{"name":"APKINDEX.1.tar.gz","type":"file","modified_at":"2026-11-22T03:00:00Z"}]"#;
    let alpine = FakeEvidence::new()
        .file(OS_RELEASE, "ID=alpine\n")
        .add("list-directory", json!({"path": APK_CACHE}), Answer::Ok, "", None, rows.into())
        .command(&APK, 0, "");
    let (_, state, population) = run(&alpine);
    assert!(state["pending_security_count"].is_null() && matches!(population, Population::Cut(_)));
}

#[test]
fn red_hat_and_alpine_answers_are_read_too() {
    let rows = r#"[{"name":"updates-1.solv","type":"file","modified_at":"2026-11-22T03:00:00Z"}]"#;
    let rhel = FakeEvidence::new()
        .file(OS_RELEASE, "ID=rocky\nID_LIKE=\"rhel centos fedora\"\n")
        .add("list-directory", json!({"path": DNF_CACHES[0]}), Answer::Ok, "", None, rows.into())
        .command(&DNF, 0, "RLSA-2026:1  Important/Sec. openssl-libs-3.0.7-2.x86_64\n");
    let (out, state, population) = run(&rhel);
    assert_eq!((&state["pending_security_count"], population), (&json!(1), Population::Whole));
    assert_eq!(out.of("pending_update")[0]["package"], "openssl-libs-3.0.7-2.x86_64");
    let rows = r#"[{"name":"APKINDEX.1.tar.gz","type":"file","modified_at":"2026-11-22T03:00:00Z"}]"#;
    let alpine = FakeEvidence::new()
        .file(OS_RELEASE, "ID=alpine\n")
        .add("list-directory", json!({"path": APK_CACHE}), Answer::Ok, "", None, rows.into())
        .command(&APK, 0, "Installed:    Available:\nmusl-1.2.4-r0 < 1.2.5-r0\n");
    let (out, state, population) = run(&alpine);
    assert_eq!((out.of("pending_update").len(), population), (1, Population::Whole));
    assert!(state["pending_security_count"].is_null(), "Alpine does not say which are security updates");
}
