//! Populations frozen by the daemon: of a period that is over once, also after a restart and a crash; of one that is not, never; by hand
//! through its socket; and under a timestamp authority, so that a sample's package alone shows that its seed came later.
#![allow(missing_docs, clippy::disallowed_methods, clippy::unwrap_used)]

use std::{fs, path::PathBuf, process::Command};

use chrono::{DateTime, Days, TimeDelta, Utc};
use serde_json::Value;
use tests::{
    program::{Place, files, stop, text, until, verifier},
    tsa::Served,
};

const CONTROL: &str = "AC-16";

/// A place whose jobs run on New Year's Day alone, with this period, and a reading after it in the log.
fn place(period: (&str, &str), more: &str) -> Place {
    let place = Place::new();
    let yaml = format!(
        "period: {{from: {}, to: {}}}\nappend_every: 1s\njobs:\n  - {{collector: host/accounts, schedule: \"0 0 1 1 *\"}}\n{more}",
        period.0, period.1
    );
    fs::write(place.path().join("evidenced.yaml"), yaml).unwrap();
    place.expect(0, ["keys", "init"]);
    place.expect(0, ["collect", "host/accounts"]);
    place
}

const OVER: (&str, &str) = ("2026-01-01", "2026-01-31");

/// A period that ended today at midnight, so that it is over, but not for a day.
fn just_over() -> (String, String) {
    let yesterday = Utc::now().date_naive() - Days::new(1);
    ((yesterday - Days::new(30)).to_string(), yesterday.to_string())
}

/// The documents that freeze populations, as a verdict lists them.
fn frozen(place: &Place, more: &[&str]) -> Vec<Value> {
    let root = place.root();
    let all = ["verify", "./evidence", "--trust", &root, "--json"].into_iter().chain(more.iter().copied());
    let verdict: Value = serde_json::from_str(&place.expect(0, all)).unwrap();
    let documents = verdict["documents"].as_array().unwrap().iter();
    documents.filter(|document| document["kind"] == "population").cloned().collect()
}

fn of_period(command: &str, root: &str, (from, to): (&str, &str), more: &[&str]) -> Vec<String> {
    let own = [command, "./evidence", "--trust", root, "--from", from, "--to", to];
    own.iter().chain(more).map(|word| (*word).to_owned()).collect()
}

#[test]
fn a_period_that_is_over_is_frozen_once_also_after_a_restart_and_follows_again() {
    let place = place(OVER, "");
    assert_eq!(frozen(&place, &[]).len(), 0);
    let child = place.daemon();
    until("the populations to be logged", || frozen(&place, &[]).len() == 1);
    stop(child);
    let child = place.daemon();
    until("the daemon to look again", || place.said().contains("were frozen before"));
    stop(child);
    assert_eq!(frozen(&place, &[]).len(), 1);
    assert_eq!(place.said().matches("are frozen").count(), 1, "{}", place.said());

    let root = place.root();
    let check = place.expect(0, of_period("population", &root, OVER, &["--control", CONTROL, "--check"]));
    assert!(check.contains("at no trusted time; it follows again"), "{check}");
    let again = place.expect(0, of_period("population", &root, OVER, &["--freeze"]));
    assert!(again.contains("was frozen before, in entry"), "{again}");

    // The report of the period lists it, in each of its forms.
    place.expect(0, of_period("report", &root, OVER, &["-o", "report"]));
    let read = |name: &str| fs::read_to_string(place.path().join("report").join(name)).unwrap();
    let report: Value = serde_json::from_str(&read("report.json")).unwrap();
    let of = report["populations"].as_array().unwrap().iter().find(|of| of["control"] == CONTROL).unwrap();
    let sha256 = of["sha256"].as_str().unwrap();
    assert!(check.contains(sha256), "{check}");
    assert!(read("report.html").contains(sha256) && read("populations.csv").contains(sha256));
}

#[test]
fn what_a_killed_daemon_left_in_the_spool_is_not_frozen_a_second_time() {
    let place = place(OVER, "");
    let config = place.path().join("evidenced.yaml");
    let with_period = fs::read_to_string(&config).unwrap();
    fs::write(&config, with_period.split_once('\n').unwrap().1).unwrap();
    let mut child = place.daemon();
    // By hand, over a copy, while the daemon's own archive is away: the document stays in the spool.
    let (archive, away) = (place.path().join("evidence"), place.path().join("away"));
    let copied = Command::new("cp").arg("-r").args([&archive, &place.path().join("copy")]).status().unwrap();
    assert!(copied.success());
    let mut by_hand = of_period("population", &place.root(), OVER, &["--freeze"]);
    by_hand[1] = "./copy".to_owned();
    fs::rename(&archive, &away).unwrap();
    let taken = place.run(&by_hand);
    assert!(text(&taken.stderr).contains("is not in the log yet"), "{}", text(&taken.stderr));
    child.kill().unwrap();
    child.wait().unwrap();
    fs::rename(&away, &archive).unwrap();
    assert_eq!(frozen(&place, &[]).len(), 0);

    fs::write(&config, with_period).unwrap();
    let child = place.daemon();
    until("the daemon to look at it", || place.said().contains("were frozen before"));
    stop(child);
    assert_eq!(frozen(&place, &[]).len(), 1);
}

#[test]
fn nothing_is_frozen_before_its_time_and_by_hand_the_daemon_takes_a_period_that_is_over() {
    let (from, to) = just_over();
    let place = place((&from, &to), "");
    let child = place.daemon();
    place.expect(0, ["collect", "host/accounts"]);
    assert_eq!(frozen(&place, &[]).len(), 0);
    let root = place.root();
    let by_hand = of_period("population", &root, (&from, &to), &["--freeze"]);
    assert!(place.expect(0, &by_hand).contains("is frozen"));
    assert!(place.answers(&child), "it went through the daemon");
    assert!(place.expect(0, &by_hand).contains("was frozen before, in entry"));
    stop(child);
    assert_eq!(frozen(&place, &[]).len(), 1);
    assert!(!place.said().contains("the populations of"), "the daemon froze it by itself: {}", place.said());
}

#[test]
fn of_an_archive_that_is_not_intact_nothing_is_frozen_and_the_log_says_why() {
    let place = place(OVER, "");
    let bundle = files(&place.origin().join("bundle")).remove(0);
    fs::write(&bundle, "another").unwrap();
    let child = place.daemon();
    until("the daemon to say why", || place.said().contains("are not frozen yet: NOT INTACT"));
    stop(child);
    let root = place.root();
    let verdict: Value =
        serde_json::from_str(&place.expect(1, ["verify", "./evidence", "--trust", &root, "--json"])).unwrap();
    assert!(verdict["documents"].as_array().unwrap().iter().all(|document| document["kind"] != "population"));
    let refused = place.run(of_period("population", &root, OVER, &["--freeze"]));
    assert_eq!(refused.status.code(), Some(2));
    assert!(text(&refused.stderr).contains("nothing is frozen"), "{}", text(&refused.stderr));
}

#[test]
fn under_an_authority_the_package_alone_shows_when_the_population_was_fixed_and_another_list_is_refused() {
    let tsa = Served::start();
    let authority = format!(
        "signing:\n  timestamps:\n    anchor_every: 1s\n    authorities:\n    - {{url: '{}', every: 1s, ca: '{}'}}\n",
        tsa.url(),
        tsa.root().display()
    );
    let place = place(OVER, &authority);
    let tsa_root = tsa.root();
    let believe = ["--tsa-roots", tsa_root.to_str().unwrap()];
    let child = place.daemon();
    let mut fixed = None;
    until("a token over the freeze", || {
        let known = frozen(&place, &believe);
        fixed = known.first().and_then(|document| document["not_after"].as_str()).map(str::to_owned);
        fixed.is_some()
    });
    stop(child);
    let fixed: DateTime<Utc> = fixed.unwrap().parse().unwrap();
    until("the anchor to be past", || Utc::now() > fixed + TimeDelta::seconds(1));

    let root = place.root();
    let what = [believe.as_slice(), &["--control", CONTROL]].concat();
    let shown = place.expect(0, of_period("population", &root, OVER, &what));
    let when = fixed.to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
    assert!(shown.contains(&format!("not after {when} (trusted time); it follows again")), "{when}: {shown}");
    let seed = format!("chosen at {}", Utc::now().to_rfc3339());
    let draw = ["--size", "3", "--seed", &seed, "--output", "three"];
    let said = place.expect(0, of_period("sample", &root, OVER, &[what.as_slice(), &draw].concat()));
    assert!(said.contains(&when), "{said}");
    let package = place.path().join("three");
    let guide = fs::read_to_string(package.join("README.txt")).unwrap();
    assert!(guide.contains(&format!("not after {when} (trusted time)")), "{guide}");
    assert!(guide.contains(&seed), "{guide}");

    // Away from the archive, by both programs.
    fs::rename(place.path().join("evidence"), place.path().join("away")).unwrap();
    let both = |believe: &[&str]| {
        let arguments = [&["three", "--trust", &root], believe].concat();
        let own = place.run([&["verify"], arguments.as_slice()].concat());
        let alone = Command::new(verifier()).args(&arguments).current_dir(place.path()).output().unwrap();
        assert_eq!(text(&own.stdout), text(&alone.stdout), "{}", text(&alone.stderr));
        assert_eq!(own.status.code(), alone.status.code());
        (own.status.code().unwrap(), text(&own.stdout))
    };
    let (code, verdict) = both(&believe);
    assert_eq!(code, 0, "{verdict}");
    assert!(verdict.contains(&format!("not after {when}")) && verdict.contains(&seed), "{verdict}");
    assert!(!verdict.contains("SAMPLE-NOT-FROZEN"), "{verdict}");
    // Whoever does not believe the authority is not told a time.
    let (code, verdict) = both(&[]);
    assert!(code == 0 && verdict.contains("SAMPLE-NOT-FROZEN") && verdict.contains("at no trusted time"), "{verdict}");

    // Another list, another document, no token.
    let altered = |name: &str, change: &dyn Fn(Vec<u8>) -> Vec<u8>, code: &str| {
        let path = package.join(name);
        let kept = fs::read(&path).unwrap();
        fs::write(&path, change(kept.clone())).unwrap();
        let (exit, verdict) = both(&believe);
        assert!(exit == 1 && verdict.contains(&format!("(finding {code})")), "{name}: {verdict}");
        fs::write(&path, kept).unwrap();
    };
    altered(
        "population.jsonl",
        &|kept| {
            let line = kept.iter().position(|byte| *byte == b'\n').unwrap();
            kept[line + 1..].to_vec()
        },
        "SAMPLE-POPULATION",
    );
    let document = files(&package.join("document/population")).remove(0);
    let name = document.strip_prefix(&package).unwrap().to_str().unwrap().to_owned();
    altered(&name, &|kept| text(&kept).replacen("\"count\":", "\"count\":1", 1).into_bytes(), "DOCUMENT-DIGEST");
    let tokens: Vec<PathBuf> = files(&package.join("anchor"))
        .into_iter()
        .filter(|path| path.extension().is_some_and(|of| of == "tsr"))
        .collect();
    assert!(!tokens.is_empty());
    tokens.iter().for_each(|token| fs::remove_file(token).unwrap());
    let (_, verdict) = both(&believe);
    assert!(verdict.contains("SAMPLE-NOT-FROZEN"), "{verdict}");
}
