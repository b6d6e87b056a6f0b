"""What the tests of pyrun-oci share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from fixtures.oci_command import OciRuntime


@pytest.fixture
def runtime(tmp_path: Path) -> Iterator[OciRuntime]:
    """The command; whatever a test has left is taken away by it, so that the leak check sees what it cannot."""
    made = OciRuntime(tmp_path)
    yield made
    for path in made.root.glob("*"):
        made.call("delete", "--force", path.name)
    assert made.left() == []
