"""One file per question: ``ask(bench)`` measures and answers."""

from __future__ import annotations

# In the order in which they are asked, from the smallest part to the whole.
NAMES = tuple("namespaces spawn pod_start cli oci exec teardown density steps imports pool".split())
