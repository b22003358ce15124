//! What the documents promise exists: codes, commands, options, links, settings with their defaults.
#![allow(missing_docs, clippy::disallowed_methods, clippy::unwrap_used)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use agent::archive::s3::{ObjectLock, S3Config};
use agent::config::{
    ArchiveConfig, AuthorityConfig, Config, ControlsConfig, JobConfig, KeyConfig, LogConfig, Period, ScheduleConfig,
    SigningConfig, SourceConfig, TimestampsConfig,
};
use agent::keystore::{KmsConfig, Pkcs11Config};
use agent::witness::config::WitnessConfig;
use collectors::{
    aws::config::{AwsConfig, ExceptAccount, ExceptRegion, Organization, RetryConfig},
    host::config::{HostConfig, ResticRepository},
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use signing::{statement::Cause, verify::Code};
use tests::program::{files, program, text, verifier, workspace};

fn read(name: &str) -> String {
    fs::read_to_string(workspace().join(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
}

/// The README and every page in docs/.
fn pages() -> Vec<PathBuf> {
    let docs = files(&workspace().join("docs")).into_iter().filter(|path| path.extension().is_some_and(|e| e == "md"));
    let pages: Vec<_> = std::iter::once(workspace().join("README.md")).chain(docs).collect();
    assert!(pages.len() > 4, "{pages:?}");
    pages
}

/// The rows of all tables, as cells. A `|` within a cell is written `\|`.
fn rows(markdown: &str) -> Vec<Vec<String>> {
    let cells = |line: &str| {
        let line = line.replace("\\|", "\u{1}");
        line.trim().trim_matches('|').split('|').map(|cell| cell.trim().replace('\u{1}', "|")).collect()
    };
    markdown.lines().filter(|line| line.starts_with('|')).map(cells).collect()
}

/// What stands between backticks.
fn spans(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

/// `WORD-WORD`, in capitals, or a finding's code of one word.
fn is_code(text: &str) -> bool {
    if Code::named(text).is_some() {
        return true;
    }
    let words: Vec<&str> = text.split('-').collect();
    words.len() > 1 && words.iter().all(|word| !word.is_empty() && word.bytes().all(|b| b.is_ascii_uppercase()))
}

/// The string literals of signing's sources (tests apart) that look like codes.
fn codes_in_sources() -> BTreeSet<String> {
    let sources = workspace().join("signing/src");
    let mut found = BTreeSet::new();
    for part in ["verify", "slots"] {
        for path in files(&sources.join(part)) {
            let source = fs::read_to_string(path).unwrap();
            found.extend(source.split('"').filter(|literal| is_code(literal)).map(str::to_owned));
        }
    }
    assert!(found.len() > 40, "{found:?}");
    found
}

#[test]
fn every_finding_and_limit_that_verify_can_emit_is_explained_to_auditors_and_nothing_else_is() {
    let mut emitted = codes_in_sources();
    emitted.extend(Code::ALL.iter().map(|code| code.as_str().to_owned()));
    let page = read("docs/AUDITORS.md");
    let mut explained = BTreeSet::new();
    for row in rows(&page) {
        if let Some(code) =
            row[0].strip_prefix('`').and_then(|cell| cell.strip_suffix('`')).filter(|code| is_code(code))
        {
            assert!(row.len() == 3 && row[1..].iter().all(|cell| cell.len() > 5), "{row:?}");
            assert!(explained.insert(code.to_owned()), "{code} has two rows");
        }
    }
    assert_eq!(explained, emitted);
    for span in spans(&page).into_iter().filter(|span| is_code(span)) {
        assert!(emitted.contains(span), "docs/AUDITORS.md speaks of {span}, which nothing emits");
    }
}

#[test]
fn every_cause_of_a_missed_slot_is_explained_to_auditors() {
    let page = read("docs/AUDITORS.md");
    for cause in [Cause::Down, Cause::Overrun, Cause::Crashed, Cause::Clock, Cause::Blocked] {
        let name = serde_json::to_value(cause).unwrap();
        let cell = format!("`{}`", name.as_str().unwrap());
        assert!(rows(&page).iter().any(|row| row[0] == cell && row.len() == 3), "{cell} has no row");
    }
}

/// A command's own help; `None` where there is no such command.
fn help(command: &[String]) -> Option<String> {
    let output = Command::new(program()).args(command).arg("--help").output().unwrap();
    output.status.success().then(|| text(&output.stdout))
}

/// `evidenced keys init --dir X` as its subcommand and its options; the rest is arguments.
fn command_and_options(words: &[&str]) -> (Vec<String>, Vec<String>) {
    let names: Vec<String> = help(&[])
        .unwrap()
        .lines()
        .filter_map(|line| line.strip_prefix("  ")?.split(' ').next())
        .map(str::to_owned)
        .collect();
    let mut command = Vec::new();
    for word in words {
        let known = if command.is_empty() {
            names.iter().any(|name| name == word)
        } else {
            command == ["keys"] || command == ["witness"]
        };
        if word.starts_with('-') || !known {
            break;
        }
        command.push((*word).to_owned());
    }
    let options = words
        .iter()
        .filter(|word| word.starts_with("--"))
        .map(|word| word.split(|c: char| c != '-' && !c.is_ascii_lowercase()).next().unwrap_or_default().to_owned());
    (command, options.collect())
}

fn exists(place: &str, words: &[&str]) {
    let (command, options) = command_and_options(words);
    assert!(!command.is_empty(), "{place}: there is no command {words:?}");
    let help = help(&command).unwrap_or_else(|| panic!("{place}: there is no command {command:?}"));
    for option in options {
        assert!(
            help.contains(&format!("{option} ")) || help.contains(&format!("{option}\n")),
            "{place}: {command:?} has no {option}"
        );
    }
}

#[test]
fn every_command_in_the_readmes_table_exists_with_its_options_and_every_command_is_in_it() {
    let readme = read("README.md");
    let mut told = BTreeSet::new();
    for row in rows(&readme).iter().filter(|row| row[0].starts_with("`evidenced ")) {
        let commands = spans(&row[0]);
        for span in &commands {
            let words: Vec<&str> = span.trim_start_matches("evidenced ").split_whitespace().collect();
            exists("README.md", &words);
            told.insert(words[0].to_owned());
            if commands.len() == 1 {
                let options = spans(&row[1]).into_iter().filter(|span| span.starts_with("--"));
                exists("README.md", &[words[0]].into_iter().chain(options).collect::<Vec<_>>());
            }
        }
    }
    let all = help(&[]).unwrap();
    let listed =
        all.lines().skip_while(|line| !line.starts_with("Commands:")).skip(1).take_while(|line| !line.is_empty());
    let listed = listed.filter(|line| !line.starts_with("   ")).filter_map(|line| line.split_whitespace().next());
    let listed: BTreeSet<String> = listed.filter(|name| *name != "help").map(str::to_owned).collect();
    assert_eq!(told, listed);
}

#[test]
fn every_command_line_in_the_documents_exists_with_its_options() {
    let alone = text(&Command::new(verifier()).arg("--help").output().unwrap().stdout);
    let mut seen = 0;
    for page in pages() {
        let name = page.file_name().unwrap().to_string_lossy().into_owned();
        let markdown = fs::read_to_string(&page).unwrap();
        let mut lines = Vec::new();
        for block in markdown.split("\n```").skip(1).step_by(2) {
            lines.extend(block.lines().skip(1));
        }
        let inline: Vec<&str> = markdown.lines().filter(|line| !line.starts_with("    ")).flat_map(spans).collect();
        let from_blocks = lines.iter().flat_map(|line| line.split("#").next().unwrap_or_default().split("&&"));
        for line in from_blocks.chain(inline) {
            let words: Vec<&str> = line.split_whitespace().collect();
            let words = match words.as_slice() {
                ["evidenced", rest @ ..] => rest,
                ["evidenced-verify", rest @ ..] => {
                    for option in rest.iter().filter(|word| word.starts_with("--")) {
                        assert!(alone.contains(&format!("{option} ")), "{name}: evidenced-verify has no {option}");
                    }
                    continue;
                }
                ["cargo", "run", rest @ ..] => match rest.iter().position(|word| *word == "--") {
                    Some(at) => &rest[at + 1..],
                    None => continue,
                },
                _ => continue,
            };
            if let Some(first) = words.first()
                && first.starts_with(|c: char| c.is_ascii_lowercase())
            {
                exists(&name, words);
                seen += 1;
            }
        }
    }
    assert!(seen > 20, "only {seen} command lines were found");
}

/// As GitHub makes it of a heading.
fn anchor(heading: &str) -> String {
    let heading = heading.trim_start_matches('#').trim().to_lowercase().replace('`', "");
    heading
        .chars()
        .filter(|c| c.is_alphanumeric() || "-_ ".contains(*c))
        .map(|c| if c == ' ' { '-' } else { c })
        .collect()
}

fn anchors(page: &Path) -> BTreeSet<String> {
    let markdown = fs::read_to_string(page).unwrap();
    let mut in_block = false;
    let mut found = BTreeSet::new();
    for line in markdown.lines() {
        in_block ^= line.starts_with("```");
        if !in_block && line.starts_with('#') {
            found.insert(anchor(line));
        }
    }
    found
}

#[test]
fn every_relative_link_leads_somewhere() {
    let mut seen = 0;
    for page in pages() {
        let markdown = fs::read_to_string(&page).unwrap();
        for link in markdown.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if link.contains("://") || link.starts_with("mailto:") {
                continue;
            }
            seen += 1;
            let (file, place) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() { page.clone() } else { page.parent().unwrap().join(file) };
            assert!(target.exists(), "{}: {link} leads nowhere", page.display());
            if !place.is_empty() {
                assert!(anchors(&target).contains(place), "{}: there is no heading for {link}", page.display());
            }
        }
    }
    assert!(seen > 20, "only {seen} links were found");
}

/// The keys that a type reads, by its own refusal of one that it does not know.
fn keys<T: DeserializeOwned>() -> Vec<String> {
    let refusal = serde_json::from_value::<T>(json!({"?": null})).err().unwrap().to_string();
    let (_, expected) = refusal.split_once("expected ").unwrap_or_else(|| panic!("{refusal}"));
    let keys: Vec<String> = spans(expected).into_iter().map(str::to_owned).collect();
    assert!(!keys.is_empty(), "{refusal}");
    keys
}

/// Every key of the configuration; those with keys inside are left to them.
fn settings() -> BTreeSet<String> {
    let inside: [(&str, Vec<String>); 26] = [
        ("", keys::<Config>()),
        ("period.", keys::<Period>()),
        ("archive.", keys::<ArchiveConfig>()),
        ("archive.s3.", keys::<S3Config>()),
        ("archive.s3.object_lock.", keys::<ObjectLock>()),
        ("signing.", keys::<SigningConfig>()),
        ("signing.receipts.", keys::<KeyConfig>()),
        ("signing.checkpoints.", keys::<KeyConfig>()),
        ("signing.receipts.kms.", keys::<KmsConfig>()),
        ("signing.checkpoints.kms.", keys::<KmsConfig>()),
        ("signing.receipts.pkcs11.", keys::<Pkcs11Config>()),
        ("signing.checkpoints.pkcs11.", keys::<Pkcs11Config>()),
        ("signing.witnesses[].", keys::<WitnessConfig>()),
        ("signing.timestamps.", keys::<TimestampsConfig>()),
        ("signing.timestamps.authorities[].", keys::<AuthorityConfig>()),
        ("sources[].", keys::<SourceConfig>()),
        ("sources[].host.", keys::<HostConfig>()),
        ("sources[].host.restic[].", keys::<ResticRepository>()),
        ("sources[].aws.", keys::<AwsConfig>()),
        ("sources[].aws.accounts.organization.", keys::<Organization>()),
        ("sources[].aws.accounts.organization.except[].", keys::<ExceptAccount>()),
        ("sources[].aws.except_regions[].", keys::<ExceptRegion>()),
        ("sources[].aws.retry.", keys::<RetryConfig>()),
        ("jobs[].", keys::<JobConfig>()),
        ("schedule.", keys::<ScheduleConfig>()),
        ("log.", keys::<LogConfig>()),
    ];
    let controls = keys::<ControlsConfig>().into_iter().map(|key| format!("controls.{key}"));
    let all: BTreeSet<String> = inside
        .iter()
        .flat_map(|(prefix, keys)| keys.iter().map(move |key| format!("{prefix}{key}")))
        .chain(controls)
        .collect();
    let has_inside = |key: &String| {
        let (dot, list) = (format!("{key}."), format!("{key}[]"));
        all.iter().any(|other| other.starts_with(&dot) || other.starts_with(&list))
    };
    all.iter().filter(|key| !has_inside(key)).cloned().collect()
}

/// The defaults by key, as `evidenced config` spells them.
fn defaults(path: &str, value: &Value, found: &mut BTreeMap<String, String>) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (key, value) in map {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                defaults(&path, value, found);
            }
        }
        Value::Null => {}
        Value::String(text) => drop(found.insert(path.to_owned(), text.clone())),
        Value::Array(list) if !list.is_empty() => {}
        other => drop(found.insert(path.to_owned(), other.to_string())),
    }
}

/// The blocks of this language.
fn blocks(page: &str, language: &str) -> Vec<String> {
    let markdown = read(page);
    let blocks = markdown.split("\n```").skip(1).step_by(2);
    blocks.filter_map(|block| block.strip_prefix(&format!("{language}\n")).map(str::to_owned)).collect()
}

#[test]
fn every_configuration_in_the_documents_is_accepted() {
    let directory = tempfile::tempdir().unwrap();
    let mut seen = 0;
    for page in ["README.md", "docs/OPERATIONS.md"] {
        for block in blocks(page, "yaml") {
            let file = directory.path().join("evidenced.yaml");
            fs::write(&file, &block).unwrap();
            Config::load(Some(&file), []).unwrap_or_else(|e| panic!("{page}: {e}\n{block}"));
            seen += 1;
        }
    }
    assert!(seen > 2, "{seen}");
}

#[test]
fn every_check_in_the_documents_is_accepted() {
    let blocks = blocks("docs/COLLECTORS.md", "yaml");
    assert!(!blocks.is_empty());
    for block in blocks {
        let checks = controls::parse_checks(&block).unwrap_or_else(|e| panic!("{e:?}\n{block}"));
        assert!(!checks.is_empty(), "{block}");
    }
}

#[test]
fn every_parameter_that_a_check_looks_at_is_in_operations() {
    let page = read("docs/OPERATIONS.md");
    let told: BTreeSet<String> =
        rows(&page).iter().flat_map(|row| spans(&row[0]).into_iter().map(str::to_owned).collect::<Vec<_>>()).collect();
    let host = collectors::host::access::Host::new("/", None);
    let mut seen = 0;
    for collector in collectors::host::built_in(&host, &HostConfig::default()) {
        for check in controls::parse_checks(&collector.spec().checks).unwrap() {
            for name in check.parameter_names() {
                assert!(told.contains(&name), "docs/OPERATIONS.md has no row for the parameter {name}");
                seen += 1;
            }
        }
    }
    assert!(seen > 10, "{seen}");
}

#[test]
fn every_setting_is_in_operations_with_its_default() {
    let page = read("docs/OPERATIONS.md");
    let mut told: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for row in rows(&page).into_iter().filter(|row| row.len() == 3) {
        for key in spans(&row[0]) {
            told.entry(key.to_owned()).or_insert_with(|| row.clone());
        }
    }
    for key in settings() {
        let row = told.get(&key).unwrap_or_else(|| panic!("docs/OPERATIONS.md has no row for `{key}`"));
        assert!(row[2].len() > 5, "{row:?}");
    }
    let mut known = BTreeMap::new();
    defaults("", &serde_json::to_value(Config::default()).unwrap(), &mut known);
    assert!(known.len() > 12, "{known:?}");
    for (key, default) in known {
        let row = told.get(&key).unwrap_or_else(|| panic!("docs/OPERATIONS.md has no row for `{key}`"));
        assert_eq!(spans(&row[1]), [default.as_str()], "the default of `{key}`");
    }
}
