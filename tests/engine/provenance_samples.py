"""Metadata as the front ends write them: by Pillow, and by hand."""

import importlib.util
import io
import json
import struct
from pathlib import Path
from typing import Any

import pytest
from code_forensics.engine.provenance.read import (
    Kind,
    Provenance,
)
from PIL import Image
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


URL = "http://cv.iptc.org/newscodes/digitalsourcetype/"


def iptc_jpeg(**datasets: str) -> bytes:
    record = b"".join(
        b"\x1c\x02" + bytes([int(number[1:])]) + struct.pack(">H", len(text)) + text.encode()
        for number, text in datasets.items()
    )
    body = b"Photoshop 3.0\0" + b"8BIM\x04\x04\0\0" + struct.pack(">I", len(record)) + record
    return b"\xff\xd8\xff\xed" + struct.pack(">H", len(body) + 2) + body + b"\xff\xd9"
