"""Who may get in: users, groups, roles, policies, keys, MFA, the organization and Identity Center."""

import json

ADMINISTRATOR = "arn:aws:iam::aws:policy/AdministratorAccess"
READ_ONLY = "arn:aws:iam::aws:policy/ReadOnlyAccess"


def _document(action, resource="*", effect="Allow", **more):
    return json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": effect, "Action": action, "Resource": resource, **more}]})


def trust(principal, external_id=None):
    """A role's trust in an account, with or without an external id."""
    statement = {"Effect": "Allow", "Principal": {"AWS": principal}, "Action": "sts:AssumeRole"}
    if external_id:
        statement["Condition"] = {"StringEquals": {"sts:ExternalId": external_id}}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def organization(seed):
    """An organization with members, one more that is suspended, and a service control policy. Gives the active members' ids."""
    organizations = seed.client("organizations")
    organizations.create_organization(FeatureSet="ALL")
    root = organizations.list_roots()["Roots"][0]["Id"]
    unit = organizations.create_organizational_unit(ParentId=root, Name="workloads")["OrganizationalUnit"]["Id"]
    members = []
    for number in range(seed.size["members"] + 1):
        name = f"member-{number}" if number < seed.size["members"] else "closed"
        status = organizations.create_account(Email=f"{name}@accounts.invalid", AccountName=name)["CreateAccountStatus"]
        account = status["AccountId"]
        organizations.move_account(AccountId=account, SourceParentId=root, DestinationParentId=unit)
        if name == "closed":
            organizations.close_account(AccountId=account)
        else:
            members.append(account)
        seed.note("organization_accounts", id=account, name=name, status="SUSPENDED" if name == "closed" else "ACTIVE")
    seed.note("organization_accounts", id=seed.account, name="master", status="ACTIVE")
    organizations.enable_policy_type(RootId=root, PolicyType="SERVICE_CONTROL_POLICY")
    content = _document("organizations:LeaveOrganization", effect="Deny")
    policy = organizations.create_policy(Name="stay", Description="no member leaves", Type="SERVICE_CONTROL_POLICY", Content=content)
    policy = policy["Policy"]["PolicySummary"]["Id"]
    organizations.attach_policy(PolicyId=policy, TargetId=unit)
    seed.note("service_control_policies", id=policy, targets=[unit])
    seed.made["organization"] = {"root": root, "unit": unit}
    return members


def collector(seed, accounts, role, external_id):
    """The user that the program runs as, which may do nothing but assume the readers."""
    iam = seed.client("iam")
    iam.create_user(UserName="collector")
    allowed = _document("sts:AssumeRole", [f"arn:aws:iam::{account}:role/{role}" for account in accounts])
    policy = iam.create_policy(PolicyName="assume-readers", PolicyDocument=allowed)["Policy"]["Arn"]
    iam.attach_user_policy(UserName="collector", PolicyArn=policy)
    key = iam.create_access_key(UserName="collector")["AccessKey"]
    seed.note("users", name="collector", password=False, mfa=False, keys=1, admin=None)
    return {"access_key": key["AccessKeyId"], "secret_key": key["SecretAccessKey"], "role": role, "external_id": external_id}


def reader(seed, management, role, external_id):
    """The role that reads this account. Its policy is put in place by whoever tests permissions."""
    iam = seed.client("iam")
    iam.create_role(RoleName=role, AssumeRolePolicyDocument=trust(f"arn:aws:iam::{management}:root", external_id))
    policy = iam.create_policy(PolicyName=role, PolicyDocument=_document("*"))["Policy"]["Arn"]
    iam.attach_role_policy(RoleName=role, PolicyArn=policy)
    seed.note("roles", name=role, policy=policy, admin="the policy attached to it, which allows everything")


# Every path by which somebody is an administrator, and some that are nobody.
PATHS = ["attached", "group", "inline", "customer", "escalation", "pass-role", "no-mfa", "plain", "old-key", "machine"]


def users(seed, secrets):
    """Users: the first ones are `PATHS`, the rest are like `plain`."""
    iam = seed.client("iam")
    iam.update_account_password_policy(
        MinimumPasswordLength=14, RequireSymbols=True, RequireNumbers=True, RequireUppercaseCharacters=True,
        RequireLowercaseCharacters=True, MaxPasswordAge=90, PasswordReusePrevention=24,
    )
    iam.create_group(GroupName="administrators")
    iam.attach_group_policy(GroupName="administrators", PolicyArn=ADMINISTRATOR)
    iam.create_group(GroupName="readers")
    iam.attach_group_policy(GroupName="readers", PolicyArn=READ_ONLY)
    own = iam.create_policy(PolicyName="everything", PolicyDocument=_document("*"))["Policy"]["Arn"]
    for number in range(seed.size["users"]):
        _user(seed, iam, own, PATHS[number] if number < len(PATHS) else f"user-{number:05}")
    planted = _document("s3:GetObject", Condition={"StringEquals": {"aws:UserAgent": secrets["policy"]}})
    iam.put_group_policy(GroupName="readers", PolicyName="planted", PolicyDocument=planted)
    seed.note("groups", name="administrators", admin=True)
    seed.note("groups", name="readers", admin=False)
    iam.create_role(RoleName="break-glass", AssumeRolePolicyDocument=trust(f"arn:aws:iam::{seed.account}:root"))
    iam.attach_role_policy(RoleName="break-glass", PolicyArn=ADMINISTRATOR)
    seed.note("roles", name="break-glass", admin="AdministratorAccess attached")


def _user(seed, iam, own, name):
    iam.create_user(UserName=name)
    facts = {"password": name != "machine", "mfa": name not in ("no-mfa", "machine"), "keys": 0, "admin": None}
    if facts["password"]:
        iam.create_login_profile(UserName=name, Password="Correct-horse-7!" + name, PasswordResetRequired=False)
    if facts["mfa"]:
        device = iam.create_virtual_mfa_device(VirtualMFADeviceName=name)["VirtualMFADevice"]
        seed.made.setdefault("mfa_seeds", []).append(device["Base32StringSeed"].decode())
        iam.enable_mfa_device(
            UserName=name, SerialNumber=device["SerialNumber"], AuthenticationCode1="123456", AuthenticationCode2="654321"
        )
    if name in ("attached", "no-mfa"):
        iam.attach_user_policy(UserName=name, PolicyArn=ADMINISTRATOR)
        facts["admin"] = "AdministratorAccess attached"
    elif name == "group":
        iam.add_user_to_group(UserName=name, GroupName="administrators")
        facts["admin"] = "in the group administrators"
    elif name == "inline":
        iam.put_user_policy(UserName=name, PolicyName="all", PolicyDocument=_document("*:*"))
        facts["admin"] = "inline policy"
    elif name == "customer":
        iam.attach_user_policy(UserName=name, PolicyArn=own)
        facts["admin"] = "customer managed policy"
    elif name == "escalation":
        iam.put_user_policy(UserName=name, PolicyName="more", PolicyDocument=_document(["iam:PutUserPolicy", "iam:List*"]))
        facts["admin"] = "may give itself any policy"
    elif name == "pass-role":
        iam.put_user_policy(UserName=name, PolicyName="pass", PolicyDocument=_document("iam:PassRole"))
        iam.put_user_policy(UserName=name, PolicyName="run", PolicyDocument=_document(["lambda:*", "logs:*"]))
        facts["admin"] = "may pass a role to a function"
    else:
        iam.add_user_to_group(UserName=name, GroupName="readers")
    if name in ("old-key", "machine"):
        key = iam.create_access_key(UserName=name)["AccessKey"]
        facts["keys"] = 1
        seed.control("/_age", {"account": seed.account, "access_key": key["AccessKeyId"], "days": 200 if name == "old-key" else 3})
    seed.note("users", name=name, **facts)


def identity_center(seed):
    """Permission sets with an administrator's and a reader's, a user, a group, and who has what where."""
    sso, store = seed.client("sso-admin"), seed.client("identitystore")
    instance = sso.list_instances()["Instances"][0]
    arn, identities = instance["InstanceArn"], instance["IdentityStoreId"]
    user = store.create_user(
        IdentityStoreId=identities, UserName="sso-user", DisplayName="An SSO user", Name={"GivenName": "An", "FamilyName": "User"},
        Emails=[{"Value": "sso-user@accounts.invalid", "Type": "work", "Primary": True}],
    )["UserId"]
    group = store.create_group(IdentityStoreId=identities, DisplayName="operators")["GroupId"]
    store.create_group_membership(IdentityStoreId=identities, GroupId=group, MemberId={"UserId": user})
    for name, policy, principal, kind in (("admin", ADMINISTRATOR, group, "GROUP"), ("read", READ_ONLY, user, "USER")):
        made = sso.create_permission_set(InstanceArn=arn, Name=name, SessionDuration="PT4H")["PermissionSet"]["PermissionSetArn"]
        sso.attach_managed_policy_to_permission_set(InstanceArn=arn, PermissionSetArn=made, ManagedPolicyArn=policy)
        for account in seed.made["accounts"]:
            sso.create_account_assignment(
                InstanceArn=arn, TargetId=account, TargetType="AWS_ACCOUNT", PermissionSetArn=made, PrincipalType=kind, PrincipalId=principal
            )
            seed.made.setdefault("assignments", []).append({"account": account, "permission_set": made, "principal": principal})
        seed.note("permission_sets", arn=made, name=name, admin=policy == ADMINISTRATOR)
    # moto knows only of the management account.
    given = {"AccountIds": seed.made["accounts"]}
    rows = [
        {"call": "sso-admin.ListAccountsForProvisionedPermissionSet", "parameters": {"PermissionSetArn": row["arn"]}, "output": given}
        for row in seed.made["permission_sets"]
    ]
    seed.control("/_answers", [{"account": seed.account, **row} for row in rows])
    seed.made["identity_center"] = {"instance": arn, "store": identities, "user": user, "group": group}
