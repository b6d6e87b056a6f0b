"""What a program gets beyond its configuration. The root is hostile: an image made it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pyrun import complete_process
from pyrun.spec.oci import OciCapabilities, OciProcess, OciUser

PASSWD = "root:x:0:0:root:/root:/bin/sh\nbroken\nuser:x:1000:1000::/home/user:/bin/sh\nodd:x:7:7::relative:\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root/etc").mkdir(parents=True)
    (tmp_path / "root/etc/passwd").write_text(PASSWD)
    return tmp_path / "root"


def env_of(root: Path, uid: int = 0, env: tuple[str, ...] = ()) -> tuple[str, ...]:
    return complete_process(OciProcess("/", ("x",), env=env, user=OciUser(uid=uid)), str(root)).env


@pytest.mark.parametrize(("uid", "home"), [(0, "/root"), (1000, "/home/user"), (7, "/"), (4711, "/")])
def test_home_is_the_users(root: Path, uid: int, home: str) -> None:
    assert env_of(root, uid, ("A=b",)) == ("A=b", f"HOME={home}")


def test_home_that_is_given_stays(root: Path) -> None:
    assert env_of(root, env=("HOME=/else", "A=b")) == ("HOME=/else", "A=b")


def test_of_two_variables_the_last_counts(root: Path) -> None:
    assert env_of(root, env=("A=1", "HOME=", "A=2=3", "B")) == ("A=2=3", "HOME=", "B")


def test_no_capabilities_are_none_at_all(root: Path) -> None:
    process = OciProcess("/", ("x",))
    assert process.capabilities is None
    assert complete_process(process, str(root)).capabilities == OciCapabilities()
    given = OciCapabilities(effective=("CAP_KILL",))
    assert complete_process(OciProcess("/", ("x",), capabilities=given), str(root)).capabilities == given


def test_a_link_that_leads_out_stays_inside(root: Path) -> None:
    (root.parent / "passwd").write_text("root:x:0:0::/outside:\n")
    (root / "etc/passwd").unlink()
    (root / "etc/passwd").symlink_to(root.parent / "passwd")
    assert env_of(root) == ("HOME=/",)
    (root / "etc/passwd").unlink()
    (root / "etc/passwd").symlink_to("../../../../inside")
    (root / "inside").write_text("root:x:0:0::/inside:\n")
    assert env_of(root) == ("HOME=/inside",)


def test_a_passwd_that_is_no_file(root: Path) -> None:
    (root / "etc/passwd").unlink()
    os.mkfifo(root / "etc/passwd")
    assert env_of(root) == ("HOME=/",)
    (root / "etc/passwd").unlink()
    (root / "etc/passwd").mkdir()
    assert env_of(root) == ("HOME=/",)
    assert env_of(root / "nowhere") == ("HOME=/",)


def test_a_passwd_without_end(root: Path) -> None:
    with (root / "etc/passwd").open("wb") as file:
        file.truncate(1 << 40)
    assert env_of(root) == ("HOME=/",)
