"""The licences that a starter may come under, as texts for a file of its own."""

from ..errors import ConfigError

_MIT = """MIT License

Copyright (c) the code-forensics authors

This licence covers the files of this folder: the weights (model.safetensors, config.json) and the
vectors (gallery.safetensors, assessment.npz) of the embedded starter, and their description.

Permission is hereby granted, free of charge, to any person obtaining a copy of this software and
associated documentation files (the "Software"), to deal in the Software without restriction,
including without limitation the rights to use, copy, modify, merge, publish, distribute,
sublicense, and/or sell copies of the Software, and to permit persons to whom the Software is
furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all copies or substantial
portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT
NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND
NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES
OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM, OUT OF OR IN
CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.
"""

_CC_BY_NC = """The files of this folder, the weights (model.safetensors, config.json) and the
vectors (gallery.safetensors, assessment.npz) of the embedded starter and their description, are
licensed under the Creative Commons Attribution-NonCommercial 4.0 International Public License
(CC BY-NC 4.0), because some of the images that they were made from are for non-commercial use only.
The program around them is under the MIT licence and works with other weights and galleries.

SPDX-License-Identifier: CC-BY-NC-4.0

Attribution: the code-forensics authors.
The licence: https://creativecommons.org/licenses/by-nc/4.0/legalcode
"""

LICENCES = {"MIT": _MIT, "CC-BY-NC-4.0": _CC_BY_NC}
"""Texts by SPDX identifier."""


def licence_text(identifier: str) -> str:
    """The text of a licence.

    Raises:
        ConfigError: There is none of that name.
    """
    if identifier not in LICENCES:
        raise ConfigError(
            f"no text is known for the licence {identifier!r}", f"choose of {', '.join(LICENCES)}"
        )
    return LICENCES[identifier]
