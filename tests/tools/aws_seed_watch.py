"""What watches and what is exposed: trails, recorders, detectors, flow logs, listeners, certificates, security groups, machines."""

import io
import zipfile
from datetime import datetime, timedelta, timezone

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


def everywhere(seed):
    """One trail for all regions."""
    trails, group = seed.client("cloudtrail"), _alarm(seed)
    made = trails.create_trail(
        CloudWatchLogsLogGroupArn=group, CloudWatchLogsRoleArn=f"arn:aws:iam::{seed.account}:role/break-glass",
        Name="all", S3BucketName=f"logs-{seed.account}", IsMultiRegionTrail=True, EnableLogFileValidation=True,
        IncludeGlobalServiceEvents=True,
    )["TrailARN"]
    trails.start_logging(Name="all")
    trails.put_event_selectors(
        TrailName="all",
        EventSelectors=[{"ReadWriteType": "All", "IncludeManagementEvents": True, "DataResources": []}],
    )
    seed.note("trails", arn=made, name="all", multi_region=True, validation=True, logging=True)


def _alarm(seed):
    """The trail's log group with a filter for failed console logins, and an alarm on it."""
    logs = seed.client("logs")
    logs.create_log_group(logGroupName="trail")
    logs.put_retention_policy(logGroupName="trail", retentionInDays=400)
    metric = {"metricName": "failed-logins", "metricNamespace": "Trail", "metricValue": "1"}
    pattern = '{ ($.eventName = ConsoleLogin) && ($.errorMessage = "Failed authentication") }'
    logs.put_metric_filter(logGroupName="trail", filterName="failed-logins", filterPattern=pattern, metricTransformations=[metric])
    topic = seed.client("sns").create_topic(Name="alarms")["TopicArn"]
    seed.client("cloudwatch").put_metric_alarm(
        AlarmName="failed-logins", MetricName="failed-logins", Namespace="Trail", Statistic="Sum", Period=300, EvaluationPeriods=1,
        Threshold=1, ComparisonOperator="GreaterThanOrEqualToThreshold", AlarmActions=[topic],
    )
    seed.note("alarms", region="us-east-1", name="failed-logins")
    return logs.describe_log_groups(logGroupNamePrefix="trail")["logGroups"][0]["arn"]


def region(seed, region, secrets):
    """What a region has; the second one has no Config recorder running and no detector."""
    first = region == "us-east-1"
    if not first:
        trails = seed.client("cloudtrail", region)
        made = trails.create_trail(Name="local", S3BucketName=f"logs-{seed.account}", EnableLogFileValidation=False)["TrailARN"]
        seed.note("trails", arn=made, name="local", multi_region=False, validation=False, logging=False)
    _recorder(seed, region, first)
    if first:
        detector = seed.client("guardduty", region).create_detector(Enable=True)["DetectorId"]
        seed.note("detectors", region=region, id=detector)
        seed.client("securityhub", region).enable_security_hub(EnableDefaultStandards=True)
        seed.note("hubs", region=region)
        _findings(seed, region)
    _network(seed, region)
    _machines(seed, region, secrets)
    _listeners(seed, region)


def _recorder(seed, region, running):
    config = seed.client("config", region)
    config.put_configuration_recorder(
        ConfigurationRecorder={
            "name": "default", "roleARN": f"arn:aws:iam::{seed.account}:role/config",
            "recordingGroup": {"allSupported": True, "includeGlobalResourceTypes": True},
        }
    )
    config.put_delivery_channel(DeliveryChannel={"name": "default", "s3BucketName": f"logs-{seed.account}"})
    if running:
        config.start_configuration_recorder(ConfigurationRecorderName="default")
    seed.note("recorders", region=region, name="default", recording=running)


def _findings(seed, region):
    then = (datetime.now(timezone.utc) - timedelta(days=45)).strftime("%Y-%m-%dT%H:%M:%SZ")
    for number, (label, status) in enumerate([("CRITICAL", "NEW"), ("LOW", "RESOLVED")]):
        finding = {
            "SchemaVersion": "2018-10-08", "Id": f"arn:aws:securityhub:{region}:{seed.account}:finding/{number}", "AwsAccountId": seed.account,
            "ProductArn": f"arn:aws:securityhub:{region}:{seed.account}:product/{seed.account}/default", "GeneratorId": "seeded",
            "Types": ["Software and Configuration Checks"], "CreatedAt": then, "UpdatedAt": then, "FirstObservedAt": then,
            "Severity": {"Label": label}, "Title": f"finding {number}", "Description": "seeded",
            "Resources": [{"Type": "AwsAccount", "Id": f"AWS::::Account:{seed.account}"}],
            "Workflow": {"Status": status}, "RecordState": "ACTIVE", "Compliance": {"Status": "FAILED"},
        }
        seed.client("securityhub", region).batch_import_findings(Findings=[finding])
        seed.note("hub_findings", region=region, id=finding["Id"], severity=label, workflow=status)


def _network(seed, region):
    ec2 = seed.client("ec2", region)
    vpc = ec2.create_vpc(CidrBlock="10.20.0.0/16")["Vpc"]["VpcId"]
    group = seed.client("logs", region)
    group.create_log_group(logGroupName="flow")
    flow = ec2.create_flow_logs(
        ResourceIds=[vpc], ResourceType="VPC", TrafficType="ALL", LogDestinationType="cloud-watch-logs", LogGroupName="flow",
        DeliverLogsPermissionArn=f"arn:aws:iam::{seed.account}:role/break-glass",
    )
    flow = flow["FlowLogIds"][0] if flow.get("FlowLogIds") else None
    seed.note("vpcs", region=region, id=vpc, flow_log=flow)
    bare = ec2.create_vpc(CidrBlock="10.30.0.0/16")["Vpc"]["VpcId"]
    seed.note("vpcs", region=region, id=bare, flow_log=None)
    for name, cidr in (("open-ssh", "0.0.0.0/0"), ("office", "198.51.100.0/24")):
        made = ec2.create_security_group(GroupName=name, Description=name, VpcId=vpc)["GroupId"]
        ec2.authorize_security_group_ingress(
            GroupId=made,
            IpPermissions=[{"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": cidr}]}],
        )
        seed.note("security_groups", region=region, id=made, open=cidr == "0.0.0.0/0")
    seed.made.setdefault("_vpc", {})[f"{seed.account}/{region}"] = vpc


def _machines(seed, region, secrets):
    ec2 = seed.client("ec2", region)
    for _ in range(seed.size["instances"]):
        made = ec2.run_instances(
            ImageId="ami-12c6146b", MinCount=1, MaxCount=1, InstanceType="t3.micro",
            UserData=f"#!/bin/sh\necho {secrets['user_data']}\n", MetadataOptions={"HttpTokens": "required"},
        )["Instances"][0]
        seed.note("instances", region=region, id=made["InstanceId"])
        for volume in ec2.describe_volumes(Filters=[{"Name": "attachment.instance-id", "Values": [made["InstanceId"]]}])["Volumes"]:
            seed.note(
                "volumes", region=region, id=volume["VolumeId"], encrypted=volume["Encrypted"], instance=made["InstanceId"]
            )
    code = io.BytesIO()
    with zipfile.ZipFile(code, "w") as archive:
        archive.writestr("handler.py", "def handle(event, context):\n    return 1\n")
    made = seed.client("lambda", region).create_function(
        FunctionName="job", Runtime="python3.12", Role=f"arn:aws:iam::{seed.account}:role/break-glass", Handler="handler.handle",
        Code={"ZipFile": code.getvalue()}, Environment={"Variables": {"TOKEN": secrets["lambda"]}},
    )["FunctionArn"]
    seed.note("functions", region=region, arn=made)


def _certificate(days):
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "service.invalid")])
    begin = datetime.now(timezone.utc) - timedelta(days=300)
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(x509.random_serial_number()).not_valid_before(begin)
        .not_valid_after(datetime.now(timezone.utc) + timedelta(days=days)).sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption())
    return made.public_bytes(serialization.Encoding.PEM), pem


def _listeners(seed, region):
    acm, balancers, ec2 = seed.client("acm", region), seed.client("elbv2", region), seed.client("ec2", region)
    arns = []
    for days in (200, 5):
        public, private = _certificate(days)
        arn = acm.import_certificate(Certificate=public, PrivateKey=private)["CertificateArn"]
        arns.append(arn)
        seed.note("certificates", region=region, arn=arn, days=days)
    vpc = seed.made["_vpc"][f"{seed.account}/{region}"]
    subnets = [
        ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.20.{number}.0/24", AvailabilityZone=f"{region}{zone}")["Subnet"]["SubnetId"]
        for number, zone in enumerate("ab")
    ]
    made = balancers.create_load_balancer(Name="web", Subnets=subnets, Scheme="internet-facing")["LoadBalancers"][0]["LoadBalancerArn"]
    group = balancers.create_target_group(Name="web", Protocol="HTTP", Port=80, VpcId=vpc)["TargetGroups"][0]["TargetGroupArn"]
    forward = [{"Type": "forward", "TargetGroupArn": group}]
    secure = balancers.create_listener(
        LoadBalancerArn=made, Protocol="HTTPS", Port=443, SslPolicy="ELBSecurityPolicy-TLS13-1-2-2021-06",
        Certificates=[{"CertificateArn": arns[0]}], DefaultActions=forward,
    )["Listeners"][0]["ListenerArn"]
    late = balancers.create_listener(
        LoadBalancerArn=made, Protocol="HTTPS", Port=8443, SslPolicy="ELBSecurityPolicy-2016-08",
        Certificates=[{"CertificateArn": arns[1]}], DefaultActions=forward,
    )["Listeners"][0]["ListenerArn"]
    plain = balancers.create_listener(LoadBalancerArn=made, Protocol="HTTP", Port=80, DefaultActions=forward)["Listeners"][0]["ListenerArn"]
    onward = balancers.create_listener(
        LoadBalancerArn=made, Protocol="HTTP", Port=8080,
        DefaultActions=[{"Type": "redirect", "RedirectConfig": {"Protocol": "HTTPS", "Port": "443", "StatusCode": "HTTP_301"}}],
    )["Listeners"][0]["ListenerArn"]
    for arn, protocol, is_plain in ((secure, "HTTPS", False), (late, "HTTPS", False), (plain, "HTTP", True), (onward, "HTTP", False)):
        seed.note("listeners", region=region, arn=arn, protocol=protocol, plain=is_plain)
    _classic(seed, region, subnets, arns[0])


def _classic(seed, region, subnets, certificate):
    classic = seed.client("elb", region)
    front = {"LoadBalancerPort": 443, "Protocol": "HTTPS", "InstancePort": 80, "InstanceProtocol": "HTTP", "SSLCertificateId": certificate}
    classic.create_load_balancer(LoadBalancerName="old", Listeners=[front], Subnets=subnets)
    classic.create_load_balancer_policy(
        LoadBalancerName="old", PolicyName="tls", PolicyTypeName="SSLNegotiationPolicyType",
        PolicyAttributes=[
            {"AttributeName": "Reference-Security-Policy", "AttributeValue": "ELBSecurityPolicy-TLS-1-2-2017-01"},
            {"AttributeName": "Protocol-TLSv1.2", "AttributeValue": "true"},
        ],
    )
    classic.set_load_balancer_policies_of_listener(LoadBalancerName="old", LoadBalancerPort=443, PolicyNames=["tls"])
    seed.note("listeners", region=region, arn=f"{seed.account}/{region}/classic/old/443", protocol="HTTPS", plain=False)


