"""Examples of every shape in botocore's models: what the wire code is tried with."""

from datetime import datetime, timezone

# What XML, JSON, URLs and forms have to escape.
AWKWARD = "a<b&\"c\" 'd' é/=+%41"


def example(shape, depth=0, above=()):
    """A value that has every member, two rows in every list, and nothing inside itself."""
    kind = shape.type_name
    if kind == "structure":
        if getattr(shape, "is_document_type", False):
            return {"any": 1}
        if shape.name in above or depth > 9:
            return {}
        members = list(shape.members.items())
        members = members[:1] if shape.is_tagged_union else members
        return {key: example(member, depth + 1, above + (shape.name,)) for key, member in members}
    if kind == "list":
        return [example(shape.member, depth + 1, above) for _ in range(2)]
    if kind == "map":
        return {(shape.key.enum or ["key"])[0]: example(shape.value, depth + 1, above)}
    if kind == "string":
        return (shape.enum or [AWKWARD])[0]
    if kind == "timestamp":
        return datetime(2026, 11, 22, 4, 5, 6, tzinfo=timezone.utc)
    if kind == "blob":
        return b"\x00\xffbytes"
    if kind in ("integer", "long"):
        return max(7, shape.metadata.get("min", 7))
    return max(1.5, shape.metadata.get("min", 1.5)) if kind in ("float", "double") else True
