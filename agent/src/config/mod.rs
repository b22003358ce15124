//! The configuration: one YAML file and environment variables over the defaults. It is read strictly: unknown and doubled keys, and
//! values of another type, are refused with file, line and key. Nothing here opens a key or an archive.
//!
//! The file is `--config`, else `$EVIDENCED_CONFIG`, else `./evidenced.yaml` where there is one. A variable `EVIDENCED_ARCHIVE__DIRECTORY` is
//! the key `archive.directory`: two underscores go one level down, and the value is read as YAML.

mod duration;
mod effective;
mod key;
mod layers;
mod problems;
mod promise;
mod settings;
mod tree;
mod validate;

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
};

use collectors::contract::Source;
use controls::Declared;
pub use duration::{BadDuration, Duration};
pub use key::KeyConfig;
use layers::Layer;
pub use problems::{ConfigError, Problem};
pub use promise::ControlsConfig;
use promise::Written;
pub use settings::{
    ArchiveConfig, ArchivePlace, AuthorityConfig, Config, JobConfig, JobSettings, LogConfig, LogFormat, LogLevel,
    Period, ScheduleConfig, SigningConfig, SourceConfig, TimestampsConfig, Wish,
};
use tree::Node;
pub(crate) use validate::is_origin;

/// The file that is read where none is named.
pub const DEFAULT_FILE: &str = "evidenced.yaml";

/// Every variable of the configuration begins with it.
const PREFIX: &str = "EVIDENCED_";

/// Names the file; no setting.
const FILE_VARIABLE: &str = "EVIDENCED_CONFIG";

/// The configuration, and where it came from.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The settings.
    pub config: Config,
    /// The file that was read; `None`: there was none, and no harm in it.
    pub file: Option<PathBuf>,
    /// Where each written value is, by key: `evidenced.yaml:12`, or the variable. What is not here is the default.
    pub places: BTreeMap<String, String>,
    /// What is promised: the starter set with what the configuration and its files of controls write over it.
    pub declared: Declared,
    /// What they write, for checks against the sources.
    written: Vec<Written>,
}

impl Config {
    /// Opens the sources, in the order of [`Config::sources`]. What a source says of itself is read; nothing is collected.
    pub fn open_sources(&self) -> Vec<Source> {
        let open = |source: &SourceConfig| match &source.aws {
            Some(aws) => collectors::aws::open(aws, &source.name),
            None => {
                let host = source.host.clone().unwrap_or_default();
                collectors::host::open(&host, &source.name, PathBuf::from("/proc/self/exe"))
            }
        };
        self.sources.iter().map(open).collect()
    }

    /// Reads the configuration. `path` is what the command line names; `environment` is every variable, of which those of the agent are taken.
    ///
    /// # Errors
    /// Every mistake that can be seen together: a file that is named and cannot be read, text that is not YAML, keys and values that
    /// are refused. [`Loaded::validate`] finds the rest.
    pub fn load(
        path: Option<&Path>,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Loaded, ConfigError> {
        let mut problems = Vec::new();
        let (named, variables) = variables(environment, &mut problems);
        let file = path.map(Path::to_path_buf).or(named);
        let (file, text) = match read(file.as_deref()) {
            Ok(Some((file, text))) => (Some(file), text),
            Ok(None) => (None, String::new()),
            Err(problem) => {
                problems.push(problem);
                (None, String::new())
            }
        };
        let name = file.as_deref().map(|file| file.display().to_string()).unwrap_or_default();
        let (of_file, refused) = Layer::of_file(&name, &text);
        problems.extend(refused);
        let (of_variables, refused) = Layer::of_variables(&variables);
        problems.extend(refused);
        let mut places = BTreeMap::new();
        of_file.places(&mut places);
        of_variables.places(&mut places);
        let merged = config::Config::builder().add_source(of_file).add_source(of_variables).build();
        let merged = merged.and_then(|merged| config::Source::collect(&merged)).map_err(|error| {
            ConfigError::new(vec![Problem { place: name, key: String::new(), message: error.to_string() }])
        })?;
        let root = Node::root(merged, &places);
        match root.read::<Config>() {
            Ok(config) => {
                let (written, refused) = promise::read(&config.controls, &places);
                problems.extend(refused);
                match promise::declare(&written) {
                    Ok(declared) if problems.is_empty() => Ok(Loaded { config, file, places, declared, written }),
                    Ok(_) => Err(ConfigError::new(problems)),
                    Err(more) => {
                        problems.extend(more);
                        Err(ConfigError::new(problems))
                    }
                }
            }
            Err(more) => {
                problems.extend(more);
                Err(ConfigError::new(problems))
            }
        }
    }
}

/// The file's text. Without a name, the default file may be missing.
fn read(named: Option<&Path>) -> Result<Option<(PathBuf, String)>, Problem> {
    let path = named.unwrap_or(Path::new(DEFAULT_FILE));
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some((path.to_owned(), text))),
        Err(error) if named.is_none() && error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Problem {
            place: path.display().to_string(),
            key: String::new(),
            message: format!("the configuration cannot be read: {error}"),
        }),
    }
}

/// A variable, the path that it stands for, and its text.
type Variable = (String, Vec<String>, String);

/// The file that they name, and the settings among them.
fn variables(
    environment: impl IntoIterator<Item = (OsString, OsString)>,
    problems: &mut Vec<Problem>,
) -> (Option<PathBuf>, Vec<Variable>) {
    let (mut file, mut settings) = (None, Vec::new());
    for (name, value) in environment {
        let Some(name) = name.to_str().map(str::to_owned) else { continue };
        let Some(key) = name.strip_prefix(PREFIX) else { continue };
        if name == FILE_VARIABLE {
            file = Some(PathBuf::from(value)).filter(|path| !path.as_os_str().is_empty());
        } else if is_service_link(key) {
        } else if let Ok(value) = value.into_string() {
            settings.push((name.clone(), key.to_ascii_lowercase().split("__").map(str::to_owned).collect(), value));
        } else {
            problems.push(Problem {
                place: name.clone(),
                key: String::new(),
                message: "the value is not UTF-8".into(),
            });
        }
    }
    settings.sort();
    (file, settings)
}

/// Kubernetes sets `EVIDENCED_SERVICE_HOST`, `EVIDENCED_PORT_8080_TCP` and others in every container beside a Service named `evidenced`.
fn is_service_link(key: &str) -> bool {
    key == "PORT" || key.starts_with("PORT_") || key == "SERVICE_HOST" || key.starts_with("SERVICE_PORT")
}

#[cfg(test)]
mod tests;
