"""Resources as a document again, for a status."""

from __future__ import annotations

from pyrun.spec.quantity import format_bytes, format_milli

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.spec.pod import Resources


def resources_document(resources: Resources) -> dict[str, dict[str, str]]:
    """``requests`` and ``limits`` with quantities, each left out where it is empty."""
    pages = {f"hugepages-{format_bytes(size)}": format_bytes(amount) for size, amount in resources.hugepages}
    found = {}
    for word, cpu, memory, storage in (
        (
            "requests",
            resources.cpu_request_milli,
            resources.memory_request_bytes,
            resources.ephemeral_storage_request_bytes,
        ),
        ("limits", resources.cpu_limit_milli, resources.memory_limit_bytes, resources.ephemeral_storage_limit_bytes),
    ):
        amounts = {"cpu": None if cpu is None else format_milli(cpu)}
        amounts["memory"] = None if memory is None else format_bytes(memory)
        amounts["ephemeral-storage"] = None if storage is None else format_bytes(storage)
        found[word] = {name: amount for name, amount in {**amounts, **pages}.items() if amount is not None}
    return {word: amounts for word, amounts in found.items() if amounts}
