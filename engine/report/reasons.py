"""What every reason code means in plain words, and what an analyst can do about it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Meaning:
    """A reason in words.

    Attributes:
        sentence: What it means, one sentence.
        advice: What to do next, one sentence.
    """

    sentence: str
    advice: str


INCONCLUSIVE = {
    "uncalibrated": Meaning(
        "The gallery has too few references of a class to say how certain a score is.",
        "Add references (at least 20 of each class, from several sources) with code-index add.",
    ),
    "no_separation": Meaning(
        "In this gallery generated references do not score above real ones, so a score says"
        " nothing.",
        "Use another gallery or another encoder, and look at code-index evaluate first.",
    ),
    "novel": Meaning(
        "The image is unlike every reference, so that no comparison with them is meaningful.",
        "Add references of its kind to the gallery (same camera, subject or generator), or"
        " examine it by other means.",
    ),
    "between_thresholds": Meaning(
        "The score lies between the thresholds, where both kinds of images are found.",
        "Weigh the likelihood ratio and the provenance with what else is known of the image.",
    ),
    "precision": Meaning(
        "The embedding is of reduced precision, and in float32 vote or verdict could be another.",
        "Scan the file again with --precision float32, which embeds it anew.",
    ),
    "too_small": Meaning(
        "The image is smaller than the encoder's input of 224 pixels, and was padded with black.",
        "Find a larger copy of the image.",
    ),
    "unstable": Meaning(
        "The answer on its middle flips under changes of the image that should not matter.",
        "Find an earlier copy of the image, nearer to its origin, and do not rely on this one.",
    ),
    "contradicts_copy": Meaning(
        "The answer would contradict the label of a reference that practically is the same"
        " picture.",
        "Compare the image with that reference, and find out where the reference comes from: its"
        " label may be wrong, or the two may differ outside of their middles.",
    ),
}
"""Of rows that carry a verdict."""

WITHOUT_VERDICT = {
    "empty": Meaning(
        "The file holds no bytes.", "Get the file again from where it was copied from."
    ),
    "not_an_image": Meaning(
        "No decoder takes the content for an image, whatever its name says.",
        "Nothing, unless it ought to be an image (then get it again), or is an archive or mail:"
        " scan what it holds with --archives.",
    ),
    "unsupported": Meaning(
        "It is an image of a kind that is not decoded here.",
        "Convert it without loss, to PNG for instance, keep the original, and scan the copy.",
    ),
    "truncated": Meaning(
        "It ends too early: a part of it is missing.",
        "Get the whole file again; a part of an image is not judged, nor what an archive lacks.",
    ),
    "corrupt": Meaning(
        "The decoder found an error in the image, or the archive is damaged.",
        "Get the file again; what a decoder repairs is not judged.",
    ),
    "too_large": Meaning(
        "The file is larger than the limit, packed or unpacked.",
        "Examine it on its own: it may be an archive of pixels, or made to exhaust a decoder.",
    ),
    "too_many_pixels": Meaning(
        "The header announces more pixels than the limit.",
        "Examine it on its own: it may be a panorama, or made to exhaust a decoder.",
    ),
    "no_memory": Meaning(
        "There was not enough memory to decode it.",
        "Scan it again when less else is running, or on a machine with more memory.",
    ),
    "decoder_crashed": Meaning(
        "The image brought its decoder down, in a process of its own.",
        "Treat the file as hostile until it is known what is wrong with it; nothing else was lost.",
    ),
    "decode_timeout": Meaning(
        "Decoding took longer than the limit, and was stopped.",
        "Scan the file again with a larger --decode-timeout and --retry-failed; it may be made to"
        " keep a decoder busy.",
    ),
    "archive": Meaning(
        "It is an archive, or mail: what lies in it has rows of its own.", "See those rows."
    ),
    "encrypted": Meaning(
        "It is encrypted, and cannot be read without its password.",
        "Find the password, unpack a copy of the archive, and scan that.",
    ),
    "too_deep": Meaning(
        "It is an archive within more archives than the limit; what it holds was not scanned.",
        "Scan again with a larger depth in --archive-limits.",
    ),
    "too_many_members": Meaning(
        "The archive holds more members than the limit; those beyond it were not scanned.",
        "Scan again with more members in --archive-limits, if the archive is what it seems.",
    ),
    "archive_bomb": Meaning(
        "Unpacking gives far more bytes, or takes longer, than the limits allow; the rest was not"
        " scanned.",
        "Treat the archive as hostile; else raise total, ratio or seconds in --archive-limits.",
    ),
    "too_many_frames": Meaning(
        "The file holds more pictures than the limit; those from this one on were not judged.",
        "Scan again with a larger --max-frames.",
    ),
    "hard_link": Meaning(
        "It is another name of an earlier member of its archive.", "See the row of that member."
    ),
    "not_embedded": Meaning(
        "The workspace no longer holds the vector that this scan would have been judged by.",
        "Scan the file again with code-scan.",
    ),
    "symlink": Meaning(
        "It is a symbolic link, and links were not followed.",
        "Scan with --follow-symlinks if what it points to belongs to the case.",
    ),
    "symlink_loop": Meaning(
        "It is a symbolic link to a directory that was scanned already, or that it lies in.",
        "Nothing: what the directory holds has rows by another path.",
    ),
    "special_file": Meaning(
        "It is a device, a socket or a pipe, not a regular file.", "Nothing: it holds no image."
    ),
    "unreadable": Meaning(
        "The system did not let the file be read.",
        "Scan with the right to read it, or from an image of the medium.",
    ),
    "unreadable_directory": Meaning(
        "The system did not let the directory be listed; what it holds was not scanned.",
        "Scan with the right to read it, or from an image of the medium.",
    ),
    "vanished": Meaning(
        "The file was there when the directory was listed, and gone when it was opened.",
        "Scan again from a place where nothing changes.",
    ),
    "changed": Meaning(
        "The file changed while it was read.", "Scan again from a place where nothing changes."
    ),
}
"""Of rows that carry none."""

PROVENANCE = {
    "signed": "The file carries a signed manifest that fits it: the statements in it come from"
    " its signer, whose trust is yours to judge.",
    "broken": "The file carries a manifest that does not fit it: it was changed after signing,"
    " or the manifest was moved here from another file.",
    "asserted": "The file says something of its origin without proof; anyone can write that.",
    "stripped": "The file says nothing of its origin; many services remove such information, so"
    " that this means little.",
}
"""What the strength of a file's provenance means."""

_OTHER = Meaning(
    "The reason is one that this version has no words for.", "See the detail beside it."
)


def meaning(reason: str) -> Meaning:
    """Look a reason code up; one of another version has a sentence too."""
    return INCONCLUSIVE.get(reason) or WITHOUT_VERDICT.get(reason) or _OTHER
