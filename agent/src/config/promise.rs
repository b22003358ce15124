//! `controls`: what is promised, in the configuration and in files of its own. A file is read as strictly as the configuration, and its
//! mistakes are told with its name, line and key.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsStr,
    fs, io,
    path::{Path, PathBuf},
};

use collectors::contract::Source;
use controls::{
    Category, Declared, EntityControl, Expectation, FrameworkSet, TreatmentSet, WrittenControl, WrittenControls,
    parse_checks,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Problem, layers::Layer, tree::Node};

/// `controls`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ControlsConfig {
    /// What is reported on: `soc2` by category, and `hipaa` with its role.
    pub frameworks: FrameworkSet,
    /// The organisation's own thresholds and names: what checks see as `$parameters`, over their defaults.
    pub parameters: Map<String, Value>,
    /// Files of controls, beside the starter set and over it. The last part of a path may hold `*`.
    pub files: Vec<PathBuf>,
    /// Why what is promised is what it is now; auditors read it.
    pub reason: Option<String>,
    /// Criteria and citations that are not the organisation's own, by id.
    pub treatments: BTreeMap<String, TreatmentSet>,
    /// Controls that are expected of those who use the organisation's services.
    pub user_entity_controls: Vec<EntityControl>,
    /// What subservice organisations and vendors expect of the organisation.
    pub vendor_expectations: Vec<Expectation>,
}

impl Default for ControlsConfig {
    fn default() -> Self {
        Self {
            frameworks: FrameworkSet { soc2: vec![Category::Security], hipaa: None },
            parameters: Map::new(),
            files: Vec::new(),
            reason: None,
            treatments: BTreeMap::new(),
            user_entity_controls: Vec::new(),
            vendor_expectations: Vec::new(),
        }
    }
}

/// What one place writes of controls, and where each of it stands.
#[derive(Debug, Clone)]
pub(super) struct Written {
    controls: WrittenControls,
    /// What goes before a key: `controls.` in the configuration.
    prefix: &'static str,
    /// The place of the whole.
    name: String,
    places: BTreeMap<String, String>,
}

/// What is written in the configuration, and in each of its files in order. Files that cannot be used are the problems.
pub(super) fn read(config: &ControlsConfig, places: &BTreeMap<String, String>) -> (Vec<Written>, Vec<Problem>) {
    let own = WrittenControls {
        controls: Vec::new(),
        treatments: config.treatments.clone(),
        user_entity_controls: config.user_entity_controls.clone(),
        vendor_expectations: config.vendor_expectations.clone(),
    };
    let own = Written { controls: own, prefix: "controls.", name: String::new(), places: places.clone() };
    let (mut all, mut problems) = (vec![own], Vec::new());
    let mut seen = BTreeSet::new();
    for (at, pattern) in config.files.iter().enumerate() {
        let key = format!("controls.files[{at}]");
        match matching(pattern) {
            Ok(files) => {
                for file in files.into_iter().filter(|file| seen.insert(file.clone())) {
                    match read_file(&file) {
                        Ok(written) => all.push(written),
                        Err(more) => problems.extend(more),
                    }
                }
            }
            Err(message) => {
                let place = places.get(&key).or_else(|| places.get("controls.files")).cloned().unwrap_or_default();
                problems.push(Problem { place, key, message });
            }
        }
    }
    (all, problems)
}

/// The starter set with all of it.
pub(super) fn declare(written: &[Written]) -> Result<Declared, Vec<Problem>> {
    let files: Vec<WrittenControls> = written.iter().map(|written| written.controls.clone()).collect();
    controls::declare(&files).map_err(|mistakes| {
        mistakes.into_iter().map(|mistake| written[mistake.file].problem(&mistake.key, mistake.message)).collect()
    })
}

impl Written {
    /// A mistake at a key, with the nearest place around it.
    pub(super) fn problem(&self, key: &str, message: String) -> Problem {
        let key = format!("{}{key}", self.prefix);
        let mut around = key.as_str();
        let place = loop {
            if let Some(place) = self.places.get(around) {
                break place.clone();
            }
            match around.rfind(['.', '[']) {
                Some(at) => around = &around[..at],
                None => break self.name.clone(),
            }
        };
        Problem { place, key, message }
    }

    /// The collectors, checks and sources that are named and do not exist, each with its key.
    pub(super) fn unknown_names(&self, sources: &[Source]) -> Vec<(String, String)> {
        let mut found = Vec::new();
        if self.controls.controls.is_empty() {
            return found;
        }
        let built_in = collectors::built_in();
        let specs = built_in.iter().chain(sources.iter().flat_map(|source| &source.collectors)).map(|c| c.spec());
        let (mut collectors, mut checks) = (BTreeSet::new(), BTreeSet::new());
        for spec in specs.filter(|spec| collectors.insert(spec.id.clone()) || spec.checks.is_empty()) {
            let parsed = parse_checks(&spec.checks).unwrap_or_default();
            checks.extend(parsed.into_iter().map(|check| format!("{}/{}", spec.id, check.id)));
        }
        let names: BTreeSet<&str> = sources.iter().map(|source| source.name.as_str()).collect();
        for (at, control) in self.controls.controls.iter().enumerate() {
            let WrittenControl { checks: named, only, except, sources: about, .. } = control;
            for (list, name, also_collectors) in
                [(named, "checks", false), (only, "only", true), (except, "except", true)]
            {
                for (place, text) in list.iter().flatten().enumerate() {
                    if checks.contains(text) || (also_collectors && collectors.contains(text)) {
                        continue;
                    }
                    let what = if also_collectors { "collector or check" } else { "check" };
                    let message = format!("there is no {what} {text:?}; `evidenced collectors` lists them");
                    found.push((format!("controls[{at}].{name}[{place}]"), message));
                }
            }
            for (place, text) in about.iter().flatten().enumerate().filter(|(_, text)| !names.contains(text.as_str())) {
                let known = names.iter().copied().collect::<Vec<_>>().join(", ");
                let message = format!("there is no source {text:?}; there are: {known}");
                found.push((format!("controls[{at}].sources[{place}]"), message));
            }
        }
        found
    }
}

/// The files that a path means: itself, or, with `*` in its last part, those that are there, by name.
fn matching(pattern: &Path) -> Result<Vec<PathBuf>, String> {
    let last = pattern.file_name().and_then(OsStr::to_str).unwrap_or_default();
    if !last.contains('*') {
        return match pattern.as_os_str().is_empty() {
            true => Err("the path is empty".into()),
            false => Ok(vec![pattern.to_owned()]),
        };
    }
    let directory = pattern.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let cannot = |error: io::Error| format!("{} cannot be read: {error}", directory.display());
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).map_err(cannot)? {
        let entry = entry.map_err(cannot)?;
        let name = entry.file_name();
        if name.to_str().is_some_and(|name| !name.starts_with('.') && fits(last, name)) {
            found.push(pattern.with_file_name(name));
        }
    }
    found.sort();
    match found.is_empty() {
        true => Err(format!("{} names no file that is there: leave it out, or put one there", pattern.display())),
        false => Ok(found),
    }
}

/// Whether a name fits a pattern in which `*` stands for any text.
fn fits(pattern: &str, name: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else { return pattern == name };
    let Some(tail) = name.strip_prefix(head) else { return false };
    (0..=tail.len()).any(|at| tail.is_char_boundary(at) && fits(rest, &tail[at..]))
}

fn read_file(path: &Path) -> Result<Written, Vec<Problem>> {
    let name = path.display().to_string();
    let problem = |message: String| vec![Problem { place: name.clone(), key: String::new(), message }];
    let text = fs::read_to_string(path).map_err(|error| problem(format!("it cannot be read: {error}")))?;
    let (layer, problems) = Layer::of_file(&name, &text);
    if !problems.is_empty() {
        return Err(problems);
    }
    let mut places = BTreeMap::new();
    layer.places(&mut places);
    let table = config::Source::collect(&layer).map_err(|error| problem(error.to_string()))?;
    let controls = Node::root(table, &places).read::<WrittenControls>()?;
    Ok(Written { controls, prefix: "", name, places })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::disallowed_methods)]
    use tempfile::TempDir;

    use super::super::{Config, ConfigError, Loaded};
    use super::*;

    /// Reads a configuration whose files of controls are these.
    fn load(yaml: &str, files: &[(&str, &str)]) -> (TempDir, Result<Loaded, ConfigError>) {
        let dir = TempDir::new().unwrap();
        for (name, text) in files {
            fs::write(dir.path().join(name), text).unwrap();
        }
        let path = dir.path().join("c.yaml");
        fs::write(&path, yaml.replace("HERE", &dir.path().display().to_string())).unwrap();
        let loaded = Config::load(Some(&path), []);
        (dir, loaded)
    }

    fn refused(yaml: &str, files: &[(&str, &str)]) -> Vec<String> {
        let (dir, loaded) = load(yaml, files);
        let loaded = loaded.and_then(|loaded| {
            let sources = loaded.config.open_sources();
            loaded.validate(&sources).map(|_| ())
        });
        let here = format!("{}/", dir.path().display());
        loaded.unwrap_err().problems.iter().map(|problem| problem.to_string().replace(&here, "")).collect()
    }

    #[test]
    fn without_configuration_the_starter_set_is_promised_for_security_alone() {
        let (_dir, loaded) = load("parallel_jobs: 2\n", &[]);
        let loaded = loaded.unwrap();
        assert_eq!(loaded.declared.controls, controls::starter());
        let frameworks = &loaded.config.controls.frameworks;
        assert_eq!((frameworks.soc2.as_slice(), frameworks.hipaa), ([Category::Security].as_slice(), None));
    }

    #[test]
    fn files_are_read_in_the_order_of_their_names_and_once() {
        let (_dir, loaded) = load(
            "controls: {files: [HERE/a*.yaml, HERE/ab.yaml], treatments: {CC6.4: {treatment: inclusive, organisation: o}}}",
            &[
                ("ab.yaml", "user_entity_controls: [{id: U-2, text: second}]"),
                ("aa.yaml", "user_entity_controls: [{id: U-1, text: first}]\ncontrols: [{id: AC-01, owner: Ada}]"),
                ("b.yaml", "nothing: here"),
                (".ac.yaml", "nothing: here"),
            ],
        );
        let declared = loaded.unwrap().declared;
        let ids: Vec<&str> = declared.user_entity_controls.iter().map(|control| control.id.as_str()).collect();
        assert_eq!(ids, ["U-1", "U-2"]);
        assert_eq!(declared.controls.iter().find(|control| control.id == "AC-01").unwrap().owner, "Ada");
        assert!(declared.treatments.contains_key("CC6.4"));
    }

    #[test]
    fn mistakes_name_file_line_and_key() {
        let file = "controls:\n- id: AC-01\n  items:\n  - key_rotation\n  - key_rotatoin\n- id: AC-02\n  ownr: Ada\n";
        assert_eq!(
            refused("controls: {files: [HERE/x.yaml]}", &[("x.yaml", file)]),
            ["x.yaml:7: controls[1].ownr: unknown key; did you mean `owner`?"]
        );
        let file = file.replace("ownr", "owner");
        assert_eq!(
            refused("controls: {files: [HERE/x.yaml]}", &[("x.yaml", &file)]),
            [
                "x.yaml:5: controls[0].items[1]: there is no evidence item \"key_rotatoin\"; did you mean \"key_rotation\"?"
            ]
        );
        assert_eq!(
            refused("controls:\n  treatments:\n    CC9.9: {treatment: not_applicable, reason: x}\n", &[]),
            [
                "c.yaml:3: controls.treatments.CC9.9: there is no criterion or citation \"CC9.9\"; did you mean \"CC9.1\"?"
            ]
        );
    }

    #[test]
    fn an_id_in_two_files_is_refused_where_it_stands_the_second_time() {
        let one = "controls: [{id: AC-01, owner: a}]";
        assert_eq!(
            refused("controls: {files: [HERE/*.ctl]}", &[("a.ctl", one), ("b.ctl", one)]),
            ["b.ctl:1: controls[0].id: \"AC-01\" is written twice: write it once"]
        );
    }

    #[test]
    fn collectors_checks_and_sources_that_do_not_exist_are_refused() {
        let file = "controls:\n- {id: AC-01, sources: [that], only: [host/accounts, host/nothing]}\n\
                    - {id: AC-02, checks: [host/accounts]}\n- {id: AV-02, only: [aws/backup-jobs]}\n";
        assert_eq!(
            refused("controls: {files: [HERE/x.yaml]}", &[("x.yaml", file)]),
            [
                "x.yaml:2: controls[0].only[1]: there is no collector or check \"host/nothing\"; `evidenced collectors` lists them",
                "x.yaml:2: controls[0].sources[0]: there is no source \"that\"; there are: this",
                "x.yaml:3: controls[1].checks[0]: there is no check \"host/accounts\"; `evidenced collectors` lists them",
            ]
        );
    }

    #[test]
    fn files_that_are_not_there_are_refused() {
        let found = refused("controls:\n  files:\n  - HERE/no*.yaml\n  - HERE/none.yaml\n", &[]);
        assert!(found[0].starts_with("c.yaml:3: controls.files[0]: "), "{found:?}");
        assert!(
            found[0].ends_with("no*.yaml names no file that is there: leave it out, or put one there"),
            "{found:?}"
        );
        assert!(found[1].starts_with("none.yaml: it cannot be read: "), "{found:?}");
    }

    #[test]
    fn a_star_stands_for_any_text() {
        for (pattern, name, expected) in [
            ("*.yaml", "a.yaml", true),
            ("a*b*c", "abc", true),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "acb", false),
            ("*", "", true),
            ("*.yaml", "a.yml", false),
            ("é*", "éa", true),
        ] {
            assert_eq!(fits(pattern, name), expected, "{pattern} {name}");
        }
    }
}
