"""The program of ``exec``: from a file, or the container's own with what the options say instead."""

from __future__ import annotations

from pyrun import OciCapabilities, OciProcess, load_oci_process, replace
from pyrun_runtime.cli.message import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun import OciSpec
    from pyrun_runtime.oci.options import Options, OptionTable

PROCESS_OPTIONS: OptionTable = {
    "process,p": "FILE",
    "cwd": "DIR",
    "env,e": "NAME=VALUE",
    "tty,t": "",
    "user,u": "UID[:GID]",
    "additional-gids,g": "GID",
    "cap,c": "CAPABILITY",
    "no-new-privs": "",
    "apparmor": "PROFILE",
    "process-label": "LABEL",
}
PROCESS_OPTIONS_HELP = """\
  -p, --process FILE       the program as JSON: 'process' of a config.json
  --cwd DIR                its working directory
  -e, --env NAME=VALUE     a variable; may be repeated
  -t, --tty                give it a terminal
  -u, --user UID[:GID]     run it as this user
  -g, --additional-gids G  one more group; may be repeated
  -c, --cap CAPABILITY     one more capability; may be repeated
  --no-new-privs           set-uid programs give it nothing
  --apparmor PROFILE       its AppArmor profile
  --process-label LABEL    its SELinux label
"""
ID_MOST = 2**32 - 2


def read_process(options: Options, spec: OciSpec, command: list[str]) -> OciProcess:
    """Raises :class:`UsageError` for options that are wrong, :class:`SpecError` for a file that is."""
    path = options.get("process")
    if path:
        if command:
            raise UsageError(f"--process {path} has the command already; unexpected argument {command[0]!r}")
        with open(path, "rb") as file:
            return load_oci_process(file.read(), path)
    if not command:
        raise UsageError("the command to run is missing")
    assert spec.process is not None
    process = replace(spec.process, args=tuple(command), terminal=options.flag("tty"), console_size=None)
    return _with_rights(options, _with_options(options, process))


def _with_options(options: Options, process: OciProcess) -> OciProcess:
    variables = options.all("env")
    for variable in variables:
        if variable.find("=") < 1:
            raise UsageError(f"--env {variable}: not NAME=VALUE")
    return replace(
        process,
        cwd=options.get("cwd") or process.cwd,
        env=(*process.env, *variables),
        apparmor_profile=options.get("apparmor") or process.apparmor_profile,
        selinux_label=options.get("process-label") or process.selinux_label,
    )


def _with_rights(options: Options, process: OciProcess) -> OciProcess:
    user = process.user
    if options.get("user"):
        uid, colon, gid = options.get("user").partition(":")
        user = replace(user, uid=_id("user", uid), gid=_id("user", gid) if colon else user.gid)
    groups = [_id("additional-gids", text) for text in options.all("additional-gids")]
    user = replace(user, additional_gids=(*user.additional_gids, *groups))
    privileges = process.no_new_privileges or options.flag("no-new-privs")
    capabilities = _capabilities(process.capabilities, options.all("cap"))
    return replace(process, user=user, no_new_privileges=privileges, capabilities=capabilities)


def _id(option: str, text: str) -> int:
    if not (text.isascii() and text.isdigit()) or int(text) > ID_MOST:
        raise UsageError(f"--{option} {text}: not the number of a user or group")
    return int(text)


def _capabilities(given: OciCapabilities | None, more: list[str]) -> OciCapabilities | None:
    """As runc has it: added to all sets but the inheritable one, and to the ambient one only if something is inheritable."""
    if not more:
        return given
    old = given or OciCapabilities()
    names = tuple([f"CAP_{name.upper().removeprefix('CAP_')}" for name in more])
    ambient = (*old.ambient, *names) if old.inheritable else old.ambient
    return replace(
        old,
        bounding=(*old.bounding, *names),
        effective=(*old.effective, *names),
        permitted=(*old.permitted, *names),
        ambient=ambient,
    )
