"""A cluster in the place of this machine, as the options of a command say it."""

from dataclasses import replace

from ..engine.cluster.on_ray import RayOptions
from ..engine.errors import InputError
from .encoders import EncoderChoice
from .options import DeviceChoice


def ray_options(address: str, workers: str, gpus: float, device: DeviceChoice) -> RayOptions | None:
    """What the user wants of Ray; None where nothing.

    Raises:
        InputError: The options contradict each other.
    """
    if not address:
        if workers or gpus:
            raise InputError(
                "--ray-workers and --ray-gpus are for --ray", "add --ray local, for example"
            )
        return None
    if "://" in address:
        raise InputError(
            "Ray Data does not run through Ray's client",
            "run this on a node of the cluster with --ray auto, or name HOST:PORT",
        )
    if gpus and device is DeviceChoice.CPU:
        raise InputError("--device cpu and --ray-gpus contradict each other", "leave one of them")
    if device is DeviceChoice.CUDA:
        gpus = gpus or 1.0
    return RayOptions(address, RayOptions.parse_workers(workers) if workers else None, gpus)


def encoder_beside(ray: RayOptions | None, choice: EncoderChoice) -> EncoderChoice:
    """The encoder of this machine, which beside a cluster embeds nothing, and needs no GPU.

    Raises:
        InputError: Vectors of reduced precision are wanted of a cluster.
    """
    if ray is None:
        return choice
    if choice.precision.reduced:
        raise InputError(
            f"--ray computes in float32, not in {choice.precision}",
            "what lies near a threshold is embedded again here alone: leave --precision or --ray",
        )
    return replace(choice, device=DeviceChoice.CPU)
