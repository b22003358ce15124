//! What sudoers says, line by line.

#![allow(clippy::unwrap_used)]
use super::*;

fn parse(text: &str) -> Sudoers {
    let mut sudoers = Sudoers::default();
    for line in lines(text) {
        if let Line::Other { line, text } = line {
            sudoers.line("f", line, &text);
        }
    }
    sudoers
}

fn one(text: &str) -> Rule {
    let sudoers = parse(text);
    assert_eq!((sudoers.problems.as_slice(), sudoers.rules.len()), ([].as_slice(), 1), "{text}");
    sudoers.effective().next().unwrap()
}

fn for_alice(text: &str) -> Option<bool> {
    let sudoers = parse(text);
    let groups = [("staff".to_string(), 50), ("ops".to_string(), 60)];
    let rule = sudoers.effective().next().unwrap();
    sudoers.is_for(&rule, &Who { name: "alice", uid: 1000, groups: Some(&groups) })
}

#[test]
fn lines_not_understood_are_problems_and_never_silence() {
    for text in [
        "alice",
        "alice ALL",
        "ALL=ALL",
        "a b c = ALL",
        "alice ALL = (root ALL",
        "alice ALL=",
        "User_Alias x = y",
        "alice ALL = NOPASSWD:",
        "alice,,bob ALL = ALL",
        "alice ALL=ALL ALL",
    ] {
        let sudoers = parse(text);
        assert_eq!((sudoers.rules.len(), sudoers.problems.len()), (0, 1), "{text}: {sudoers:?}");
    }
}

#[test]
fn comments_end_a_line_and_numeric_users_do_not() {
    assert_eq!(one("%sudo ALL=(ALL:ALL) ALL # all of them").commands, ["ALL"]);
    assert_eq!(one("alice ALL=(ALL) ALL #1 admin").commands, ["ALL"]);
    assert_eq!(one("#1000 ALL=(#0) /bin/ls").who, ["#1000"]);
    assert_eq!(parse("# alice ALL=ALL\n   # b\n").rules.len(), 0);
    assert_eq!(one("# a comment is not continued \\\nalice ALL=ALL").who, ["alice"]);
    assert_eq!(one(r#""dom user" ALL=ALL"#).who, ["\"dom user\""]);
}

#[test]
fn a_continued_line_is_one_rule_at_its_first_line() {
    let rule = one("\nalice, bob \\\n  ALL = (root) /bin/a, \\\n /bin/b -x\n");
    assert_eq!(
        (rule.line, rule.who, rule.commands),
        (2, vec!["alice".into(), "bob".into()], vec!["/bin/a".into(), "/bin/b -x".into()])
    );
}

#[test]
fn tags_and_runas_hold_until_changed() {
    let sudoers = parse("a ALL = (www) NOPASSWD: SETENV: /x, /y, PASSWD: /z, (root:adm) CWD=/tmp TIMEOUT=5 ALL");
    let rules: Vec<_> = sudoers.effective().collect();
    assert_eq!(rules.len(), 3);
    assert_eq!((rules[0].nopasswd, rules[0].commands.len()), (Some(true), 2));
    assert_eq!((rules[1].nopasswd, rules[1].runas_users[0].as_str()), (Some(false), "www"));
    assert_eq!(
        (rules[2].runas_users.as_slice(), rules[2].runas_groups.as_slice()),
        (["root".into()].as_slice(), ["adm".into()].as_slice())
    );
    assert_eq!(
        rules.iter().map(|rule| sudoers.gives_root(rule)).collect::<Vec<_>>(),
        [Some(false), Some(false), Some(true)]
    );
}

#[test]
fn several_host_lists_share_the_users() {
    let sudoers = parse("a WEB = NOPASSWD: sha224:abc /x : ALL = (ALL) ALL");
    assert_eq!(sudoers.problems, []);
    assert_eq!(one("a ALL = NOEXEC:NOPASSWD:ALL").nopasswd, Some(true));
    assert_eq!(one("Host_Alias H = 2001:db8::1, web : J = x\na H = ALL").hosts, ["H"]);
    let rules: Vec<_> = sudoers.effective().collect();
    assert_eq!((rules[0].hosts[0].as_str(), rules[0].commands[0].as_str()), ("WEB", "sha224:abc /x"));
    assert_eq!((rules[1].hosts[0].as_str(), rules[1].who[0].as_str(), rules[1].nopasswd), ("ALL", "a", Some(false)));
    assert_eq!(sudoers.gives_root(&rules[0]), None, "which hosts WEB names is not known");
}

#[test]
fn users_match_by_name_group_number_alias_and_negation() {
    assert_eq!(for_alice("alice ALL=ALL"), Some(true));
    assert_eq!(for_alice("%ops ALL=ALL"), Some(true));
    assert_eq!(for_alice("%#60 ALL=ALL"), Some(true));
    assert_eq!(for_alice("#1000 ALL=ALL"), Some(true));
    assert_eq!(for_alice("%wheel, bob ALL=ALL"), Some(false));
    assert_eq!(for_alice("ALL, !alice ALL=ALL"), Some(false));
    assert_eq!(for_alice("ALL, ! %staff, alice ALL=ALL"), Some(true));
    assert_eq!(for_alice("ADMINS ALL=ALL\nUser_Alias ADMINS = bob, alice : OTHERS = carol"), Some(true));
    assert_eq!(for_alice("!ADMINS, carol ALL=ALL\nUser_Alias ADMINS = alice"), Some(false));
    assert_eq!(for_alice("+netgroup ALL=ALL"), None);
    assert_eq!(for_alice("%:nonunix ALL=ALL"), None);
    assert_eq!(for_alice("A ALL=ALL\nUser_Alias A = bob, #1000 # people"), Some(true));
    assert_eq!(for_alice("A ALL=ALL\nUser_Alias A = B : B = A"), None);
}

#[test]
fn what_gives_root_is_told_from_what_does_not() {
    for (text, expected) in [
        ("a ALL=ALL", Some(true)),
        ("a ALL=(ALL, !root) ALL", None),
        ("a ALL=(postgres) ALL", Some(false)),
        ("a ALL=(:adm) ALL", Some(false)),
        ("a ALL=() ALL", Some(false)),
        ("a ALL=!/bin/sh", Some(false)),
        ("a ALL=(DBA) ALL\nRunas_Alias DBA = root", Some(true)),
        ("a ALL=(UNDEFINED) ALL", None),
        ("a web1=ALL", None),
    ] {
        let sudoers = parse(text);
        assert_eq!(sudoers.gives_root(&sudoers.rules[0]), expected, "{text}");
    }
}

#[test]
fn everything_is_seen_through_aliases_and_exceptions() {
    for (text, expected) in [
        ("a ALL=ALL", Some(true)),
        ("a ALL=ALL, !/bin/su", Some(true)),
        ("a ALL=ANY\nCmnd_Alias ANY = ALL", Some(true)),
        ("a ALL=/bin/ls", Some(false)),
        ("a ALL=UNDEFINED", None),
    ] {
        let sudoers = parse(text);
        assert_eq!(sudoers.allows_everything(&sudoers.rules[0]), expected, "{text}");
    }
}

#[test]
fn defaults_that_take_the_password_away_are_seen() {
    assert_eq!(one("Defaults env_reset, !authenticate\na ALL=ALL").nopasswd, Some(true));
    assert_eq!(one("Defaults:bob !authenticate\na ALL=ALL").nopasswd, None);
    assert_eq!(one("Defaults exempt_group=ops\na ALL=ALL").nopasswd, None);
    assert_eq!(one("Defaults env_reset\nDefaults authenticate\na ALL=ALL").nopasswd, Some(false));
}

#[test]
fn includes_of_both_spellings_are_found_in_order() {
    let text = "#include /a b\n@include \"x y\"\n@includedir /etc/sudoers.d\n#includedir sub/\n#included ALL=ALL\n@include c\\ d\n";
    let found = lines(text);
    assert_eq!(
        found[..4],
        [
            Line::Include("/a".into()),
            Line::Include("x y".into()),
            Line::IncludeDirectory("/etc/sudoers.d".into()),
            Line::IncludeDirectory("sub/".into()),
        ]
    );
    assert_eq!(found[4..], [Line::Include("c d".into())]);
    assert_eq!(resolve("sub/", "/etc/sudoers").unwrap(), "/etc/sub");
    assert_eq!(resolve("/etc/s.%h", "/etc/sudoers"), None);
    assert!(is_read_from_directory("10-ops") && !is_read_from_directory("a.bak") && !is_read_from_directory("a~"));
}
