"""Files with ConfigMaps and Secrets, looked at while their pod runs: what changes in them reaches its volumes."""

from __future__ import annotations

import os
import stat

from pyrun import SpecError, describe_error
from pyrun_runtime.cli.manifest import objects_in, read_source
from pyrun_runtime.cli.message import InputError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pyrun import ConfigObject, Driver
    from pyrun_runtime.cli.manifest import Source

INTERVAL_S = 1.0


class ObjectFiles:
    """The ConfigMaps and Secrets in files, each read when it has changed. What is no regular file, such as a pipe, is read once:
    a second look would find nothing there, or wait for ever. Raises as :func:`load_object_files`."""

    def __init__(self, paths: list[str]) -> None:
        # Before they are read, so that a change from here on is seen.
        self._signatures = {path: _signature(path) for path in paths}
        self._sources = {path: read_source(path) for path in self._signatures}
        self._found = {path: objects_in(source) for path, source in self._sources.items()}

    def sources(self) -> list[Source]:
        """What was in the files when they were read last and were right."""
        return list(self._sources.values())

    def objects(self) -> tuple[ConfigObject, ...]:
        """Those that were found last, in the order of the files."""
        return tuple([each for found in self._found.values() for each in found])

    def look(self) -> None:
        """Read what has changed. A file that is wrong stays as it was, until it changes again, and is told about when all
        others have been read."""
        wrong: SpecError | InputError | None = None
        for path in self._found:
            signature = _signature(path)
            if signature == self._signatures[path]:
                continue
            self._signatures[path] = signature
            try:
                source = read_source(path)
                self._found[path] = objects_in(source)
                self._sources[path] = source
            except (SpecError, InputError) as error:
                wrong = error
        if wrong is not None:
            raise wrong


class ObjectWatch:
    """Looks at *files* every :data:`INTERVAL_S`. A file that is wrong stays as it was, and is told about with *say*; so
    is each change."""

    def __init__(self, driver: Driver, files: ObjectFiles, say: Callable[[str], object], now_s: float) -> None:
        self.due_s = now_s + INTERVAL_S
        self._driver = driver
        self._files = files
        self._say = say
        self._refused: tuple[ConfigObject, ...] | None = None  # what was tried last: once is enough
        self._beside = driver.pod.spec.objects[len(files.objects()) :]  # what stands in the manifest itself

    def look(self, now_s: float) -> None:
        """See whether something has changed, if it is time for that."""
        if now_s < self.due_s:
            return
        self.due_s = now_s + INTERVAL_S
        try:
            self._files.look()
            objects = (*self._files.objects(), *self._beside)
            if objects not in (self._driver.pod.spec.objects, self._refused):
                self._refused = objects
                self._driver.pod.update_objects(objects)
                self._say("the ConfigMaps and Secrets have changed")
        except (SpecError, InputError, OSError) as error:
            self._say(f"warning: ConfigMaps and Secrets stay as they were: {describe_error(error)}")


def _signature(path: str) -> tuple[int, ...]:
    try:
        found = os.stat(path)
    except OSError:
        return ()
    if path == "-" or not stat.S_ISREG(found.st_mode):
        return ()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
