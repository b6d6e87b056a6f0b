"""The pages for readers say what is so: manifests parse, code runs, links and names lead somewhere, tables are the code's."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import pyrun
from fixtures.machine import ROOT
from pyrun.container.security import DEFAULT_CAPABILITIES
from pyrun.pod.sandbox_plan import SHARED_MEMORY_BYTES
from pyrun.spec import annotations, image, kubernetes, volume_parse
from pyrun.spec.container_parse import PROTOCOLS, RESTART_POLICIES
from pyrun.spec.pod_fields import BUILT, MEANINGLESS, REFUSED, SERVER_METADATA
from pyrun_runtime.cli import message
from pyrun_runtime.cli.main import VERBS
from pyrun_runtime.oci import main as oci_main

README = ROOT / "README.md"
MANIFEST = ROOT / "docs" / "manifest.md"
PAGES = [README, *sorted((ROOT / "docs").glob("*.md"))]
OTHER_PAGES = [
    path for path in sorted(ROOT.glob("*/**/README.md")) if not path.relative_to(ROOT).parts[0].startswith(".")
]
# Files that a reader makes, or that pyrun writes; the pages call them by these names.
NOT_OURS = {
    "config.json",
    "state.json",
    "spec.json",
    "other.yaml",
    "trace.json",
    "solution.py",
    "pod.json",
    "seccomp.json",
}


def blocks(language: str) -> list[tuple[str, str]]:
    """(name, text) of each fenced block of *language* on the pages."""
    found = []
    for path in PAGES:
        fences = re.findall(rf"^```{language}\n(.*?)^```", path.read_text(), re.MULTILINE | re.DOTALL)
        found += [(f"{path.name}-{number}", text) for number, text in enumerate(fences, 1)]
    return found


def named(found: list[tuple[str, str]]) -> dict[str, list[object]]:
    return {"argvalues": [text for _, text in found], "ids": [name for name, _ in found]}


def by_page(paths: list[Path]) -> dict[str, list[object]]:
    return {"argvalues": list(paths), "ids": [str(path.relative_to(ROOT)) for path in paths]}


# ---- blocks ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", **named(blocks("json") + blocks("yaml")))
def test_manifest_is_valid_and_calls_for_no_warning(text: str) -> None:
    assert pyrun.load_pod(text.encode(), "page").warnings == ()


@pytest.mark.parametrize("text", **named(blocks("python")))
def test_python_uses_names_that_exist(text: str) -> None:
    used = [node.attr for node in ast.walk(ast.parse(text)) if is_attribute_of_pyrun(node)]
    assert used
    assert set(used) <= set(pyrun.__all__)


def is_attribute_of_pyrun(node: ast.AST) -> bool:
    return isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "pyrun"


@pytest.mark.cgroup2  # those of docs/library.md: tests/runtime/test_library_page.py
@pytest.mark.parametrize("text", **named([block for block in blocks("python") if block[0].startswith("README")]))
def test_python_runs(text: str, tmp_path: Path) -> None:
    (tmp_path / "solution.py").write_text("print('solved')\n")
    done = subprocess.run([sys.executable, "-c", text], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("solved\n0 ")


# ---- names -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", **by_page(PAGES + OTHER_PAGES))
def test_links_lead_somewhere(path: Path) -> None:
    targets = [link.partition("#")[0] for link in re.findall(r"\]\(([^)]+)\)", path.read_text())]
    missing = [link for link in targets if link and "://" not in link and not (path.parent / link).exists()]
    assert missing == []


@pytest.mark.parametrize("path", **by_page(PAGES))
def test_files_exist(path: Path) -> None:
    ours = {
        file.name
        for top in ("src", "runtime", "csrc", "tests", "examples", "bench")
        for file in (ROOT / top).rglob("*.*")
    }
    names = set(re.findall(r"`((?:[\w.-]+/)*[\w-]+\.(?:py|c|h|sh|json|yaml|md))`", path.read_text()))
    places = [ROOT, ROOT / "src" / "pyrun", ROOT / "runtime" / "pyrun_runtime"]
    missing = [
        name for name in names - NOT_OURS if name not in ours and not any((top / name).exists() for top in places)
    ]
    assert missing == []


@pytest.mark.parametrize("path", **by_page(PAGES))
def test_public_names_are_public(path: Path) -> None:
    names = set(re.findall(r"`pyrun\.(\w+)(?:\([^`]*)?`", path.read_text())) - {"_core", "__all__", "dev"}
    assert names <= set(pyrun.__all__)


def commands(path: Path, program: str) -> Iterator[list[str]]:
    """The words behind *program* in code: indented lines, and what stands in backticks; comments left out."""
    text = path.read_text()
    for code in re.findall(r"^ {4}(.*)$", text, re.MULTILINE) + re.findall(r"`([^`\n]+)`", text):
        found = re.match(rf"(?:sudo )?{program} +(.*)", code)
        if found:
            yield re.split(r" {2,}| #", found[1])[0].split()


@pytest.mark.parametrize("path", **by_page([*PAGES, ROOT / "examples" / "README.md"]))
def test_commands_of_pyrun_exist(path: Path) -> None:
    for verb, *words in commands(path, r"(?:\.venv/bin/)?pyrun"):
        if verb in ("run,", "--version"):  # "pyrun run, or your program"
            continue
        assert verb.rstrip(",") in VERBS, f"{path.name}: pyrun {verb}"
        module = __import__(f"pyrun_runtime.cli.{verb.rstrip(',').replace('-', '_')}", fromlist=["OPTIONS"])
        ours = words[: words.index("--")] if "--" in words else words
        unknown = {word for word in ours if word.startswith("--")} - {
            f"--{name.partition(',')[0]}" for name in module.OPTIONS
        }
        assert not unknown, f"{path.name}: pyrun {verb} {' '.join(words)}"


@pytest.mark.parametrize("path", **by_page(PAGES + OTHER_PAGES))
def test_verbs_of_dev_exist(path: Path) -> None:
    script = (ROOT / "dev").read_text()
    for verb, *_ in commands(path, r"\./dev"):
        function = f"cmd_{verb.replace('-', '_')}()"
        assert function in script, f"{path.name}: ./dev {verb}"


def test_verbs_that_the_readme_lists_are_those_of_dev() -> None:
    listed = re.search(r"`\./dev help` lists the other doors: (.*?)\.\n", README.read_text(), re.DOTALL)
    assert listed
    functions = {f"cmd_{verb.strip().replace('-', '_')}()" for verb in listed[1].split(",")}
    script = (ROOT / "dev").read_text()
    assert {function for function in functions if function not in script} == set()


# Where docs/security.md says it → the object.
SECURITY = {
    "spec.securityContext.": "PodSecurityContext",
    "securityContext.": "SecurityContext",
    "capabilities.": "Capabilities",
    "seccompProfile.": "SeccompProfile",
    "appArmorProfile.": "AppArmorProfile",
    "seLinuxOptions.": "SELinuxOptions",
    "sysctls[].": "Sysctl",
}

# ---- docs/manifest.md against the tables of the parser ---------------------------------------------------------------


def section(title: str) -> str:
    found = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", MANIFEST.read_text(), re.MULTILINE | re.DOTALL)
    assert found, title
    return found[1]


def rows(title: str) -> list[list[str]]:
    """The cells of the tables in a section, without the header and the rule."""
    lines = [line for line in section(title).splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [row for row, after in zip(cells, [*cells[1:], [""]]) if not row[0].startswith("---") and after[0] != "---"]


def quoted(text: str) -> set[str]:
    return set(re.findall(r"`([^`]+)`", text))


def first_column(title: str) -> set[str]:
    return {name for row in rows(title) for name in quoted(row[0])}


def below(prefix: str, kind: str) -> set[str]:
    return {f"{prefix}{name}" for name in BUILT[kind]}


def test_fields_of_the_pod_are_those_of_the_parser() -> None:
    metadata = below("metadata.", "ObjectMeta") - {f"metadata.{name}" for name in SERVER_METADATA}
    expected = BUILT["Pod"] - {"metadata", "spec"} | metadata | below("spec.", "PodSpec")
    assert first_column("Pod") == expected


def test_fields_of_a_container_are_those_of_the_parser() -> None:
    plain = BUILT["Container"] - {"env", "ports", "resources", "resizePolicy", "volumeMounts"}
    nested = below("env[].", "EnvVar") | below("ports[].", "ContainerPort") | below("volumeMounts[].", "VolumeMount")
    nested |= below("resources.", "ResourceRequirements") | below("resizePolicy[].", "ContainerResizePolicy")
    assert first_column("Containers") == plain | nested | {"targetContainerName"}


@pytest.mark.parametrize("title", ["Probes and hooks", "Where values come from"])
def test_fields_of_smaller_objects_are_those_of_the_parser(title: str) -> None:
    shown = {row[0]: quoted(row[1]) for row in rows(title)}
    assert shown == {kind: set(BUILT[kind]) for kind in shown}


def test_fields_of_a_volume_are_those_of_the_parser() -> None:
    nested = below("emptyDir.", "EmptyDirVolumeSource") | below("hostPath.", "HostPathVolumeSource")
    whole = BUILT["Volume"] - {"name", "emptyDir", "hostPath"}
    assert first_column("Volumes") == nested | whole


def test_every_object_of_the_parser_is_on_the_page() -> None:
    """A new object needs a table, or a line in the tests above."""
    shown = {
        "Pod",
        "ObjectMeta",
        "PodSpec",
        "Container",
        "EnvVar",
        "ContainerPort",
        "ContainerResizePolicy",
        "ResourceRequirements",
        "VolumeMount",
    }
    shown |= {row[0] for title in ("Probes and hooks", "Where values come from") for row in rows(title)}
    shown |= set(SECURITY.values())
    assert set(BUILT) == shown | {"EphemeralContainer", "Volume", "EmptyDirVolumeSource", "HostPathVolumeSource"}


def test_fields_of_security_are_those_of_the_parser() -> None:
    page = MANIFEST.with_name("security.md").read_text()
    for prefix, kind in SECURITY.items():
        assert {name for name in BUILT[kind] if f"`{prefix}{name}`" not in page} == set(), kind


def test_meaningless_fields_are_those_of_the_parser() -> None:
    assert {row[0]: quoted(row[1]) for row in rows("Without meaning on one node")} == dict(MEANINGLESS)


def test_fields_that_cannot_be_are_those_of_the_parser() -> None:
    shown = {(row[0], name): row[2] for row in rows("Refused") for name in quoted(row[1])}
    assert shown == {(kind, name): why for kind, names in REFUSED.items() for name, why in names.items()}


def test_the_version_of_kubernetes_is_that_of_the_parser() -> None:
    assert f"Kubernetes {kubernetes.API_VERSION}" in section("Refused")


def test_what_a_server_writes_is_on_the_page() -> None:
    assert set(SERVER_METADATA) <= quoted(section("Pod"))


def test_values_are_those_of_the_parser() -> None:
    assert set(RESTART_POLICIES) <= quoted(section("Pod"))
    assert set(PROTOCOLS) <= quoted(section("Containers"))
    assert {"IfNotPresent", "Never", "Always"} <= quoted(section("Containers"))
    values = {*volume_parse.MEDIA, *volume_parse.HOST_PATH_TYPES} - {""}
    assert values <= quoted(section("Volumes"))


def test_images_are_those_of_the_parser() -> None:
    works = {name.partition(":")[0] for name in first_column("Images")}
    assert works == {"host", "rootfs"}
    for name in ("host:", "rootfs:/path/to/rootfs"):
        assert str(image.parse_image(name)) == name
    refused = {name.rstrip(":") for name in quoted(section("Images")) if name.endswith(":")} - {"host"}
    assert refused == image.LATER_TRANSPORTS


def test_annotations_are_those_of_the_parser() -> None:
    rows = re.findall(r"^\| `([^`]+)` \|", (ROOT / "docs" / "extensions.md").read_text(), re.MULTILINE)
    assert rows == [name for name in annotations.KNOWN if name in rows]
    assert set(rows) == set(annotations.KNOWN)


def test_numbers_are_those_of_the_code() -> None:
    words = {13: "thirteen", 14: "fourteen"}
    assert f"{words[len(DEFAULT_CAPABILITIES)]} capabilities" in section("Containers")
    assert f"a tmpfs of {SHARED_MEMORY_BYTES >> 20} MiB" in section("Pod")


def test_exit_statuses_are_those_of_the_command() -> None:
    shown = {row[0] for row in rows("Exit status of `pyrun run`")}
    numbers = {message.FAILED, message.BAD_INPUT, message.TIMED_OUT, message.INTERRUPTED}
    assert shown == {"0", "the container's", *map(str, numbers)}


def test_every_verb_of_the_oci_runtime_is_on_its_page() -> None:
    table = (ROOT / "docs/oci.md").read_text().partition("## Commands")[2].partition("\n## ")[0]
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    named = {verb for row in rows for verb in re.findall(r"`(\w+)", row)}
    assert named == set(oci_main.VERBS)


def test_every_global_option_of_the_oci_runtime_is_on_its_page() -> None:
    page = (ROOT / "docs/oci.md").read_text()
    assert [name for name in oci_main.GLOBAL_OPTIONS if f"--{name.partition(',')[0]}" not in page] == []
