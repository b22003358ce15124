"""Stands in for the build system of a source archive: pip asks it for name and version before it keeps the archive. It builds nothing."""

import email
import pathlib


def get_requires_for_build_wheel(config_settings=None):
    return []


def prepare_metadata_for_build_wheel(directory, config_settings=None):
    facts = pathlib.Path("PKG-INFO").read_text()
    told = email.message_from_string(facts)
    info = pathlib.Path(directory, f"{told['Name'].replace('-', '_')}-{told['Version']}.dist-info")
    info.mkdir()
    info.joinpath("METADATA").write_text(facts)
    return info.name
