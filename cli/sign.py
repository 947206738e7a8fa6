"""``code-report keygen``, ``sign``, ``check-signature``: reports that can be proven whole."""

from pathlib import Path
from typing import Annotated

import typer

from .running import EXIT_MATCHED

Report = Annotated[Path, typer.Argument(metavar="FILE", help="A report, or any other file.")]


def register(app: typer.Typer) -> None:
    """Add the commands to an application."""
    app.command(epilog="Example: [bold]code-report keygen desk.pem[/]")(keygen)
    app.command(epilog="Example: [bold]code-report sign report.json --key desk.pem[/]")(sign)
    app.command(
        "check-signature",
        epilog="Example: [bold]code-report check-signature report.json"
        " --public-key desk.pub.pem[/]",
    )(check_signature)


def keygen(
    key: Annotated[Path, typer.Argument(metavar="KEY.pem", help="The private key to make.")],
    public_key: Annotated[
        Path | None,
        typer.Option(metavar="PUB.pem", help="The public key; default: KEY.pub.pem."),
    ] = None,
    encrypt: Annotated[
        bool, typer.Option("--encrypt", help="Ask for a passphrase for the private key.")
    ] = False,
) -> None:
    """Make a key pair for signing: keep the private key, hand out the public one."""
    from ..engine.signing import generate_key, public_key_path
    from .console import say

    shown = public_key or public_key_path(key)
    secret = _new_passphrase() if encrypt else None
    name = generate_key(key, shown, secret)
    say(f"made {key} (keep it secret) and {shown} (hand it out)")
    say(f"fingerprint {name}")


def sign(
    file: Report,
    key: Annotated[Path, typer.Option(metavar="KEY.pem", help="Private key.")],
) -> None:
    """Sign a file: the signature of its exact bytes goes to FILE.sig."""
    from ..engine import signing
    from . import outputs
    from .console import say

    target = signing.signature_path(file)
    outputs.check_targets([target])
    signature = signing.sign_file(file, key, _passphrase)
    with outputs.whole(target) as stream:
        stream.write(signing.signature_text(signature))
    say(f"signed {file} with key {signature.key[:16]}: {target}")


def check_signature(
    file: Report,
    public_key: Annotated[
        Path, typer.Option(metavar="PUB.pem", help="Public key of whoever signed.")
    ],
    signature: Annotated[
        Path | None, typer.Option(metavar="FILE.sig", help="Default: beside the file.")
    ] = None,
) -> None:
    """Check that a file is, byte for byte, what the owner of a key has signed.

    Exits with 0 if it is, with 1 if it is not, and with 2 if that cannot be checked.
    """
    from ..engine import signing
    from ..engine.errors import SignatureError
    from .console import fail, say

    try:
        stated = signing.check_signature(file, public_key, signature)
    except SignatureError as error:
        fail(str(error), error.hint)
        raise typer.Exit(EXIT_MATCHED) from None
    say(f"good: {file} is what key {stated.key[:16]} signed", "green")
    say(f"the signer states the time {stated.time}, which the signature does not cover")


def _passphrase() -> bytes:
    text: str = typer.prompt("Passphrase of the key", hide_input=True, err=True)
    return text.encode()


def _new_passphrase() -> bytes:
    text: str = typer.prompt("Passphrase", hide_input=True, confirmation_prompt=True, err=True)
    return text.encode()
