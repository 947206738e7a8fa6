"""Samples are written by Pillow and by hand, as the front ends write them."""

import io
import json
import shutil
import struct
import subprocess
from pathlib import Path

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
from PIL import Image, UnidentifiedImageError
from PIL.PngImagePlugin import PngInfo

from tests.engine.provenance_samples import (
    A1111,
    AWKWARD,
    COMFY_PROMPT,
    FRONT_ENDS,
    URL,
    iptc_jpeg,
    needs_awkward,
    values,
    with_exif,
    xmp_of,
)


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


@pytest.mark.parametrize("between", [b"\0\0", b"\xff" * 30_000, b"\xff\0", b"\1\2\xff\xff\0"])
def test_what_decoders_step_over_hides_no_metadata(between: bytes) -> None:
    data = with_exif("JPEG", {0x0131: "Midjourney"})
    at = data.index(b"\xff\xe1")
    data = data[:at] + between + data[at:]
    assert Image.open(io.BytesIO(data)).getexif()[0x0131] == "Midjourney"
    assert values(read_provenance(data), Kind.GENERATOR) == ["Midjourney"]


def test_big_tiff() -> None:
    exif = Image.Exif()
    exif[0x0131] = "darktable 4.6"
    out = io.BytesIO()
    Image.new("RGB", (16, 16)).save(out, "TIFF", exif=exif, big_tiff=True)
    assert values(read_provenance(out.getvalue()), Kind.SOFTWARE) == ["darktable 4.6"]


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize(("kind", "pointer"), [(4, "I4x"), (16, "Q")])
def test_big_tiff_by_hand(order: str, kind: int, pointer: str) -> None:
    """An inline value, and a comment in the EXIF directory."""

    def packed(layout: str, *numbers: object) -> bytes:
        return struct.pack(order + layout, *numbers)

    comment = b"ASCII\0\0\0by hand"
    data = (
        (b"II" if order == "<" else b"MM") + packed("HHHQ", 43, 8, 0, 16)
        + packed("Q", 2) + packed("HHQ8s", 0x0131, 2, 8, b"GIMP 2\0\0")
        + packed("HHQ" + pointer, 0x8769, kind, 1, 72) + packed("Q", 0)
        + packed("QHHQQQ", 1, 0x9286, 7, len(comment), 108, 0) + comment
    )  # fmt: skip
    found = read_provenance(data)
    assert values(found, Kind.SOFTWARE) == ["GIMP 2"]
    assert values(found, Kind.DESCRIPTION) == ["by hand"]


def test_heic_written_by_libheif() -> None:
    exif = Image.Exif()
    exif[0x010F], exif[0x0110] = "Apple", "iPhone 15 Pro"
    out = io.BytesIO()
    heif = pillow_heif.from_pillow(Image.new("RGB", (64, 64)))
    heif.save(out, exif=exif.tobytes(), xmp=xmp_of('xmp:CreatorTool="17.2">'))
    found = read_provenance(out.getvalue())
    assert values(found, Kind.CAMERA) == ["Apple iPhone 15 Pro"]
    assert values(found, Kind.SOFTWARE) == ["17.2"]


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
