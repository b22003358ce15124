//! What `host/sshd` derives, failure first.
#![allow(clippy::unwrap_used)]
use super::*;
use crate::{
    contract::Answer,
    testing::{FakeEvidence, MemoryRecords},
};

const DEBIAN: &str = include_str!("../fixtures/sshd/sshd-T.debian12.txt");
const CONFIG_DEBIAN: &str = include_str!("../fixtures/sshd/sshd_config.debian12");

fn derive(evidence: &FakeEvidence) -> (MemoryRecords, Population) {
    let mut out = MemoryRecords::default();
    Sshd::new(Host::new("/", None)).derive(evidence, &mut out).unwrap();
    let population = out.populations["sshd_setting"].clone();
    (out, population)
}

fn no_sshd() -> FakeEvidence {
    FakeEvidence::new().no_command(&DEFAULT, Answer::Missing, "no program sshd in /usr/sbin")
}

fn unread(evidence: &FakeEvidence, reason: &str) {
    let (out, population) = derive(evidence);
    assert!(out.rows.is_empty());
    assert!(matches!(&population, Population::Unread(why) if why.contains(reason)), "{population:?}");
}

#[test]
fn a_missing_program_and_a_database_that_says_no_prove_absence() {
    let (_, population) = derive(&no_sshd().command(&DPKG, 0, "openssh-server\tunknown ok not-installed\t\n"));
    assert!(matches!(&population, Population::Absent(why) if why.starts_with("openssh-server is not installed")));
    let evidence = no_sshd().add(
        "run-command",
        json!({"argv": DPKG, "env": []}),
        Answer::Ok,
        "exit status 1",
        Some(1),
        Vec::new(),
    );
    let (_, population) = derive(&evidence.clone().stderr("dpkg-query: no packages found matching openssh-server\n"));
    assert!(matches!(population, Population::Absent(_)));
    unread(&evidence.stderr("dpkg-query: error: the database is locked"), "answered nothing usable");
}

#[test]
fn a_missing_program_alone_proves_nothing() {
    unread(&no_sshd(), "was not asked");
    unread(&no_sshd().command(&DPKG, 0, "openssh-server\tinstall ok installed\t1:9.2\n"), "install ok installed");
    unread(&no_sshd().no_command(&DPKG, Answer::TimedOut, "no end within 20 s"), "no end within 20 s");
    unread(&no_sshd().command(&DPKG, 0, "\u{1}"), "answered nothing usable");
}

#[test]
fn without_a_package_database_a_configuration_or_unit_leaves_it_unknown() {
    let mut bare = no_sshd();
    for argv in [&DPKG[..], &RPM[..], &APK[..]] {
        bare = bare.no_command(argv, Answer::Missing, "no program");
    }
    for unit in UNITS {
        bare = bare.no_file(unit, Answer::Missing, "no such file");
    }
    let (_, population) = derive(&bare.clone().no_file(CONFIG, Answer::Missing, "no such file"));
    assert!(matches!(population, Population::Absent(_)), "{population:?}");
    unread(&bare.clone().file(CONFIG, "Port 22\n"), "is there");
    unread(&bare.no_file(CONFIG, Answer::Denied, "permission denied"), "permission denied");
}

#[test]
fn refused_host_keys_say_run_as_root_and_missing_ones_say_so() {
    let refused = FakeEvidence::new().command(&DEFAULT, 1, "").stderr("sshd: no hostkeys available -- exiting.\n");
    unread(&refused.clone().directory(DIRECTORY, &["sshd_config"]), "there is no host key in /etc/ssh");
    unread(&refused.directory(DIRECTORY, &["ssh_host_rsa_key"]), "no host key could be read");
    let evidence =
        FakeEvidence::new().command(&DEFAULT, 255, "").stderr("Missing privilege separation directory: /run/sshd\n");
    unread(&evidence, "Missing privilege separation directory");
}

#[test]
fn cut_or_senseless_settings_are_unread() {
    unread(&FakeEvidence::new().command(&DEFAULT, 0, "port 22\npermitrootlogin n"), "no list of settings");
    unread(&FakeEvidence::new().command(&DEFAULT, 0, b"\xfe\xff\x00".to_vec()), "is no text");
    unread(&FakeEvidence::new().command(&DEFAULT, 0, ""), "no list of settings");
    unread(&FakeEvidence::new().no_command(&DEFAULT, Answer::CutShort, "longer than 1048576 bytes"), "longer than");
}

#[test]
fn debians_defaults_are_one_whole_context() {
    let evidence = FakeEvidence::new()
        .command(&DEFAULT, 0, DEBIAN)
        .file(CONFIG, CONFIG_DEBIAN)
        .directory("/etc/ssh/sshd_config.d", &[]);
    let (out, population) = derive(&evidence);
    assert_eq!(population, Population::Whole);
    assert_eq!(out.get("sshd_setting", "default/permitrootlogin")["value"], "without-password");
    let password = out.get("sshd_setting", "default/passwordauthentication");
    assert_eq!((password["value"].as_str(), password["alone"].as_bool()), (Some("yes"), Some(true)));
    assert_eq!(out.get("sshd_setting", "default/clientaliveinterval")["count_max"], "3");
    assert_eq!(out.get("sshd_setting", "default/acceptenv")["value"], "LANG,LC_*");
    assert!(out.of("sshd_setting").iter().all(|row| row["context"] == "default"));
}

fn with_match(site: &str) -> FakeEvidence {
    FakeEvidence::new()
        .command(&DEFAULT, 0, include_str!("../fixtures/sshd/sshd-T.match.txt"))
        .file(CONFIG, CONFIG_DEBIAN)
        .directory("/etc/ssh/sshd_config.d", &["10-site.conf", "10-site.conf.bak"])
        .file("/etc/ssh/sshd_config.d/10-site.conf", site)
        .command(&["sshd", "-T", "-C", OUTSIDE], 0, include_str!("../fixtures/sshd/sshd-T.match.txt"))
        .command(&["sshd", "-T", "-C", OTHERS], 0, include_str!("../fixtures/sshd/sshd-T.match.txt"))
}

const OTHERS: &str = "user=somebody,host=client.invalid,addr=203.0.113.1";

#[test]
fn what_a_block_for_root_hides_is_asked_about_as_somebody_else() {
    let text = "Match User root\nPasswordAuthentication no\nMatch Address 10.0.0.0/8\nPasswordAuthentication yes\n";
    let asked = connections(&blocks("f", text));
    assert!(asked.contains(&"user=somebody,host=client.invalid,addr=10.0.0.0".to_string()), "{asked:?}");
    let text = "Match User alice\nPasswordAuthentication no\nMatch User alice,bob\nPasswordAuthentication yes\n";
    let asked = connections(&blocks("f", text));
    assert!(asked.contains(&"user=bob,host=client.invalid,addr=203.0.113.1".to_string()), "{asked:?}");
}

#[test]
fn more_connections_than_are_asked_about_cut_the_list() {
    let users: Vec<String> = (0..=MOST).map(|number| format!("user{number}")).collect();
    let (_, population) = derive(&with_match(&format!("Match User {}\n", users.join(","))));
    assert!(matches!(&population, Population::Cut(why) if why.contains("of which 64 were")), "{population:?}");
}

#[test]
fn an_include_that_is_not_followed_cuts_the_list() {
    for pattern in ["sshd_config.d/[0-9]*.conf", "/etc/ssh/*/site.conf", "{a,b}.conf"] {
        let evidence = FakeEvidence::new().command(&DEFAULT, 0, DEBIAN).file(CONFIG, format!("Include {pattern}\n"));
        let (_, population) = derive(&evidence);
        assert!(matches!(&population, Population::Cut(why) if why.contains("was not followed")), "{population:?}");
    }
}

#[test]
fn a_match_block_has_its_own_context_and_one_that_cannot_be_asked_about_cuts_the_list() {
    let deploy = "user=deploy,host=client.invalid,addr=10.0.0.0";
    let evidence = with_match(include_str!("../fixtures/sshd/10-site.conf")).command(
        &["sshd", "-T", "-C", deploy],
        0,
        include_str!("../fixtures/sshd/sshd-T.deploy.txt"),
    );
    let (out, population) = derive(&evidence);
    assert_eq!(out.get("sshd_setting", "default/passwordauthentication")["value"], "no");
    assert_eq!(out.get("sshd_setting", &format!("{deploy}/passwordauthentication"))["value"], "yes");
    assert!(
        matches!(&population, Population::Cut(why) if why.contains("line 6") && why.contains("Group sftp")),
        "{population:?}"
    );
}

#[test]
fn a_match_block_whose_answer_failed_cuts_the_list() {
    let (_, population) = derive(&with_match("Match User deploy\n"));
    assert!(
        matches!(&population, Population::Cut(why) if why.contains("user=deploy") && why.contains("was not asked"))
    );
    let (_, population) = derive(&with_match("Match all\n"));
    assert_eq!(population, Population::Whole);
}

#[test]
fn an_unreadable_included_file_cuts_the_list() {
    let evidence = FakeEvidence::new().command(&DEFAULT, 0, DEBIAN).file(CONFIG, "Include more.conf\n").no_file(
        "/etc/ssh/more.conf",
        Answer::Denied,
        "permission denied",
    );
    let (_, population) = derive(&evidence);
    assert!(matches!(&population, Population::Cut(why) if why.contains("may hold Match blocks")));
}

#[test]
fn a_password_after_a_key_is_not_alone() {
    let with = |methods: &str| {
        let text = DEBIAN.replace("authenticationmethods any", &format!("authenticationmethods {methods}"));
        effective("default", 1, &text).unwrap().alone("password")
    };
    assert_eq!(with("publickey,password publickey,keyboard-interactive"), Some(false));
    assert_eq!(with("publickey password"), Some(true));
    assert_eq!(with("any"), Some(true));
    let old = DEBIAN.replace("authenticationmethods any\n", "");
    assert_eq!(effective("default", 1, &old).unwrap().alone("password"), None);
}
