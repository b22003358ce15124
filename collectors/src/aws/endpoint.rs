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
        signed_for: region.to_owned(),
    };
    let place = service.endpoints.get(id).or_else(|| service.endpoints.get(region)).cloned().unwrap_or_else(usual);
    let url = override_url.map_or(place.url, |url| url.trim_end_matches('/').to_owned());
    Endpoint { url, signing_region: place.signed_for }
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::aws::operations::operation;

    fn at(call: &str, region: &str, given: Option<&str>) -> (String, String) {
        let Endpoint { url, signing_region } = endpoint(&operation(call).unwrap().service, region, given);
        (url, signing_region)
    }

    #[test]
    fn a_global_service_has_one_place_in_each_partition() {
        for (region, url, signed_for) in [
            ("eu-west-1", "https://iam.amazonaws.com", "us-east-1"),
            ("us-gov-east-1", "https://iam.us-gov.amazonaws.com", "us-gov-west-1"),
            ("cn-northwest-1", "https://iam.cn-north-1.amazonaws.com.cn", "cn-north-1"),
        ] {
            assert_eq!(at("iam.ListUsers", region, None), (url.into(), signed_for.into()));
        }
    }

    #[test]
    fn a_region_that_no_list_has_yet_is_asked_like_the_others_of_its_partition() {
        let asked = at("ec2.DescribeVolumes", "eu-west-9", None);
        assert_eq!(asked, ("https://ec2.eu-west-9.amazonaws.com".into(), "eu-west-9".into()));
        let asked = at("ec2.DescribeVolumes", "cn-west-9", None);
        assert_eq!(asked, ("https://ec2.cn-west-9.amazonaws.com.cn".into(), "cn-west-9".into()));
        assert_eq!(at("iam.ListUsers", "eu-west-9", None).1, "us-east-1");
    }

    #[test]
    fn an_endpoint_of_the_operators_is_asked_under_the_same_signature() {
        let asked = at("iam.ListUsers", "eu-west-1", Some("http://127.0.0.1:5000/"));
        assert_eq!(asked, ("http://127.0.0.1:5000".into(), "us-east-1".into()));
    }

    #[test]
    fn every_partition_is_read_from_its_file() {
        assert_eq!(partitions().len(), 8);
        for (id, partition) in partitions() {
            assert_eq!(super::partition(&partition.home).0, id);
        }
    }
}
