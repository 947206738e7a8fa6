"""Decoding in processes that may be lost: a crash or a hang costs one file, nothing is left over."""

import io
import os
import signal
import subprocess
import sys
import time
import warnings
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
from code_forensics.engine.decoding.decode import (
    Decoded,
    DecodeOptions,
    Isolation,
    Reason,
    decode,
)
from code_forensics.engine.decoding.layout import Crops
from code_forensics.engine.decoding.views import ViewPlan
from code_forensics.engine.isolation import decoders as module
from code_forensics.engine.isolation import room
from code_forensics.engine.isolation.decoders import Decoders
from code_forensics.engine.isolation.framing import BrokenMessageError, receive
from code_forensics.engine.isolation.messages import pack, unpack
from code_forensics.engine.isolation.process import Process
from code_forensics.engine.isolation.routing import decode_here
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

ROOT = Path(__file__).parents[2]


def picture(name: str, size: tuple[int, int] = (300, 260)) -> bytes:
    rng = np.random.default_rng(0)
    file = io.BytesIO()
    image = Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))
    image.save(file, name)
    return file.getvalue()


def children() -> list[str]:
    """Decoding processes of this one."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text().rpartition(")")[2].split()
                line = (entry / "cmdline").read_text()
            except OSError:
                continue
            if int(stat[1]) == os.getpid() and "worker" in line and stat[0] != "Z":
                found.append(line)
    return found


linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@pytest.fixture
def bad(monkeypatch: pytest.MonkeyPatch) -> Decoders:
    """Decoders whose processes misbehave as the file says."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    with Decoders(DecodeOptions(timeout=30.0), "tests.engine.bad_worker") as decoders:
        yield decoders


@pytest.mark.parametrize("name", ["TIFF", "WEBP", "GIF", "BMP", "JPEG2000", "AVIF", "PNG", "JPEG"])
@pytest.mark.parametrize("plan", [ViewPlan(), ViewPlan(Crops.FIVE, probe=True)], ids=["1", "9"])
def test_the_answer_is_that_of_this_process(name: str, plan: ViewPlan) -> None:
    options = DecodeOptions(views=plan)
    data = picture(name)
    with Decoders(options) as decoders:
        isolated = decoders.decode(data)
    here = decode(data, options)
    assert isinstance(here, Decoded)
    assert isinstance(isolated, Decoded)
    assert np.array_equal(isolated.views, here.views)
    assert (isolated.format, isolated.width, isolated.height, isolated.frames) == (
        (here.format, here.width, here.height, here.frames)
    )


@linux
@pytest.mark.parametrize("name", ["PNG", "JPEG", "WEBP"])
def test_everything_can_be_isolated_to_the_same_pixels(name: str) -> None:
    data = picture(name, (700, 500))  # large enough for a part of a JPEG to be read
    with Decoders(DecodeOptions(isolation=Isolation.ALL)) as decoders:
        isolated, empty = decoders.decode(data), decoders.decode(b"")
        assert len(children()) == 1
    here = decode(data)
    assert np.array_equal(isolated.views, here.views)
    assert replace(isolated, views=here.views) == here  # its decoder too
    assert empty.reason is Reason.EMPTY


@given(st.binary(max_size=40))
def test_a_few_bytes_have_the_answer_of_this_process(data: bytes) -> None:
    here = decode(data)
    routed = decode_here(data, DecodeOptions())
    assert routed is None or (routed.reason, routed.format) == (here.reason, here.format)


@linux
def test_common_files_start_no_process() -> None:
    with Decoders() as decoders:
        for name in ("JPEG", "PNG"):
            assert isinstance(decoders.decode(picture(name)), Decoded)
        assert decoders.decode(b"a text").reason is Reason.NOT_AN_IMAGE
        assert decoders.decode(b"a long line " * 20_000).reason is Reason.NOT_AN_IMAGE
        assert decoders.decode(b"").reason is Reason.EMPTY
        assert children() == []
        decoders.decode(picture("WEBP"))
        assert len(children()) == 1
    assert children() == []


@pytest.mark.parametrize("isolation", Isolation)
def test_a_header_without_a_signature_may_be_long(isolation: Isolation) -> None:
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow means to drop IM
        Image.new("RGB", (300, 300), "red").save(file, "IM")
    header, _, _ = file.getvalue().partition(b"\0")
    comments = b"Comment: %s\r\n" % (b"x" * 80) * 900
    data = header + comments + b"\x1a" + file.getvalue()[512:]
    with Decoders(DecodeOptions(isolation=isolation)) as decoders:
        answer = decoders.decode(data)
    assert (answer.format, answer.width) == ("IM", 300)


@pytest.mark.parametrize("between", [b"\xff", b"\xff\xff", b"\xff\xd0", b"\xff\xd8", b"\xff\xd9"])
def test_a_jpeg_whose_markers_may_be_misread_is_not_trusted(between: bytes) -> None:
    """Fill bytes and markers without a segment: a reader of lengths would step over a frame."""
    usual = picture("JPEG")
    frame = usual.index(b"\xff\xc0")
    assert decode_here(usual, DecodeOptions()) is not None
    assert decode_here(usual[:frame] + between + usual[frame:], DecodeOptions()) is None


def test_a_jpeg_of_many_scans_is_not_trusted_where_they_would_be_read() -> None:
    file = io.BytesIO()
    Image.effect_noise((600, 500), 40).convert("RGB").save(file, "JPEG", progressive=True)
    brief = DecodeOptions(timeout=0.03)  # a million pixels times scans; these are 300,000
    assert decode_here(file.getvalue(), brief) is None
    file = io.BytesIO()
    Image.effect_noise((600, 500), 40).convert("RGB").save(file, "JPEG")
    whole = file.getvalue()
    scans = b"\xff\xda" * 10
    assert isinstance(decode_here(whole, brief), Decoded)
    assert isinstance(decode_here(whole + scans, brief), Decoded)  # behind a scan of everything
    start = whole.index(b"\xff\xda") + 4
    assert whole[start] == 3
    assert decode_here(whole[:start] + b"\x01" + whole[start + 1 :] + scans, brief) is None


@pytest.mark.parametrize(
    ("word", "said"), [(b"CRASH", "SIGSEGV"), (b"EXIT", "code 3"), (b"LIE", "code 1")]
)
def test_a_crash_costs_one_file(bad: Decoders, word: bytes, said: str) -> None:
    good = picture("WEBP")
    assert isinstance(bad.decode(good), Decoded)
    lost = bad.decode(good + word)
    assert lost.reason is Reason.DECODER_CRASHED
    assert said in lost.detail
    assert lost.format == "WEBP"
    assert isinstance(bad.decode(good), Decoded)


@linux
def test_a_process_that_the_system_ends_says_nothing_of_the_file(bad: Decoders) -> None:
    lost = bad.decode(picture("WEBP") + b"KILL")
    assert (lost.reason, lost.detail) == ((Reason.NO_MEMORY, "the decoder was ended by SIGKILL"))


def test_a_hang_costs_one_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    with Decoders(DecodeOptions(timeout=2.0), "tests.engine.bad_worker") as decoders:
        lost = decoders.decode(picture("GIF") + b"HANG")
        assert lost.reason is Reason.DECODE_TIMEOUT
        assert lost.detail == "no answer within 2 s"
        assert isinstance(decoders.decode(picture("GIF")), Decoded)


def test_an_answer_without_sense_costs_its_process(bad: Decoders) -> None:
    lost = bad.decode(picture("WEBP") + b"WRONG")
    assert (lost.reason, lost.detail) == (
        (Reason.DECODER_CRASHED, "the decoder's answer makes no sense")
    )
    assert bad._idle == []
    assert isinstance(bad.decode(picture("WEBP")), Decoded)


def pages(word: bytes, count: int = 8) -> bytes:
    file = io.BytesIO()
    image = Image.new("L", (30, 30))
    image.save(file, "TIFF", save_all=True, append_images=[image] * (count - 1))
    return file.getvalue() + word


def test_each_frame_has_the_time_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    with Decoders(DecodeOptions(timeout=1.5), "tests.engine.bad_worker") as decoders:
        answers = decoders.decode_frames(pages(b"SLOW"), 1, 8, 8)
    assert [type(answer) for answer in answers] == [Decoded] * 7
    assert {answer.frames for answer in answers} == {8}


@pytest.mark.parametrize("isolation", [Isolation.NONE, Isolation.AUTO])
def test_frames_are_those_of_this_process(isolation: Isolation) -> None:
    shades = [Image.new("L", (230, 230), shade) for shade in range(5)]
    file = io.BytesIO()
    shades[0].save(file, "TIFF", save_all=True, append_images=shades[1:])
    with Decoders(DecodeOptions(isolation=isolation)) as decoders:
        answers = decoders.decode_frames(file.getvalue(), 2, 6, 5)
    assert [int(answer.crop[0, 0, 0]) for answer in answers[:3]] == [2, 3, 4]
    assert answers[3].reason is Reason.TRUNCATED  # there is no such frame


def test_a_lost_frame_costs_itself_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    with Decoders(DecodeOptions(timeout=2.0), "tests.engine.bad_worker") as decoders:
        answers = decoders.decode_frames(pages(b"CRASH@2;HANG@4;"), 1, 8, 8)
        lost = {n: a.reason for n, a in enumerate(answers, 1) if not isinstance(a, Decoded)}
        assert lost == {2: Reason.DECODER_CRASHED, 4: Reason.DECODE_TIMEOUT}
        answers = decoders.decode_frames(pages(b"CRASH@2;CRASH@4;CRASH@5;"), 1, 8, 8)
        assert [isinstance(answer, Decoded) for answer in answers] == [True, False, True] + (
            [False] * 4
        )  # three losses: the rest is given up


def test_threads_have_a_process_each(bad: Decoders) -> None:
    answers: dict[int, object] = {}
    files = [picture("WEBP") + (b"CRASH" if number % 3 == 0 else b"") for number in range(9)]

    def work(number: int) -> None:
        answers[number] = bad.decode(files[number])

    threads = [Thread(target=work, args=(number,)) for number in range(9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [isinstance(answers[n], Decoded) for n in range(9)] == [n % 3 != 0 for n in range(9)]


@linux
def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    options = DecodeOptions(max_pixels=1 << 20, max_bytes=1 << 20)
    with Decoders(options, "tests.engine.bad_worker") as decoders:
        lost = decoders.decode(picture("WEBP") + b"EAT")
    assert lost.reason is Reason.DECODER_CRASHED
    assert "code 42" in lost.detail  # it met its bound long before the machine's


@linux
def test_processes_end_with_a_killed_parent() -> None:
    code = (
        "import sys; from code_forensics.engine.isolation.decoders import Decoders\n"
        "d = Decoders(); d.decode(sys.stdin.buffer.read())\n"
        "(child,) = [p._child for p in d._idle]; print(child.pid, flush=True)\n"
        "import time; time.sleep(60)"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    parent.stdin.write(picture("WEBP"))
    parent.stdin.close()
    child = int(parent.stdout.readline())
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    for _ in range(100):
        try:
            state = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return
        if state == "Z":
            return
        time.sleep(0.1)
    pytest.fail("the decoding process outlived its parent")


def test_where_no_process_can_be_started_files_are_decoded_here(caplog) -> None:
    with Decoders(worker="code_forensics.no_such_module") as decoders:
        assert isinstance(decoders.decode(picture("WEBP")), Decoded)
        assert isinstance(decoders.decode(picture("GIF")), Decoded)
    assert len(caplog.records) == 1
    assert "no decoding process can be started" in caplog.text


class Starts:
    """Processes that start as often as they may."""

    def __init__(self, *works: bool) -> None:
        self.works = list(works)

    def __call__(self, *arguments: str) -> Process:
        if not self.works.pop(0):
            raise BrokenMessageError
        return Process(*arguments)


def test_a_failed_start_leaves_isolation_on(monkeypatch, caplog) -> None:
    monkeypatch.setattr(module, "decode", pytest.fail)
    monkeypatch.setattr(module, "_STARTS", (0.0, 0.0))
    starts = Starts(False, True, False, False, False, True)
    monkeypatch.setattr(module, "Process", starts)
    with Decoders() as decoders:
        assert isinstance(decoders.decode(picture("WEBP")), Decoded)
        decoders._idle.pop().end()
        lost = decoders.decode(picture("WEBP"))
        assert lost.reason is Reason.NO_MEMORY  # of the machine's making, not the file's
        assert "no decoding process can be started" in lost.detail
        assert isinstance(decoders.decode(picture("WEBP")), Decoded)
        assert starts.works == []
    assert caplog.records == []


def test_large_pictures_wait_for_each_other(monkeypatch) -> None:
    monkeypatch.setattr(room, "SMALL", 10)
    monkeypatch.setattr(room, "LEAST", 100)
    monkeypatch.setattr(room, "memory", lambda: 0)
    space = room.Room()
    held, most = [], []

    def work(pixels: int) -> None:
        for _ in range(20):
            with space.holding(pixels):
                held.append(pixels)
                most.append(sum(held))
                time.sleep(0.001)
                held.remove(pixels)

    threads = [Thread(target=work, args=(pixels,)) for pixels in (40, 40, 40, 40, 100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(most) <= 100
    with space.holding(1000), space.holding(10):  # one may always be decoded, and small ones
        pass
    assert (room.Room(4)._all, space._all) == (25, 100)  # one of four processes


def test_what_is_decoded_whole_asks_for_room() -> None:
    asked = []

    def holding(pixels: int) -> nullcontext[None]:
        asked.append(pixels)
        return nullcontext()

    assert isinstance(decode_here(picture("PNG"), DecodeOptions(), holding), Decoded)
    decode_here(b"a text", DecodeOptions(), holding)
    assert asked == [300 * 260]


def test_answers_are_checked() -> None:
    plan = ViewPlan()
    facts, raw = pack(decode(picture("PNG")))
    assert isinstance(unpack(facts, raw, plan), Decoded)
    refusal, nothing = pack(decode(b""))
    assert unpack(refusal, nothing, plan) == decode(b"")
    for wrong, tail in (
        ({}, raw),
        (facts, raw[:-1]),
        (facts, raw + b"\0"),
        (facts, raw + raw),
        ({**facts, "views": 2}, raw),
        ({**facts, "width": -1}, raw),
        ({**facts, "width": True}, raw),
        ({**facts, "format": "x" * 5000}, raw),
        ({**facts, "reason": "all is well", "detail": ""}, b""),
        (refusal, raw),
    ):
        with pytest.raises(BrokenMessageError):
            unpack(wrong, tail, plan)
    for stream in (
        b"",
        b"\0" * 11,
        b"\xff" * 30,
        b"\0\0\0\2" + bytes(8) + b"[]",
        b"\0\0\0\1" + bytes(8) + b"{",
    ):
        with pytest.raises(BrokenMessageError):
            receive(io.BytesIO(stream), 1000)
