#!/usr/bin/env python3
"""The figures of a report, counted again from the archive by a program that shares no code with the one that wrote it: slots by outcome,
occurrences, deviations. What each figure means is in docs/REPORTS.md, the bytes are in docs/FORMAT.md.

    recount.py ARCHIVE report.json

ARCHIVE is the origin's directory, the one with `checkpoint`. Python 3.9 or later, its standard library alone. Exits 0 where all figures
agree, 1 where one differs (each is printed), 2 where it cannot tell. Signatures and times are not its matter: verify first. It does hash
the log against the checkpoint, and every document and bundle that it reads against its entry.
"""

import base64
import bisect
import calendar
import collections
import datetime
import hashlib
import json
import pathlib
import sys
import zipfile
import io

UTC = datetime.timezone.utc
DAY = 86400
MOST = 40


def fail(text):
    print(text, file=sys.stderr)
    sys.exit(2)


def second(text):
    """An RFC 3339 instant as seconds since 1970, with its fraction."""
    moment = datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))
    return moment.replace(tzinfo=moment.tzinfo or UTC).timestamp()


def spelt(at):
    return datetime.datetime.fromtimestamp(at, UTC).isoformat().replace("+00:00", "Z")


# The log (docs/FORMAT.md, section 6)


def tile_name(index, width):
    groups = [f"{index % 1000:03}"]
    while index >= 1000:
        index //= 1000
        groups.insert(0, f"x{index % 1000:03}")
    return "tile/entries/" + "/".join(groups) + (f".p/{width}" if width < 256 else "")


def leaves(archive, size):
    for index in range((size + 255) // 256):
        width = min(256, size - 256 * index)
        path = archive / tile_name(index, width)
        if not path.exists():
            path = archive / tile_name(index, 256)
        data, at = path.read_bytes(), 0
        for _ in range(width):
            length = int.from_bytes(data[at : at + 2], "big")
            yield data[at + 2 : at + 2 + length]
            at += 2 + length


def root_of(hashes):
    """RFC 6962, section 2.1."""
    if not hashes:
        return hashlib.sha256().digest()
    stack = []
    for position, leaf in enumerate(hashes):
        stack.append(leaf)
        while position & 1:
            right, left = stack.pop(), stack.pop()
            stack.append(hashlib.sha256(b"\x01" + left + right).digest())
            position >>= 1
    while len(stack) > 1:
        right, left = stack.pop(), stack.pop()
        stack.append(hashlib.sha256(b"\x01" + left + right).digest())
    return stack[0]


def read_log(archive):
    lines = (archive / "checkpoint").read_text().split("\n")
    size, root = int(lines[1]), base64.b64decode(lines[2])
    entries, hashes = [], []
    for leaf in leaves(archive, size):
        hashes.append(hashlib.sha256(b"\x00" + leaf).digest())
        statement = json.loads(leaf)
        statement["leaf"] = hashlib.sha256(leaf).hexdigest()
        entries.append(statement)
    if root_of(hashes) != root:
        fail("the entries do not hash to the checkpoint's root")
    return entries


def subject(archive, statement):
    """The bytes that an entry names; None where they are gone or are others."""
    named = statement["subject"][0]
    try:
        data = (archive / named["name"]).read_bytes()
    except FileNotFoundError:
        return None
    return data if hashlib.sha256(data).hexdigest() == named["digest"]["sha256"] else None


# Slots (section 8)


def named_days(schedule, first, last):
    days, months, weekdays = set(schedule["days"]), set(schedule["months"]), set(schedule["weekdays"])
    for ordinal in range(first, last + 1):
        date = datetime.date.fromordinal(ordinal)
        by_day, by_week = date.day in days, date.isoweekday() % 7 in weekdays
        if date.month in months and ((by_day or by_week) if schedule["either_day"] else (by_day and by_week)):
            yield (ordinal - datetime.date(1970, 1, 1).toordinal()) * DAY


def slots(schedule, zone, begin, end):
    """The seconds in [begin, end) at which a schedule runs."""
    found = set()
    times = [3600 * hour + 60 * minute for hour in schedule["hours"] for minute in schedule["minutes"]]
    epoch = datetime.date(1970, 1, 1).toordinal()
    for place, offset in enumerate(zone):
        starts = second(offset["from"]) if offset["from"] else None
        ends = second(zone[place + 1]["from"]) if place + 1 < len(zone) else None
        low = begin if starts is None else max(begin, starts)
        high = end if ends is None else min(end, ends)
        if low >= high:
            continue
        shift, before = offset["seconds"], zone[place - 1]["seconds"] if place else None
        first = epoch + int((low + min(shift, before if before is not None else shift)) // DAY)
        for day in named_days(schedule, first, epoch + int((high + shift) // DAY)):
            for time in times:
                local = day + time
                if starts is not None and not schedule["elapsed"]:
                    if starts + before <= local < starts + shift and low == starts:
                        found.add(starts)
                        continue
                    if local < starts + before:
                        continue
                at = local - shift
                if low <= at < high:
                    found.add(at)
    return sorted(found)


class Slots:
    """What became of every slot of the plans in force."""

    def __init__(self, entries, documents, from_, until, as_of):
        plans = []
        for index, entry in enumerate(entries):
            document = entry["predicate"].get("document")
            if document and document["kind"] == "plan":
                plan = documents[index]
                sealed = second(plan["sealed_at"])
                starts = -(-sealed // 1)
                plans.append([max(starts, plans[-1][0]) if plans else starts, plan])
        receipts, missed = collections.defaultdict(dict), collections.defaultdict(list)
        for entry in entries:
            receipt, gone = entry["predicate"].get("receipt"), entry["predicate"].get("missed")
            if receipt and receipt["slot"]:
                receipts[receipt["job"]].setdefault(second(receipt["slot"]), receipt)
            if gone:
                missed[gone["job"]].append((second(gone["first"]), second(gone["last"]), gone["cause"]))
        for job in missed:
            missed[job].sort()
        self.jobs = collections.defaultdict(lambda: collections.Counter())
        self.days = collections.defaultdict(lambda: collections.defaultdict(collections.Counter))
        self.known = sorted({planned["job"] for _, plan in plans for planned in plan["jobs"]})
        self.at = collections.defaultdict(list)
        for place, (starts, plan) in enumerate(plans):
            ends = plans[place + 1][0] if place + 1 < len(plans) else as_of + 1
            low, high = max(starts, from_), min(ends, until, as_of + 0.001)
            for planned in plan["jobs"]:
                schedule = planned["schedule"]
                if not schedule or low >= high:
                    continue
                allowance = planned["start_within_seconds"] + planned["deadline_seconds"] + plan["settle_seconds"]
                for at in slots(schedule, plan["zones"][schedule["zone"]], low, high):
                    job = planned["job"]
                    what, cause = self.fate(receipts[job].get(at), missed[job], at, allowance, as_of)
                    self.at[job].append((at, what, cause))
                    self.days[job][at // DAY][what] += 1
                    counts = self.jobs[job]
                    counts[what if what != "missed" else f"missed {cause}"] += 1
                    counts["judged"] += what != "open"
                    receipt = receipts[job].get(at)
                    counts["late"] += bool(receipt and receipt["late"])

    @staticmethod
    def fate(receipt, missed, at, allowance, as_of):
        if receipt:
            return receipt["outcome"], None
        place = bisect.bisect_right(missed, (at, float("inf"), ""))
        if place and missed[place - 1][0] <= at <= missed[place - 1][1]:
            return "missed", missed[place - 1][2]
        return ("uncovered" if at + allowance <= as_of else "open"), None


# Runs


class Run:
    def __init__(self, archive, index, entry):
        receipt = entry["predicate"]["receipt"]
        self.index, self.leaf, self.job, self.receipt = index, entry["leaf"], receipt["job"], receipt
        self.at = second(receipt["slot"] or receipt["started_at"])
        self.checks, self.zip = None, None
        data = subject(archive, entry)
        if data is None:
            return
        self.zip = zipfile.ZipFile(io.BytesIO(data))
        results = self.zip.read("results.json")
        if hashlib.sha256(results).hexdigest() == receipt["results"]:
            self.checks = {check["id"]: Check(check) for check in json.loads(results)["checks"]}

    def records(self, kind):
        try:
            lines = self.zip.read(f"records/{kind}.jsonl").decode().splitlines()
        except KeyError:
            lines = []
        return {row["id"]: row for row in map(json.loads, lines)}


class Check:
    def __init__(self, check):
        rows = check["rows"]
        self.kind, self.state, self.outcome = check["population"]["kind"], check["population"]["state"], check["outcome"]
        named = lambda list: {row["id"] if isinstance(row, dict) else row for row in list}
        self.passes, self.exempt = named(rows["pass"]), named(rows["exempt"])
        self.fails, self.unknown = named(rows["fail"]), named(rows["unknown"])

    def whole(self):
        return self.state in ("whole", "absent")


class Failing:
    """Records from first to last sight, run after run of one check on one job."""

    def __init__(self):
        self.open, self.ended = {}, []

    def run(self, run, name):
        check = run.checks[name]
        there = None
        for record in sorted(set(self.open) - check.fails):
            if record in check.passes:
                how = "passes"
            elif record in check.exempt:
                how = "exempt"
            elif record in check.unknown or not check.whole():
                continue
            else:
                there = run.records(check.kind) if there is None else there
                how = "not_in_population" if record in there else "gone"
            found = self.open.pop(record)
            found["ended"] = (run.at, how)
            self.ended.append(found)
        for record in check.fails:
            found = self.open.get(record)
            if found is None:
                id = hashlib.sha256(f"{run.job}\n{name}\n{record}\n{run.leaf}".encode()).hexdigest()[:12]
                found = {"id": "D-" + id, "first": run.at, "runs": 0, "ended": None}
                self.open[record] = found
            found["last"] = run.at
            found["runs"] += 1


# Controls


def months_after(first, months):
    month = first.month - 1 + months
    year, month = first.year + month // 12, month % 12 + 1
    day = min(first.day, calendar.monthrange(year, month)[1])
    return datetime.datetime(year, month, day, tzinfo=UTC).timestamp()


def boundary(frequency, from_, after):
    """The first boundary of a frequency after an instant."""
    days = {"automated": 1, "daily": 1, "weekly": 7}.get(frequency)
    if days:
        return from_ + ((after - from_) // (days * DAY) + 1) * days * DAY
    step = {"monthly": 1, "quarterly": 3, "semi_annual": 6, "annual": 12}.get(frequency)
    if not step:
        return None
    first, count = datetime.datetime.fromtimestamp(from_, UTC), step
    while months_after(first, count) <= after:
        count += step
    return months_after(first, count)


def supporting(control, scoped):
    collector, _, source = scoped["job"].partition("@")
    if scoped.get("off") or (control.get("sources") and source not in control["sources"]):
        return []
    asked = []
    for check in scoped["checks"]:
        names = {collector, f"{collector}/{check['id']}"}
        only, but = set(control.get("only") or names), set(control.get("except") or ())
        by_item = check["item"] in control.get("items", ()) and names & only and not names & but
        if by_item or f"{collector}/{check['id']}" in (control.get("checks") or ()):
            asked.append(check["id"])
    return asked


def verdict(run, checks):
    if run.checks is None:
        return "U"
    outcomes = [run.checks[check].outcome if check in run.checks else "unknown" for check in checks]
    for outcome, letter in (("fail", "F"), ("unknown", "U"), ("pass", "P")):
        if outcome in outcomes:
            return letter
    return "N"


class Controls:
    def __init__(self, sets, runs, from_, until, as_of, known):
        self.sets, self.runs, self.from_, self.until, self.as_of = sets, runs, from_, until, as_of
        # Up to when the log tells what came: a record may still be seen after the period.
        self.known = known

    def at(self, instant):
        """The document in force, or the first one."""
        found = self.sets[0][1]
        for starts, document in self.sets:
            if starts <= instant:
                found = document
        return found

    def occurrences(self, id):
        """(job, from or event) → state. Without a job: no job read it."""
        found = self.unread(id)
        jobs = sorted({scoped["job"] for _, document in self.sets for scoped in document["scope"]})
        for job in jobs:
            at = self.from_
            while at is not None and at < self.until:
                control, checks = self.asked(id, job, at)
                if control is None:
                    # Nothing is promised: the next document may.
                    at = min((starts for starts, _ in self.sets if starts > at), default=None)
                    at = at and boundary("daily", self.from_, at - 1)
                    continue
                ends = boundary(control["frequency"], self.from_, at)
                if ends is None:
                    break
                ends = self.until_read(id, at, ends)
                if checks:
                    dated = control.get("dated_by")
                    state = self.dated(job, at, ends, checks, dated) if dated else self.observed(job, at, ends, checks)
                    found[(job, at, "")] = state
                at = ends
            found.update(self.events(id, job))
        return found

    def read(self, id, at):
        return any(self.asked(id, scoped["job"], at)[1] for scoped in self.at(at)["scope"])

    def until_read(self, id, at, ends):
        if self.read(id, at):
            return ends
        first, last = int((at - self.from_) // DAY) + 1, int((ends - self.from_) // DAY)
        days = (self.from_ + DAY * n for n in range(first, last))
        return next((day for day in days if self.read(id, day)), ends)

    def unread(self, id):
        """The units at whose start no job is in scope; they end, at the latest, with the day in which one comes."""
        found, at = {}, self.from_
        while at is not None and at < self.until:
            control = next((one for one in self.at(at)["controls"] if one["id"] == id), None)
            ends = boundary(control["frequency"], self.from_, at) if control else boundary("daily", self.from_, at)
            if ends is None:
                break
            if control and not self.read(id, at):
                ends = self.until_read(id, at, ends)
                found[(None, at, "")] = "open" if ends > min(self.as_of, self.until) else "not_observed"
            at = ends
        return found

    def asked(self, id, job, at):
        document = self.at(at)
        control = next((one for one in document["controls"] if one["id"] == id), None)
        scoped = next((one for one in document["scope"] if one["job"] == job), None)
        return control, supporting(control, scoped) if control and scoped else []

    def observed(self, job, from_, to, checks):
        seen = {verdict(run, checks) for run in self.runs[job] if from_ <= run.at < min(to, self.until)}
        if "F" in seen:
            return "deviation"
        if to > min(self.as_of, self.until):
            return "open"
        return "operated" if "P" in seen else "no_occasion" if "N" in seen else "not_observed"

    def seen(self, job, checks, dated):
        """Every dated record: its instant, and what the newest run that saw it says."""
        found = {}
        for run in self.runs[job]:
            if run.checks is None:
                continue
            for id, row in run.records(dated["kind"]).items():
                value = row
                for part in dated["at"].split("."):
                    value = value.get(part) if isinstance(value, dict) else None
                asked = [run.checks[check] for check in checks if check in run.checks]
                fate = "unknown"
                for name, rows in (("exempt", "exempt"), ("pass", "passes"), ("unknown", "unknown"), ("fail", "fails")):
                    fate = name if any(id in getattr(check, rows) for check in asked) else fate
                found[id] = (second(value) if isinstance(value, str) else None, fate)
        return found

    def dated(self, job, from_, to, checks, dated):
        seen = {fate for at, fate in self.seen(job, checks, dated).values() if at is not None and from_ <= at < to}
        wait = to + dated.get("within_days", 0) * DAY
        if "fail" in seen:
            return "deviation"
        if to > min(self.known, self.until):
            return "open"
        if "pass" in seen:
            return "operated"
        if wait > self.known:
            return "open"
        if seen:
            return "not_observed"
        return "deviation" if self.fully_seen(job, from_, wait, dated) else "not_observed"

    def fully_seen(self, job, from_, to, dated):
        windows = sorted(
            (second(window["from"]), second(window["to"]))
            for window in (run.receipt.get("window") for run in self.runs[job])
            if window and window["whole"]
        )
        if not any(run.receipt.get("window") for run in self.runs[job]):
            whole = lambda run: run.checks and all(c.state == "whole" for c in run.checks.values() if c.kind == dated["kind"])
            return any(run.at >= to and whole(run) for run in self.runs[job])
        at = from_
        for begin, end in windows:
            if begin > at:
                break
            at = max(at, end)
        return at >= to

    def events(self, id, job):
        found = {}
        control, checks = self.asked(id, job, self.until - 1)
        if not control or control["frequency"] != "per_event" or not control.get("dated_by"):
            return found
        states = {"fail": "deviation", "pass": "operated", "exempt": "no_occasion"}
        for record, (at, fate) in self.seen(job, checks, control["dated_by"]).items():
            if checks and at is not None and self.from_ <= at < self.until:
                found[(job, at, record)] = states.get(fate, "not_observed")
        return found


# Comparison


class Differences:
    def __init__(self):
        self.count, self.compared = 0, 0

    def same(self, what, report, recount):
        self.compared += 1
        if report != recount:
            self.count += 1
            if self.count <= MOST:
                print(f"{what}: the report says {report}, the archive {recount}")


def main():
    if len(sys.argv) != 3:
        fail(__doc__)
    archive, report = pathlib.Path(sys.argv[1]), json.loads(pathlib.Path(sys.argv[2]).read_text())
    if report["view"]["kind"] != "period":
        fail("the report is of an instant, not of a period")
    from_, until, as_of = second(report["view"]["from"]), second(report["view"]["to"]), second(report["as_of"])
    entries = read_log(archive)
    refused = {finding["index"] for finding in report["integrity"]["findings"] if finding.get("code") != "SLOT-MISSING"}
    documents = {}
    for index, entry in enumerate(entries):
        document = entry["predicate"].get("document")
        if document and document["kind"] in ("plan", "controls"):
            data = subject(archive, entry)
            if data is None:
                fail(f"{entry['subject'][0]['name']} is not what was logged")
            documents[index] = json.loads(data)
    runs = collections.defaultdict(list)
    failing = collections.defaultdict(Failing)
    failed = collections.defaultdict(collections.Counter)
    by_hand = collections.Counter()
    last = min(until, as_of + 0.001)
    newest = max(second(entry["predicate"]["entry"]["sealed_at"]) for entry in entries)
    known = max(newest, as_of) if as_of == until else as_of
    for index, entry in enumerate(entries):
        receipt = entry["predicate"].get("receipt")
        if not receipt or second(receipt["slot"] or receipt["started_at"]) > known:
            continue
        run = Run(archive, index, entry)
        if index in refused:
            run.checks = None
        runs[run.job].append(run)
        if run.at >= last:
            continue
        for name in run.checks or ():
            failing[(run.job, name)].run(run, name)
        if run.at >= from_:
            by_hand[run.job] += not receipt["slot"]
            failed[run.job][run.at // DAY] += bool(run.checks) and any(check.fails for check in run.checks.values())

    differences = Differences()
    counted = Slots(entries, documents, from_, until, as_of)
    for job in report["jobs"]:
        name, slots_ = job["job"], job["slots"]
        said = collections.Counter({"judged": slots_["judged"], "late": slots_["late"], "uncovered": slots_["uncovered"]})
        said.update({"open": slots_["open"]})
        said.update(slots_["outcomes"])
        said.update({f"missed {cause}": count for cause, count in slots_["missed"].items()})
        differences.same(f"slots of {name}", dict(+said), dict(+counted.jobs[name]))
        differences.same(f"runs by hand of {name}", job["by_hand"], by_hand[name])
        for day in job["days"]:
            at = second(day["day"] + "T00:00:00Z") // DAY
            own = counted.days[name][at]
            words = ("collected", "partial", "failed", "missed", "uncovered", "open")
            said = [day[word] for word in words] + [day["failing"]]
            differences.same(f"{name} on {day['day']}", said, [own[word] for word in words] + [failed[name][at]])

    sets = [
        (second(entry["predicate"]["entry"]["sealed_at"]), documents[index])
        for index, entry in enumerate(entries)
        if index in documents and entry["predicate"]["document"]["kind"] == "controls" and index not in refused
    ]
    if not sets:
        fail("the log has no controls document: what the report took in its stead cannot be counted again")
    controls = Controls(sets, runs, from_, until, as_of, known)
    for control in report["controls"]:
        own = controls.occurrences(control["id"])
        counts = collections.Counter(own.values())
        required = counts["operated"] + counts["deviation"] + counts["not_observed"]
        words = ("operated", "deviation", "not_observed", "no_occasion", "open")
        said = {word: control["counts"][word] for word in ("required", *words)}
        differences.same(f"control {control['id']}", said, {"required": required, **{word: counts[word] for word in words}})
        for one in control["occurrences"]:
            key = (one["job"], second(one["from"]), one.get("record") or "")
            key = key if key in own else (one["job"], second(one["from"]), "")
            differences.same(f"{control['id']} of {key[0]} at {one['from']}", one["state"], own.get(key))

    own = {}
    for (job, name), found in failing.items():
        for record in found.ended + [dict(value) for value in found.open.values()]:
            if record["ended"] is None or record["ended"][0] >= from_:
                own[record["id"]] = (record["first"], record["last"], record["runs"], record["ended"])
    for one in report["deviations"]:
        ended = one["ended"] and (second(one["ended"]["at"]), one["ended"]["how"])
        said = (second(one["first_seen"]), second(one["last_seen"]), one["runs"], ended)
        differences.same(f"deviation {one['id']}, {one['record']}", said, own.pop(one["id"], None))
    for id, record in own.items():
        differences.same(f"deviation {id}, first seen {spelt(record[0])}", None, record)

    print(f"{len(entries)} entries, {sum(map(len, runs.values()))} runs: {differences.compared} figures compared, "
          f"{differences.count} differ")
    sys.exit(1 if differences.count else 0)


if __name__ == "__main__":
    main()
