"""Validates C2PA manifests with the optional package ``c2pa-python`` (extra ``c2pa``).

Content Credentials are only worth something when their signature and hashes are checked, which the
reference implementation does. It is called for files in which a manifest was found, never lets
it fetch anything from the network, and is optional: without it a manifest is reported as asserted.
"""

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

MAX_REPORT = 8 << 20

_SETTINGS = {
    "verify": {
        "verify_after_reading": True,
        "verify_trust": True,
        "remote_manifest_fetch": False,
        "ocsp_fetch": False,
    }
}


@dataclass(frozen=True, slots=True)
class Validation:
    """What the reference implementation says of a manifest.

    Attributes:
        valid: Signature and hashes fit this file.
        trusted: The signer is on a trust list, too.
        signer: Issuer of the certificate as it names itself; anyone can issue one to any name.
        generator: Claim generator of the active manifest.
        source_types: ``digitalSourceType`` of its actions.
        problems: Codes of what does not fit, such as ``assertion.dataHash.mismatch``.
    """

    valid: bool
    trusted: bool
    signer: str
    generator: str
    source_types: tuple[str, ...]
    problems: tuple[str, ...]


@cache
def _context() -> Any:
    """The package and its settings, or None where it is not installed."""
    try:
        import c2pa
    except ImportError:
        return None
    return c2pa, c2pa.Context.from_dict(_SETTINGS)


def validate(data: bytes, mime: str) -> Validation | None:
    """Validates the manifest of a file.

    Args:
        data: The whole file.
        mime: Its media type.

    Returns:
        None where the package is not installed or cannot read this manifest at all.
    """
    loaded = _context()
    if loaded is None:
        return None
    c2pa, context = loaded
    try:
        with c2pa.Reader(mime, io.BytesIO(data), context=context) as reader:
            report = reader.json()
            state = str(reader.get_validation_state())
        parsed = json.loads(report) if len(report) <= MAX_REPORT else None
    except (c2pa.C2paError, ValueError, RecursionError):
        return None
    return _of_report(parsed, state) if isinstance(parsed, dict) else None


def _of_report(report: dict[str, Any], state: str) -> Validation:
    active = _dict(_dict(report.get("manifests")).get(_text(report.get("active_manifest"))))
    info = next(_dicts(active.get("claim_generator_info")), {})
    name = f"{_text(info.get('name'))} {_text(info.get('version'))}".strip()
    types = [
        _text(action.get("digitalSourceType"))
        for assertion in _dicts(active.get("assertions"))
        for action in _dicts(_dict(assertion.get("data")).get("actions"))
    ]
    codes = [_text(status.get("code")) for status in _dicts(report.get("validation_status"))]
    return Validation(
        valid=state in {"Valid", "Trusted"},
        trusted=state == "Trusted",
        signer=_text(_dict(active.get("signature_info")).get("issuer")),
        generator=name or _text(active.get("claim_generator")),
        source_types=tuple(dict.fromkeys(kind for kind in types if kind)),
        problems=tuple(dict.fromkeys(c for c in codes if c and c != "signingCredential.untrusted")),
    )


def _dict(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _dicts(value: object) -> Iterator[dict[str, Any]]:
    return (
        (item for item in value if isinstance(item, dict)) if isinstance(value, list) else iter(())
    )


def _text(value: object) -> str:
    return value[:500] if isinstance(value, str) else ""
