"""What pyproject.toml cannot say: packages from two roots, the C core, static programs, scripts, the compiled seccomp filter."""

import sys
import tomllib
from pathlib import Path

from setuptools import Distribution, Extension, find_namespace_packages, setup
from setuptools.command.build_ext import build_ext
from wheel.bdist_wheel import bdist_wheel

HERE = Path(__file__).parent
VERSION = tomllib.loads((HERE / "pyproject.toml").read_text())["project"]["version"]

# Freestanding: no C library, no position-independent start-up code to relocate, nothing to map but the program itself.
STATIC_COMPILE_ARGS = [
    *(
        "-std=gnu17",
        "-O2",
        "-D_GNU_SOURCE",
        "-ffreestanding",
        "-fno-stack-protector",
        "-fno-pie",
        "-fcf-protection=none",
    ),
    *("-fno-tree-loop-distribute-patterns", "-fno-asynchronous-unwind-tables", "-Wall", "-Wextra"),
]
STATIC_LINK_ARGS = ["-static", "-nostdlib", "-no-pie", "-s", "-Wl,--build-id=none", "-Wl,-z,noseparate-code"]
CHILD_SOURCES = [
    "csrc/child.c",
    "csrc/executable.c",
    "csrc/path.c",
    "csrc/step_copy.c",
    "csrc/step_exec.c",
    "csrc/step_file.c",
    "csrc/step_hide.c",
    "csrc/step_mount.c",
    "csrc/step_mount_old.c",
    "csrc/step_namespace.c",
    "csrc/step_process.c",
    "csrc/step_scheduling.c",
    "csrc/step_terminal.c",
]

MONITOR_SOURCES = ["csrc/monitor.c", "csrc/monitor_output.c", "csrc/monitor_process.c", "csrc/spawn.c"]


class StaticExecutable(Extension):
    """A program that is shipped inside the package, next to the modules."""


class BuildExtensions(build_ext):
    def get_ext_filename(self, fullname: str) -> str:
        if isinstance(self.ext_map.get(fullname), StaticExecutable):
            return str(Path(*fullname.split(".")))
        return super().get_ext_filename(fullname)

    def build_extension(self, ext: Extension) -> None:
        if not isinstance(ext, StaticExecutable):
            super().build_extension(ext)
            return
        self.build_static(ext, Path(self.get_ext_fullpath(ext.name)))

    def build_static(self, ext: StaticExecutable, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        args = [a for a in STATIC_COMPILE_ARGS if not (a.startswith("-fcf") and "x86_64" not in self.plat_name)]
        objects = self.compiler.compile(
            ext.sources,
            output_dir=self.build_temp + "/static",
            include_dirs=["csrc"],
            macros=ext.define_macros,
            extra_postargs=args,
            depends=ext.depends,
        )
        self.compiler.link_executable(objects, str(path), extra_postargs=STATIC_LINK_ARGS)

    def run(self) -> None:
        super().run()
        self.build_seccomp_filter()

    def build_seccomp_filter(self) -> None:
        sys.path.insert(0, str(HERE / "src"))
        try:
            from pyrun.container.seccomp_build import build_default_profiles
        finally:
            sys.path.pop(0)
        package = HERE / "src/pyrun" if self.inplace or self.editable_mode else Path(self.build_lib) / "pyrun"
        (package / "container").mkdir(parents=True, exist_ok=True)
        build_default_profiles(package / "container")


# setuptools has no module of its own for this one, and what a bare `import distutils` finds depends on the Python.
build_scripts = Distribution().get_command_class("build_scripts")


class BuildScripts(build_scripts):
    """Puts the front of pyrun-oci beside the script that it hands over to."""

    def run(self) -> None:
        super().run()
        self.run_command("build_ext")  # whose compiler it is built with
        front = Path(self.build_dir) / FRONT.name
        self.get_finalized_command("build_ext").build_static(FRONT, front)
        front.chmod(0o755)

    def get_source_files(self) -> list[str]:
        return [*super().get_source_files(), *FRONT.sources]  # for a source distribution


class AbiWheel(bdist_wheel):
    """One wheel for every CPython from 3.11 on: the extension uses the limited API."""

    def get_tag(self) -> tuple[str, str, str]:
        _, _, platform = super().get_tag()
        return "cp311", "abi3", platform


# What the C sources include and what the build runs: named here, setuptools puts them into a source distribution.
DEPENDS = [str(path.relative_to(HERE)) for path in sorted((HERE / "csrc").glob("*")) if path.suffix in (".h", ".py")]

# Not among the extensions: those are installed into a package, and this is a command.
FRONT = StaticExecutable("pyrun-oci", ["csrc/oci_front.c"], depends=DEPENDS)

setup(
    # Folders inside the two packages have no __init__.py where there is nothing to say in it.
    packages=[
        name
        for root in ("src", "runtime")
        for name in find_namespace_packages(root, include=("pyrun*",), exclude=("*.__pycache__",))
    ],
    package_dir={"pyrun": "src/pyrun", "pyrun_runtime": "runtime/pyrun_runtime"},
    package_data={"pyrun": ["py.typed", "*.pyi", "container/*.bpf"], "pyrun_runtime": ["py.typed"]},
    scripts=["runtime/scripts/pyrun-oci-python"],
    cffi_modules=["csrc/ffi_build.py:ffi"],
    ext_modules=[
        StaticExecutable("pyrun.pyrun-stage", ["csrc/stage.c", *CHILD_SOURCES], depends=DEPENDS),
        StaticExecutable(
            "pyrun.pyrun-pause", ["csrc/pause.c"], depends=DEPENDS, define_macros=[("PYRUN_VERSION", f'"{VERSION}"')]
        ),
        StaticExecutable("pyrun.pyrun-monitor", MONITOR_SOURCES, depends=DEPENDS),
        StaticExecutable("pyrun.pyrun-init", ["csrc/init.c"], depends=DEPENDS),
        StaticExecutable("pyrun.pyrun-sweep", ["csrc/sweep.c"], depends=DEPENDS),
    ],
    cmdclass={"build_ext": BuildExtensions, "build_scripts": BuildScripts, "bdist_wheel": AbiWheel},
)
