import functools
import gc
import http.server
import io
import os
import pickle
import subprocess
import sys
import tarfile
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch
from code_forensics.train import loader
from code_forensics.train.catalogue import Label, decode
from code_forensics.train.dataset import open_catalogue
from code_forensics.train.distributed import Processes
from code_forensics.train.errors import DataError
from code_forensics.train.loader import PairViews, batches
from code_forensics.train.prepare import prepare
from code_forensics.train.sampling import PairSampler


def rows(catalogue):
    """What is known of each image, independent of how it is stored."""
    return [
        (
            catalogue.read(i),
            int(catalogue.label[i]),
            catalogue.generators[catalogue.generator[i]],
            catalogue.sources[catalogue.source[i]],
            int(catalogue.record[i]),
        )
        for i in range(len(catalogue))
    ]


def test_folders_give_classes_generators_sources_and_pairs(tree):
    catalogue = open_catalogue(str(tree))
    assert len(catalogue) == 32
    assert len(catalogue.where(Label.REAL)) == 12
    of = {}
    for _, label, generator, source, record in rows(catalogue):
        of.setdefault(record, []).append((label, generator, source))
    pairs = sorted(tuple(r) for r in of.values() if len(r) > 1)
    assert pairs == [((0, "", s), (1, "alpha", s)) for s in ("one",) * 4 + ("two",) * 4]
    alone = {r[0][1:] for r in of.values() if len(r) == 1}
    assert alone == {("", "three"), ("beta", "beta"), ("gamma", "x"), ("gamma", "y")}


def test_csv_gives_the_same_and_takes_the_columns_of_a_manifest(tree, tmp_path):
    lines = ["file,label,source,generator,record"]
    for i, path in enumerate(sorted(tree.rglob("*.*"))):
        label = path.relative_to(tree).parts[0]
        generator = path.relative_to(tree).parts[1] if label == "fake" else ""
        lines.append(f"{path},{label},src{i % 3},{generator},r{i % 5}")
    (tmp_path / "set.csv").write_text("\n".join(lines), encoding="utf-8")
    catalogue = open_catalogue(str(tmp_path / "set.csv"))
    assert len(catalogue) == 32
    assert set(catalogue.generators) == {"", "alpha", "beta", "gamma"}
    assert set(catalogue.sources) == {"src0", "src1", "src2"}
    assert len(np.unique(catalogue.record)) == 5
    assert decode(catalogue.read(0)).mode == "RGB"


@pytest.mark.parametrize(
    ("text", "says"),
    [("a,b\n1,2", "lacks the columns"), ("path,label\nx.png,maybe", "label 'maybe'")],
)
def test_csv_mistakes_are_named(text, says, tmp_path):
    (tmp_path / "set.csv").write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=says):
        open_catalogue(str(tmp_path / "set.csv"))


def test_shards_equal_folders(tree, tmp_path, small):
    """The same images, pairs and sources, and so the same batches to the last pixel."""
    done = prepare(str(tree), tmp_path / "shards", per_shard=5)
    assert done.shards == len(list((tmp_path / "shards").glob("*.tar"))) > 3
    folders, shards = open_catalogue(str(tree)), open_catalogue(str(tmp_path / "shards"))
    assert rows(folders) == rows(shards)
    views = []
    for catalogue in (folders, shards):
        sampler = PairSampler(catalogue, np.arange(len(catalogue)), seed=3)
        dataset = PairViews(catalogue, sampler, small)
        views.append([dataset[n].views.numpy() for n in range(6)])
    assert np.array_equal(views[0], views[1])


def d3_shard(path, picture, records=3):
    with tarfile.open(path, "w") as tar:
        for key in range(records):
            for role in ("gen_0.jpg", "gen_1.jpg", "gen_2.jpg", "gen_3.jpg", "caption.txt",
                         "real.jpg", "url.txt"):  # fmt: skip
                buffer = io.BytesIO(b"x")
                if role.endswith("jpg"):
                    picture(key).save(buffer, "JPEG")
                info = tarfile.TarInfo(f"elsa_v2__train__{key}.{role}")
                info.size = len(buffer.getvalue())
                tar.addfile(info, io.BytesIO(buffer.getvalue()))


def test_d3_shards_as_published(tmp_path, picture):
    d3_shard(tmp_path / "a-000.tar", picture)
    d3_shard(tmp_path / "a-001.tar", picture)
    catalogue = open_catalogue(str(tmp_path / "a-{000..001}.tar"))
    assert len(catalogue) == 30
    assert set(catalogue.generators) == {"", "gen_0", "gen_1", "gen_2", "gen_3"}
    assert catalogue.where(Label.REAL).tolist() == [0, 5, 10, 15, 20, 25]
    assert np.bincount(catalogue.record).tolist() == [5] * 6
    assert all(decode(catalogue.read(i)).size == (240, 230) for i in range(30))


def test_remote_shards_are_fetched_once(tmp_path, picture):
    pytest.importorskip("aiohttp")  # what fsspec speaks http with
    (tmp_path / "web").mkdir()
    d3_shard(tmp_path / "web" / "s-0.tar", picture, 2)
    asked = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            asked.append(self.command)

    handler = functools.partial(Handler, directory=tmp_path / "web")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        first = open_catalogue(f"{address}/s-0.tar", str(tmp_path / "cache"))
        with pytest.raises(DataError, match="cannot fetch"):
            open_catalogue(f"{address}/none.tar", str(tmp_path / "cache"))
        server.shutdown()
    again = open_catalogue(f"{address}/s-0.tar", str(tmp_path / "cache"))  # the server is gone
    assert asked
    assert rows(first) == rows(again)
    assert len(first) == 10


@pytest.mark.parametrize("text", [b"{", b"[" * 100_000])
def test_a_damaged_record_names_nothing(tmp_path, picture, text):
    d3_shard(tmp_path / "s.tar", picture, 1)
    with tarfile.open(tmp_path / "s.tar", "a") as tar:
        info = tarfile.TarInfo("elsa_v2__train__0.record.json")
        info.size = len(text)
        tar.addfile(info, io.BytesIO(text))
    assert len(open_catalogue(str(tmp_path / "s.tar"))) == 5


def test_a_damaged_shard_is_named(tmp_path, picture):
    d3_shard(tmp_path / "s.tar", picture)
    data = (tmp_path / "s.tar").read_bytes()
    (tmp_path / "s.tar").write_bytes(b"\xff" * 600 + data[600:])
    with pytest.raises(DataError, match=r"s\.tar is damaged"):
        open_catalogue(str(tmp_path / "s.tar"))


def test_nothing_there_is_named(tmp_path):
    with pytest.raises(DataError, match="no training data"):
        open_catalogue(str(tmp_path))
    (tmp_path / "fake" / "g").mkdir(parents=True)
    with pytest.raises(DataError, match="no real images"):
        open_catalogue(str(tmp_path))


def test_the_digest_notices_changes(tree):
    before = open_catalogue(str(tree)).digest
    assert open_catalogue(str(tree)).digest == before
    (tree / "real" / "one" / "0.jpg").rename(tree / "real" / "one" / "9.jpg")
    assert open_catalogue(str(tree)).digest != before


def test_bad_images_are_passed_over_and_named(tree, small):
    (tree / "real" / "one" / "0.jpg").write_bytes(b"not an image")
    cut = tree / "fake" / "beta" / "u0.png"
    cut.write_bytes(cut.read_bytes()[:300])
    catalogue = open_catalogue(str(tree))
    dataset = PairViews(catalogue, PairSampler(catalogue, np.arange(32), seed=0), small)
    bad = {image.place for n in range(60) for image in dataset[n].bad}
    assert bad == {str(tree / "real" / "one" / "0.jpg"), str(cut)}


def test_only_bad_images_end_with_one_clear_error(tree, small):
    for path in tree.rglob("*.*"):
        path.write_bytes(b"")
    catalogue = open_catalogue(str(tree))
    dataset = PairViews(catalogue, PairSampler(catalogue, np.arange(32), seed=0), small)
    with pytest.raises(DataError, match="in a row"):
        dataset[0]


def test_decode_gives_rgb_and_refuses_bombs(picture, monkeypatch):
    buffer = io.BytesIO()
    picture(0, 20, 10).convert("RGBA").save(buffer, "PNG")
    assert decode(buffer.getvalue()).mode == "RGB"
    monkeypatch.setattr("code_forensics.train.catalogue.MAX_PIXELS", 100)
    with pytest.raises(OSError, match="more than 100"):
        decode(buffer.getvalue())
    with pytest.raises(OSError, match="cannot identify"):
        decode(b"GIF89a")


def test_equalised_pairs_come_out_alike(tmp_path, picture, small):
    """A real JPEG and its fake copy as PNG at another size differ only before equalising."""
    for folder in ("real", "fake/copy"):
        (tmp_path / folder).mkdir(parents=True)
    image = picture(1, 400, 400)
    image.save(tmp_path / "real" / "0.png")
    image.crop((0, 0, 400, 400)).save(tmp_path / "fake" / "copy" / "0.png")
    catalogue = open_catalogue(str(tmp_path))
    options = replace(
        small,
        equalise=replace(small.equalise, enabled=True, side=224, scale=(1.0, 1.0)),
        views=replace(small.views, augmentations=0),
    )
    dataset = PairViews(catalogue, PairSampler(catalogue, np.arange(2), seed=0), options)
    views = dataset[0].views.numpy()
    assert np.array_equal(views[0, 0], views[1, 0])


def test_worker_processes_that_are_spawned_see_the_same(tree, small):
    """Windows and macOS pickle the data set into their workers."""
    catalogue = open_catalogue(str(tree))
    dataset = PairViews(catalogue, PairSampler(catalogue, np.arange(32), seed=0), small)
    copy = pickle.loads(pickle.dumps(dataset))
    assert np.array_equal(dataset[5].views.numpy(), copy[5].views.numpy())


@pytest.mark.skipif(os.name != "posix", reason="processes have no such folder elsewhere")
def test_workers_of_an_epoch_leave_nothing_behind(tree, small):
    """As many epochs as a run may have would leave too many open files."""
    catalogue = open_catalogue(str(tree))
    dataset = PairViews(catalogue, PairSampler(catalogue, np.arange(32), seed=0), small)
    config = replace(small, runtime=replace(small.runtime, workers=2))
    alone, opened = Processes(0, 1, torch.device("cpu")), []
    for epoch in range(3):
        assert len(list(batches(dataset, config, epoch, epoch + 1, alone))) == 1
        gc.collect()
        opened.append(len(os.listdir("/dev/fd")))
    assert opened[1] == opened[2]


STUCK = """
import sys
from code_forensics.train.config import from_toml
from code_forensics.train.distributed import Processes
from code_forensics.train.loader import batches
import torch

class Stuck:
    def __getitem__(self, number):
        print("stuck", flush=True)
        while True:
            pass

config = from_toml("[runtime]\\nworkers = 1", "test")
coming = batches(Stuck(), config, 0, 9, Processes(0, 1, torch.device("cpu")))
sys.stdin.readline()
sys.exit(3)
"""


@pytest.mark.skipif(os.name != "posix", reason="workers are terminated by a signal")
def test_a_worker_that_is_stuck_does_not_keep_the_process():
    """A worker leaves SIGTERM to the main process: that ends it by what cannot be left."""
    process = subprocess.Popen([sys.executable, "-c", STUCK], stdin=-1, stdout=-1, text=True)
    with process:
        assert process.stdout.readline() == "stuck\n"
        assert process.communicate("now\n", timeout=60) == ("", None)
    assert process.returncode == 3


def test_decoding_threads_leave_the_filters_of_warnings_as_they_were(picture):
    before = list(warnings.filters)
    data = io.BytesIO()
    picture(0).save(data, "PNG")
    for _ in range(5):
        with ThreadPoolExecutor(8) as threads:
            list(threads.map(decode, [data.getvalue()] * 64))
    assert list(warnings.filters) == before


@pytest.mark.skipif(os.name == "nt", reason="needs symbolic links")
def test_a_link_to_nowhere_is_a_bad_image_among_others(tree):
    (tree / "real" / "nowhere.png").symlink_to(tree / "no_such_file")
    catalogue = open_catalogue(str(tree))
    nowhere = next(
        n
        for n in range(len(catalogue))
        if catalogue.containers[catalogue.container[n]].endswith("nowhere.png")
    )
    with pytest.raises(OSError, match="nowhere"):
        catalogue.read(nowhere)


def test_no_more_processes_make_views_than_there_are_cores(tree, small, monkeypatch):
    catalogue = open_catalogue(str(tree))
    sampler = PairSampler(catalogue, np.arange(len(catalogue)), 0)
    started = []
    monkeypatch.setattr(
        loader, "DataLoader", lambda *_, num_workers, **__: started.append(num_workers) or ()
    )
    alone = Processes(0, 1, torch.device("cpu"))
    for cores, workers in ((2, 4), (8, 4), (2, 0)):
        monkeypatch.setattr(loader, "_cores", lambda cores=cores: cores)
        config = replace(small, runtime=replace(small.runtime, workers=workers))
        batches(PairViews(catalogue, sampler, config), config, 0, 1, alone)
    assert started == [2, 4, 0]
