"""``pyrun completion``: what a shell needs to complete our command lines.

The scripts ask us: ``pyrun completion --words WORD...`` prints what can stand in the place of the last word, one in a line. So
they know each verb and option that there is, and pods and containers as they are at that moment.
"""

from __future__ import annotations

import os

from pyrun_runtime.cli.document import FORMATS, OUTPUTS
from pyrun_runtime.cli.message import UsageError, did_you_mean, show
from pyrun_runtime.cli.options import setting
from pyrun_runtime.store import RUN_ROOT, list_uids, read_facts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun_runtime.cli.options import Options, OptionTable

OPTIONS: OptionTable = {"words": ""}
HELP = """\
usage: pyrun completion bash|zsh|fish

Prints a script for that shell, which completes verbs, options, what some of them take, and the names of pods and containers:

  bash    eval "$(pyrun completion bash)"                  in ~/.bashrc
  zsh     eval "$(pyrun completion zsh)"                   in ~/.zshrc, behind compinit
  fish    pyrun completion fish | source                   in ~/.config/fish/config.fish

  --words    what the scripts use: print what can stand in place of the last argument

Exit status: 0; 2 for another shell.
"""
SCRIPTS = {
    "bash": """\
_pyrun() {
    local IFS=$'\\n'
    COMPREPLY=($(compgen -W "$("${COMP_WORDS[0]}" completion --words -- "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)" \\
        -- "${COMP_WORDS[COMP_CWORD]}"))
}
complete -o default -o bashdefault -F _pyrun pyrun
""",
    "zsh": """\
_pyrun() {
    local -a found
    found=("${(@f)$("${words[1]}" completion --words -- "${(@)words[2,CURRENT]}" 2>/dev/null)}")
    [[ -n "${found[1]}" ]] && compadd -a found || _files
}
compdef _pyrun pyrun
""",
    "fish": """\
function __pyrun
    set -l line (commandline -opc) (commandline -ct)
    set -l found ($line[1] completion --words -- $line[2..-1] 2>/dev/null)
    test -n "$found"; and printf '%s\\n' $found; or __fish_complete_path (commandline -ct)
end
complete -c pyrun -f -a '(__pyrun)'
""",
}
# Values of options that are one of a few, by the name of the option; others come from their verbs.
VALUES = {
    "types": ("Normal", "Warning"),
    "wait": ("running", "ready"),
    "signal": ("TERM", "KILL", "INT", "HUP", "USR1", "USR2", "QUIT", "STOP", "CONT"),
}
CONTAINER_OPTIONS = ("container", "target")


def run(options: Options, arguments: list[str]) -> int:
    if "words" in options:
        for word in complete(arguments):
            show(word)
        return 0
    shell = arguments[0] if len(arguments) == 1 else ""
    if shell not in SCRIPTS:
        raise UsageError(f"expected one of {', '.join(SCRIPTS)}{did_you_mean(shell, SCRIPTS)}")
    show(SCRIPTS[shell], end="")
    return 0


def complete(words: list[str]) -> list[str]:
    """What can stand in place of the last of *words*, those behind ``pyrun``; nothing for files, which the shell knows better."""
    from pyrun_runtime.cli.main import VERBS, load_verb

    *before, last = words or [""]
    if not before:
        return _beginning([*VERBS, "--help", "--version"], last)
    verb, *rest = before
    if verb not in VERBS or "--" in rest:
        return []
    table = load_verb(verb).OPTIONS
    option = _option_before(rest, table)
    name, equals, value = last.partition("=")
    if equals and name.startswith("--"):
        return [f"{name}={each}" for each in _values(verb, name[2:], rest) if each.startswith(value)]
    if option:
        return _beginning(_values(verb, option, rest), last)
    if last.startswith("-"):
        return _beginning([*[f"--{key.partition(',')[0]}" for key in table], "--help"], last)
    return _beginning(_arguments(verb), last)


def _option_before(rest: list[str], table: OptionTable) -> str:
    """The option whose value comes next; empty if none does."""
    for key, called in table.items():
        name, _, letter = key.partition(",")
        if called and rest and rest[-1] in (f"--{name}", f"-{letter}" if letter else ""):
            return name
    return ""


def _values(verb: str, option: str, rest: list[str]) -> list[str]:
    from pyrun_runtime.cli.main import load_verb

    module = load_verb(verb)
    if option == "output":
        return list(OUTPUTS if hasattr(module, "list_output") else FORMATS)
    if option == "for":
        return list(getattr(module, "CONDITIONS", ()))
    if option in CONTAINER_OPTIONS:
        return _containers(rest)
    return list(VALUES.get(option, ()))


def _arguments(verb: str) -> list[str]:
    """Pods, where the verb takes some; of files the shell knows more."""
    from pyrun_runtime.cli.main import VERBS

    if verb == "completion":
        return list(SCRIPTS)
    if verb == "man":
        return list(VERBS)
    return _pods() if "POD" in VERBS[verb][0] else []


def _pods() -> list[str]:
    root = setting({}, "root", "PYRUN_ROOT", RUN_ROOT)
    return sorted({str(name) for uid in list_uids(root) if (name := read_facts(root, uid).get("name"))})


def _containers(rest: list[str]) -> list[str]:
    """Of the pods that are named, or of all: as their manifests have them."""
    from pyrun_runtime.cli.manifest import load_kept

    root = setting({}, "root", "PYRUN_ROOT", RUN_ROOT)
    names: set[str] = set()
    for uid in list_uids(root):
        if read_facts(root, uid).get("name") in rest or not set(rest) & set(_pods()):
            try:
                pod = load_kept(os.path.join(root, "pods", uid))
            except Exception:
                continue  # it has just gone, or is not ours to read
            names |= {each.name for each in (*pod.init_containers, *pod.containers, *pod.ephemeral_containers)}
    return sorted(names)


def _beginning(words: list[str], beginning: str) -> list[str]:
    return [word for word in words if word.startswith(beginning)]
