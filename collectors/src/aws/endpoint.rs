//! Where a service answers: by partition, region and the exceptions that botocore's endpoint rules make.

use std::{collections::BTreeMap, sync::OnceLock};

use serde::Deserialize;

use super::operations::{Place, Service};

/// Where a service is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Scheme and host, without a path.
    pub url: String,
    /// The region that signatures name.
    pub signing_region: String,
}

/// A part of AWS with accounts and names of its own.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Partition {
    /// What the names of its regions begin with; empty for `aws`.
    pub prefix: String,
    /// What its host names end with.
    pub suffix: String,
    /// The region in which its global services are asked.
    pub home: String,
}

/// Where a service is asked for a region. A service with one endpoint for its whole partition has it, whichever region is named. An
/// endpoint of the operator's (a simulator, a private link) takes the place of the URL, not of the signing region.
pub fn endpoint(service: &Service, region: &str, override_url: Option<&str>) -> Endpoint {
    let (id, partition) = partition(region);
    let usual = || Place {
        url: format!("https://{}.{region}.{}", service.endpoint_prefix, partition.suffix),
        region: region.to_owned(),
    };
    let place = service.endpoints.get(id).or_else(|| service.endpoints.get(region)).cloned().unwrap_or_else(usual);
    let url = override_url.map_or(place.url, |url| url.trim_end_matches('/').to_owned());
    Endpoint { url, signing_region: place.region }
}

/// The partition of a region, with its name: `aws-cn`. A region that none claims is one of `aws`.
pub fn partition(region: &str) -> (&'static str, &'static Partition) {
    let of_region = |(_, partition): &(&String, &Partition)| region.starts_with(&partition.prefix);
    partitions()
        .iter()
        .filter(of_region)
        .max_by_key(|(_, partition)| partition.prefix.len())
        .map_or(("aws", fallback()), |(id, partition)| (id.as_str(), partition))
}

fn partitions() -> &'static BTreeMap<String, Partition> {
    #[derive(Deserialize)]
    struct File {
        partitions: BTreeMap<String, Partition>,
    }
    static READ: OnceLock<BTreeMap<String, Partition>> = OnceLock::new();
    READ.get_or_init(|| {
        let text = include_str!("../../definitions/aws/model/partitions.json");
        serde_json::from_str::<File>(text).map(|file| file.partitions).unwrap_or_default()
    })
}

fn fallback() -> &'static Partition {
    static AWS: OnceLock<Partition> = OnceLock::new();
    AWS.get_or_init(|| Partition { prefix: String::new(), suffix: "amazonaws.com".into(), home: "us-east-1".into() })
}
