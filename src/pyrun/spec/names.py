"""The forms of names that Kubernetes' API checks, without regular expressions (whose import costs milliseconds).

Each ``check_x`` returns None for a good name and else a sentence that says what the name must look like. The rules
are those of apimachinery's ``validation`` package.
"""

from __future__ import annotations

from pyrun.spec.parse import quote

_LOWER = frozenset("abcdefghijklmnopqrstuvwxyz")
_UPPER = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
_DIGITS = frozenset("0123456789")
_LOWER_ALNUM = _LOWER | _DIGITS
_ALNUM = _LOWER_ALNUM | _UPPER

_LABEL_FORM = "must be lower-case letters, digits and '-', and begin and end with a letter or digit"
_QUALIFIED_FORM = "letters, digits, '-', '_' or '.', beginning and ending with a letter or digit"


def _is_label(name: str) -> bool:
    return bool(name) and set(name) <= (_LOWER_ALNUM | {"-"}) and name[0] != "-" and name[-1] != "-"


def _is_qualified_part(name: str) -> bool:
    return 0 < len(name) <= 63 and set(name) <= (_ALNUM | set("-_.")) and name[0] in _ALNUM and name[-1] in _ALNUM


def check_dns_label(name: str) -> str | None:
    """RFC 1123 label: container, volume, namespace and host names."""
    if len(name) > 63:
        return f"{quote(name)} has {len(name)} characters; at most 63 are allowed"
    return None if _is_label(name) else f"{quote(name)} {_LABEL_FORM}"


def check_dns_subdomain(name: str) -> str | None:
    """RFC 1123 subdomain: the pod's name. As in Kubernetes the length of a single label is not looked at."""
    if len(name) > 253:
        return f"{quote(name)} has {len(name)} characters; at most 253 are allowed"
    if all(_is_label(label) for label in name.split(".")):
        return None
    return f"{quote(name)} {_LABEL_FORM}; several such parts may be joined by '.'"


def check_label_key(key: str) -> str | None:
    """``[prefix/]name`` of a label."""
    prefix, slash, name = key.rpartition("/")
    if slash and check_dns_subdomain(prefix) is not None:
        return f"{quote(key)}: what stands before the '/' must be a domain name in lower case"
    return None if _is_qualified_part(name) else f"{quote(key)}: must be 1 to 63 {_QUALIFIED_FORM}"


def check_annotation_key(key: str) -> str | None:
    """As a label's key, with capitals allowed before the slash too."""
    return None if check_label_key(key.lower()) is None else check_label_key(key)


def check_label_value(value: str) -> str | None:
    if not value or _is_qualified_part(value):
        return None
    return f"{quote(value)} must be up to 63 {_QUALIFIED_FORM}"


def check_env_name(name: str) -> str | None:
    """Any printable ASCII but ``=`` (KEP-4369)."""
    if name and name.isascii() and name.isprintable() and "=" not in name:
        return None
    return f"{quote(name)} must be printable ASCII characters other than '='" if name else "must not be empty"


def check_config_key(key: str) -> str | None:
    """A key of a ConfigMap or Secret, which becomes a file's name."""
    if len(key) > 253:
        return f"{quote(key)} has {len(key)} characters; at most 253 are allowed"
    if key and set(key) <= (_ALNUM | set("-_.")) and not key.startswith("..") and key != ".":
        return None
    return f"{quote(key)} must be letters, digits, '-', '_' or '.', and not begin with '..'"


def check_port_name(name: str) -> str | None:
    """IANA service name (RFC 6335, section 5.1)."""
    good = _is_label(name) and len(name) <= 15 and "--" not in name and any(letter in _LOWER for letter in name)
    if good:
        return None
    return f"{quote(name)} must be at most 15 lower-case letters, digits and single '-', with a letter among them"


def check_uid(uid: str) -> str | None:
    """A pod's uid. Kubernetes takes any text; here it becomes part of a directory's name, so no slash and no dot."""
    if 0 < len(uid) <= 64 and set(uid) <= (_ALNUM | {"-"}) and uid[0] != "-":
        return None
    return f"{quote(uid)} must be 1 to 64 letters, digits and '-', as a UUID is"
