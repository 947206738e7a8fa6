"""Samples are written by Pillow, c2pa-python and by hand, as the front ends write them."""

import datetime
import importlib.util
import io
import json
import shutil
import struct
import subprocess
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import pillow_heif
import pytest
from code_forensics.engine.provenance import tags
from code_forensics.engine.provenance.blocks import find_blocks
from code_forensics.engine.provenance.generators import (
    SourceType,
    front_end,
    known_program,
    source_type,
)
from code_forensics.engine.provenance.read import (
    Finding,
    Kind,
    Provenance,
    Strength,
    read_provenance,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, UnidentifiedImageError
from PIL.PngImagePlugin import PngInfo

AWKWARD = Path(__file__).parents[2].parent / "shared" / "data" / "awkward"
needs_awkward = pytest.mark.skipif(not AWKWARD.is_dir(), reason="needs ../shared/data/awkward")
needs_c2pa = pytest.mark.skipif(
    not importlib.util.find_spec("c2pa"), reason="needs c2pa-python (extra c2pa)"
)

A1111 = (
    "a cat, oil painting\nNegative prompt: blurry\nSteps: 20, Sampler: DPM++ 2M Karras, "
    "CFG scale: 7, Seed: 1, Size: 512x512, Model hash: 6ce0161689, Model: v1-5-pruned, "
    "Version: v1.10.1"
)
COMFY_PROMPT = json.dumps({"3": {"class_type": "KSampler", "inputs": {"seed": 1}}})
COMFY_WORKFLOW = json.dumps({"last_node_id": 9, "nodes": [{"type": "KSampler"}]})
FOOOCUS = json.dumps(
    {"base_model": "juggernautXL_v8", "prompt": "a cat", "version": "Fooocus v2.5.5"}
)
INVOKE = json.dumps({"app_version": "3.7.0", "positive_prompt": "a cat", "seed": 1})


def png(**texts: str) -> bytes:
    info = PngInfo()
    for keyword, text in texts.items():
        info.add_text(keyword.replace("_", "-") if keyword == "sd_metadata" else keyword, text)
    out = io.BytesIO()
    Image.new("RGB", (8, 8)).save(out, "PNG", pnginfo=info)
    return out.getvalue()


def with_exif(
    form: str, fields: dict[int, Any], comment: bytes | None = None, xmp: bytes | None = None
) -> bytes:
    exif = Image.Exif()
    for tag, value in fields.items():
        exif[tag] = value
    if comment is not None:
        exif.get_ifd(0x8769)[0x9286] = comment
    out = io.BytesIO()
    image = Image.new("RGB", (16, 16))
    if xmp is None:
        image.save(out, form, exif=exif)
    elif form == "PNG":
        info = PngInfo()
        info.add_itxt("XML:com.adobe.xmp", xmp.decode())
        image.save(out, form, exif=exif, pnginfo=info)
    elif form == "TIFF":
        exif[700] = xmp
        image.save(out, form, exif=exif)
    else:
        image.save(out, form, exif=exif, xmp=xmp)
    return out.getvalue()


def xmp_of(inner: str) -> bytes:
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
        '<x:xmpmeta xmlns:x="adobe:ns:meta/">'
        '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        '<rdf:Description rdf:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/" '
        f'xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" {inner}'
        '</rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
    ).encode()


def values(found: Provenance, kind: Kind) -> list[str]:
    return [finding.value for finding in found.findings if finding.kind is kind]


FRONT_ENDS = [
    (
        "a1111",
        png(parameters=A1111),
        "Stable Diffusion web UI (model v1-5-pruned, version v1.10.1)",
    ),
    ("comfyui prompt", png(prompt=COMFY_PROMPT), "ComfyUI"),
    ("comfyui workflow", png(workflow=COMFY_WORKFLOW), "ComfyUI"),
    ("invokeai", png(invokeai_metadata=INVOKE), "InvokeAI"),
    ("invokeai 2", png(sd_metadata="{}"), "InvokeAI"),
    ("invokeai 1", png(Dream='"a cat" -s 50 -S 1 -W 512'), "InvokeAI"),
    ("fooocus", png(parameters=FOOOCUS, fooocus_scheme="fooocus"), "Fooocus"),
    (
        "fooocus in a1111's format",
        png(parameters=A1111.replace("v1.10.1", "Fooocus v2.5.5"), fooocus_scheme="a1111"),
        "Fooocus (model v1-5-pruned, version Fooocus v2.5.5)",
    ),
    ("novelai", png(Software="NovelAI", Source="Stable Diffusion F64BA557"), "NovelAI"),
    ("swarmui", png(parameters='{"sui_image_params": {"prompt": "a cat"}}'), "SwarmUI"),
    (
        "midjourney",
        png(Description="a cat --v 6 Job ID: 0f8fad5b-d9cb-469f-a165-70867728950e"),
        "Midjourney",
    ),
    ("aigc", png(AIGC='{"Label":"1","ContentProducer":"001191"}'), "AIGC label (China, TC260)"),
    *(
        (
            f"a1111 {form} {name}",
            with_exif(form, {}, comment),
            "Stable Diffusion web UI (model v1-5-pruned, version v1.10.1)",
        )
        for form in ("JPEG", "WEBP")
        for name, comment in (
            ("utf-16-be", b"UNICODE\0" + A1111.encode("utf-16-be")),
            ("utf-16-le", b"UNICODE\0" + A1111.encode("utf-16-le")),
            ("ascii", b"ASCII\0\0\0" + A1111.encode()),
            ("no code", A1111.encode()),
        )
    ),
    (
        "comfyui webp",
        with_exif("WEBP", {0x0110: "prompt:" + COMFY_PROMPT, 0x010F: "workflow:" + COMFY_WORKFLOW}),
        "ComfyUI",
    ),
    (
        "fooocus jpeg",
        with_exif("JPEG", {0x0131: "Fooocus v2.5.5"}, FOOOCUS.encode()),
        "Fooocus v2.5.5",
    ),
    ("invokeai webp", with_exif("WEBP", {}, b'{"invokeai_version": "4"}'), "InvokeAI"),
    (
        "flux",
        with_exif("JPEG", {0x010F: "Black Forest Labs", 0x0131: "AI generated;txt2img;flux"}),
        "Black Forest Labs",
    ),
]


@pytest.mark.parametrize(
    ("data", "name"), [s[1:] for s in FRONT_ENDS], ids=[s[0] for s in FRONT_ENDS]
)
def test_front_ends_are_recognised(data: bytes, name: str) -> None:
    found = read_provenance(data)
    assert name in values(found, Kind.GENERATOR)
    assert found.claims_generated
    assert found.strength is Strength.ASSERTED
    assert f"generator: {name[:80]} (asserted)" in found.summary()


def test_compressed_and_international_texts() -> None:
    info = PngInfo()
    info.add_text("parameters", A1111, zip=True)
    info.add_itxt("prompt", COMFY_PROMPT, "en", "prompt", zip=True)
    info.add_itxt("Software", "Fïrefly", "de")
    out = io.BytesIO()
    Image.new("L", (2, 2)).save(out, "PNG", pnginfo=info)
    found = read_provenance(out.getvalue())
    assert values(found, Kind.GENERATOR)[1:] == ["ComfyUI"]
    assert values(found, Kind.SOFTWARE) == ["Fïrefly"]
    assert values(found, Kind.PROMPT)[0].startswith("a cat, oil painting")


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_camera_and_software_of_every_container(form: str) -> None:
    data = with_exif(form, {0x010F: "Canon", 0x0110: "Canon EOS R5", 0x0131: "darktable 4.6"})
    found = read_provenance(data)
    assert values(found, Kind.CAMERA) == ["Canon EOS R5"]
    assert values(found, Kind.SOFTWARE) == ["darktable 4.6"]
    assert not found.claims_generated


def test_heic_written_by_libheif() -> None:
    exif = Image.Exif()
    exif[0x010F], exif[0x0110] = "Apple", "iPhone 15 Pro"
    out = io.BytesIO()
    heif = pillow_heif.from_pillow(Image.new("RGB", (64, 64)))
    heif.save(out, exif=exif.tobytes(), xmp=xmp_of('xmp:CreatorTool="17.2">'))
    found = read_provenance(out.getvalue())
    assert values(found, Kind.CAMERA) == ["Apple iPhone 15 Pro"]
    assert values(found, Kind.SOFTWARE) == ["17.2"]


URL = "http://cv.iptc.org/newscodes/digitalsourcetype/"


@pytest.mark.parametrize(
    "inner",
    [
        f'Iptc4xmpExt:DigitalSourceType="{URL}trainedAlgorithmicMedia">',
        f"Iptc4xmpExt:DigitalSourceType='{URL}trainedAlgorithmicMedia'>",
        f"><Iptc4xmpExt:DigitalSourceType>{URL}trainedAlgorithmicMedia</Iptc4xmpExt:DigitalSourceType>",
        f'><Iptc4xmpExt:DigitalSourceType rdf:resource="{URL}trainedAlgorithmicMedia"/>',
        "><Iptc4xmpExt:DigitalSourceType>\n <rdf:Bag>\n  <rdf:li>trainedAlgorithmicMedia</rdf:li>"
        "</rdf:Bag></Iptc4xmpExt:DigitalSourceType>",
    ],
)
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_digital_source_type_in_xmp(form: str, inner: str) -> None:
    found = read_provenance(with_exif(form, {}, xmp=xmp_of(inner)))
    assert values(found, Kind.SOURCE_TYPE) == [SourceType.TRAINED_ALGORITHMIC_MEDIA]
    assert found.claims_generated


def test_source_types() -> None:
    assert source_type(URL + "digitalCapture") is SourceType.DIGITAL_CAPTURE
    assert source_type(URL + "compositeWithTrainedAlgorithmicMedia/") is (
        SourceType.COMPOSITE_WITH_TRAINED_ALGORITHMIC_MEDIA
    )
    assert source_type("digsrctype:algorithmicMedia") is SourceType.ALGORITHMIC_MEDIA
    assert source_type("http://example.org/other") is None
    generated = {code.value for code in SourceType if code.is_generated}
    assert generated == {
        "trainedAlgorithmicMedia", "compositeWithTrainedAlgorithmicMedia", "compositeSynthetic",
    }  # fmt: skip
    inner = f'Iptc4xmpExt:DigitalSourceType="{URL}digitalCapture">'
    assert not read_provenance(with_exif("JPEG", {}, xmp=xmp_of(inner))).claims_generated


def iptc_jpeg(**datasets: str) -> bytes:
    record = b"".join(
        b"\x1c\x02" + bytes([int(number[1:])]) + struct.pack(">H", len(text)) + text.encode()
        for number, text in datasets.items()
    )
    body = b"Photoshop 3.0\0" + b"8BIM\x04\x04\0\0" + struct.pack(">I", len(record)) + record
    return b"\xff\xd8\xff\xed" + struct.pack(">H", len(body) + 2) + body + b"\xff\xd9"


def test_iptc_credit_and_stripping_platforms() -> None:
    found = read_provenance(iptc_jpeg(d110="Made with Google AI", d120="A cat"))
    assert values(found, Kind.GENERATOR) == ["Made with Google AI"]
    assert values(found, Kind.DESCRIPTION) == ["A cat"]
    found = read_provenance(iptc_jpeg(d40="FBMD0a000a870100"))
    assert [f.strength for f in found.findings] == [Strength.STRIPPED]
    assert found.strength is Strength.STRIPPED


def test_a_manifest_that_is_gone_is_stripped() -> None:
    packet = xmp_of('dcterms:provenance="self#jumbf=/c2pa/urn:uuid:1">')
    (finding,) = read_provenance(with_exif("JPEG", {}, xmp=packet)).findings
    assert (finding.kind, finding.strength) == (Kind.C2PA, Strength.STRIPPED)


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("Midjourney", True), ("DALL·E 3", True), ("DALL-E", True), ("OpenAI gpt-image-1", True),
        ("Adobe Firefly 3", True), ("Stable Diffusion XL", True), ("Made with Google AI", True),
        ("Imagen 3", True), ("ComfyUI", True), ("Draw Things 1.2", True), ("FLUX.1-dev", True),
        ("Adobe Photoshop 25.0", False), ("GIMP 2.10", False), ("Apple iPhone", False),
        ("Adobe Fireworks CS5", False), ("Hipstamatic", False), ("f.lux", False),
        ("Imagenomic Portraiture", False), ("Dalles City Press", False), ("Mairai", False),
    ],
)  # fmt: skip
def test_known_programs(name: str, known: bool) -> None:
    assert known_program(name) is known


def test_captions_about_generators_do_not_name_one() -> None:
    for text in ("Steps: 20 to the church", "a workflow", '{"prompt": "x"}', "Job ID: 12"):
        assert front_end("Description", text) is None


def test_no_metadata_is_no_finding() -> None:
    out = io.BytesIO()
    Image.new("RGB", (8, 8)).save(out, "JPEG")
    found = read_provenance(out.getvalue())
    assert found == Provenance()
    assert found.summary() == ""
    assert found.as_dict() == {"strength": "stripped", "claims_generated": False, "findings": []}


def test_summary_and_dict() -> None:
    found = Provenance(
        (
            Finding(Kind.C2PA, "manifest fits; so", Strength.SIGNED, "C2PA"),
            Finding(Kind.PROMPT, "a cat", Strength.ASSERTED, "PNG"),
        )
    )
    assert found.summary() == "c2pa: manifest fits, so (signed)"
    assert found.strength is Strength.SIGNED
    assert json.loads(json.dumps(found.as_dict()))["findings"][1]["value"] == "a cat"


# C2PA


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


# Against independent readers


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


@needs_awkward
@pytest.mark.filterwarnings("ignore")  # Pillow warns about the broken files that are the point
def test_exif_agrees_with_pillow() -> None:
    compared = 0
    for path in sorted(AWKWARD.glob("*/*.*")):
        data = path.read_bytes()
        try:
            with Image.open(io.BytesIO(data)) as image:
                form, exif = image.format, image.getexif()
        except (
            UnidentifiedImageError,
            OSError,
            SyntaxError,
            ValueError,
            Image.DecompressionBombError,
        ):
            continue
        blocks = find_blocks(data)
        if form not in {"JPEG", "PNG", "WEBP"} or not blocks.exif:
            continue
        ours = tags.read_tiff(blocks.exif[0]).texts
        for tag in (tags.MAKE, tags.MODEL, tags.SOFTWARE):
            theirs = exif.get(tag)
            if isinstance(theirs, str) and theirs.strip("\0 ").isascii():
                assert ours.get(tag, "") == theirs.split("\0")[0].strip(), path.name
                compared += 1
    assert compared >= 10


@needs_awkward
@pytest.mark.skipif(not shutil.which("exiftool"), reason="needs exiftool")
def test_software_agrees_with_exiftool() -> None:
    fields = ["-EXIF:Make", "-EXIF:Model", "-EXIF:Software", "-XMP:CreatorTool"]
    folders = [str(AWKWARD / name) for name in ("exif", "c2pa", "formats")]
    run = subprocess.run(
        ["exiftool", "-j", "-q", "-m", *fields, *folders], capture_output=True, check=False
    )
    compared = 0
    for row in json.loads(run.stdout):
        path = Path(row["SourceFile"])
        if path.suffix == ".psd":
            continue
        found = read_provenance(path.read_bytes(), check_signatures=False)
        named = " ".join(f.value for f in found.findings)
        for key in ("Make", "Model", "Software", "CreatorTool"):
            if key in row:
                assert str(row[key]).strip() in named, (path.name, key)
                compared += 1
    assert compared >= 8


# Hostile bytes


def seeds() -> list[bytes]:
    exif = {0x010F: "Canon", 0x0110: "EOS", 0x0131: "GIMP", 0x010E: "cat"}
    packet = xmp_of(f'Iptc4xmpExt:DigitalSourceType="{URL}digitalCapture">')
    made = [
        with_exif(form, exif, A1111.encode(), packet if form != "AVIF" else None)
        for form in ("JPEG", "PNG", "WEBP", "TIFF", "AVIF")
    ]
    gif = io.BytesIO()
    Image.new("P", (4, 4)).save(gif, "GIF", comment=b"a comment")
    return [*made, gif.getvalue(), iptc_jpeg(d110="x", d40="FBMD"), *(s[1] for s in FRONT_ENDS[:9])]


SEEDS = seeds()


def check(data: bytes) -> None:
    found = read_provenance(data)
    assert len(found.findings) <= 40
    assert all(finding.value and len(finding.value) <= 300 for finding in found.findings)
    json.dumps(found.as_dict())
    found.summary()


@settings(max_examples=600, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.sampled_from(SEEDS),
    st.lists(st.tuples(st.floats(0, 0.999), st.integers(0, 6), st.binary(max_size=6)), max_size=8),
    st.floats(0, 1),
)
def test_mutated_files_never_fail(
    seed: bytes, edits: list[tuple[float, int, bytes]], keep: float
) -> None:
    data = bytearray(seed)
    for place, removed, added in edits:
        at = int(place * len(data))
        data[at : at + removed] = added
    check(bytes(data))
    check(bytes(data[: int(keep * len(data))]))


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(
        [b"\xff\xd8", b"\x89PNG\r\n\x1a\n", b"RIFF\0\0\0\0WEBP", b"GIF89a", b"II*\0", b"MM\0*",
         b"\0\0\0\x08ftypheic", b"\0\0\0\x0cftypavif"]
    ),
    st.lists(
        st.binary(max_size=12)
        | st.sampled_from([b"\xff\xe1\0\x20Exif\0\0II*\0\x08\0\0\0", b"\xff", b"\0\0\0\0", b"8BIM",
                           b"meta", b"iinf", b"iloc", b"\x21\xff\x0bXMP DataXMP", b"EXIF"]),
        max_size=30,
    ),
)  # fmt: skip
def test_random_containers_never_fail(head: bytes, parts: list[bytes]) -> None:
    check(head + b"".join(parts))


@pytest.mark.parametrize("seed", range(len(SEEDS)))
def test_every_truncation_is_read(seed: int) -> None:
    data = SEEDS[seed]
    for end in range(0, len(data), max(1, len(data) // 150)):
        check(data[:end])


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def bombs() -> dict[str, bytes]:
    png_head = b"\x89PNG\r\n\x1a\n"
    ztxt = _chunk(b"zTXt", b"parameters\0\0" + zlib.compress(bytes(64 << 20), 9))
    ifd = b"II*\0\x08\0\0\0" + b"\xff\xff" + struct.pack("<HHII", 0x0131, 2, 0xFFFFFFFF, 8) * 9000
    self_ifd = b"II*\0\x08\0\0\0\x01\0" + struct.pack("<HHII", 0x8769, 4, 1, 8)
    packet = b"<x" + b":DigitalSourceType" + b" " * 100_000 + b":CreatorTool=" * 20_000
    xmp = _chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + packet)
    iloc = b"\0\0\0\0\0\0\0\0\0\0\xff\xff" * 400_000
    meta = b"\0\0\0\0" + struct.pack(">I", 8 + 40) + b"iinf\0\0\0\0\0\1"
    meta += b"\0\0\0\x1einfe\2\0\0\0\0\1\0\0Exif\0".ljust(30, b"\0")
    meta += struct.pack(">I", 8 + len(iloc)) + b"iloc" + iloc
    return {
        "png inflating to 4 GiB": png_head + ztxt * 64,
        "a million empty png chunks": png_head + _chunk(b"tEXt", b"") * 1_000_000,
        "a million webp chunks": b"RIFF\xff\xff\xff\xffWEBP" + b"EXIF\0\0\0\0" * 1_000_000,
        "exif of huge fields": b"\xff\xd8" + b"\xff\xe1\xff\xffExif\0\0" + ifd,
        "exif pointing at itself": b"\xff\xd8" + b"\xff\xe1\0\x30Exif\0\0" + self_ifd + bytes(40),
        "xmp of repeated names": png_head + xmp,
        "jpeg of fill bytes": b"\xff\xd8" + b"\xff" * 4_000_000,
        "jpeg of empty segments": b"\xff\xd8" + b"\xff\xe1\0\2" * 1_000_000,
        "gif of extensions": b"GIF89a" + bytes(7) + b"\x21\xfe\0" * 1_000_000,
        "gif of sub-blocks": b"GIF89a" + bytes(7) + (b"\x21\xfe" + b"\1a" * 19_000 + b"\0") * 100,
        "heif of empty extents": b"\0\0\0\x0cftypheic"
        + struct.pack(">I", 8 + len(meta)) + b"meta" + meta,
        "heif of tiny boxes": b"\0\0\0\x0cftypheic" + b"\0\0\0\x08meta" * 1_000_000,
    }  # fmt: skip


@pytest.mark.parametrize("name", bombs())
def test_bombs_take_little(name: str) -> None:
    # Memory is asserted; an unbounded walk over any of these would not come back at all.
    data = bombs()[name]
    tracemalloc.start()
    try:
        check(data)
        assert tracemalloc.get_traced_memory()[1] < 48 << 20
    finally:
        tracemalloc.stop()


@needs_awkward
def test_every_awkward_file_gets_an_answer() -> None:
    for path in AWKWARD.glob("*/*.*"):
        check(path.read_bytes())
