"""Detached pods that are over: what other commands are answered by their ``status``, and removing them."""

from __future__ import annotations

import json
import os
import select
import time

from pyrun import AlreadyExists, NotFound, remove_leftovers, remove_tree
from pyrun_runtime.cli.message import CommandError
from pyrun_runtime.store import STATUS, read_facts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from pyrun_runtime.control import Answer, Request
    from pyrun_runtime.store import Store

# How long a supervisor that has said that its pod is over may take to end.
GONE_S = 5.0
LOOK_S = 0.005


def read_status(directory: str) -> dict[str, Any] | None:
    """The Pod, with its status, whose run directory is *directory*; None for one that is not over. Raises CommandError."""
    path = f"{directory}/{STATUS}"
    try:
        with open(path, "rb") as file:
            return dict(json.loads(file.read()))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        raise CommandError(f"{path}: {getattr(error, 'strerror', None) or error}") from None


def answer_of(directory: str, request: Request) -> Answer | None:
    """What its supervisor would have answered, in the end; None for a pod that is not over. Raises CommandError for what cannot
    be had of it any more."""
    document = read_status(directory)
    if document is None:
        return None
    verb, phase = request["verb"], document["status"]["phase"]
    if verb == "status":
        return document
    waited = verb == "wait" and (request["for"] == "exit" or (request["for"] == "phase" and request["value"] == phase))
    if verb == "stop" or waited:
        return outcome(document)
    raise CommandError(f"pod {document['metadata']['name']} is over, and its phase is {phase}")


def outcome(document: Mapping[str, Any]) -> Answer:
    """How its regular containers have ended, as :func:`pyrun_runtime.act.outcome` has it."""
    statuses = document["status"].get("containerStatuses", ())
    ended = {each["name"]: each["state"].get("terminated", {}).get("exitCode") for each in statuses}
    return {
        "phase": document["status"]["phase"],
        "exitCodes": {name: code for name, code in ended.items() if code is not None},
    }


def remove_ended(store: Store, uid: str) -> None:
    """Remove what is kept of a pod that is over, its logs with it; of one that nobody could take up what runs, too. Raises
    :class:`AlreadyExists` where its supervisor stays."""
    deadline_s = time.monotonic() + GONE_S
    logs = str(read_facts(store.run_root, uid).get("logs", ""))
    while True:
        try:
            claim = store.claim_orphan(uid)
            break
        except NotFound:
            return  # somebody else was quicker
        except AlreadyExists:
            if time.monotonic() > deadline_s:
                raise
            select.select([], [], [], LOOK_S)
    remove_leftovers(uid, claim.data)
    if logs and os.path.isdir(logs):
        remove_tree(logs)
    claim.release()
