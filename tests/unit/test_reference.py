# SPDX-License-Identifier: Apache-2.0
"""The reference pages say what the code does."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from execnode.config import NodeConfig
from gateway.nodelink.spec import specification
from gateway.scheduler import submit
from gateway.store import database, instances
from tools import reference

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

    from tests.unit.conftest import Endpoint


def page(name: str) -> str:
    return (reference.PAGES / name).read_text(encoding="utf-8")


def test_no_page_is_stale() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tools.reference", "--check"],
        cwd=reference.TOP,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_a_stale_part_is_found_and_filled_and_the_rest_is_kept(tmp_path: Path) -> None:
    file = tmp_path / "states.md"
    file.write_text("Before.\n<!-- generated: states -->\nold\n<!-- end -->\nAfter.\n")
    assert reference.stale(tmp_path, write=False) == [file]
    assert "old" in file.read_text()
    assert reference.stale(tmp_path, write=True) == [file]
    text = file.read_text()
    assert text.startswith("Before.\n")
    assert text.endswith("<!-- end -->\nAfter.\n")
    assert "| running | 16 |" in text
    assert reference.stale(tmp_path, write=False) == []


def test_a_part_that_there_is_not_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "page.md").write_text("<!-- generated: nothing -->\n<!-- end -->\n")
    with pytest.raises(reference.UnknownBlockError, match="nothing"):
        reference.stale(tmp_path, write=False)


def test_every_part_is_on_a_page() -> None:
    text = "".join(file.read_text() for file in reference.PAGES.glob("*.md"))
    for name in reference.BLOCKS:
        assert f"<!-- generated: {name} -->" in text


def test_every_setting_of_htcondor_is_on_the_page() -> None:
    config = reference.TOP / "condor-config"
    for file in config.glob("*-defaults.conf"):
        for line in file.read_text().splitlines():
            if line and not line.startswith("#"):
                assert line in page("condor-config.md")


def test_every_attribute_of_a_job_is_explained() -> None:
    text = page("job-contract.md")
    for name in submit.PROJECTION:
        if name.startswith("CondorCloud"):
            assert f"| `{name}` |" in text
    for name in re.findall(r"My\.(CondorCloud\w+)", reference.submit_description()):
        assert f"| `{name}` |" in text


def test_every_member_of_a_specification_is_explained(
    endpoint: Endpoint, ec2: Any, image: str
) -> None:
    launched = ec2.run_instances(ImageId=image, MinCount=1, MaxCount=1)["Instances"][0]
    with database.reading(endpoint.database) as db:
        instance = instances.get(db, launched["InstanceId"])
        assert instance is not None
        document = specification(db, endpoint.settings, instance)
    text = page("node-link.md")
    for name in (*document, *document["image"]):
        assert f"`{name}`" in text


def test_every_setting_of_a_node_is_explained() -> None:
    text = page("node-link.md")
    for name, default in NodeConfig._field_defaults.items():
        assert re.search(rf"\| `{name}` \| `?{re.escape(str(default))}`? \|", text)


@pytest.mark.parametrize("file", sorted(reference.TOP.glob("docs/**/*.md")), ids=lambda f: f.name)
def test_no_link_between_pages_is_broken(file: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", file.read_text()):
        assert (file.parent / target).exists(), target
