"""Collects what a file says about its own origin: evidence beside the verdict, never part of it.

Metadata is easy to write and easy to strip, so each finding carries its strength. Nothing here
decodes pixels, raises on hostile bytes, or makes its values safe to print: outputs do that with
:mod:`code_forensics.engine.inert`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from . import tags
from .blocks import Blocks, find_blocks, photoshop_iptc
from .c2pa_manifest import Validation, validate
from .generators import front_end, known_program, source_type
from .tags import TiffTags, read_iptc, read_tiff, xmp_text, xmp_values

MAX_VALUE = 300
MAX_FINDINGS = 40
_MAX_BLOCKS = 4  # of each kind; more are repetitions or an attack


class Kind(StrEnum):
    """What a finding is about."""

    C2PA = "c2pa"
    """Content Credentials: whether a manifest is there, verifies, and who says so."""
    SOURCE_TYPE = "source_type"
    """IPTC digital source type, such as ``trainedAlgorithmicMedia``."""
    GENERATOR = "generator"
    """An image generator or one of its front ends."""
    CAMERA = "camera"
    """Make and model."""
    SOFTWARE = "software"
    """Other software that wrote the file."""
    PLATFORM = "platform"
    """A service that re-encoded the file."""
    PROMPT = "prompt"
    """Beginning of a generator's parameters."""
    DESCRIPTION = "description"
    """Caption or comment."""


class Strength(StrEnum):
    """How much a finding is worth, strongest first."""

    SIGNED = "signed"
    """Inside of a C2PA manifest whose signature and hashes fit this file."""
    BROKEN = "broken"
    """A C2PA manifest that does not fit this file: changed after signing, or moved here."""
    ASSERTED = "asserted"
    """Written in the file without proof, or with a signature that was not checked."""
    STRIPPED = "stripped"
    """Traces of metadata that is gone, or no metadata at all."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One statement about the origin of a file.

    Attributes:
        kind: What it is about.
        value: The statement, at most 300 characters, as found: hostile text.
        strength: How much it is worth.
        where: The field that it was found in, such as ``PNG parameters``.
    """

    kind: Kind
    value: str
    strength: Strength
    where: str

    def as_dict(self) -> dict[str, str]:
        """For JSON."""
        return {
            "kind": self.kind.value,
            "value": self.value,
            "strength": self.strength.value,
            "where": self.where,
        }


@dataclass(frozen=True, slots=True)
class Provenance:
    """All findings of a file, in the order of :class:`Kind`."""

    findings: tuple[Finding, ...] = ()

    @property
    def strength(self) -> Strength:
        """The strongest strength of any finding; stripped where there is none."""
        ranks = list(Strength)
        return min((f.strength for f in self.findings), key=ranks.index, default=Strength.STRIPPED)

    @property
    def claims_generated(self) -> bool:
        """Whether the file says that a generator made it or a part of it; says, not proves."""
        return any(
            f.kind is Kind.GENERATOR
            or (f.kind is Kind.SOURCE_TYPE and (code := source_type(f.value)) and code.is_generated)
            for f in self.findings
        )

    def summary(self) -> str:
        """One short line, such as ``generator: ComfyUI (asserted); camera: Canon EOS (asserted)``.

        Leaves out prompts and descriptions; empty where nothing else was found.
        """
        return "; ".join(
            f"{f.kind}: {f.value[:80].replace(';', ',')} ({f.strength})"
            for f in self.findings
            if f.kind not in {Kind.PROMPT, Kind.DESCRIPTION}
        )

    def as_dict(self) -> dict[str, object]:
        """For JSON: ``strength``, ``claims_generated`` and the list of ``findings``."""
        return {
            "strength": self.strength.value,
            "claims_generated": self.claims_generated,
            "findings": [finding.as_dict() for finding in self.findings],
        }


def read_provenance(data: bytes, *, check_signatures: bool = True) -> Provenance:
    """What a file says about its origin.

    Args:
        data: The whole file; a truncated one is read as far as it goes.
        check_signatures: Validate C2PA manifests where ``c2pa-python`` is installed. That reads
            the whole file, and takes milliseconds, but only where a manifest was found.

    Returns:
        At most 40 distinct findings; none for files without metadata and for other files.
    """
    blocks = find_blocks(data)
    if not (blocks.exif or blocks.xmp or blocks.iptc or blocks.texts or blocks.c2pa):
        return Provenance()
    found: dict[tuple[Kind, str], Finding] = {}
    for finding in _findings(data, blocks, check_signatures):
        # The first of equal statements is the strongest, because C2PA comes first.
        found.setdefault((finding.kind, finding.value), finding)
        if len(found) == MAX_FINDINGS:
            break
    order = list(Kind)
    return Provenance(tuple(sorted(found.values(), key=lambda f: order.index(f.kind))))


def _findings(data: bytes, blocks: Blocks, check_signatures: bool) -> Iterator[Finding]:
    tiffs = [read_tiff(block) for block in blocks.exif[:_MAX_BLOCKS]]
    iptc, store = blocks.iptc[:_MAX_BLOCKS], blocks.c2pa
    packets = [xmp_text(packet) for packet in blocks.xmp[: 2 * _MAX_BLOCKS]]
    for tiff in tiffs:  # a TIFF file keeps its other blocks in tags
        if block := tiff.blocks.get(tags.XMP_PACKET):
            packets.append(xmp_text(block))
        iptc += photoshop_iptc(tiff.blocks.get(tags.PHOTOSHOP, b""))
        iptc += [tiff.blocks[tags.IPTC_RECORD]] if tags.IPTC_RECORD in tiff.blocks else []
        store = store or tiff.blocks.get(tags.C2PA_STORE, b"")
    if store:
        yield from _of_c2pa(store, validate(data, blocks.mime) if check_signatures else None)
    for packet in packets:
        yield from _of_xmp(packet, bool(store))
    for tiff in tiffs:
        yield from _of_exif(tiff)
    for record in iptc:
        yield from _of_iptc(record)
    for keyword, text in blocks.texts:
        yield from _of_text(keyword, text, f"comment {keyword}")


def _asserted(kind: Kind, value: str, where: str) -> Iterator[Finding]:
    value = value[:MAX_VALUE].strip()
    if value:
        yield Finding(kind, value, Strength.ASSERTED, where)


def _of_c2pa(store: bytes, checked: Validation | None) -> Iterator[Finding]:
    if checked is None:
        claim = tags.claim_generator(store)
        by = f", claimed by {claim}" if claim else ""
        yield from _asserted(Kind.C2PA, f"manifest present, not validated{by}", "C2PA")
        yield from _of_program(claim, "C2PA claim generator", Strength.ASSERTED)
        yield from _of_source_types(tags.claim_source_types(store), "C2PA", Strength.ASSERTED)
        return
    by = f"claimed by {checked.generator or 'unknown software'}"
    if checked.valid:
        strength = Strength.SIGNED
        trust = "on a trust list" if checked.trusted else "identity not verified"
        value = f"manifest fits the file, {by}, signed by {checked.signer or 'unknown'} ({trust})"
    else:
        strength = Strength.BROKEN
        value = f"manifest does not verify ({', '.join(checked.problems) or 'unknown'}), {by}"
    yield Finding(Kind.C2PA, value[:MAX_VALUE], strength, "C2PA")
    yield from _of_program(checked.generator, "C2PA claim generator", strength)
    yield from _of_source_types(checked.source_types, "C2PA", strength)


def _of_source_types(
    values: tuple[str, ...] | list[str], where: str, strength: Strength
) -> Iterator[Finding]:
    for value in values:
        code = source_type(value)
        yield Finding(Kind.SOURCE_TYPE, code.value if code else value[:MAX_VALUE], strength, where)


def _of_program(text: str, where: str, strength: Strength) -> Iterator[Finding]:
    """A generator if the field names a known one."""
    if text and known_program(text):
        yield Finding(Kind.GENERATOR, text[:MAX_VALUE].strip(), strength, where)


def _of_software(text: str, where: str) -> Iterator[Finding]:
    kind = Kind.GENERATOR if known_program(text) else Kind.SOFTWARE
    yield from _asserted(kind, text, where)


def _of_text(keyword: str, text: str, where: str) -> Iterator[Finding]:
    """A front end's parameters, or else the field as software or description."""
    if name := front_end(keyword, text):
        yield from _asserted(Kind.GENERATOR, name, where)
        yield from _asserted(Kind.PROMPT, text, where)
    elif keyword.lower() in {"software", "source", "creator tool"}:
        yield from _of_software(text, where)
    elif keyword.lower() in {"comment", "description", "title", "author", "usercomment"}:
        yield from _of_program(text if len(text) < MAX_VALUE else "", where, Strength.ASSERTED)
        yield from _asserted(Kind.DESCRIPTION, text, where)


def _of_exif(exif: TiffTags) -> Iterator[Finding]:
    get = exif.texts.get
    make, model = get(tags.MAKE, ""), get(tags.MODEL, "")
    # ComfyUI's WebP writer puts its graphs into these two fields.
    named = [name for name in (front_end("", make), front_end("", model)) if name]
    if named or known_program(make):
        yield from _asserted(Kind.GENERATOR, named[0] if named else make, "EXIF Make")
        yield from _asserted(Kind.PROMPT, model if named else "", "EXIF Model")
    else:
        camera = model if model.lower().startswith(make.lower()) else f"{make} {model}"
        yield from _asserted(Kind.CAMERA, camera, "EXIF Make, Model")
    yield from _of_software(get(tags.SOFTWARE, ""), "EXIF Software")
    yield from _of_program(get(tags.ARTIST, ""), "EXIF Artist", Strength.ASSERTED)
    yield from _of_text("UserComment", get(tags.USER_COMMENT, ""), "EXIF UserComment")
    yield from _of_text("description", get(tags.IMAGE_DESCRIPTION, ""), "EXIF ImageDescription")
    yield from _of_text("comment", get(tags.XP_COMMENT, ""), "EXIF XPComment")


def _of_iptc(record: bytes) -> Iterator[Finding]:
    fields = read_iptc(record)
    yield from _of_software(fields.get(65, ""), "IPTC originating program")
    yield from _of_program(fields.get(110, ""), "IPTC credit", Strength.ASSERTED)
    yield from _of_program(fields.get(80, ""), "IPTC by-line", Strength.ASSERTED)
    yield from _of_text("description", fields.get(120, ""), "IPTC caption")
    if fields.get(40, "").startswith("FBMD"):
        value = "Facebook or Instagram re-encoded the file, which removes its metadata"
        yield Finding(Kind.PLATFORM, value, Strength.STRIPPED, "IPTC special instructions")


_XMP_SOFTWARE = (("CreatorTool", "XMP CreatorTool"), ("AISystemUsed", "XMP AISystemUsed"))


def _of_xmp(packet: str, has_manifest: bool) -> Iterator[Finding]:
    types = xmp_values(packet, "DigitalSourceType") + xmp_values(packet, "DigitalSourcetype")
    yield from _of_source_types(types, "XMP DigitalSourceType", Strength.ASSERTED)
    for name, where in _XMP_SOFTWARE:
        for value in xmp_values(packet, name):
            generator = name == "AISystemUsed" or known_program(value)
            yield from _asserted(Kind.GENERATOR if generator else Kind.SOFTWARE, value, where)
    for value in xmp_values(packet, "Credit"):
        yield from _of_program(value, "XMP Credit", Strength.ASSERTED)
    for value in xmp_values(packet, "AIGC"):
        yield from _asserted(Kind.GENERATOR, front_end("aigc", value) or "", "XMP AIGC")
    for value in xmp_values(packet, "UserComment"):
        yield from _of_text("UserComment", value, "XMP UserComment")
    for value in xmp_values(packet, "description")[:1]:
        yield from _of_text("description", value, "XMP description")
    if not has_manifest:
        for value in xmp_values(packet, "provenance")[:1]:
            text = f"XMP names a manifest that is not in the file: {value}"[:MAX_VALUE]
            yield Finding(Kind.C2PA, text, Strength.STRIPPED, "XMP provenance")
