"""Layouts of labelled folders, as the data sets of the field lie on disk."""

from pathlib import Path

import pytest
from code_forensics.engine.errors import InputError
from code_forensics.engine.evaluation.labelled import find_labelled, read_labels
from code_forensics.engine.evaluation.layout import Layout
from code_forensics.engine.inert import for_csv


def tree(folder: Path, *files: str) -> Path:
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def truths(found, root):
    """Every walked file with what is known of it, by its path below the root."""
    return {str(Path(file.path).relative_to(root)): found.truth(file.path) for file in found.walk()}


def short(truth):
    return (str(truth.label), truth.generator, truth.source)


def test_real_and_fake_folders(tmp_path):
    root = tree(
        tmp_path,
        *("real/a.jpg", "real/camera/b.jpg", "fake/c.png"),
        *("fake/sdxl/d.png", "fake/sdxl/web/e.png", "other/f.png"),
    )
    found = find_labelled([root])
    assert found.layout is Layout.FOLDERS
    assert {name: short(t) for name, t in truths(found, root).items()} == {
        "real/a.jpg": ("real", "", "real"),
        "real/camera/b.jpg": ("real", "", "camera"),
        "fake/c.png": ("fake", "", "fake"),
        "fake/sdxl/d.png": ("fake", "sdxl", "sdxl"),
        "fake/sdxl/web/e.png": ("fake", "sdxl", "web"),
    }


def test_a_class_folder_that_is_a_row_counts_as_one_of_its_class(tmp_path):
    """The walk gives the folder's own path where it cannot be read."""
    root = tree(tmp_path, "real/a.jpg", "fake/sdxl/b.png")
    found = find_labelled([root])
    assert short(found.truth(str(root / "real"))) == ("real", "", "real")
    assert found.truth(str(root / "fake" / "sdxl")).label == "fake"
    assert found.truth(str(root)) is None


def test_cnndetection_by_generator_and_category(tmp_path):
    root = tree(
        tmp_path / "test",
        *("progan/cat/0_real/a.png", "progan/cat/1_fake/b.png", "progan/dog/0_real/c.png"),
        *("progan/dog/1_fake/d.png", "biggan/0_real/e.png", "biggan/1_fake/f.png"),
    )
    found = find_labelled([root])
    assert found.layout is Layout.CNNDETECTION
    known = truths(found, root)
    assert short(known["progan/cat/1_fake/b.png"]) == ("fake", "progan", "progan/cat")
    assert short(known["progan/dog/0_real/c.png"]) == ("real", "", "progan/dog")
    assert known["biggan/1_fake/f.png"].generator == "biggan"
    assert {t.group for n, t in known.items() if n.startswith("progan")} == {"progan"}
    alone = find_labelled([root / "biggan"])
    assert {t.generator for t in truths(alone, root / "biggan").values()} == {"", "biggan"}


def test_genimage_by_generator_and_split(tmp_path):
    root = tree(
        tmp_path / "GenImage",
        *("Midjourney/imagenet_midjourney/val/ai/a.png", "ADM/imagenet_ai_0508_adm/val/ai/b.PNG"),
        "Midjourney/imagenet_midjourney/val/nature/ILSVRC2012_val_1.JPEG",
        *(
            "ADM/imagenet_ai_0508_adm/train/nature/c.JPEG",
            "ADM/imagenet_ai_0508_adm/train/ai/d.PNG",
        ),
        "ADM/imagenet_ai_0508_adm/val/nature/e.JPEG",
        "ADM/notes/nature/f.JPEG",
    )
    found = find_labelled([root])
    assert found.layout is Layout.GENIMAGE
    known = truths(found, root)
    fake = known["ADM/imagenet_ai_0508_adm/val/ai/b.PNG"]
    real = known["ADM/imagenet_ai_0508_adm/train/nature/c.JPEG"]
    assert short(fake) == ("fake", "ADM", "ADM/imagenet_ai_0508_adm")
    assert (short(real)[:2], real.group) == (("real", ""), "ADM")
    assert "ADM/notes/nature/f.JPEG" not in known  # "nature" without "ai" beside it is a name
    val = find_labelled([root / "Midjourney" / "imagenet_midjourney" / "val"])
    assert val.layout is Layout.GENIMAGE


def test_d3_with_and_without_augmentation(tmp_path):
    names = [
        f"{condition}/{folder}/1.png"
        for condition in ("augm", "no_augm")
        for folder in ("real", "gen_0", "gen_1", "gen_2", "gen_3")
    ]
    root = tree(tmp_path / "d3_test", *names)
    found = find_labelled([root])
    assert found.layout is Layout.D3
    known = truths(found, root)
    assert len(known) == 10
    assert (known["augm/gen_2/1.png"].generator, known["augm/gen_2/1.png"].condition) == (
        *("gen_2", "augm"),
    )
    assert known["no_augm/real/1.png"].condition == "no_augm"
    assert {t.condition for t in truths(find_labelled([root / "augm"]), root).values()} == {"augm"}


def test_names_are_compared_without_case(tmp_path):
    root = tree(tmp_path, "Real/a.jpg", "FAKE/b.jpg")
    assert find_labelled([root]).layout is Layout.FOLDERS


def test_a_class_folder_inside_a_class_folder_is_a_name(tmp_path):
    root = tree(tmp_path, "real/fake/a.jpg", "fake/real/b.jpg")
    known = truths(find_labelled([root]), root)
    assert str(known["real/fake/a.jpg"].label) == "real"
    assert short(known["fake/real/b.jpg"]) == ("fake", "real", "real")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (["photos/a.jpg"], "no labelled folders"),
        (["real/a.jpg"], "no fake images"),
        (["x/1_fake/a.jpg"], "no real images"),
        (["a/real/1.jpg", "a/fake/2.jpg", "b/0_real/3.jpg", "b/1_fake/4.jpg"], "several layouts"),
    ],
)
def test_what_cannot_be_read_is_refused(tmp_path, files, message):
    with pytest.raises(InputError, match=message) as caught:
        find_labelled([tree(tmp_path, *files)])
    assert caught.value.hint


def test_a_forced_layout_takes_only_its_folders(tmp_path):
    root = tree(tmp_path, "a/real/1.jpg", "a/fake/2.jpg", "b/0_real/3.jpg", "b/1_fake/4.jpg")
    known = truths(find_labelled([root], Layout.CNNDETECTION), root)
    assert set(known) == {"b/0_real/3.jpg", "b/1_fake/4.jpg"}
    with pytest.raises(InputError):
        find_labelled([root], Layout.D3)
    with pytest.raises(InputError, match="needs a file"):
        find_labelled([root], Layout.CSV)


def test_labels_from_a_csv_file(tmp_path):
    root = tree(tmp_path / "set", "a.jpg", "sub/b.jpg", "=c().png")
    labels = tmp_path / "labels.csv"
    labels.write_text(
        "path,label,generator,source\n"
        "set/a.jpg,real,,camera\n"
        f"set/sub/b.jpg,1,sdxl,web\n{tmp_path / 'set'}/gone.jpg,FAKE,,\n",
        encoding="utf-8-sig",
    )
    found = read_labels(labels)
    known = {Path(f.path).name: (f.reason, found.truth(f.path)) for f in found.walk()}
    assert short(known["a.jpg"][1]) == ("real", "", "camera")
    assert short(known["b.jpg"][1]) == ("fake", "sdxl", "web")
    assert known["gone.jpg"][0] == "vanished"
    labels.write_text(f"label,path\nreal,{for_csv('=c().png')}\n0,a.jpg\n1,sub/b.jpg\n")
    based = read_labels(labels, root)
    assert {Path(f.path).name for f in based.walk() if not f.reason} == {
        *("=c().png", "a.jpg", "b.jpg"),
    }
    assert based.truth(str(root / "unlisted.jpg")) is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,label\na,real\n", "no columns"),
        ("path,label\na,maybe\n", "line 2"),
        ("path,label\n,real\n", "line 2"),
        ("path,label\na,real\na,fake\n", "two labels"),
        ("path,label\na,real\nb,fake\n.,fake\n", "line 4: '.' is a folder"),
        ("path,label\na,real\n", "no fake"),
        ("path,label\na\0b,real\n", "labels|zero|null|line"),
        ("", "no columns"),
    ],
)
def test_a_bad_csv_file_is_refused(tmp_path, text, message):
    labels = tmp_path / "labels.csv"
    labels.write_text(text)
    with pytest.raises(InputError, match=message):
        read_labels(labels)


def test_a_csv_file_in_another_encoding_is_refused(tmp_path):
    (tmp_path / "labels.csv").write_bytes("path,label\nä,real\n".encode("latin-1"))
    with pytest.raises(InputError, match="cannot read labels"):
        read_labels(tmp_path / "labels.csv")
