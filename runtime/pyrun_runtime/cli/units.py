"""``pyrun units``: units for systemd."""

from __future__ import annotations

import os
import shutil
import sys

from pyrun_runtime.cli.manifests import DIRECTORY
from pyrun_runtime.cli.message import UsageError, naming, say, show

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun_runtime.cli.options import Options, OptionTable

OPTIONS: OptionTable = {"install": "DIR"}
HELP = f"""\
usage: pyrun units [OPTION]...

Prints units for systemd, which start this pyrun:

  pyrun.service     a detached pod for each manifest in {DIRECTORY}: systemctl enable --now pyrun
  pyrun@.service    one pod in the foreground, by the path of its manifest:
                    systemctl start "pyrun@$(systemd-escape --path /srv/web.yaml)"

  --install DIR     write them there instead, such as /etc/systemd/system

Exit status: 0.
"""
# Pods have control groups of their own, so a restart of the service ends none of them; the supervisors are left to go on as well.
UNITS = {
    "pyrun.service": """\
[Unit]
Description=Pods of the manifests in {directory}
Documentation=man:pyrun-manifests(1)
After=network.target local-fs.target

[Service]
Type=notify
NotifyAccess=main
ExecStart={pyrun} manifests
KillMode=process
Delegate=yes
Restart=always
OOMScoreAdjust=-900
TasksMax=infinity
LimitNOFILE=1048576

[Install]
WantedBy=multi-user.target
""",
    "pyrun@.service": """\
[Unit]
Description=Pod of %f
Documentation=man:pyrun-run(1)
After=network.target local-fs.target

[Service]
Type=exec
ExecStart={pyrun} run %f
KillMode=mixed
KillSignal=SIGTERM
TimeoutStopSec=infinity
Delegate=yes
Restart=on-failure
RestartPreventExitStatus=2
TasksMax=infinity
LimitNOFILE=1048576

[Install]
WantedBy=multi-user.target
""",
}


def run(options: Options, arguments: list[str]) -> int:
    if arguments:
        raise UsageError(f"unexpected {arguments[0]!r}")
    units = {name: text.format(pyrun=_command(), directory=DIRECTORY) for name, text in UNITS.items()}
    if "install" not in options:
        for name, text in units.items():
            show(f"# {name}\n{text}")
        return 0
    with naming(options["install"]):
        os.makedirs(options["install"], exist_ok=True)
        for name, text in units.items():
            with open(f"{options['install']}/{name}", "w", encoding="utf-8") as file:
                file.write(text)
    say("installed; 'systemctl daemon-reload' lets systemd read them")
    return 0


def _command() -> str:
    """This pyrun: the program that was started, or its interpreter and module."""
    program = shutil.which(sys.argv[0]) if os.path.basename(sys.argv[0]) == "pyrun" else None
    return os.path.abspath(program) if program else f"{sys.executable} -m pyrun_runtime.cli.main"
