"""What reads, decodes and embeds in the place of this process, as a command's options say it."""

from contextlib import AbstractContextManager
from dataclasses import replace

from ..engine.cluster.on_processes import Processes, ProcessOptions
from ..engine.cluster.on_ray import RayCluster, RayOptions
from ..engine.embedding.devices import resolve_device
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
                "--ray-workers and --ray-gpus have no effect without --ray",
                "add --ray local, for example",
            )
        return None
    if "://" in address:
        raise InputError(
            "Ray Data does not run through Ray's client",
            "run this on a node of the cluster with --ray auto, or name HOST:PORT",
        )
    if gpus and device is DeviceChoice.CPU:
        raise InputError("--device cpu and --ray-gpus contradict each other", "drop one of them")
    if device is DeviceChoice.CUDA:
        gpus = gpus or 1.0
    return RayOptions(address, RayOptions.parse_workers(workers) if workers else None, gpus)


def helpers(
    processes: int, device: DeviceChoice, ray: RayOptions | None
) -> RayOptions | ProcessOptions | None:
    """Who reads, decodes and embeds; None where this process does.

    Raises:
        InputError: Both are wanted.
    """
    if processes and ray is not None:
        raise InputError(
            "--processes and --ray exclude each other",
            "drop one: a cluster has processes of its own, see --ray-workers",
        )
    if not processes:
        return ray
    return ProcessOptions(processes, resolve_device(device.value))


def started(options: RayOptions | ProcessOptions) -> AbstractContextManager[RayCluster | Processes]:
    """The helpers themselves: a context manager."""
    return RayCluster(options) if isinstance(options, RayOptions) else Processes(options)


def encoder_beside(
    options: RayOptions | ProcessOptions | None, choice: EncoderChoice
) -> EncoderChoice:
    """The encoder of this process, which beside helpers embeds nothing, and needs no GPU.

    Raises:
        InputError: Vectors of reduced precision are wanted of helpers.
    """
    if options is None:
        return choice
    if choice.precision.reduced:
        option = "--ray" if isinstance(options, RayOptions) else "--processes"
        raise InputError(
            f"{option} computes in float32, not in {choice.precision}",
            "what lies near a threshold is embedded again here alone: drop --precision or"
            f" {option}",
        )
    return replace(choice, device=DeviceChoice.CPU)
