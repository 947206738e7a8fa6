"""``code-index pull`` as a user runs it, against a server with the hub's layout."""

import csv
import hashlib
import io
import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import joblib
import numpy as np
import pytest
from code_forensics.index.gallery_records import NewReference
from code_forensics.index.pull_record import PinnedFile
from code_forensics.index.workspace import Workspace
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import OneClassSVM

from tests.conftest import SMALL, draw_checkpoint, draw_photo
from tests.index.hub_server import Hub, serve

BIN = Path(sys.executable).parent
REPO = "aimagelab/CoDE"
KNN = "sklearn/knn_tot_classifier_epoch-32.sav"
LINEAR = "sklearn/linear_tot_classifier_epoch-32.sav"
SVM = "sklearn/ocsvm_kernel_poly_gamma_auto_nu_0_1_crop.joblib"
FIRST, SECOND, THIRD = "c1" * 20, "d2" * 20, "e3" * 20


def dumped(model: object) -> bytes:
    out = io.BytesIO()
    joblib.dump(model, out)
    return out.getvalue()


def published(seed: int, records: int = 200) -> dict[str, bytes]:
    """The five files, of a small encoder, in the published order of labels."""
    rng = np.random.default_rng(seed)
    labels = np.tile([0, 1, 1, 1, 1], records)
    vectors = rng.normal(size=(len(labels), SMALL.hidden_size)).astype(np.float32)
    vectors[labels == 1, :4] += 1.5
    knn = KNeighborsClassifier(n_neighbors=1, metric="cosine").fit(vectors, labels)
    linear = LogisticRegression(C=0.316, class_weight="balanced").fit(vectors, labels)
    svm = OneClassSVM(kernel="poly", gamma="auto", nu=0.1).fit(vectors[labels == 0])
    checkpoint = draw_checkpoint(SMALL)
    return {
        "model.safetensors": checkpoint.weights,
        "config.json": checkpoint.config,
        KNN: dumped(knn),
        LINEAR: dumped(linear),
        SVM: dumped(svm),
        "README.md": b"# CoDE",
    }


@pytest.fixture(scope="module")
def commits() -> dict[str, dict[str, bytes]]:
    return {FIRST: published(0), SECOND: published(1)}


@pytest.fixture
def hub(commits: dict[str, dict[str, bytes]]) -> Iterator[Hub]:
    files = {commit: dict(content) for commit, content in commits.items()}
    with serve(Hub(REPO, files, {"main": FIRST})) as server:
        yield server


class Machine:
    """Runs commands with one workspace, one cache and one hub."""

    def __init__(self, folder: Path, hub: Hub) -> None:
        self.hub = hub
        self.workspace = folder / "workspace"
        self.home = folder / "huggingface"
        self.more: dict[str, str] = {}

    def environment(self) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "CODE_"))}
        return {
            **kept,
            "HF_ENDPOINT": self.hub.url,
            "HF_HOME": str(self.home),
            "CODE_WORKSPACE": str(self.workspace),
            "COLUMNS": "300",
            **self.more,
        }

    def run(self, *arguments: str | Path, code: int = 0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [str(BIN / arguments[0]), *map(str, arguments[1:])],
            capture_output=True,
            text=True,
            env=self.environment(),
        )
        assert done.returncode == code, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done


@pytest.fixture
def machine(tmp_path: Path, hub: Hub) -> Machine:
    return Machine(tmp_path, hub)


def test_what_was_pulled_is_kept_checked_and_used(machine: Machine, tmp_path: Path) -> None:
    done = machine.run("code-index", "pull")
    files = machine.hub.files[FIRST]
    assert f"pulled {REPO} at {FIRST}" in done.stderr
    assert "200 records of one real and 4 fakes" in done.stderr
    for name in ("model.safetensors", "config.json", KNN, LINEAR, SVM):
        assert hashlib.sha256(files[name]).hexdigest() in done.stdout
    with Workspace(machine.workspace) as space:
        pinned = space.pulls.find(REPO)
        assert pinned is not None and (pinned.revision, pinned.commit) == ("main", FIRST)
        assert {f.name: f.sha256 for f in pinned.files} == {
            name: hashlib.sha256(data).hexdigest()
            for name, data in files.items()
            if name != "README.md"
        }
        info = space.choose_gallery()
        assert (info.name, info.reals, info.fakes) == ("published", 200, 800)
        stored = space.encoders.find(info.encoder_sha256)
        assert (stored.origin, stored.revision) == (REPO, FIRST)
        assert (stored.folder / "model.safetensors").read_bytes() == files["model.safetensors"]
        model = joblib.load(io.BytesIO(files[KNN]))
        for number, (reference, vector) in enumerate(space.galleries.references(info)):
            assert np.array_equal(vector, model._fit_X[number])
            assert reference.label == ("real" if model._y[number] == 0 else "fake")
            assert (reference.generator, reference.source) == ("", REPO)
        assert [(h.kind, h.encoder_sha256) for h in space.heads.all()] == [
            ("linear", info.encoder_sha256),
            ("svm", info.encoder_sha256),
        ]
    photo = draw_photo(tmp_path / "photos" / "a.png", 1)
    text = machine.run("code-scan", photo, "--csv", "-").stdout
    (row,) = csv.DictReader(io.StringIO(text))
    assert row["neighbour"].startswith("published:")
    assert "published-svm" in machine.run("code-index", "heads").stdout
    # builds use its encoder by default, one's own gallery goes before it, and several do not make
    # the choice unclear
    for name, chosen in (("own", "own:"), ("other", "published:")):
        machine.run("code-index", "build", name, "--real", photo, "--fake", f"g={photo}")
        text = machine.run("code-scan", photo, "--csv", "-").stdout
        assert next(csv.DictReader(io.StringIO(text)))["neighbour"].startswith(chosen)


def test_other_bytes_are_refused_until_update(machine: Machine) -> None:
    machine.run("code-index", "pull", "--revision", "main", "--name", "code")
    machine.hub.files[THIRD] = {**machine.hub.files[FIRST], "README.md": b"other"}
    machine.hub.branches["main"] = THIRD
    same = machine.run("code-index", "pull").stderr  # a new commit of the same five files
    assert "the same 5 files" in same and FIRST in same
    machine.hub.branches["main"] = SECOND
    refused = machine.run("code-index", "pull", code=2)
    assert KNN in refused.stderr and "--update" in refused.stderr and FIRST in refused.stderr
    assert len(refused.stderr.strip().splitlines()) == 2  # what is fetched, and the error
    with Workspace(machine.workspace) as space:
        before = space.choose_gallery()
        old_heads = {head.kind: head.sha256 for head in space.heads.all()}
    done = machine.run("code-index", "pull", "--update", "--quiet")
    assert f"pulled {REPO} at {SECOND}" in done.stderr
    with Workspace(machine.workspace) as space:
        after = space.choose_gallery()
        assert after.name == "code" and after.sha256 != before.sha256
        pinned = space.pulls.find(REPO)
        assert pinned is not None and pinned.commit == SECOND
        assert all(old_heads[head.kind] != head.sha256 for head in space.heads.all())
    stay = machine.run("code-index", "pull", "--revision", FIRST, code=2)
    assert SECOND in stay.stderr


def test_a_changed_gallery_is_not_thrown_away(machine: Machine) -> None:
    machine.run("code-index", "pull")
    with Workspace(machine.workspace) as space:
        info = space.galleries.info("published")
        first = next(iter(space.galleries.references(info)))
        space.galleries.add(
            space.galleries.info("published"), [NewReference("real", "", "own", first[1])], "add"
        )
    machine.hub.branches["main"] = SECOND
    refused = machine.run("code-index", "pull", "--update", code=2)
    assert "was changed after it was pulled" in refused.stderr
    with Workspace(machine.workspace) as space:
        assert space.galleries.info("published").reals == 201


def test_wrong_bytes_leave_the_workspace_as_it_was(machine: Machine) -> None:
    machine.hub.wrong[LINEAR] = b"x" * len(machine.hub.files[FIRST][LINEAR])
    refused = machine.run("code-index", "pull", code=2)
    assert "not what the hub states" in refused.stderr
    machine.hub.wrong.clear()
    good = machine.hub.files[FIRST]
    for commit, (name, bad, message) in enumerate(
        (
            (KNN, good[LINEAR], "holds a LinearModel"),
            (SVM, pickle.dumps(os.system), "refused the name"),
            ("config.json", b"{", "config.json is damaged"),
            ("model.safetensors", b"\0" * 2000, "model.safetensors is damaged"),
        )
    ):
        machine.hub.files[f"{commit:040x}"] = {**good, name: bad}
        refused = machine.run("code-index", "pull", "--revision", f"{commit:040x}", code=2)
        assert message in refused.stderr
    with Workspace(machine.workspace) as space:
        assert space.pulls.find(REPO) is None
        assert (space.galleries.names(), space.encoders.all(), space.heads.all()) == ([], [], [])


def test_offline_uses_the_cache_of_another_pull(machine: Machine, tmp_path: Path) -> None:
    machine.more = {"HF_HUB_OFFLINE": "1"}
    refused = machine.run("code-index", "pull", code=2)
    assert "offline mode" in refused.stderr
    machine.more = {}
    machine.run("code-index", "pull")
    machine.hub.log.clear()
    machine.workspace = tmp_path / "second"
    machine.more = {"HF_HUB_OFFLINE": "1"}
    assert FIRST in machine.run("code-index", "pull").stderr
    assert machine.hub.log == []
    with Workspace(machine.workspace) as space:
        assert space.choose_gallery().fakes == 800


def test_a_pull_that_was_killed_is_finished_by_the_next_one(machine: Machine) -> None:
    """Files are put on record first: a kill leaves some of gallery and classifiers behind."""
    machine.run("code-index", "pull", "--quiet")
    with Workspace(machine.workspace) as space:
        whole = space.choose_gallery().sha256
        space.galleries.remove("published")
        space._database.conn.execute("DELETE FROM heads")
    assert "the same 5 files" in machine.run("code-index", "pull", "--quiet").stderr
    files = machine.hub.files[SECOND]
    with Workspace(machine.workspace) as space:
        assert space.choose_gallery().sha256 == whole
        assert [head.kind for head in space.heads.all()] == ["linear", "svm"]
        old = space.pulls.find(REPO)
        assert old is not None
        pins = [
            PinnedFile(f.name, len(files[f.name]), hashlib.sha256(files[f.name]).hexdigest(), "")
            for f in old.files
        ]
        space.pulls.pin(REPO, "main", SECOND, old.encoder_sha256, pins)  # an update, then a kill
    machine.hub.branches["main"] = SECOND
    machine.run("code-index", "pull", "--quiet")
    with Workspace(machine.workspace) as space:
        assert space.galleries.names() == ["published"]
        assert space.choose_gallery().sha256 != whole
        assert len(space.heads.all()) == 2


def test_a_name_that_is_taken_is_refused_before_the_download(machine: Machine) -> None:
    machine.run("code-index", "pull")
    own = machine.run("code-index", "pull", "--repo", "other/repo", code=2)
    assert "already" in own.stderr
    unknown = machine.run("code-index", "pull", "--repo", "other/repo", "--name", "x", code=2)
    assert "shows no repository other/repo" in unknown.stderr
    assert "\x1b" not in unknown.stderr
    nowhere = machine.run("code-index", "pull", "--revision", "v9", code=2)
    assert "no revision 'v9'" in nowhere.stderr


def test_weights_by_hub_id_are_checked_too(machine: Machine, tmp_path: Path) -> None:
    """``--weights owner/name@revision``, in one process: the library reads its settings once."""
    script = (
        "import sys\n"
        "from code_forensics.engine.embedding.checkpoint import read_checkpoint\n"
        "from code_forensics.engine.errors import CheckpointError\n"
        "def say(weights):\n"
        "    try:\n"
        "        found = read_checkpoint(weights)\n"
        "        print(found.origin, found.revision, found.sha256)\n"
        "        return found\n"
        "    except CheckpointError as error:\n"
        "        print(error)\n"
        f"say('{REPO}@{FIRST}')\n"
        "say('aimagelab/none')\n"
        f"say('{REPO}@nowhere')\n"
        "from pathlib import Path\n"
        "import os\n"
        "for blob in Path(os.environ['HF_HOME']).rglob('blobs/*'):\n"
        "    blob.write_bytes(b'x' + blob.read_bytes()[1:])\n"
        f"say('{REPO}@{FIRST}')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=machine.environment()
    )
    assert done.returncode == 0, done.stderr
    whole, none, nowhere, damaged = done.stdout.splitlines()
    assert whole == f"{REPO} {FIRST} {draw_checkpoint(SMALL).sha256}"
    assert none.startswith("cannot fetch aimagelab/none from the hub")
    assert nowhere.startswith(f"cannot fetch {REPO}@nowhere from the hub")
    assert "model.safetensors" in damaged and "not what the hub stated" in damaged
