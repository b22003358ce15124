//! What `host/accounts` promises.

#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use std::{fs, path::Path, process};

use serde_json::{Value, json};

use super::*;
use crate::{
    contract::Population,
    recorder::{Recorder, WorkEvidence},
    testing::{FakeEvidence, MemoryRecords, system_now},
};

const PASSWD: &str = "root:x:0:0:root:/root:/bin/bash\n\
                      daemon:x:1:1::/usr/sbin:/usr/sbin/nologin\n\
                      alice:x:1000:1000:Alice:/home/alice:/bin/bash\n\
                      bob:x:1001:1001::/home/bob:/bin/zsh\n\
                      carol:x:1002:1002::/home/carol:\n";
const GROUP: &str = "root:x:0:\nsudo:x:27:alice\nalice:x:1000:\nops:x:60:bob\n";
const SHADOW: &str = "root:locked:20000:0:99999:7:::\ndaemon:locked:20000:0:99999:7:::\nalice:set=y:20000:0:99999:7:::\n\
                      bob:empty:0:0:99999:7::20454:\ncarol:locked:20000:0:99999:7:::\n";

/// Which answers a test changes; the rest is an ordinary machine.
struct Machine {
    evidence: FakeEvidence,
    set: Vec<String>,
}

impl Machine {
    fn new() -> Self {
        Self { evidence: FakeEvidence::new(), set: Vec::new() }
    }

    fn with(mut self, what: &str, add: impl FnOnce(FakeEvidence) -> FakeEvidence) -> Self {
        self.evidence = add(self.evidence);
        self.set.push(what.into());
        self
    }

    fn file(self, path: &str, text: &str) -> Self {
        self.with(path, |evidence| evidence.file(path, text))
    }

    fn no_file(self, path: &str, answer: Answer) -> Self {
        self.with(path, |evidence| evidence.no_file(path, answer, "permission denied"))
    }

    fn derive(self) -> MemoryRecords {
        let Self { mut evidence, set } = self;
        let missing = |evidence: FakeEvidence, path: &str| evidence.no_file(path, Answer::Missing, "no such file");
        for (path, text) in [("/etc/passwd", PASSWD), ("/etc/group", GROUP), ("/etc/shadow", SHADOW)] {
            if !set.iter().any(|known| known == path) {
                evidence = evidence.file(path, text);
            }
        }
        for path in [
            "/etc/nsswitch.conf",
            "/etc/login.defs",
            "/etc/sudoers",
            "/usr/etc/sudoers",
            "/etc/sudoers-rs",
            "/etc/sudo.conf",
            "/etc/doas.conf",
        ] {
            if !set.iter().any(|known| known == path) {
                evidence = missing(evidence, path);
            }
        }
        if !set.iter().any(|known| known == "logins") {
            let last = "alice    pts/0        10.0.0.1         Fri Nov 20 10:00:00 2026   still logged in\n";
            evidence = evidence
                .no_command(&["lastlog2"], Answer::Missing, "no program")
                .command(&["lastlog"], 0, "Username Port From Latest\n")
                .command(&["last", "-F", "-w"], 0, last);
        }
        let mut records = MemoryRecords::default();
        derive::derive(&evidence, &mut records).unwrap();
        records
    }
}

fn population<'a>(records: &'a MemoryRecords, kind: &str) -> &'a Population {
    &records.populations[kind]
}

fn privileged(records: &MemoryRecords) -> Vec<(String, Value)> {
    let rows = records.of("account").iter();
    rows.map(|row| (row["id"].as_str().unwrap().to_string(), row["privileged"].clone())).collect()
}

#[test]
fn an_ordinary_machine_is_read_whole() {
    let records = Machine::new().derive();
    assert_eq!(population(&records, "account"), &Population::Whole);
    assert!(matches!(population(&records, "sudo_rule"), Population::Absent(_)));
    assert_eq!(records.gaps, Vec::<String>::new());
    let alice = records.get("account", "alice");
    assert_eq!(
        (&alice["privileged"], &alice["privileged_by"], &alice["groups"]),
        (&json!(true), &json!(["group sudo"]), &json!(["alice", "sudo"]))
    );
    assert_eq!(
        (&alice["password"], &alice["last_change"], &alice["human"]),
        (&json!("set:y"), &json!("2024-10-04"), &json!(true))
    );
    assert_eq!((&alice["last_login"], &alice["idle_days"]), (&json!("2026-11-20T10:00:00Z"), &json!(1)));
    let bob = records.get("account", "bob");
    assert_eq!(
        (&bob["password"], &bob["expires"], &bob["expired"]),
        (&json!("empty"), &json!("2026-01-01"), &json!(true))
    );
    assert_eq!(
        (&bob["privileged"], &bob["last_login"], &bob["must_change"]),
        (&json!(false), &Value::Null, &json!(true))
    );
    let carol = records.get("account", "carol");
    assert_eq!((&carol["login_shell"], &carol["locked"]), (&json!(true), &json!(true)), "no shell is /bin/sh");
    assert_eq!(records.get("account", "daemon")["login_shell"], json!(false));
}

#[test]
fn an_emptied_passwd_is_no_whole_list() {
    for text in ["", "alice:x:1000:1000::/home/alice:/bin/sh\n"] {
        let records = Machine::new().file("/etc/passwd", text).derive();
        assert!(
            matches!(population(&records, "account"), Population::Cut(why) if why.contains("no account with uid 0"))
        );
    }
}

#[test]
fn of_two_shadow_lines_neither_counts() {
    let records = Machine::new().file("/etc/shadow", &format!("{SHADOW}bob:set=y:20000:0:99999:7:::\n")).derive();
    assert_eq!(records.get("account", "bob")["password"], Value::Null);
}

#[test]
fn a_nologin_of_ones_own_is_not_known_to_keep_out() {
    let passwd = format!("{PASSWD}odd:x:100:100::/:/tmp/nologin\n");
    let records = Machine::new().file("/etc/passwd", &passwd).derive();
    assert_eq!(records.get("account", "odd")["login_shell"], Value::Null);
}

#[test]
fn a_login_in_the_future_is_no_recent_login() {
    let last = "alice    pts/0        10.0.0.1         Fri Nov 20 10:00:00 2099   still logged in\n";
    let records = Machine::new().with("logins", |evidence| evidence.command(&["last", "-F", "-w"], 0, last)).derive();
    assert_eq!(records.get("account", "alice")["idle_days"], Value::Null);
}

#[test]
fn rules_from_another_file_or_plugin_of_sudo_leave_privilege_unknown() {
    for plugin in ["Plugin sudoers_policy sudoers.so sudoers_file=/opt/sudoers", "Plugin own_policy own.so"] {
        let records = Machine::new().file("/etc/sudo.conf", &format!("# x\n{plugin}\n")).derive();
        assert!(matches!(population(&records, "sudo_rule"), Population::Unread(why) if why.contains(plugin)));
        assert_eq!(records.get("account", "bob")["privileged"], Value::Null);
    }
    let own = Machine::new().file("/etc/sudo.conf", "Plugin sudoers_policy sudoers.so\nSet disable_coredump false\n");
    assert!(matches!(population(&own.derive(), "sudo_rule"), Population::Absent(_)));
}

#[test]
fn memberships_from_a_directory_leave_privilege_unknown() {
    let records = Machine::new().file("/etc/nsswitch.conf", "group: files\ninitgroups: files sss\n").derive();
    assert_eq!(records.get("account", "bob")["privileged"], Value::Null);
}

#[test]
fn refused_shadow_is_unknown_not_pass() {
    let records = Machine::new().no_file("/etc/shadow", Answer::Denied).derive();
    for row in records.of("account") {
        for key in ["password", "locked", "expires", "expired", "last_change"] {
            assert_eq!(row[key], Value::Null, "{key}");
        }
        assert_ne!(row["privileged"], Value::Null);
    }
    assert_eq!(records.gaps, ["/etc/shadow: permission denied"]);
    assert_eq!(population(&records, "account"), &Population::Whole);
}

#[test]
fn an_ordinary_user_is_told_to_be_root() {
    let evidence = FakeEvidence::new().no_file("/etc/shadow", Answer::Denied, "permission denied");
    let mut exchange = evidence.exchanges().next().unwrap().unwrap();
    exchange.caller = "uid 65534 (nobody)".into();
    struct One(Exchange);
    impl Evidence for One {
        fn exchanges(&self) -> Box<dyn Iterator<Item = io::Result<Exchange>> + '_> {
            Box::new(std::iter::once(Ok(self.0.clone())))
        }
        fn body(&self, _: &Exchange) -> io::Result<Vec<u8>> {
            Ok(b"root:x:0:0::/:/bin/sh\n".to_vec())
        }
    }
    exchange.request = json!({"path": "/etc/passwd"});
    let mut records = MemoryRecords::default();
    derive::derive(&One(exchange), &mut records).unwrap();
    let Population::Unread(why) = population(&records, "account") else { panic!("{records:?}") };
    assert_eq!(why, "/etc/passwd: permission denied; run as root to know");
}

#[test]
fn passwd_that_was_not_read_gives_no_account_and_says_why() {
    for answer in [Answer::Denied, Answer::Missing, Answer::Failed, Answer::TimedOut] {
        let records = Machine::new().no_file("/etc/passwd", answer).derive();
        assert_eq!(records.of("account").len(), 0);
        assert!(matches!(population(&records, "account"), Population::Unread(_)), "{answer:?}");
    }
    let mut nothing = MemoryRecords::default();
    derive::derive(&FakeEvidence::new(), &mut nothing).unwrap();
    assert!(matches!(population(&nothing, "account"), Population::Unread(_)));
    assert!(matches!(population(&nothing, "sudo_rule"), Population::Unread(_)));
}

#[test]
fn a_cut_passwd_keeps_its_whole_lines_and_is_cut() {
    let cut = &PASSWD[..PASSWD.len() - 5];
    let records = Machine::new().with("/etc/passwd", |evidence| evidence.half_file("/etc/passwd", cut)).derive();
    assert_eq!(records.of("account").len(), 4);
    assert!(matches!(population(&records, "account"), Population::Cut(_)));
    assert_eq!(records.get("account", "bob")["uid_shared"], Value::Null, "the other one may be beyond the cut");
}

#[test]
fn a_malformed_line_stays_as_an_unknown_account() {
    let records = Machine::new().file("/etc/passwd", &format!("{PASSWD}mallory:x:zero:0::/:/bin/sh\n")).derive();
    let mallory = records.get("account", "mallory");
    assert_eq!(
        (&mallory["uid"], &mallory["malformed"], &mallory["privileged"]),
        (&Value::Null, &json!("the uid is no number"), &Value::Null)
    );
    assert_eq!(records.gaps, ["/etc/passwd line 6: the uid is no number"]);
    assert_eq!(records.get("account", "alice")["uid_shared"], Value::Null);
}

#[test]
fn a_name_or_a_uid_twice_is_seen_on_both() {
    let records = Machine::new()
        .file("/etc/passwd", &format!("{PASSWD}toor:x:0:0::/:/bin/sh\nalice:x:1009:1::/:/bin/sh\n"))
        .derive();
    for (id, uid_shared, name_shared) in [
        ("root", true, false),
        ("toor", true, false),
        ("alice", false, true),
        ("alice (line 7)", false, true),
        ("bob", false, false),
    ] {
        let row = records.get("account", id);
        assert_eq!((&row["uid_shared"], &row["name_shared"]), (&json!(uid_shared), &json!(name_shared)), "{id}");
    }
    assert_eq!(records.get("account", "toor")["privileged_by"], json!(["uid 0", "group root"]));
}

#[test]
fn accounts_from_elsewhere_make_the_list_cut() {
    for (path, text, says) in [
        ("/etc/nsswitch.conf", "passwd: files sss\n", "sss"),
        ("/etc/passwd", "root:x:0:0::/:/bin/sh\n+@people::::::\n", "+@people"),
    ] {
        let records = Machine::new().file(path, text).derive();
        let Population::Cut(why) = population(&records, "account") else { panic!("{path}") };
        assert!(why.contains(says), "{why}");
    }
    let nss = "passwd: files systemd\n";
    let records = Machine::new().file("/etc/nsswitch.conf", nss).derive();
    assert!(matches!(population(&records, "account"), Population::Cut(_)), "the user records were not asked for");
    let userdb = |machine: Machine, names: &[&str]| {
        let machine = machine
            .file("/etc/nsswitch.conf", nss)
            .with("userdb", |evidence| evidence.directory(derive::USERDB[0], names));
        derive::USERDB[1..].iter().fold(machine, |machine, path| {
            machine.with("userdb", |evidence| evidence.no_directory(path, Answer::Missing, "no such file"))
        })
    };
    let records = userdb(Machine::new(), &["a.group"]).derive();
    assert_eq!(population(&records, "account"), &Population::Whole);
    let records = userdb(Machine::new(), &["dave.user"]).derive();
    assert!(matches!(population(&records, "account"), Population::Cut(_)));
}

#[test]
fn refused_sudoers_leaves_privilege_unknown_except_where_it_is_proved() {
    let records = Machine::new().no_file("/etc/sudoers", Answer::Denied).derive();
    let expected = [
        ("root", json!(true)),
        ("daemon", Value::Null),
        ("alice", json!(true)),
        ("bob", Value::Null),
        ("carol", Value::Null),
    ];
    assert_eq!(privileged(&records), expected.map(|(name, value)| (name.to_string(), value)));
    assert!(matches!(population(&records, "sudo_rule"), Population::Unread(why) if why.contains("permission denied")));
    assert_eq!(records.get("account", "bob")["privileged_unknown"], json!("/etc/sudoers: permission denied"));
}

#[test]
fn refused_group_leaves_groups_and_privilege_unknown() {
    let records = Machine::new().no_file("/etc/group", Answer::Denied).derive();
    let alice = records.get("account", "alice");
    assert_eq!((&alice["groups"], &alice["privileged"]), (&Value::Null, &Value::Null));
    assert_eq!(records.get("account", "root")["privileged"], json!(true));
}

#[test]
fn groups_or_rules_from_a_directory_leave_privilege_unknown() {
    for nss in ["group: files ldap\n", "sudoers: files sss\n"] {
        let records = Machine::new().file("/etc/nsswitch.conf", nss).derive();
        assert_eq!(records.get("account", "bob")["privileged"], Value::Null, "{nss}");
    }
    let records = Machine::new().file("/etc/nsswitch.conf", "sudoers: sss\n").derive();
    assert!(matches!(population(&records, "sudo_rule"), Population::Unread(_)), "not absent: the rules are elsewhere");
}

#[test]
fn sudoers_is_followed_through_its_includes() {
    let records = Machine::new()
        .file("/etc/sudoers", "root ALL=(ALL:ALL) ALL\n@includedir /etc/sudoers.d\n@include extra\n")
        .with("d", |evidence| evidence.directory("/etc/sudoers.d", &["10-ops", "README.md", "old~"]))
        .file("/etc/sudoers.d/10-ops", "%ops ALL=(ALL) NOPASSWD: ALL\n")
        .file("/etc/extra", "carol ALL=(www-data) /bin/true\n")
        .derive();
    assert_eq!(population(&records, "sudo_rule"), &Population::Whole);
    let files: Vec<_> = records.of("sudo_rule").iter().map(|row| row["file"].as_str().unwrap()).collect();
    assert_eq!(files, ["/etc/sudoers", "/etc/sudoers.d/10-ops", "/etc/extra"]);
    let rule = &records.of("sudo_rule")[1];
    assert_eq!(
        (&rule["who_text"], &rule["nopasswd"], &rule["all_commands"]),
        (&json!("%ops"), &json!(true), &json!(true))
    );
    let by = format!("sudo rule {}", rule["id"].as_str().unwrap());
    assert_eq!(records.get("account", "bob")["privileged_by"], json!([by]));
    assert_eq!(records.get("account", "carol")["privileged"], json!(false));
}

#[test]
fn an_include_that_was_not_read_cuts_the_rules_and_leaves_privilege_unknown() {
    let with = |answer| {
        Machine::new().file("/etc/sudoers", "root ALL=ALL\n@include /etc/more\n").no_file("/etc/more", answer).derive()
    };
    let records = with(Answer::Denied);
    assert!(matches!(population(&records, "sudo_rule"), Population::Cut(_)));
    assert_eq!(records.get("account", "bob")["privileged"], Value::Null);
    let records = with(Answer::Missing);
    assert_eq!(population(&records, "sudo_rule"), &Population::Whole, "sudo goes on without a file that is not there");
    let never_asked = Machine::new().file("/etc/sudoers", "root ALL=ALL\n@includedir /etc/d\n").derive();
    assert!(matches!(population(&never_asked, "sudo_rule"), Population::Cut(_)));
}

#[test]
fn a_line_of_sudoers_that_is_not_understood_cuts_the_rules() {
    let records = Machine::new().file("/etc/sudoers", "root ALL=ALL\nbob may do anything\n").derive();
    assert!(
        matches!(population(&records, "sudo_rule"), Population::Cut(why) if why.starts_with("/etc/sudoers line 2"))
    );
    assert_eq!(records.get("account", "bob")["privileged"], Value::Null);
}

#[test]
fn an_include_loop_ends() {
    let records = Machine::new().file("/etc/sudoers", "root ALL=ALL\n@include /etc/sudoers\n").derive();
    assert!(matches!(population(&records, "sudo_rule"), Population::Cut(why) if why.contains("more than once")));
}

#[test]
fn a_rule_keeps_its_id_when_lines_move() {
    let ids = |text: &str| -> Vec<String> {
        let records = Machine::new().file("/etc/sudoers", text).derive();
        records.of("sudo_rule").iter().map(|row| row["id"].as_str().unwrap().to_string()).collect()
    };
    let before = ids("root ALL=ALL\nroot ALL=ALL\n");
    assert_eq!(before[1], format!("{} #2", before[0]));
    assert_eq!(ids("# new\n\nroot ALL=ALL\n")[0], before[0]);
}

#[test]
fn doas_rules_are_not_overlooked() {
    let records = Machine::new().file("/etc/doas.conf", "permit nopass bob\n").derive();
    assert_eq!(records.get("account", "bob")["privileged"], Value::Null);
    assert_eq!(
        Machine::new().file("/etc/doas.conf", "# none\n").derive().get("account", "bob")["privileged"],
        json!(false)
    );
}

#[test]
fn unanswered_last_logins_are_unknown_and_a_gap() {
    let records = Machine::new()
        .with("logins", |evidence| {
            evidence
                .no_command(&["lastlog2"], Answer::Missing, "no program")
                .no_command(&["lastlog"], Answer::TimedOut, "killed")
                .command(&["last", "-F", "-w"], 1, "")
                .stderr("last: cannot open /var/log/wtmp: No such file or directory\n")
        })
        .derive();
    assert_eq!(records.get("account", "alice")["idle_days"], Value::Null);
    assert_eq!(records.gaps.len(), 3);
    assert!(records.gaps[1].contains("cannot open /var/log/wtmp"), "{:?}", records.gaps);
}

struct Run {
    work: tempfile::TempDir,
    records: MemoryRecords,
}

async fn run(root: &Path) -> Run {
    let work = tempfile::tempdir().unwrap();
    let mut recorder = Recorder::new(work.path()).unwrap();
    let accounts = Accounts::new(Host::new(root, None));
    let mut context = Context { recorder: &mut recorder, now: system_now(), inputs: Vec::new(), window: None };
    accounts.collect(&mut context).await.unwrap();
    let mut records = MemoryRecords::default();
    accounts.derive(&WorkEvidence::new(work.path()), &mut records).unwrap();
    Run { work, records }
}

#[tokio::test]
async fn this_machine_is_read() {
    let run = run(Path::new("/")).await;
    let root = run.records.get("account", "root");
    assert_eq!((&root["uid"], &root["privileged"]), (&json!(0), &json!(true)));
    let lines = fs::read_to_string("/etc/passwd").unwrap().lines().count();
    assert_eq!(run.records.of("account").len(), lines);
    let shadow = fs::read_to_string("/etc/shadow");
    assert_eq!(root["password"].is_null(), shadow.is_err(), "{root}");
    let mut again = MemoryRecords::default();
    derive::derive(&WorkEvidence::new(run.work.path()), &mut again).unwrap();
    assert_eq!(again, run.records, "derived twice, the same");
}

#[tokio::test]
async fn no_hash_ever_reaches_the_disk() {
    let secrets = ["SECRETsalt", "SECREThashSECREThash", "abJnggxhB/yWI", "SECRETgroupSECRETgr"];
    let root = tempfile::tempdir().unwrap();
    let etc = root.path().join("etc");
    fs::create_dir_all(etc.join("sudoers.d")).unwrap();
    let hash = format!("$6${}${}", secrets[0], secrets[1]);
    let write = |name: &str, text: String| fs::write(etc.join(name), text).unwrap();
    write(
        "passwd",
        format!("root:x:0:0::/root:/bin/sh\nold:{}:1:1:{hash}:/:/bin/sh\n#gone:{hash}:2:2::/:\n{hash}\n", secrets[2]),
    );
    write("shadow", format!("root:{hash}:20000:0:99999:7:::\n{hash}\nold:!{hash}:{hash}::::::\n#{hash}\nlast:{hash}"));
    write("group", format!("root:$5$x${}:0:\n", secrets[3]));
    write("sudoers", format!("# {hash}\nroot ALL=ALL\n@includedir /etc/sudoers.d\n"));
    write("sudoers.d/a", format!("# was {hash}\n%root ALL=ALL\n"));
    write("doas.conf", format!("# {hash}\n"));
    let run = run(root.path()).await;
    for secret in secrets {
        let found = process::Command::new("grep").args(["-r", "-F", secret]).arg(run.work.path()).output().unwrap();
        assert_eq!((found.status.code(), String::from_utf8_lossy(&found.stdout).as_ref()), (Some(1), ""), "{secret}");
    }
    let exchanges = WorkEvidence::new(run.work.path());
    let removed: Vec<(String, u64)> = exchanges
        .exchanges()
        .map(Result::unwrap)
        .filter(|exchange| exchange.request["path"] == "/etc/shadow")
        .flat_map(|exchange| exchange.redactions)
        .map(|redaction| (redaction.rule, redaction.count))
        .collect();
    assert_eq!(removed, [("shadow-password-hash".to_string(), 5)]);
    assert_eq!(run.records.get("account", "root")["password"], json!("set:6"));
    assert_eq!(run.records.get("account", "old")["password"], json!("set:des"));
    assert_eq!(run.records.of("sudo_rule").len(), 2);
}

/// Runs the test program again as nobody; where this is not root, there is nobody to become.
#[test]
fn as_an_ordinary_user_the_run_is_partial_and_the_rest_is_known() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: only root can become somebody else");
        return;
    }
    // The test program may lie where nobody may not go.
    let directory = tempfile::tempdir().unwrap();
    let program = directory.path().join("tests");
    let copied = process::Command::new("cp").arg(std::env::current_exe().unwrap()).arg(&program).status().unwrap();
    assert!(copied.success());
    for (path, mode) in [(directory.path(), 0o755), (program.as_path(), 0o755)] {
        fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
    }
    let output = process::Command::new("setpriv")
        .args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "--"])
        .arg(&program)
        .args(["--exact", "host::accounts::tests::read_as_nobody", "--ignored", "--nocapture"])
        .env("TMPDIR", "/tmp")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{said}{}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test]
#[ignore = "is run as nobody by as_an_ordinary_user_the_run_is_partial_and_the_rest_is_known"]
async fn read_as_nobody() {
    let run = run(Path::new("/")).await;
    let root = run.records.get("account", "root");
    assert_eq!((&root["uid"], &root["password"], &root["privileged"]), (&json!(0), &Value::Null, &json!(true)));
    let shadow: Vec<_> = run.records.gaps.iter().filter(|gap| gap.starts_with("/etc/shadow")).collect();
    assert!(shadow[0].ends_with("Permission denied (os error 13); run as root to know"), "{shadow:?}");
    let denied =
        WorkEvidence::new(run.work.path()).exchanges().map(Result::unwrap).find(|e| e.request["path"] == "/etc/shadow");
    let denied = denied.unwrap();
    assert_eq!((denied.answer, denied.body, denied.caller.as_str()), (Answer::Denied, None, "uid 65534 (nobody)"));
}

mod any_bytes {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    /// Lines that are nearly right, so that more than the first refusal is reached.
    fn text() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            Just("root:x:0:0::/:/bin/sh\n".to_string()),
            "[a-z+#@%!-]{0,4}(:[a-z0-9$*!]{0,6}){0,9}\n",
            "(Defaults|User_Alias|Cmnd_Alias|@include|#includedir)?[ A-Za-z0-9!%#,:=()\\\\\"/.]{0,40}\\\\?\n",
            "(%|#|!|ALL|A)[A-Z0-9]{0,3} ALL ?= ?(\\([A-Za-z,:! ]{0,8}\\))? ?(NOPASSWD:|CWD=/)? ?[!A-Za-z/, ]{0,12}\n",
            "[a-z]{1,4} pts/0 (Fri|Sun) Nov [0-9]{1,2} 1[0-9]:00:00 (\\+0000 )?[0-9]{1,6}\n",
        ];
        prop_oneof![vec(piece, 0..8).prop_map(|pieces| pieces.concat().into_bytes()), vec(any::<u8>(), 0..200)]
    }

    fn answer() -> impl Strategy<Value = Answer> {
        prop_oneof![
            6 => Just(Answer::Ok),
            1 => Just(Answer::CutShort),
            1 => Just(Answer::Denied),
            1 => Just(Answer::Missing),
        ]
    }

    fn asked() -> Vec<(&'static str, Value)> {
        let files = ["nsswitch.conf", "login.defs", "passwd", "group", "shadow", "sudoers", "sudoers-rs", "doas.conf"];
        let files = files.iter().map(|name| ("read-file", json!({"path": format!("/etc/{name}")})));
        let directories = derive::USERDB.iter().map(|path| ("list-directory", json!({"path": path})));
        let commands = derive::LOGINS.iter().map(|argv| ("run-command", json!({"argv": argv, "env": []})));
        files.chain(directories).chain(commands).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]

        #[test]
        fn deriving_never_panics_and_never_keeps_a_list_whole_that_was_not_read(
            answers in vec((answer(), text()), asked().len())
        ) {
            let mut evidence = FakeEvidence::new();
            let passwd = answers[2].0;
            for ((operation, request), (answer, body)) in asked().into_iter().zip(answers) {
                let body = if matches!(answer, Answer::Ok | Answer::CutShort) { body } else { Vec::new() };
                evidence = evidence.add(operation, request, answer, "said", None, body);
            }
            let mut records = MemoryRecords::default();
            derive::derive(&evidence, &mut records).unwrap();
            prop_assert!(passwd == Answer::Ok || population(&records, "account") != &Population::Whole);
            let mut again = MemoryRecords::default();
            derive::derive(&evidence, &mut again).unwrap();
            prop_assert_eq!(records, again);
        }

        #[test]
        fn of_a_shadow_field_nothing_but_its_state_is_kept(secret in "[./A-Za-z0-9$]{14,40}", tail in "(:[0-9]{0,3}){0,8}") {
            for line in [format!("root:{secret}{tail}"), format!("root:!{secret}{tail}"), secret.clone()] {
                let (mut out, mut redactor) = (Vec::new(), files::shadow_redact().begin());
                redactor.push(line.as_bytes(), &mut out).unwrap();
                redactor.finish(&mut out).unwrap();
                let kept = String::from_utf8(out).unwrap();
                prop_assert!(!kept.contains(&secret), "{}", kept);
            }
        }
    }
}

#[test]
fn a_rule_that_leads_to_another_privileged_account_or_group_makes_privileged() {
    let passwd = "root:x:0:0::/root:/bin/sh\nalice:x:1000:1000::/h:/bin/sh\nbob:x:1001:1001::/h:/bin/sh\ncarol:x:1002:1002::/h:/bin/sh\n";
    let of = |group: &str, sudoers: &str| {
        let records =
            Machine::new().file("/etc/passwd", passwd).file("/etc/group", group).file("/etc/sudoers", sudoers).derive();
        let alice = records.get("account", "alice");
        (alice["privileged"].clone(), alice["privileged_text"].as_str().unwrap_or_default().to_string())
    };
    let plain = "root:x:0:\nsudo:x:27:bob\ndocker:x:99:\n";
    // bob is in the group sudo; carol in nothing.
    let (privileged, by) = of(plain, "alice ALL=(bob) ALL\n");
    assert_eq!(privileged, json!(true));
    assert!(by.ends_with(", as bob"), "{by}");
    assert_eq!(of(plain, "alice ALL=(carol) ALL\n").0, json!(false));
    assert_eq!(of(plain, "alice ALL=(carol) ALL\ncarol ALL=(ALL) ALL\n").0, json!(true));
    assert_eq!(of(plain, "alice ALL=(carol) ALL\ncarol ALL=(bob) /bin/true\n").0, json!(true), "over two rules");
    assert_eq!(of(plain, "alice ALL=(:docker) /bin/true\n").0, json!(true));
    assert_eq!(of(plain, "alice ALL=(+ops) ALL\n").0, Value::Null);
    // Rules that lead in a circle end.
    assert_eq!(of("root:x:0:\n", "alice ALL=(carol) ALL\ncarol ALL=(alice) ALL\n").0, Value::Null);
}
