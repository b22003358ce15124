"""Fills an account, its organization and its regions through boto3, and prints as JSON what it made.

    python aws_seed.py --endpoint http://127.0.0.1:PORT --access-key … --secret-key … [--size users=200 buckets=100 keys=50 databases=10]

What it prints is the truth that tests compare against: which user has MFA, by which path somebody is an administrator, which volume is
not encrypted. The program under test never sees it.
"""

import argparse
import json
import urllib.error
import urllib.request

import boto3
from botocore.config import Config

import aws_seed_access
import aws_seed_answers
import aws_seed_data
import aws_seed_watch

# How much there is of what: enough for every case once, more where a number is given.
SIZE = {"users": 10, "buckets": 5, "keys": 4, "databases": 2, "members": 2, "instances": 2, "jobs": 5}
REGIONS = ["us-east-1", "eu-west-1"]
READER = "evidenced-reader"
EXTERNAL_ID = "evidenced-tests-7d1c"
# Planted where AWS shows them; none of them may reach an archive.
SECRETS = {
    "user_data": "planted-user-data-4f1b9c",
    "lambda": "planted-lambda-environment-8a27",
    "policy": "AKIAPLANTEDKEY0000AA",
    "bucket_policy": "planted-bucket-policy-token-55e0",
}


class Seed:
    """Clients of one account, and what was made in it."""

    def __init__(self, endpoint, account, keys, size, made):
        self.endpoint, self.account, self.size, self.made = endpoint, account, size, made
        self.session = boto3.session.Session(
            aws_access_key_id=keys[0], aws_secret_access_key=keys[1], aws_session_token=keys[2], region_name=REGIONS[0]
        )
        self.clients = {}

    def client(self, service, region=REGIONS[0]):
        """A client, made once."""
        if (service, region) not in self.clients:
            config = Config(retries={"max_attempts": 1}, request_checksum_calculation="when_required")
            made = self.session.client(service, region, endpoint_url=self.endpoint, config=config)
            if service == "s3control":  # it puts the account before the host's name, which is a number here
                made.meta.events.register("before-sign", self.without_prefix)
            self.clients[service, region] = made
        return self.clients[service, region]

    def without_prefix(self, request, **_):
        """Takes the account off the host."""
        request.url = request.url.replace(f"//{self.account}.", "//")

    def note(self, kind, **facts):
        """Writes down what was made."""
        self.made.setdefault(kind, []).append({"account": self.account, **facts})
        return facts

    def control(self, path, body):
        """The server's own interface."""
        control(self.endpoint, path, body)

    def member(self, account):
        """The same in another account, as the role that an organization makes in it."""
        role = f"arn:aws:iam::{account}:role/OrganizationAccountAccessRole"
        given = self.client("sts").assume_role(RoleArn=role, RoleSessionName="seed")["Credentials"]
        keys = (given["AccessKeyId"], given["SecretAccessKey"], given["SessionToken"])
        return Seed(self.endpoint, account, keys, self.size, self.made)


def control(endpoint, path, body):
    """POST to the server's own interface."""
    request = urllib.request.Request(endpoint + path, data=json.dumps(body).encode(), headers={"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as refused:
        raise ValueError(f"{path}: {refused.read().decode()}") from None


def seed(endpoint, keys, size, regions=REGIONS):
    """Makes everything."""
    made = {"regions": list(regions), "secrets": dict(SECRETS)}
    first = Seed(endpoint, None, (*keys, None), size, made)
    first.account = made["management"] = first.client("sts").get_caller_identity()["Account"]
    members = aws_seed_access.organization(first)
    made["accounts"] = [first.account, *members]
    made["collector"] = aws_seed_access.collector(first, made["accounts"], READER, EXTERNAL_ID)
    aws_seed_access.identity_center(first)
    for account in [first, *(first.member(account) for account in members)]:
        aws_seed_access.users(account, SECRETS)
        aws_seed_access.reader(account, first.account, READER, EXTERNAL_ID)
        aws_seed_data.buckets(account, SECRETS)
        aws_seed_watch.everywhere(account)
        for region in regions:
            aws_seed_data.region(account, region)
            aws_seed_watch.region(account, region, SECRETS)
            aws_seed_answers.region(account, region)
        aws_seed_answers.account(account)
    return made


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--endpoint", required=True)
    parser.add_argument("--access-key", required=True)
    parser.add_argument("--secret-key", required=True)
    parser.add_argument("--size", nargs="*", default=[], metavar="WHAT=NUMBER", help=f"of {SIZE}")
    parser.add_argument("--regions", nargs="*", default=REGIONS)
    arguments = parser.parse_args()
    sizes = dict(pair.split("=") for pair in arguments.size)
    if odd := set(sizes) - set(SIZE):
        parser.error(f"no such size: {', '.join(odd)}")
    size = SIZE | {name: int(number) for name, number in sizes.items()}
    print(json.dumps(seed(arguments.endpoint, (arguments.access_key, arguments.secret_key), size, arguments.regions), default=str))


if __name__ == "__main__":
    main()
