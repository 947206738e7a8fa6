"""Detached Ed25519 signatures of report files: the exact bytes, signed with a key file.

The signature lies beside the file as ``FILE.sig``, a small JSON object. What is signed is every
byte of the file and nothing else, so that other tools can check it too (``openssl pkeyutl
-verify -rawin`` with the decoded ``signature``). The time in the object is the signer's own
statement and not covered: who needs a trusted time has the ``.sig`` file time-stamped.
"""

import base64
import binascii
import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import InputError, SignatureError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (
        Ed25519PrivateKey,
        Ed25519PublicKey,
    )

ALGORITHM = "Ed25519"
MAX_BYTES = 1 << 30
"""Largest file that is signed: Ed25519 needs the whole of it at once."""

_MAX_SMALL = 1 << 16  # of keys and signatures
_FIELDS = ("algorithm", "key", "sha256", "signature", "time")


@dataclass(frozen=True, slots=True)
class Signature:
    """What stands in a ``.sig`` file.

    Attributes:
        algorithm: ``Ed25519`` (RFC 8032).
        key: SHA-256 of the public key in DER (SubjectPublicKeyInfo), hexadecimal.
        sha256: Of the signed file, hexadecimal: says at a glance which file it belongs to.
        signature: Base64 of the 64 bytes.
        time: ISO 8601, UTC, by the signer's clock; not covered by the signature.
    """

    algorithm: str
    key: str
    sha256: str
    signature: str
    time: str


def signature_path(file: Path) -> Path:
    """Where a file's signature lies.

    Raises:
        InputError: The path names a folder alone.
    """
    return _beside(file, file.name + ".sig")


def public_key_path(private: Path) -> Path:
    """Where the public key to a private one lies, unless another place is named.

    Raises:
        InputError: The path names a folder alone.
    """
    return _beside(private, private.stem + ".pub.pem")


def generate_key(private: Path, public: Path, passphrase: bytes | None = None) -> str:
    """Make a key pair: PKCS#8 and SubjectPublicKeyInfo in PEM.

    Args:
        private: Must not exist; only its owner may read it.
        public: Must not exist, and is another file.
        passphrase: Encrypts the private key; None leaves it open.

    Returns:
        The key's fingerprint.

    Raises:
        InputError: A file exists or cannot be written, and no file is left behind then; or
            ``cryptography`` is not installed.
    """
    serialization = _serialization()
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    if private.resolve() == public.resolve():
        raise InputError(f"both keys would go to {private}", "name another file for the public key")
    for path in (private, public):
        if path.exists():
            raise InputError(
                f"there is a file {path} already", "a key is never overwritten: name another file"
            )
    key = Ed25519PrivateKey.generate()
    protection = (
        serialization.BestAvailableEncryption(passphrase)
        if passphrase
        else serialization.NoEncryption()
    )
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, protection
    )
    shown = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    made: list[Path] = []
    try:
        for path, content, mode in ((private, secret, 0o600), (public, shown, 0o644)):
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
            made.append(path)
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(content)
    except OSError as error:
        for path in made:  # half a pair is of no use, and in the way of the next try
            path.unlink(missing_ok=True)
        raise InputError(
            f"cannot write a key: {error}", "name files in a folder that can be written to"
        ) from error
    return fingerprint(key.public_key())


def sign_file(file: Path, key: Path, passphrase: Callable[[], bytes] = lambda: b"") -> Signature:
    """Sign a file; the caller writes the result to :func:`signature_path`.

    Args:
        file: At most 1 GiB.
        key: Private key, PEM.
        passphrase: Asked once, where the key is encrypted.

    Raises:
        InputError: A file cannot be read, the key is not Ed25519, or the passphrase is wrong.
    """
    private = _private_key(_read(key, _MAX_SMALL), key, passphrase)
    data = _read(file, MAX_BYTES)
    return Signature(
        ALGORITHM,
        fingerprint(private.public_key()),
        hashlib.sha256(data).hexdigest(),
        base64.b64encode(private.sign(data)).decode(),
        datetime.now(UTC).isoformat(timespec="seconds"),
    )


def check_signature(file: Path, public_key: Path, signature: Path | None = None) -> Signature:
    """Check a file against its signature and a public key.

    Args:
        file: What was signed.
        public_key: PEM.
        signature: Where the signature lies; default: beside the file.

    Returns:
        The signature, when it is good.

    Raises:
        SignatureError: It is not good; the message says which of the ways.
        InputError: A file cannot be read, or ``cryptography`` is not installed.
    """
    key = _public_key(_read(public_key, _MAX_SMALL), public_key)
    from cryptography.exceptions import InvalidSignature  # which is installed, as the key was read

    path = signature or signature_path(file)
    stated = parse_signature(_read(path, _MAX_SMALL), path)
    data = _read(file, MAX_BYTES)
    if stated.key != fingerprint(key):
        raise SignatureError(
            f"{path} was made with key {stated.key[:16]}, not with {fingerprint(key)[:16]}",
            "check with the public key of whoever signed it",
        )
    digest = hashlib.sha256(data).hexdigest()
    if stated.sha256 != digest:
        raise SignatureError(
            f"{file} is not what was signed: SHA-256 {digest[:16]}, not {stated.sha256[:16]}",
            "the file was changed after it was signed, or the signature is another file's",
        )
    try:
        key.verify(base64.b64decode(stated.signature, validate=True), data)
    except (InvalidSignature, binascii.Error, ValueError) as error:
        raise SignatureError(
            f"the signature in {path} is not valid",
            "do not rely on the file: it was not signed with this key",
        ) from error
    return stated


def parse_signature(data: bytes, path: Path) -> Signature:
    """Read a ``.sig`` file.

    Raises:
        InputError: It is not one.
    """
    try:
        values: Any = json.loads(data)
        found = {name: values[name] for name in _FIELDS}
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(
            f"{path} is not a signature file", "make one with: code-report sign FILE --key KEY.pem"
        ) from error
    if not all(isinstance(value, str) for value in found.values()):
        raise InputError(f"{path} is not a signature file", "its fields must be text")
    if found["algorithm"] != ALGORITHM:
        raise InputError(
            f"{path} names the algorithm {found['algorithm'][:40]!r}", f"only {ALGORITHM} is known"
        )
    return Signature(**found)


def signature_text(signature: Signature) -> str:
    """The text of a ``.sig`` file."""
    return json.dumps(asdict(signature), indent=2) + "\n"


def fingerprint(key: "Ed25519PublicKey") -> str:
    """SHA-256 of a public key in DER, hexadecimal."""
    serialization = _serialization()
    return hashlib.sha256(
        key.public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    ).hexdigest()


def _private_key(data: bytes, path: Path, passphrase: Callable[[], bytes]) -> "Ed25519PrivateKey":
    serialization = _serialization()
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    try:
        try:
            key = serialization.load_pem_private_key(data, None)
        except TypeError:  # so it says that the key is encrypted
            key = serialization.load_pem_private_key(data, passphrase())
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise InputError(
            f"cannot read a private key from {path}",
            "give the PEM file that code-report keygen made, and its passphrase if it has one",
        ) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise InputError(f"{path} is not an Ed25519 key", "make one with: code-report keygen")
    return key


def _public_key(data: bytes, path: Path) -> "Ed25519PublicKey":
    serialization = _serialization()
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        key = serialization.load_pem_public_key(data)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise InputError(
            f"cannot read a public key from {path}", "give the PEM file of the public key"
        ) from error
    if not isinstance(key, Ed25519PublicKey):
        raise InputError(f"{path} is not an Ed25519 key", "give the PEM file of the public key")
    return key


def _beside(path: Path, name: str) -> Path:
    if not path.name:
        raise InputError(f"{path} is a folder", "name a file")
    return path.with_name(name)


def _read(path: Path, limit: int) -> bytes:
    try:
        with path.open("rb") as stream:
            data = stream.read(limit + 1)
    except OSError as error:
        raise InputError(
            f"cannot read {path}: {error.strerror}", "name a file that is there"
        ) from error
    if len(data) > limit:
        raise InputError(f"{path} has more than {limit} bytes", "name another file")
    return data


def _serialization() -> Any:
    try:
        from cryptography.hazmat.primitives import serialization
    except ImportError as error:
        raise InputError(
            "signing needs the package cryptography",
            "install it: pip install 'code-forensics[sign]'",
        ) from error
    return serialization
