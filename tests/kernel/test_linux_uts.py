"""uts.py and keyctl.py."""

from __future__ import annotations

import os

import pytest

from fixtures.interpreter import run_python


@pytest.mark.root
def test_names_of_a_namespace() -> None:
    before = os.uname().nodename
    run_python(
        """
        import os
        from pathlib import Path
        from pyrun._core import lib
        from pyrun.errors import KernelError
        from pyrun.linux import namespace, uts
        namespace.unshare(lib.CLONE_NEWUTS)
        uts.sethostname("näme")
        uts.setdomainname("domain")
        assert os.uname().nodename == "näme"
        assert Path("/proc/sys/kernel/domainname").read_text() == "domain\\n"
        for function, call in ((uts.sethostname, "sethostname(2)"), (uts.setdomainname, "setdomainname(2)")):
            try:
                function("x" * 65)
            except KernelError as error:
                assert (error.errno, error.call) == (22, call)
            else:
                raise AssertionError(call)
        """
    )
    assert os.uname().nodename == before


def test_session_keyring() -> None:
    run_python(
        """
        import errno
        from pyrun.errors import KernelError
        from pyrun.linux import keyctl
        try:
            first, second = keyctl.join_session_keyring(), keyctl.join_session_keyring()
        except KernelError as error:
            assert error.call == "keyctl(2)" and error.errno == errno.ENOSYS  # CONFIG_KEYS is not in every kernel
        else:
            assert first > 0 and second > 0 and first != second
            assert keyctl.join_session_keyring("pyrun-test") > 0
        """
    )
