import http.server
import io
import json
import threading
from collections import Counter

import numpy as np
import pytest
from code_forensics.train.dataset import open_catalogue
from code_forensics.train.download import DownloadOptions, download
from code_forensics.train.errors import DataError
from code_forensics.train.prepare import _key, prepare

QUICK = DownloadOptions(threads=4, timeout=2.0, retries=2, backoff=0.01, max_bytes=200_000)


def encoded(image, kind="JPEG"):
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


@pytest.fixture
def web(picture):
    """A web with living, dead, failing, lying and endless addresses; ``asked`` counts requests."""
    asked = Counter()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked[self.path] += 1
            kind, number = self.path.strip("/").split("/")
            if kind == "good" or (kind == "flaky" and asked[self.path] > 2):
                self.answer(200, encoded(picture(int(number), 64, 64)))
            elif kind == "flaky":
                self.answer(503, b"")
            elif kind == "page":
                self.answer(200, b"<html>this image is gone</html>")
            elif kind == "huge":
                self.answer(200, b"x" * 300_000)
            elif kind == "moved":
                self.send_response(302)
                self.send_header("Location", f"/good/{number}")
                self.end_headers()
            else:
                self.answer(404, b"")

        def answer(self, status, body):
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", asked
        server.shutdown()


def test_downloads_have_limits_retries_and_reasons(web):
    address, asked = web
    paths = ["good/1", "flaky/2", "gone/3", "page/4", "huge/5", "moved/6"]
    wanted = [(p, f"{address}/{p}") for p in paths] + [("file", "file:///etc/hostname")]
    found = list(download(wanted, QUICK))
    assert [f.key for f in found] == [key for key, _ in wanted]
    reasons = {f.key: f.reason for f in found}
    assert not reasons["good/1"] + reasons["flaky/2"] + reasons["moved/6"]
    assert "status 404" in reasons["gone/3"]
    assert "cannot identify" in reasons["page/4"]
    assert "more than 200000 bytes" in reasons["huge/5"]
    assert "not an http" in reasons["file"]
    assert asked["/flaky/2"] == 3
    assert asked["/gone/3"] == 1  # a dead address is asked once


def test_a_host_that_does_not_answer_is_dead():
    [found] = download([("a", "http://127.0.0.1:9/x")], DownloadOptions(retries=0, timeout=1))
    assert found.reason
    assert not found.data


def parquet(folder, address, picture, rows):
    """Files of the layout of ELSA_D3, two row groups each."""
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    folder.mkdir(parents=True, exist_ok=True)
    for part in range(2):
        lines = []
        for number, path in rows[part::2]:
            line = {"id": f"{number}", "url": f"{address}/{path}", "original_prompt": "a cat"}
            for slot in range(4):
                line[f"model_gen{slot}"] = f"model-{slot}"
                line[f"filepath_gen{slot}"] = f"{number}.png"
                data = encoded(picture(1000 + 10 * number + slot, 48, 48), "PNG")
                line[f"image_gen{slot}"] = {"bytes": data, "path": None}
            if number == 3:
                line["image_gen2"] = None
            lines.append(line)
        pq.write_table(pa.Table.from_pylist(lines), folder / f"train-{part}.parquet",
                       row_group_size=3)  # fmt: skip


def test_d3_parquet_becomes_shards(web, picture, tmp_path):
    pytest.importorskip("fsspec")
    address, _ = web
    dead = (4, 7)
    rows = [(n, f"{'gone' if n in dead else 'good'}/{n}") for n in range(10)]
    parquet(tmp_path / "d3" / "data", address, picture, rows)
    done = prepare(str(tmp_path / "d3"), tmp_path / "shards", per_shard=4, options=QUICK)
    assert (done.shards, done.made, done.records, done.dead) == (3, 3, 8, 2)

    catalogue = open_catalogue(str(tmp_path / "shards"))
    assert len(catalogue) == 8 * 5 - 1
    assert set(catalogue.generators) == {"", *(f"model-{i}" for i in range(4))}
    expected = {encoded(picture(n, 64, 64)) for n in range(10) if n not in dead}
    assert {catalogue.read(int(i)) for i in np.flatnonzero(catalogue.label == 0)} == expected
    fakes = {catalogue.read(int(i)) for i in np.flatnonzero(catalogue.label == 1)}
    assert encoded(picture(1000 + 10 * 5 + 3, 48, 48), "PNG") in fakes  # bytes as they came
    assert np.bincount(catalogue.record).tolist().count(5) == 7
    lost = [json.loads(line) for f in sorted((tmp_path / "shards").glob("*.dead.jsonl"))
            for line in f.read_text().splitlines()]  # fmt: skip
    assert sorted((x["id"], x["url"]) for x in lost) == [
        (f"{n}", f"{address}/gone/{n}") for n in dead
    ]
    assert all("404" in x["reason"] for x in lost)


def test_preparing_goes_on_with_what_is_missing(web, picture, tmp_path):
    pytest.importorskip("fsspec")
    address, asked = web
    rows = [(n, f"good/{n}") for n in range(8)]
    parquet(tmp_path / "d3", address, picture, rows)
    out = tmp_path / "shards"
    prepare(str(tmp_path / "d3"), out, per_shard=3, options=QUICK)
    before = {p.name: p.read_bytes() for p in out.glob("*.tar")}
    (out / "shard-000001.tar").unlink()
    (out / "shard-000001.tar.partial").write_bytes(b"cut off")
    stale = out / "shard-000001.dead.jsonl"
    stale.write_text('{"id": "4"}\n')  # of a call that was killed, when the address was dead
    asked.clear()
    done = prepare(str(tmp_path / "d3"), out, per_shard=3, options=QUICK)
    assert (done.shards, done.made, done.records) == (3, 1, 3)
    assert sum(asked.values()) == 3
    assert {p.name: p.read_bytes() for p in out.glob("*.tar")} == before
    assert not list(out.glob("*.partial"))
    assert not stale.exists()
    with pytest.raises(DataError, match="was begun from"):
        prepare(str(tmp_path / "d3"), out, per_shard=4)


def test_ids_that_cannot_be_keys_stay_apart():
    ids = ("a.b", "a_b", "a b", "a")
    assert len({_key(identity) for identity in ids}) == len(ids)
    assert [_key(identity) for identity in ("a_b", "a")] == ["a_b", "a"]
    assert all(set(_key(identity)).isdisjoint(". /") for identity in ids)


def test_other_parquet_is_named(tmp_path):
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    pytest.importorskip("fsspec")
    pq.write_table(pa.table({"text": ["a"]}), tmp_path / "x.parquet")
    with pytest.raises(DataError, match="lacks id, url"):
        prepare(str(tmp_path), tmp_path / "out")
    (tmp_path / "x.parquet").write_bytes(b"PAR1 nothing")
    with pytest.raises(DataError, match="cannot read"):
        prepare(str(tmp_path), tmp_path / "out")


def test_folders_keep_their_bytes(tree, tmp_path):
    prepare(str(tree), tmp_path / "shards", per_shard=100)
    catalogue = open_catalogue(str(tmp_path / "shards"))
    ours = Counter(catalogue.read(i) for i in range(len(catalogue)))
    assert ours == Counter(p.read_bytes() for p in tree.rglob("*.*"))
