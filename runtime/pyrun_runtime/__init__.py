"""The runtimes that pyrun ships, written against the public names of :mod:`pyrun` alone."""
