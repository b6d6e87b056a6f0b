"""Where pods are known: a directory below /run for each, and one below /var/lib for what it keeps on disk.

::

    /run/pyrun/pods/<uid>/lock        flock(2)ed as long as its launcher lives, whatever ends it
                          pod.json    who it is, for people and later commands
                          manifest    what it was read from (:mod:`pyrun_runtime.cli.manifest`)
                          control     how they reach its launcher (:mod:`pyrun_runtime.control`)
    /run/pyrun/admitted/              what the node has reserved for each (:mod:`pyrun_runtime.admission`)
    /var/lib/pyrun/pods/<uid>/lock    likewise: the two trees can be chosen apart, so each has to say by itself that it is in use
                              data/   the pod's own: emptyDirs on disk

A pod whose locks are free has no launcher any more: it was killed, or the machine was restarted. :meth:`Store.collect` takes away
what is left of such pods. The kernel has killed pause and the first process of each container (PR_SET_PDEATHSIG), and with the
first process of a PID namespace all of that namespace. What runs on, and is killed then, is a first process that has cleared its
death signal, and in a hostPID pod the children of any.

A *detached* pod outlives its command, and the supervisor that drives it; it has more files (:mod:`pyrun_runtime.cli.detached`).
The presence of two of these says what it is, so that looking through a thousand pods reads none of them::

    state     what its supervisor does and knows: it is *running*, or with a free lock *orphaned*, and is to be taken up again
    status    how it has ended: with this alone, and a free lock, it is *ended*, and stays until somebody removes it
"""

from __future__ import annotations

import errno
import fcntl
import os

from pyrun import (
    AlreadyExists,
    CleanupErrors,
    Fd,
    NotFound,
    StateError,
    Undo,
    collect_user_ranges,
    remove_leftovers,
    remove_tree,
)
from pyrun_runtime.admission import release
from pyrun_runtime.cli.message import did_you_mean

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection

RUN_ROOT = "/run/pyrun"
STATE_ROOT = "/var/lib/pyrun"
LOG_ROOT = "/var/log/pyrun"
LOCK = "lock"
STATE, STATUS = "state", "status"
# What stays of a detached pod that is over.
TOLD = (LOCK, STATUS, "pod.json", "manifest", "exits", "events", "supervisor.log", "options")
TOLD_BEGINNINGS = ("objects-",)
USERS = "/users"  # below the run root: the ranges of ids that pods have, see pyrun.UserRanges
TOGETHER = 16  # abandoned pods that are held at the same time


class Store:
    """The pods below *run_root* and *state_root*, which are made when they are needed."""

    def __init__(self, run_root: str = RUN_ROOT, state_root: str = STATE_ROOT) -> None:
        self.run_root = run_root
        self.state_root = state_root
        self._tops = (f"{run_root}/pods", f"{state_root}/pods")

    def claim(self, uid: str) -> Claim:
        """Make and lock the directories of pod *uid*. Raises :class:`AlreadyExists` while another launcher has it."""
        self._make_tops()
        with _locked(self._tops[0], fcntl.LOCK_SH):
            return self._claim(uid)

    def claim_named(self, uid: str, facts: dict[str, str | int]) -> Claim:
        """:meth:`claim` and :meth:`Claim.describe`, for a pod whose name no other detached pod has. Raises
        :class:`AlreadyExists`."""
        self._make_tops()
        with _locked(self._tops[0], fcntl.LOCK_EX):
            for other in list_uids(self.run_root):
                found = read_facts(self.run_root, other)
                if "detached" in found and all([found.get(key) == facts[key] for key in ("namespace", "name")]):
                    over = os.path.exists(f"{self._tops[0]}/{other}/{STATUS}")
                    how = "has ended, and stays until 'pyrun rm'" if over else "runs"
                    raise AlreadyExists(
                        f"there is a pod {facts['namespace']}/{facts['name']} already, which {how}: {other}"
                    )
            claim = self._claim(uid)
            claim.describe(facts)
            return claim

    def claim_orphan(self, uid: str) -> Claim:
        """The directories of a detached pod whose supervisor was killed, or that has ended. Raises :class:`AlreadyExists` while
        it has one, and :class:`NotFound` for one that is not there."""
        with _locked(self._tops[0], fcntl.LOCK_SH):
            if not os.path.isdir(f"{self._tops[0]}/{uid}"):
                raise NotFound(f"no pod {uid} is known below {self.run_root}")
            return self._claim(uid)

    def find_orphans(self) -> list[str]:
        """Detached pods that nobody drives, and that are not over or were not taken away wholly."""
        return [uid for uid in list_uids(self.run_root) if self.is_orphan(uid)]

    def is_orphan(self, uid: str) -> bool:
        """Whether pod *uid* is one of those."""
        if not os.path.exists(f"{self._tops[0]}/{uid}/{STATE}"):
            return False
        try:
            self.claim_orphan(uid).keep()
        except (AlreadyExists, NotFound):
            return False
        return True

    def _make_tops(self) -> None:
        """Before anything else is made, so that a place where they cannot be leaves nothing of a pod in the other tree."""
        for top in reversed(self._tops):
            make_directories(top)

    def _claim(self, uid: str) -> Claim:
        with Undo(f"pod {uid}") as undo:
            run_directory, state_directory = [_lock_directory(f"{top}/{uid}", undo) for top in self._tops]
            undo.push("give back what the node has reserved", release, self.run_root, uid)
            return Claim(uid, run_directory, state_directory, undo)

    def find_abandoned(self, wait: bool = False, skip: Collection[str] = ()) -> tuple[list[Claim], dict[str, OSError]]:
        """Pods without a launcher, claimed, but for those in *skip*: :data:`TOGETHER` at most, since each takes two descriptors.
        And those of which it cannot be told, with the reason. Detached pods are not among them.

        Whoever claims or releases a pod shares a lock on the directory of all; who looks for abandoned ones has it alone, so a
        pod that is just coming or going is not taken for one. Where somebody else has it, nothing is found this time, unless we
        *wait*.
        """
        claims: list[Claim] = []
        unknown: dict[str, OSError] = {}
        self._make_tops()
        try:
            with _locked(self._tops[0], fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB)):
                uids = {uid: None for top in self._tops for uid in _list_uids(top) if uid not in skip}
                for uid in uids:
                    if len(claims) == TOGETHER:
                        break
                    if self._is_detached(uid):
                        continue
                    try:
                        claims.append(self._claim(uid))
                    except AlreadyExists:
                        continue
                    except OSError as error:
                        unknown[uid] = error
        except BlockingIOError:
            pass
        return claims, unknown

    def _is_detached(self, uid: str) -> bool:
        """Whether it stays without a launcher, too. One whose first supervisor was killed before it had begun does not."""
        return any([os.path.exists(f"{self._tops[0]}/{uid}/{name}") for name in (STATE, STATUS)])

    def collect(self, wait: bool = False) -> list[tuple[str, CleanupErrors | OSError | None]]:
        """Remove what is left of pods without a launcher: the uid of each, and what could not be removed."""
        collected: dict[str, CleanupErrors | OSError | None] = {}
        while True:
            claims, unknown = self.find_abandoned(wait, collected)
            collected |= unknown
            for claim in claims:
                collected[claim.uid] = _remove(claim)
            if not claims:
                break
        if collected:
            collect_user_ranges(self.run_root + USERS)
        return list(collected.items())


def _remove(claim: Claim) -> CleanupErrors | None:
    try:
        remove_leftovers(claim.uid, claim.data)
        claim.release()
    except CleanupErrors as error:
        claim.keep()
        return error
    return None


def list_uids(run_root: str) -> list[str]:
    """The uids of the pods that are known, in no order."""
    return _list_uids(f"{run_root}/pods")


def read_facts(run_root: str, uid: str) -> dict[str, object]:
    """What :meth:`Claim.describe` wrote of a pod; nothing where it has just gone."""
    import json

    try:
        with open(f"{run_root}/pods/{uid}/pod.json", "rb") as file:
            facts = json.loads(file.read())
    except (OSError, ValueError):
        return {}
    return facts if isinstance(facts, dict) else {}


def find_pod(run_root: str, word: str) -> str:
    """The uid of the running pod that *word* means: its uid, its name, ``namespace/name``, or a beginning of one of these that
    no other pod has. What is whole goes before what is a beginning. Raises :class:`NotFound`, with the name that is nearest, and
    :class:`StateError` for several, with them all."""
    uids = list_uids(run_root)
    if word in uids:
        return word
    names = {uid: _names_of(read_facts(run_root, uid)) for uid in uids}
    named = [uid for uid in uids if word in names[uid]]
    found = named or [uid for uid in uids if word and any([each.startswith(word) for each in (uid, *names[uid])])]
    if not found:
        known = [*uids, *[name for each in names.values() for name in each]]
        raise NotFound(f"no pod {word!r} runs (looked below {run_root}){did_you_mean(word, known)}")
    if len(found) > 1:
        pods = ", ".join(sorted([f"{uid} ({names[uid][-1]})" if names[uid] else uid for uid in found]))
        how = "name" if named else "beginning"
        raise StateError(f"the {how} {word!r}", f"that of pods {pods}", "that of one: give its uid")
    return found[0]


def _names_of(facts: dict[str, object]) -> tuple[str, ...]:
    """Its name, without and with its namespace; nothing of a pod that has just gone."""
    name, namespace = facts.get("name"), facts.get("namespace")
    return (str(name), f"{namespace}/{name}") if name else ()


class Claim:
    """One pod's directories, ours until :meth:`release`. As a context manager it releases at the end of the block."""

    def __init__(self, uid: str, run_directory: Entry, state_directory: Entry, undo: Undo) -> None:
        self.uid = uid
        self.data = f"{state_directory.path}/data"
        self.directory = run_directory.path
        self._run = run_directory
        self._state = state_directory
        self._undo = undo
        self._stays = False

    def describe(self, facts: dict[str, str | int]) -> None:
        """Write pod.json."""
        members = ",\n".join([f'  "{name}": {to_json(value)}' for name, value in facts.items()])
        self.write("pod.json", f"{{\n{members}\n}}\n".encode("utf-8", "backslashreplace"))

    def write(self, name: str, data: bytes) -> None:
        """A file in the pod's run directory, for root alone: what a manifest says may be secret."""
        path = f"{self._run.path}/{name}"
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
            with Fd.adopt(os.open(path, flags, 0o600)) as fd:
                while data:
                    data = data[os.write(fd.fileno(), data) :]
        except OSError as error:
            error.filename = path  # a write that fails (a full disk) does not say of what
            raise

    def replace(self, name: str, data: bytes) -> None:
        """:meth:`write`, of which nobody ever sees a half."""
        self.write(f".{name}", data)
        os.rename(f"{self._run.path}/.{name}", f"{self._run.path}/{name}")

    def unlink(self, name: str) -> None:
        """Idempotent."""
        try:
            os.unlink(f"{self._run.path}/{name}")
        except FileNotFoundError:
            pass

    def release(self) -> None:
        """Remove the directories. Raises :class:`CleanupErrors` when something is still in ``data``."""
        with _locked(os.path.dirname(self._run.path), fcntl.LOCK_SH):
            self._undo.run()

    def retire(self) -> None:
        """The pod is over: of its directories what tells about it stays, and nobody has it any more. Raises
        :class:`CleanupErrors` when something is still in ``data``: then all stays as it is."""
        _remove_directory(self._state.path)
        release(os.path.dirname(os.path.dirname(self._run.path)), self.uid)
        for name in os.listdir(self._run.path):
            if name not in TOLD and not name.startswith(TOLD_BEGINNINGS):
                os.unlink(f"{self._run.path}/{name}")
        self._undo.forget()
        self.keep()

    def keep(self) -> None:
        """Let go of the locks and leave the directories for another :meth:`Store.collect`."""
        self._run.fd.close()
        self._state.fd.close()

    def __enter__(self) -> Claim:
        return self

    def stay(self) -> None:
        """From now on the pod outlives us: the end of the block keeps its directories."""
        self._stays = True

    def __exit__(self, *_error: object) -> None:
        if self._stays or os.path.lexists(self.data):
            self.keep()  # the pod could not be removed, which its own error says
        else:
            self.release()


class Entry:
    """A directory and its lock."""

    def __init__(self, path: str, fd: Fd) -> None:
        self.path = path
        self.fd = fd


class _locked:
    """Holds a lock on a directory, which is made if it is not there. Raises BlockingIOError with LOCK_NB."""

    def __init__(self, directory: str, how: int) -> None:
        make_directories(directory)
        self._fd = Fd.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(self._fd.fileno(), how)
        except BaseException:
            self._fd.close()
            raise

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_error: object) -> None:
        self._fd.close()


def _list_uids(top: str) -> list[str]:
    """Names that can be a pod's uid; whatever else somebody has put there is not ours to remove."""
    try:
        names = os.listdir(top)
    except FileNotFoundError:
        return []
    uids = [name for name in names if name.isascii() and name.replace("-", "").isalnum()]
    return [uid for uid in uids if os.path.isdir(f"{top}/{uid}")]


def make_directories(path: str) -> None:
    """*path* and what is missing above it, each for root alone: os.makedirs gives its mode to the last one only, and under a
    umask of 0 everybody could write into the others."""
    missing = []
    while not os.path.lexists(path):
        missing.append(path)
        path = os.path.dirname(path)
    for directory in reversed(missing):
        _make_directory(directory)


def _make_directory(path: str) -> None:
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        pass  # somebody else was quicker


def _lock_directory(path: str, undo: Undo) -> Entry:
    while True:
        _make_directory(path)
        fd = _open_lock(path)
        if fd is None:
            continue
        try:
            fcntl.flock(fd.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            fd.close()
            raise AlreadyExists(f"pod {os.path.basename(path)} is running already ({path} is locked)") from None
        # Between our open and our flock its owner may have removed the directory: then we hold a lock on nothing.
        if _is_at(fd, f"{path}/{LOCK}"):
            break
        fd.close()
    undo.push(f"unlock {path}", fd.close)
    undo.push(f"remove directory {path}", lambda: _remove_directory(path))
    return Entry(path, fd)


def _remove_directory(path: str) -> None:
    """The lock goes last: from then on somebody else may claim the directory, and what is in it then is theirs."""
    for name in os.listdir(path):
        if name == LOCK:
            continue
        if os.path.isdir(f"{path}/{name}") and not os.path.islink(f"{path}/{name}"):
            remove_tree(f"{path}/{name}")
        else:
            os.unlink(f"{path}/{name}")
    os.unlink(f"{path}/{LOCK}")
    try:
        os.rmdir(path)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.ENOENT):
            raise


def _open_lock(path: str) -> Fd | None:
    """None where the directory was removed under us. Where there is no directory and none can be (a link to nothing), there
    is nothing to wait for, and where no file can be made in it, it goes again."""
    try:
        return Fd.adopt(os.open(f"{path}/{LOCK}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))
    except FileNotFoundError:
        if os.path.lexists(path) and not os.path.isdir(path):
            raise
        return None
    except OSError:
        _remove_if_empty(path)
        raise


def _remove_if_empty(path: str) -> None:
    try:
        os.rmdir(path)
    except OSError:
        pass  # not a directory, or not ours alone: the error that led here is the one to tell


def _is_at(fd: Fd, path: str) -> bool:
    ours = os.fstat(fd.fileno())
    try:
        there = os.stat(path, follow_symlinks=False)
    except OSError as error:
        if error.errno != errno.ENOENT:
            raise
        return False
    return (ours.st_dev, ours.st_ino) == (there.st_dev, there.st_ino)


def to_json(value: str | int) -> str:
    if isinstance(value, int):
        return str(value)
    try:
        # What json itself uses; importing that costs as much as all of this file.
        from _json import encode_basestring_ascii
    except ImportError:
        from json.encoder import encode_basestring_ascii
    return encode_basestring_ascii(value)
