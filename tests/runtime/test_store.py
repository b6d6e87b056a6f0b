"""Directories and locks of running pods, and taking away what killed launchers leave."""

from __future__ import annotations

import json
import os
import resource
import threading
from pathlib import Path

import pytest

from fixtures.machine import cgroup2_root
from pyrun import AlreadyExists, CleanupErrors, UserRanges
from pyrun.pod.user_range import take_user_range
from pyrun_runtime import store as store_module
from pyrun_runtime.store import Store

UID = "0a1b"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "run"), str(tmp_path / "state"))


@pytest.fixture(autouse=True)
def leftovers(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """What the library is asked to remove, without a cgroup and without root."""
    asked: list[tuple[str, str]] = []

    def remember(uid: str, directory: str) -> None:
        asked.append((uid, directory))
        store_module.remove_tree(directory)

    monkeypatch.setattr(store_module, "remove_leftovers", remember)
    return asked


def paths(tmp_path: Path) -> set[str]:
    return {str(path.relative_to(tmp_path)) for root in ("run", "state") for path in (tmp_path / root).rglob("*")}


EMPTY = {"run/pods", "state/pods"}


def test_claim_makes_and_releases(store: Store, tmp_path: Path) -> None:
    with store.claim(UID) as claim:
        assert claim.data == str(tmp_path / f"state/pods/{UID}/data")
        assert paths(tmp_path) == EMPTY | {
            f"{top}/pods/{UID}{end}" for top in ("run", "state") for end in ("", "/lock")
        }
        assert (tmp_path / f"run/pods/{UID}").stat().st_mode & 0o777 == 0o700
    assert paths(tmp_path) == EMPTY


def test_facts_are_json_whatever_is_in_them(store: Store, tmp_path: Path) -> None:
    facts: dict[str, str | int] = {"name": 'a"b\\\n\udcff', "launcher_pid": 7}
    with store.claim(UID) as claim:
        claim.describe(facts)
        assert json.loads((tmp_path / f"run/pods/{UID}/pod.json").read_text()) == facts
    assert paths(tmp_path) == EMPTY


def test_one_launcher_per_uid(store: Store) -> None:
    with store.claim(UID):
        with pytest.raises(AlreadyExists, match=f"pod {UID} is running already"):
            store.claim(UID)
        with store.claim("other"):
            pass
    store.claim(UID).release()


@pytest.mark.parametrize("other", ["run", "state"])
def test_either_directory_is_enough_to_be_running(store: Store, tmp_path: Path, other: str) -> None:
    """Somebody with the one directory in common and the other not must not take our pod for a dead one."""
    roots = [str(tmp_path / name) if name == other else str(tmp_path / "elsewhere") for name in ("run", "state")]
    with store.claim(UID):
        with pytest.raises(AlreadyExists):
            Store(*roots).claim(UID)
        assert Store(*roots).collect() == []
        assert (tmp_path / f"{other}/pods/{UID}/lock").exists()


def test_failed_claim_leaves_nothing_of_its_own(store: Store, tmp_path: Path) -> None:
    with store.claim(UID):
        before = paths(tmp_path)
        other = Store(str(tmp_path / "elsewhere"), str(tmp_path / "state"))
        with pytest.raises(AlreadyExists):
            other.claim(UID)
        assert paths(tmp_path) == before
        assert not list((tmp_path / "elsewhere").rglob("lock"))


def bad_roots(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    names = {name: str(tmp_path / name) for name in ("dangling", "file", "loop")}
    return names | {"proc": "/proc", "below proc": "/proc/x", "null": "/dev/null/x"}


@pytest.mark.parametrize("which", ["run", "state"])
@pytest.mark.parametrize("name", ["dangling", "file", "loop", "proc", "below proc", "null"])
def test_place_that_cannot_be_is_named_and_nothing_is_made(tmp_path: Path, name: str, which: str) -> None:
    bad, good = bad_roots(tmp_path)[name], str(tmp_path / "good")
    store = Store(bad, good) if which == "run" else Store(good, bad)
    for call in (store.collect, lambda: store.claim(UID)):
        with pytest.raises(OSError, match=r"director|link") as caught:
            call()
        assert str(caught.value.filename).startswith(bad)
    assert not list(tmp_path.rglob(UID))


def test_pod_that_is_a_link_to_nothing_is_no_reason_to_wait(store: Store, tmp_path: Path) -> None:
    (tmp_path / "state/pods").mkdir(parents=True)
    (tmp_path / f"state/pods/{UID}").symlink_to(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError):
        store.claim(UID)
    assert not (tmp_path / f"run/pods/{UID}").exists()


@pytest.mark.root
def test_file_system_that_takes_no_lock_keeps_no_directory(tmp_path: Path) -> None:
    """cgroupfs has directories of one's own, and no such files in them."""
    root = cgroup2_root()
    assert root is not None
    place = root / f"pyrun-test-{os.getpid()}"
    try:
        with pytest.raises(PermissionError):
            Store(str(tmp_path / "run"), str(place)).claim(UID)
        assert not (place / "pods" / UID).exists()
        assert not (tmp_path / f"run/pods/{UID}").exists()
    finally:
        (place / "pods").rmdir()
        place.rmdir()


def test_every_directory_is_for_root_alone_whatever_the_umask(tmp_path: Path) -> None:
    previous = os.umask(0)
    try:
        store = Store(str(tmp_path / "a/run"), str(tmp_path / "b/state"))
        with store.claim(UID):
            made = [path for top in ("a", "b") for path in (tmp_path / top, *(tmp_path / top).rglob("*"))]
            assert {path.stat().st_mode & 0o777 for path in made if path.is_dir()} == {0o700}
    finally:
        os.umask(previous)


def test_abandoned_pod_is_collected(store: Store, tmp_path: Path, leftovers: list[tuple[str, str]]) -> None:
    claim = store.claim(UID)
    claim.describe({"name": "x"})
    (tmp_path / f"state/pods/{UID}/data/volumes").mkdir(parents=True)
    claim.keep()
    assert store.collect() == [(UID, None)]
    assert leftovers == [(UID, claim.data)]
    assert paths(tmp_path) == EMPTY
    assert store.collect() == []


def test_running_pod_is_not(store: Store, leftovers: list[tuple[str, str]]) -> None:
    with store.claim(UID):
        assert store.collect() == []
    assert leftovers == []


def test_restart_of_the_machine_empties_run(store: Store, tmp_path: Path) -> None:
    claim = store.claim(UID)
    (tmp_path / f"state/pods/{UID}/data").mkdir()
    claim.keep()
    store_module.remove_tree(str(tmp_path / "run"))
    assert store.collect() == [(UID, None)]
    assert paths(tmp_path) == EMPTY


def test_what_cannot_be_removed_is_told_and_tried_again(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.claim(UID).keep()

    def fail(uid: str, _directory: str) -> None:
        raise CleanupErrors(f"pod {uid}: could not be undone", [OSError("busy")])

    with monkeypatch.context() as patch:
        patch.setattr(store_module, "remove_leftovers", fail)
        ((uid, error),) = store.collect()
    assert uid == UID
    assert str(error) == f"pod {UID}: could not be undone: busy"
    assert store.collect() == [(UID, None)]
    assert paths(tmp_path) == EMPTY


def test_things_of_others_are_left_alone(store: Store, tmp_path: Path, leftovers: list[tuple[str, str]]) -> None:
    strange = {"run/pods/file", "run/pods/.hidden", "state/pods/not a uid", "state/pods/a.b"}
    for name in strange:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir() if "pods/file" not in name else path.touch()
    assert store.collect() == []
    assert leftovers == []
    assert paths(tmp_path) == EMPTY | strange


def test_data_that_stays_keeps_the_directories(store: Store, tmp_path: Path) -> None:
    """The pod could not be removed: the next collection has another try."""
    with store.claim(UID) as claim:
        Path(claim.data).mkdir()
    assert Path(claim.data).exists()
    assert store.collect() == [(UID, None)]
    assert paths(tmp_path) == EMPTY


def test_a_link_is_removed_and_not_followed(store: Store, tmp_path: Path) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious/file").touch()
    with store.claim(UID):
        (tmp_path / f"run/pods/{UID}/link").symlink_to(tmp_path / "precious")
    assert (tmp_path / "precious/file").exists()
    assert paths(tmp_path) == EMPTY


def test_two_claims_never_both_hold(store: Store, tmp_path: Path) -> None:
    """Claims and releases of one uid by several threads: at no moment do two have it."""
    holders: list[int] = []
    wrong: list[object] = []

    def work(number: int) -> None:
        for _ in range(150):
            try:
                claim = store.claim(UID)
            except AlreadyExists:
                continue
            except Exception as error:
                wrong.append(error)
                return
            holders.append(number)
            if holders != [number]:
                wrong.append(list(holders))
            holders.remove(number)
            claim.release()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert paths(tmp_path) == EMPTY


def abandon(tmp_path: Path, count: int) -> list[str]:
    uids = [f"dead-{number}" for number in range(count)]
    for uid in uids:
        (tmp_path / "run/pods" / uid).mkdir(parents=True)
    return uids


def test_more_abandoned_pods_than_descriptors(store: Store, tmp_path: Path) -> None:
    """Else a machine whose launchers were all killed at once could run no pod any more."""
    uids = abandon(tmp_path, 100)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (100, hard))
    try:
        collected = store.collect()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert sorted(collected) == sorted((uid, None) for uid in uids)
    assert paths(tmp_path) == EMPTY


def test_one_that_cannot_be_claimed_keeps_nobody_from_running(store: Store, tmp_path: Path) -> None:
    abandon(tmp_path, 2)
    (tmp_path / "run/pods/dead-1/lock").symlink_to("elsewhere")
    collected = dict(store.collect())
    assert collected["dead-0"] is None
    error = collected["dead-1"]
    assert isinstance(error, OSError)
    assert error.filename == str(tmp_path / "run/pods/dead-1/lock")


def test_the_range_of_ids_of_a_killed_launcher_leaves_no_file(store: Store, tmp_path: Path) -> None:
    ranges = UserRanges(str(tmp_path / "run/users"))
    held = take_user_range(ranges)
    abandon(tmp_path, 1)
    (tmp_path / "run/users" / str(held.first + 65536)).touch()
    store.collect()
    assert [path.name for path in (tmp_path / "run/users").iterdir()] == [str(held.first)]
    held.release()
