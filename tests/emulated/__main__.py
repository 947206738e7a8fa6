"""Compares the pass with PyTorch on a processor that Bochs emulates; README.md says how."""

import argparse
import os
import pty
import re
import select
import shutil
import subprocess
import sys
import sysconfig
import time
import tty
from pathlib import Path

import numpy as np
import torch
from code_forensics.engine.embedding.checkpoint import (
    Checkpoint,
    parse_config,
    read_checkpoint,
)
from code_forensics.engine.embedding.config import EncoderConfig
from code_forensics.engine.embedding.embed_native import pack
from code_forensics.engine.embedding.encoder import normalise
from code_forensics.engine.embedding.tensors import read_tensors

from tests.conftest import draw_checkpoint

HERE = Path(__file__).parent
PASS = HERE.parents[1] / "engine" / "embedding"
LIBRARIES = ("libstdc++.so.6", "libgcc_s.so.1", "libc.so.6", "librt.so.1", "libdl.so.2")
MODULES = [
    "crc16",
    "crc32c_generic",
    "libcrc32c",
    "crct10dif_common",
    "crc-t10dif",
    "crc64",
    "crc64_rocksoft_generic",
    "crc64-rocksoft",
    "t10-pi",
    "mbcache",
    "jbd2",
    "ext4",
    "scsi_common",
    "scsi_mod",
    "libata",
    "ata_piix",
    "sd_mod",
]
INIT = """#!/bin/busybox sh
B=/bin/busybox
$B mount -t proc p /proc; $B mount -t devtmpfs d /dev
for module in MODULES; do [ -f /modules/$module.ko ] && $B insmod /modules/$module.ko; done
$B sleep 1
$B mount -t ext4 /dev/sdb /d
$B mkdir -p /lib64; $B cp /d/lib/ld-linux-x86-64.so.2 /lib64/
export LD_LIBRARY_PATH=/d/lib
/d/torch_pass /d/given
/d/native_pass /d/given/weights /d/given/crops /d/given/by_pass
$B umount /d
echo finished
$B poweroff -f
"""
SYSLINUX = """DEFAULT linux
PROMPT 0
LABEL linux
 KERNEL vmlinuz
 APPEND initrd=initrd.gz console=ttyS0 mitigations=off nokaslr loglevel=3
"""
BOCHS = """megs: 2048
cpu: model={model}, count=1, ips=100000000
romimage: file={root}/usr/share/bochs/BIOS-bochs-latest
vgaromimage: file={root}/usr/share/vgabios/vgabios.bin
ata0: enabled=1, ioaddr1=0x1f0, ioaddr2=0x3f0, irq=14
ata0-master: type=disk, path={folder}/boot.img, mode=flat, cylinders=130, heads=16, spt=63
ata0-slave: type=disk, path={folder}/data.img, mode=flat
boot: disk
com1: enabled=1, mode=term, dev={terminal}
log: {folder}/bochs.log
panic: action=fatal
error: action=ignore
info: action=ignore
display_library: nogui
clock: sync=none, time0=local
"""


def main() -> None:
    """Prepare two disks, start the emulator, and compare what the programs wrote."""
    parser = argparse.ArgumentParser(prog="python -m tests.emulated", description=__doc__)
    parser.add_argument("bochs", type=Path, help="the emulator")
    parser.add_argument("root", type=Path, help="where the Debian packages were unpacked")
    parser.add_argument("folder", type=Path, help="a new one, to work in")
    parser.add_argument("--model", default="corei7_skylake_x", help="of processor")
    parser.add_argument("--lanes", type=int, default=16, choices=(8, 16), help="of the pass")
    parser.add_argument("--checkpoint", type=Path, help="a ViT-Tiny; otherwise drawn")
    parser.add_argument("--crops", type=int, default=2, help="half a minute each")
    given = parser.parse_args()
    root, folder = given.root.resolve(), given.folder.resolve()
    (folder / "disk" / "given").mkdir(parents=True)
    if given.checkpoint:
        checkpoint = read_checkpoint(given.checkpoint)
    else:
        checkpoint = draw_checkpoint(EncoderConfig(layer_norm_eps=1e-6))
    prepare(checkpoint, given.crops, 2 * given.lanes, folder / "disk" / "given")
    compile_programs(given.lanes, folder / "disk")
    make_data_disk(folder)
    make_boot_disk(root, folder)
    emulate(given.bochs.resolve(), BOCHS.replace("{model}", given.model), root, folder)
    by_torch, by_pass = (read_back(folder, name) for name in ("by_torch", "by_pass"))
    difference = float(np.abs(by_torch - by_pass).max()) if len(by_torch) else float("nan")
    print(
        f"torch {torch.__version__}, {len(by_torch) // 192} crops, largest difference {difference}"
    )
    sys.exit(0 if difference == 0.0 else 1)


def prepare(checkpoint: Checkpoint, count: int, panel: int, folder: Path) -> None:
    """Write the weights and some crops as both programs read them; the last crop is flat."""
    config = parse_config(checkpoint.config, checkpoint.origin)
    tensors = read_tensors(checkpoint, config)
    crops = np.random.default_rng(7).integers(0, 256, (count, 224, 224, 3), dtype=np.uint8)
    crops[-1] = 128
    crops.tofile(folder / "crops")
    pack(tensors, config, panel).tofile(folder / "weights")
    images = normalise(torch.from_numpy(crops).permute(0, 3, 1, 2).contiguous())
    lines = []
    for name, tensor in {**tensors, "images": images.numpy()}.items():
        np.ascontiguousarray(tensor, np.float32).tofile(folder / name)
        lines.append(" ".join(map(str, (name, tensor.ndim, *tensor.shape))))
    (folder / "tensors.txt").write_text("\n".join(lines) + "\n")


def compile_programs(lanes: int, disk: Path) -> None:
    """Compile them, with PyTorch's library and whatever else they load beside them."""
    home = Path(torch.__file__).parent
    _run(
        *("g++", "-O1", "-std=c++20", f"-I{home}/include", HERE / "torch_pass.cpp"),
        *(f"-L{home}/lib", "-ltorch_cpu", "-lc10", "-o", disk / "torch_pass"),
    )
    headers = [f"-I{sysconfig.get_path('include')}", f"-I{PASS}"]
    flags = ["-O3", "-ffp-contract=off", f"-DLANES={lanes}", *headers]
    _run("gcc", *flags, "-c", HERE / "native_pass.c", "-o", disk / "native_pass.o")
    named = _run("nm", "-u", disk / "native_pass.o")  # nothing calls what is Python's
    stubs = "".join(f"void *{name};" for name in re.findall(r"U (_?Py\w+)", named))
    (disk / "stubs.c").write_text(stubs)
    _run(
        *("gcc", "-w", disk / "native_pass.o", disk / "stubs.c", "-lm"),
        *("-o", disk / "native_pass"),
    )
    (disk / "lib").mkdir()
    for name in ("libtorch_cpu.so", "libc10.so", "libgomp.so.1"):
        shutil.copy(home / "lib" / name, disk / "lib")
    for name in (*LIBRARIES, "libpthread.so.0", "libm.so.6"):
        shutil.copy(Path("/lib/x86_64-linux-gnu") / name, disk / "lib")
    shutil.copy("/lib64/ld-linux-x86-64.so.2", disk / "lib")


def make_data_disk(folder: Path) -> None:
    """An ext4 image of the folder `disk`."""
    image = folder / "data.img"
    with image.open("wb") as file:
        file.truncate(1 << 30)
    features = "^metadata_csum,^has_journal"
    _run("mke2fs", "-q", "-t", "ext4", "-O", features, "-d", folder / "disk", image)


def make_boot_disk(root: Path, folder: Path) -> None:
    """A FAT image that starts the kernel with an initial file system of our own."""
    start = folder / "start"
    for name in ("bin", "modules", "proc", "dev", "d"):
        (start / name).mkdir(parents=True)
    busybox = root / "bin" / "busybox"
    shutil.copy(busybox, start / "bin")
    (kernel,) = (root / "boot").glob("vmlinuz-*")
    for module in (root / "lib" / "modules").rglob("*.ko"):
        if module.stem in MODULES:
            shutil.copy(module, start / "modules")
    (start / "init").write_text(INIT.replace("MODULES", " ".join(MODULES)))
    (start / "init").chmod(0o755)
    (folder / "syslinux.cfg").write_text(SYSLINUX)
    packing = f"cd {start} && find . | {busybox} cpio -o -H newc | gzip -1 > {folder}/initrd.gz"
    _run("sh", "-c", packing)
    image, tools = folder / "boot.img", root / "usr" / "bin"
    with image.open("wb") as file:
        file.truncate(1 << 26)
    _run(tools / "mformat", "-i", image, *["-h", "16", "-s", "63", "-t", "130", "-H", "0", "::"])
    for source, name in (
        (kernel, "vmlinuz"),
        (folder / "initrd.gz", "initrd.gz"),
        (folder / "syslinux.cfg", "syslinux.cfg"),
    ):
        _run(tools / "mcopy", "-i", image, source, f"::{name}")
    paths = {**os.environ, "PATH": f"{tools}:{os.environ['PATH']}"}
    subprocess.run([tools / "syslinux", "-i", image], check=True, env=paths)


def emulate(bochs: Path, config: str, root: Path, folder: Path) -> None:
    """Run the emulator until the system in it powers off; what that says is passed on."""
    screen, terminal = pty.openpty()
    tty.setraw(terminal)
    settings = config.format(root=root, folder=folder, terminal=os.ttyname(terminal))
    (folder / "bochsrc").write_text(settings)
    with (folder / "bochs.out").open("w") as log:
        running = subprocess.Popen(
            [bochs, "-q", "-f", folder / "bochsrc"],
            stdout=log,
            stderr=log,
            env={**os.environ, "BXSHARE": str(root / "usr" / "share" / "bochs")},
        )
    started = time.monotonic()
    while running.poll() is None:
        if select.select([screen], [], [], 1)[0]:
            sys.stdout.write(os.read(screen, 1 << 16).decode("ascii", "replace"))
            sys.stdout.flush()
    print(f"emulated for {time.monotonic() - started:.0f} s")


def read_back(folder: Path, name: str) -> np.ndarray:
    """A file of vectors from the data disk."""
    target = folder / name
    _run("debugfs", "-R", f"dump /given/{name} {target}", folder / "data.img")
    return np.fromfile(target, np.float32)


def _run(*command: str | Path) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


if __name__ == "__main__":
    main()
