"""C2PA manifests: signed ones, broken ones, and those that the package cannot judge."""

import datetime
import io
import json
import struct
from typing import Any

import pytest
from code_forensics.engine.provenance.read import (
    Kind,
    Strength,
    read_provenance,
)
from PIL import Image

from tests.engine.provenance_samples import (
    AWKWARD,
    URL,
    needs_awkward,
    needs_c2pa,
    values,
)


@pytest.fixture(scope="module")
def signer() -> Any:
    """A certificate authority of our own, as anyone can have, that c2pa does not trust."""
    pytest.importorskip("c2pa")
    import c2pa
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    def name(text: str) -> x509.Name:
        return x509.Name(
            [
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, text),
                x509.NameAttribute(NameOID.COMMON_NAME, text),
            ]
        )

    start = datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC)
    stop = start + datetime.timedelta(days=365 * 30)
    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(2)]
    chain = []
    for key, subject, authority in ((keys[1], "Leaf", False), (keys[0], "Root", True)):
        cert = (
            x509.CertificateBuilder(name("Root"), name(subject), key.public_key(), 7 + authority)
            .not_valid_before(start)
            .not_valid_after(stop)
            .add_extension(x509.BasicConstraints(authority, None), critical=True)
            .add_extension(
                x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False
            )
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(keys[0].public_key()),
                critical=False,
            )
            .add_extension(
                x509.KeyUsage(
                    not authority, False, False, False, False, authority, authority, False, False
                ),
                critical=True,
            )
        )
        if not authority:
            purposes = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION])
            cert = cert.add_extension(purposes, critical=False)
        chain.append(cert.sign(keys[0], hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    private = keys[1].private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    info = c2pa.C2paSignerInfo(b"es256", b"".join(chain), private, None)
    return c2pa.Signer.from_info(info)


def signed(form: str, signer: Any) -> bytes:
    import c2pa

    manifest = {
        "claim_generator_info": [{"name": "Test Firefly", "version": "1.2"}],
        "format": f"image/{form.lower()}",
        "assertions": [
            {
                "label": "c2pa.actions",
                "data": {
                    "actions": [
                        {
                            "action": "c2pa.created",
                            "digitalSourceType": URL + "trainedAlgorithmicMedia",
                        }
                    ]
                },
            }
        ],
    }
    source, out = io.BytesIO(), io.BytesIO()
    Image.effect_noise((64, 64), 50).convert("RGB").save(source, form)
    source.seek(0)
    with c2pa.Builder(manifest) as builder:
        builder.sign(signer, f"image/{form.lower()}", source, out)
    return out.getvalue()


@needs_c2pa
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "GIF"])
def test_signed_manifest(form: str, signer: Any) -> None:
    data = signed(form, signer)
    found = read_provenance(data)
    assert found.strength is Strength.SIGNED
    assert "Test Firefly 1.2" in values(found, Kind.C2PA)[0]
    assert "identity not verified" in values(found, Kind.C2PA)[0]
    assert values(found, Kind.SOURCE_TYPE) == ["trainedAlgorithmicMedia"]

    unchecked = read_provenance(data, check_signatures=False)
    assert unchecked.strength is Strength.ASSERTED
    assert values(unchecked, Kind.C2PA) == [
        "manifest present, not validated, claimed by Test Firefly 1.2"
    ]
    assert values(unchecked, Kind.SOURCE_TYPE) == ["trainedAlgorithmicMedia"]
    assert unchecked.claims_generated


@needs_c2pa
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
def test_changed_pixels_break_the_manifest(form: str, signer: Any) -> None:
    data = bytearray(signed(form, signer))
    # Inside of the image data; in WebP the manifest stands behind it.
    data[data.find(b"VP8 ") + 100 if form == "WEBP" else -40] ^= 1
    found = read_provenance(bytes(data))
    assert found.strength is Strength.BROKEN
    assert "assertion.dataHash.mismatch" in values(found, Kind.C2PA)[0]


def test_without_the_package_a_manifest_is_asserted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("code_forensics.engine.provenance.c2pa_manifest._context", lambda: None)
    box = (
        b"\0\0\0\x28jumb" + b"\0\0\0\x1ejumdc2pa\0\x11\0\x10\x80\0\0\xaa\0\x38\x9b\x71\x03c2pa\0\0"
    )
    claim = b"\x6fclaim_generator\x6bmake_test/1"
    body = b"JP\0\x01\0\0\0\x01" + box + claim
    data = b"\xff\xd8\xff\xeb" + struct.pack(">H", len(body) + 2) + body + b"\xff\xd9"
    assert values(read_provenance(data), Kind.C2PA) == [
        "manifest present, not validated, claimed by make_test/1"
    ]


@needs_awkward
@needs_c2pa
def test_published_manifests_agree_with_c2pa_python() -> None:
    import c2pa

    for path in sorted((AWKWARD / "c2pa").iterdir()):
        data = path.read_bytes()
        found = read_provenance(data)
        try:
            reader = c2pa.Reader("image/jpeg", io.BytesIO(data))
        except c2pa.C2paError.ManifestNotFound:
            assert not values(found, Kind.C2PA), path.name
            continue
        expected = Strength.SIGNED if reader.get_validation_state() == "Valid" else Strength.BROKEN
        assert found.findings[0].strength is expected, path.name
        active = json.loads(reader.json())
        claim = active["manifests"][active["active_manifest"]]["claim_generator"]
        assert claim in found.findings[0].value
        reader.close()
