"""Deploys a template of `evidenced iam-policy` as a stack, and as a stack set, in moto, in this process; nothing leaves it.

usage: aws_role.py TEMPLATE EXTERNAL_ID

Prints, as JSON, what there is then: the role's ARN, its trust policy, and the actions of the policies attached to it.
"""

import json
import os
import sys

import boto3
from moto import mock_aws

ACCOUNT = "123456789012"
AGENT = f"arn:aws:iam::{ACCOUNT}:role/evidenced"


def main():
    body, external_id = open(sys.argv[1], encoding="utf-8").read(), sys.argv[2]
    parameters = [{"ParameterKey": "TrustedPrincipalArn", "ParameterValue": AGENT}]
    if external_id:
        parameters.append({"ParameterKey": "ExternalId", "ParameterValue": external_id})
    made = {"TemplateBody": body, "Parameters": parameters, "Capabilities": ["CAPABILITY_NAMED_IAM"]}
    cloudformation, iam = boto3.client("cloudformation"), boto3.client("iam")
    cloudformation.validate_template(TemplateBody=body)
    cloudformation.create_stack_set(StackSetName="evidenced-set", **made)
    cloudformation.create_stack(StackName="evidenced", **made)
    stack = cloudformation.describe_stacks(StackName="evidenced")["Stacks"][0]
    arn = {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}["RoleArn"]
    role = iam.get_role(RoleName=arn.rsplit("/", 1)[1])["Role"]
    actions = []
    for policy in iam.list_attached_role_policies(RoleName=role["RoleName"])["AttachedPolicies"]:
        version = iam.get_policy(PolicyArn=policy["PolicyArn"])["Policy"]["DefaultVersionId"]
        document = iam.get_policy_version(PolicyArn=policy["PolicyArn"], VersionId=version)["PolicyVersion"]["Document"]
        actions += [action for statement in document["Statement"] for action in statement["Action"]]
    print(json.dumps({
        "status": stack["StackStatus"],
        "arn": arn,
        "trust": role["AssumeRolePolicyDocument"]["Statement"],
        "inline": iam.list_role_policies(RoleName=role["RoleName"])["PolicyNames"],
        "actions": sorted(actions),
    }))


if __name__ == "__main__":
    os.environ.update(
        AWS_ACCESS_KEY_ID="testing", AWS_SECRET_ACCESS_KEY="testing", AWS_DEFAULT_REGION="us-east-1", AWS_EC2_METADATA_DISABLED="true"
    )
    with mock_aws():
        main()
