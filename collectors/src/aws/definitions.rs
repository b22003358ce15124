//! The collectors of AWS: every file of `definitions/aws/`, and the code that makes records where jq is not enough.

use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock, OnceLock},
};

use super::{AwsDialect, iam};
use crate::{
    contract::Collector,
    declared::{Code, Compiled, Declared, DefinitionError, system::System},
};

/// The definitions as written, by file name.
const YAML: &[&str] = include!(concat!(env!("OUT_DIR"), "/aws_definitions.rs"));

/// Code by a definition's id.
const CODE: &[(&str, Code)] =
    &[("aws/iam-access", iam::access::derive), ("aws/iam-credential-report", iam::report::derive)];

/// One definition.
pub struct Definition {
    /// As written.
    pub yaml: &'static str,
    code: Option<Code>,
    /// Read once, for all sources.
    compiled: OnceLock<Arc<Compiled>>,
}

/// All of them.
pub static ALL: LazyLock<Vec<Definition>> = LazyLock::new(|| {
    let code: BTreeMap<&str, Code> = CODE.iter().copied().collect();
    let id = |yaml: &'static str| yaml.lines().find_map(|line| line.strip_prefix("id: ")).unwrap_or_default().trim();
    YAML.iter().map(|yaml| Definition { yaml, code: code.get(id(yaml)).copied(), compiled: OnceLock::new() }).collect()
});

impl Definition {
    /// The collector on a source, which speaks as AWS does.
    ///
    /// # Errors
    /// A definition that could not run.
    pub fn on(&self, system: Arc<dyn System>) -> Result<Declared, DefinitionError> {
        let compiled = match self.compiled.get() {
            Some(compiled) => compiled.clone(),
            None => {
                let compiled = Arc::new(Compiled::new(self.yaml, &AwsDialect)?);
                self.compiled.get_or_init(|| compiled).clone()
            }
        };
        Ok(Declared::of(compiled, self.code, system))
    }
}

/// All of them on a source.
pub fn all(system: &Arc<dyn System>) -> Vec<Arc<dyn Collector>> {
    let on = |definition: &Definition| definition.on(system.clone()).expect("a test reads every definition");
    ALL.iter().map(|definition| Arc::new(on(definition)) as Arc<dyn Collector>).collect()
}
