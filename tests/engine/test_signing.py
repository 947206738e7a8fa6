"""Signatures against the vectors of RFC 8032, and every way in which they must fail."""

import base64
import json
import shutil
import stat
import subprocess
import sys

import pytest
from code_forensics.engine.errors import InputError, SignatureError
from code_forensics.engine.signing import (
    check_signature,
    generate_key,
    parse_signature,
    sign_file,
    signature_path,
    signature_text,
)

pytest.importorskip("cryptography")
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key

# RFC 8032, section 7.1, test 3.
SECRET = bytes.fromhex("c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7")
MESSAGE = bytes.fromhex("af82")
SIGNATURE = bytes.fromhex(
    "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac"
    "18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a"
)


def pem(key):
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


@pytest.fixture
def signed(tmp_path):
    """A signed report, and the paths of its keys."""
    key, public, report = tmp_path / "key.pem", tmp_path / "key.pub.pem", tmp_path / "report.json"
    generate_key(key, public)
    report.write_bytes(b'{"files": []}\n')
    signature_path(report).write_text(signature_text(sign_file(report, key)))
    return report, key, public


def test_the_signature_is_that_of_the_standard(tmp_path):
    (tmp_path / "key.pem").write_bytes(pem(Ed25519PrivateKey.from_private_bytes(SECRET)))
    (tmp_path / "message").write_bytes(MESSAGE)
    signature = sign_file(tmp_path / "message", tmp_path / "key.pem")
    assert base64.b64decode(signature.signature) == SIGNATURE


def test_a_good_signature_is_good(signed):
    report, _, public = signed
    stated = check_signature(report, public)
    assert stated.algorithm == "Ed25519"
    assert stated.time.endswith("+00:00")


def test_openssl_agrees(signed, tmp_path):
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not installed")
    report, _, public = signed
    stated = json.loads(signature_path(report).read_text())
    (tmp_path / "raw").write_bytes(base64.b64decode(stated["signature"]))
    command = [openssl, "pkeyutl", "-verify", "-rawin", "-pubin", "-inkey", public]
    done = subprocess.run(
        [*command, "-in", report, "-sigfile", tmp_path / "raw"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_any_changed_byte_is_found(signed):
    report, _, public = signed
    report.write_bytes(report.read_bytes() + b" ")
    with pytest.raises(SignatureError, match="not what was signed"):
        check_signature(report, public)


def test_a_forged_digest_does_not_help(signed):
    report, _, public = signed
    import hashlib

    report.write_bytes(b"forged")
    path = signature_path(report)
    stated = json.loads(path.read_text())
    stated["sha256"] = hashlib.sha256(b"forged").hexdigest()
    path.write_text(json.dumps(stated))
    with pytest.raises(SignatureError, match="not valid"):
        check_signature(report, public)
    path.write_text(json.dumps({**stated, "signature": "???"}))
    with pytest.raises(SignatureError, match="not valid"):
        check_signature(report, public)


def test_another_key_is_told_apart(signed, tmp_path):
    report, _, _ = signed
    generate_key(tmp_path / "other.pem", tmp_path / "other.pub.pem")
    with pytest.raises(SignatureError, match="was made with key"):
        check_signature(report, tmp_path / "other.pub.pem")


def test_a_private_key_is_the_owners_and_never_overwritten(signed, tmp_path):
    _, key, _ = signed
    if sys.platform != "win32":
        assert stat.S_IMODE(key.stat().st_mode) == 0o600
    before = key.read_bytes()
    with pytest.raises(InputError, match="already"):
        generate_key(key, tmp_path / "new.pem")
    assert key.read_bytes() == before


def test_an_encrypted_key_needs_its_passphrase(signed, tmp_path):
    report, _, _ = signed
    locked = tmp_path / "locked.pem"
    generate_key(locked, tmp_path / "locked.pub.pem", b"secret")
    assert b"ENCRYPTED" in locked.read_bytes()
    with pytest.raises(InputError, match="private key"):
        sign_file(report, locked, lambda: b"wrong")
    signature_path(report).write_text(signature_text(sign_file(report, locked, lambda: b"secret")))
    assert check_signature(report, tmp_path / "locked.pub.pem").algorithm == "Ed25519"


def test_other_keys_and_missing_files_are_refused(signed, tmp_path):
    report, key, public = signed
    rsa = tmp_path / "rsa.pem"
    rsa.write_bytes(pem(generate_private_key(65537, 2048)))
    with pytest.raises(InputError, match="not an Ed25519"):
        sign_file(report, rsa)
    with pytest.raises(InputError, match="private key"):
        sign_file(report, public)
    with pytest.raises(InputError, match="public key"):
        check_signature(report, key)
    with pytest.raises(InputError, match="cannot read"):
        sign_file(tmp_path / "missing", key)


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", "null", '{"algorithm": 1}', "[" * 9999, '"x"', "\x00"]
)
def test_other_files_are_no_signatures(tmp_path, text):
    with pytest.raises(InputError, match="not a signature"):
        parse_signature(text.encode(), tmp_path / "x.sig")


def test_other_algorithms_are_refused(signed):
    report, _, public = signed
    path = signature_path(report)
    path.write_text(path.read_text().replace("Ed25519", "none"))
    with pytest.raises(InputError, match="algorithm"):
        check_signature(report, public)


def test_without_the_library_the_error_says_what_to_install(signed, monkeypatch):
    report, key, public = signed
    for name in [name for name in sys.modules if name.split(".")[0] == "cryptography"]:
        monkeypatch.setitem(sys.modules, name, None)
    for attempt in (lambda: sign_file(report, key), lambda: check_signature(report, public)):
        with pytest.raises(InputError) as caught:
            attempt()
        assert "code-forensics[sign]" in caught.value.hint
