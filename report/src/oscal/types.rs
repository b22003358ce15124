//! The part of OSCAL's Assessment Results model that is written, in the order of NIST's JSON format.

use serde::Serialize;

use super::text::{Id, Line, Markup, Plain, Token};

/// The document.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Document {
    pub(super) assessment_results: AssessmentResults,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct AssessmentResults {
    pub(super) uuid: Id,
    pub(super) metadata: Metadata,
    pub(super) import_ap: Href,
    pub(super) results: Vec<AResult>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) back_matter: Option<BackMatter>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Metadata {
    pub(super) title: Line,
    pub(super) last_modified: String,
    pub(super) version: Plain,
    pub(super) oscal_version: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) props: Vec<Prop>,
    pub(super) remarks: Markup,
}

#[derive(Debug, Serialize)]
pub(super) struct Prop {
    pub(super) name: &'static str,
    pub(super) ns: &'static str,
    pub(super) value: Plain,
}

#[derive(Debug, Serialize)]
pub(super) struct Href {
    pub(super) href: String,
    pub(super) remarks: Markup,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct AResult {
    pub(super) uuid: Id,
    pub(super) title: Line,
    pub(super) description: Markup,
    pub(super) start: String,
    pub(super) end: String,
    pub(super) props: Vec<Prop>,
    pub(super) local_definitions: LocalDefinitions,
    pub(super) reviewed_controls: Reviewed,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) observations: Vec<Observation>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) risks: Vec<Risk>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) findings: Vec<Finding>,
    pub(super) remarks: Markup,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct LocalDefinitions {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) components: Vec<Component>,
    pub(super) assessment_assets: Assets,
}

#[derive(Debug, Serialize)]
pub(super) struct Component {
    pub(super) uuid: Id,
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
    pub(super) title: Line,
    pub(super) description: Markup,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) props: Vec<Prop>,
    pub(super) status: State,
}

#[derive(Debug, Serialize)]
pub(super) struct State {
    pub(super) state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reason: Option<&'static str>,
    pub(super) remarks: Markup,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Assets {
    pub(super) components: Vec<Component>,
    pub(super) assessment_platforms: Vec<Platform>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Platform {
    pub(super) uuid: Id,
    pub(super) title: Line,
    pub(super) uses_components: Vec<Uses>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Uses {
    pub(super) component_uuid: Id,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Reviewed {
    pub(super) control_selections: Vec<Selection>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Selection {
    pub(super) description: Markup,
    #[serde(flatten)]
    pub(super) what: Selected,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Selected {
    IncludeAll(Empty),
    IncludeControls(Vec<Chosen>),
}

#[derive(Debug, Serialize)]
pub(super) struct Empty {}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Chosen {
    pub(super) control_id: Token,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Observation {
    pub(super) uuid: Id,
    pub(super) title: Line,
    pub(super) description: Markup,
    pub(super) props: Vec<Prop>,
    pub(super) methods: [&'static str; 1],
    pub(super) types: [&'static str; 1],
    pub(super) origins: Vec<Origin>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) subjects: Vec<Subject>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) relevant_evidence: Vec<Relevant>,
    pub(super) collected: String,
}

#[derive(Debug, Serialize)]
pub(super) struct Origin {
    pub(super) actors: Vec<Actor>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Actor {
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
    pub(super) actor_uuid: Id,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Subject {
    pub(super) subject_uuid: Id,
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
    pub(super) title: Line,
}

#[derive(Debug, Serialize)]
pub(super) struct Relevant {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) href: Option<String>,
    pub(super) description: Markup,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) props: Vec<Prop>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Risk {
    pub(super) uuid: Id,
    pub(super) title: Line,
    pub(super) description: Markup,
    pub(super) statement: Markup,
    pub(super) props: Vec<Prop>,
    pub(super) status: &'static str,
    pub(super) origins: Vec<Origin>,
    pub(super) risk_log: RiskLog,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) related_observations: Vec<RelatedObservation>,
}

#[derive(Debug, Serialize)]
pub(super) struct RiskLog {
    pub(super) entries: Vec<LogEntry>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct LogEntry {
    pub(super) uuid: Id,
    pub(super) title: Line,
    pub(super) description: Markup,
    pub(super) start: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) end: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) links: Vec<Link>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) status_change: Option<&'static str>,
}

#[derive(Debug, Serialize)]
pub(super) struct Link {
    pub(super) href: String,
    pub(super) rel: &'static str,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct RelatedObservation {
    pub(super) observation_uuid: Id,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct RelatedRisk {
    pub(super) risk_uuid: Id,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Finding {
    pub(super) uuid: Id,
    pub(super) title: Line,
    pub(super) description: Markup,
    pub(super) origins: Vec<Origin>,
    pub(super) target: Target,
    pub(super) related_observations: Vec<RelatedObservation>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) related_risks: Vec<RelatedRisk>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Target {
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
    pub(super) target_id: Token,
    pub(super) title: Line,
    pub(super) description: Markup,
    pub(super) status: State,
}

#[derive(Debug, Serialize)]
pub(super) struct BackMatter {
    pub(super) resources: Vec<Resource>,
}

#[derive(Debug, Serialize)]
pub(super) struct Resource {
    pub(super) uuid: Id,
    pub(super) title: Line,
    pub(super) description: Markup,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) props: Vec<Prop>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) rlinks: Vec<Rlink>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Rlink {
    pub(super) href: String,
    pub(super) media_type: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) hashes: Vec<Hash>,
}

#[derive(Debug, Serialize)]
pub(super) struct Hash {
    pub(super) algorithm: &'static str,
    pub(super) value: String,
}
