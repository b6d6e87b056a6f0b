"""``pyrun man``: manual pages, made of the verbs' tables of options and their help texts."""

from __future__ import annotations

import os
import re

from pyrun import __version__
from pyrun_runtime.cli.message import UsageError, did_you_mean, naming, show

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyrun_runtime.cli.options import Options, OptionTable

OPTIONS: OptionTable = {"all": "DIR"}
HELP = """\
usage: pyrun man [OPTION]... [VERB]

Prints the manual page of VERB, or that of pyrun itself, for man(1):

  pyrun man logs | man -l -

  --all DIR    write the pages of all verbs into DIR instead, as pyrun.1, pyrun-run.1 and so on

Exit status: 0; 2 if there is no such verb.
"""
# "  -o, --output FORMAT   what it does": the option, and behind two blanks what it does, or that in the next line.
OPTION = re.compile(r"^  (-(?:\w, )?-?[\w-]+(?:[ =][A-Z][^ ]*(?: [A-Z.]+)*)?)(?:  +(.*))?$")


def run(options: Options, arguments: list[str]) -> int:
    from pyrun_runtime.cli.main import VERBS

    if "all" in options:
        _write_all(options["all"])
        return 0
    if len(arguments) > 1:
        raise UsageError(f"expected one VERB, found {len(arguments)}")
    verb = arguments[0] if arguments else ""
    if verb and verb not in VERBS:
        raise UsageError(f"no verb {verb!r}{did_you_mean(verb, VERBS)}")
    show(verb_page(verb) if verb else main_page(), end="")
    return 0


def _write_all(directory: str) -> None:
    from pyrun_runtime.cli.main import VERBS

    pages = {"pyrun.1": main_page(), **{f"pyrun-{verb}.1": verb_page(verb) for verb in VERBS}}
    with naming(directory):
        os.makedirs(directory, exist_ok=True)
        for name, text in pages.items():
            with open(f"{directory}/{name}", "w", encoding="utf-8") as file:
                file.write(text)


def main_page() -> str:
    from pyrun_runtime.cli.main import VERBS

    lines = [*_title("pyrun", "run Kubernetes Pods on this machine, without a daemon"), ".SH SYNOPSIS"]
    lines += [".B pyrun", "VERB [OPTION]... [ARGUMENT]...", ".SH VERBS"]
    for verb, (takes, what) in VERBS.items():
        lines += [".TP", f".BR pyrun\\-{_escape(verb)} (1) {_escape(takes)}", _escape(what)]
    lines += [".SH ENVIRONMENT"]
    for name, what in ENVIRONMENT.items():
        lines += [".TP", f".B {name}", _escape(what)]
    return "\n".join([*lines, ".SH SEE ALSO", ".BR namespaces (7),", ".BR cgroups (7)", ""])


ENVIRONMENT = {
    "PYRUN_ROOT": "where pods are known; /run/pyrun",
    "PYRUN_STATE": "where emptyDirs on disk are; /var/lib/pyrun",
    "PYRUN_LOGS": "where the logs of detached pods are; /var/log/pyrun",
    "PYRUN_SECCOMP": "where Localhost profiles are; /etc/pyrun/seccomp",
    "PYRUN_DEBUG": "1 shows the traceback of an error",
    "NO_COLOR": "anything turns colours off",
}


def verb_page(verb: str) -> str:
    from pyrun_runtime.cli.main import VERBS, load_verb

    usage, _, text = load_verb(verb).HELP.partition("\n")
    lines = [*_title(f"pyrun-{verb}", VERBS[verb][1]), ".SH SYNOPSIS", ".nf"]
    lines += [_escape(usage.removeprefix("usage: ")), ".fi", ".SH DESCRIPTION", *_body(text)]
    return "\n".join([*lines, ".SH SEE ALSO", ".BR pyrun (1)", ""])


def _title(name: str, what: str) -> list[str]:
    return [
        f'.TH {_escape(name.upper())} 1 "" "pyrun {__version__}"',
        ".SH NAME",
        f"{_escape(name)} \\- {_escape(what)}",
    ]


def _body(text: str) -> Iterator[str]:
    """Paragraphs, options with what they do, and a section for the exit status."""
    in_option = after_gap = False
    for line in text.strip("\n").split("\n"):
        option = OPTION.match(line)
        if not line.strip():
            in_option, after_gap = False, True
            continue
        if option is not None:
            in_option = True
            yield from (".TP", f".B {_escape(option[1])}", *([_escape(option[2])] if option[2] else []))
        elif line.startswith("Exit status: "):
            yield from (".SH EXIT STATUS", _escape(line.removeprefix("Exit status: ")))
        else:
            if after_gap:
                yield ".PP"
            as_it_is = line.startswith("  ") and not in_option
            yield from ((".nf", _escape(line), ".fi") if as_it_is else (_escape(line.strip()),))
        after_gap = False


def _escape(text: str) -> str:
    """For roff: a hyphen is one that can be searched for and copied, and no line is a request."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{escaped}" if escaped.startswith((".", "'")) else escaped
