//! What the organisation promises, as the document that puts it in force: made of the configuration and the jobs.

use controls::{CONTROLS_FORMAT, ControlSet};

use crate::{config::Loaded, jobs::Jobs, run::AGENT};

/// The set of controls that holds for these jobs. A pause does not change it. `previous` is its logger's to set.
pub fn controls(loaded: &Loaded, jobs: &Jobs, origin: &str) -> ControlSet {
    let (config, declared) = (&loaded.config, &loaded.declared);
    let period = config.period.map(|period| (period.from.to_string(), period.to.to_string()));
    ControlSet {
        format: CONTROLS_FORMAT.into(),
        origin: origin.to_owned(),
        agent: AGENT.into(),
        previous: None,
        reason: config.controls.reason.clone().unwrap_or_default(),
        period,
        frameworks: config.controls.frameworks.clone(),
        parameters: config.controls.parameters.clone(),
        controls: declared.controls.clone(),
        switched_off: declared.switched_off.clone(),
        treatments: declared.treatments.clone(),
        user_entity_controls: declared.user_entity_controls.clone(),
        vendor_expectations: declared.vendor_expectations.clone(),
        scope: jobs.scope(),
    }
}
