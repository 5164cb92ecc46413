"""Images in tars: those of the same folders, from each kind of tar; what is refused by name."""

import gzip
import io
import re
import tarfile
import tracemalloc
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from PIL import Image
from torchvision.datasets import ImageNet, imagenet
from torchvision.transforms.functional import pil_to_tensor

from paperlib.data.class_folders import load_class_folders
from paperlib.data.class_tars import KIT, load_class_tar, read_kit
from tests.data.tars import development_kit, packed

CLASSES = [f"n{number:08}" for number in (7, 3, 11, 2, 5, 19, 13, 17, 29, 23)]  # by the kit's ID
LABELS = [int(i) for i in np.random.default_rng(0).permutation([*range(10), *range(10), 4, 4])]
OFFICIAL = "ILSVRC2012_img_val.tar"


@pytest.fixture
def folder(tmp_path):
    """22 JPEGs in ten folders with WordNet numbers, named as ImageNet's validation images are."""
    draw = np.random.default_rng(1)
    for number, label in enumerate(LABELS, 1):
        place = tmp_path / "imagenet/val" / CLASSES[label] / f"ILSVRC2012_val_{number:08}.JPEG"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draw.integers(0, 256, (12, 10, 3), np.uint8)).save(place, "JPEG")
    return tmp_path / "imagenet/val"


def mixed(file):
    """Files by this are by neither class nor number."""
    return file.stem[::-1]


def tar_a_class(place):
    """The bytes of a tar of a class's images, as those in ImageNet's training tar."""
    content = io.BytesIO()
    packed(None, [(f.name, f) for f in sorted(place.iterdir())], fileobj=content)
    return content.getvalue()


def flat(folder, path, prefix=""):
    """All images of the folders without them, in no order."""
    return packed(path, [(prefix + f.name, f) for f in sorted(folder.glob("*/*"), key=mixed)])


def single_files(prefix):
    """A tar of a folder's images under some folders, in no order, with no entries for folders."""

    def make(folder, path):
        files = sorted(folder.glob("*/*"), key=mixed)
        return packed(path, [(f"{prefix}{f.relative_to(folder)}", f.read_bytes()) for f in files])

    return make


def training(prefix):
    """A tar of a tar a class, as ImageNet's training tar is."""
    return lambda folder, path: packed(
        path, [(f"{prefix}{place.name}.tar", tar_a_class(place)) for place in folder.iterdir()]
    )


KINDS = {
    "bare": single_files(""),
    "dot": lambda folder, path: packed(path, [(".", folder)]),
    "prefix": single_files("./val/"),
    "prefixes": lambda folder, path: packed(path, [("imagenet", folder.parent)]),
    "absolute": single_files("/data/imagenet/val/"),
    "training": training(""),
    "training with a prefix": training("./train/"),
    "validation": flat,
    "validation with a prefix": lambda folder, path: flat(folder, path, "val/"),
}


@pytest.fixture(params=KINDS)
def tar(request, folder, tmp_path):
    """The same images in each kind of tar."""
    if "validation" in request.param:
        development_kit(tmp_path / KIT, LABELS, CLASSES)
    return KINDS[request.param](folder, tmp_path / OFFICIAL)


def read(data):
    """Names, labels and pixels of all images, in their order."""
    names = [(Path(str(file)).name, label) for file, label in data.samples]
    images, labels = (torch.cat(x) for x in zip(*data.batches(pil_to_tensor, 4), strict=True))
    assert labels.tolist() == [label for _, label in names]
    return data.folders, data.is_wordnet, names, images


@pytest.mark.parametrize(("count", "seed"), [(None, 0), (7, 0), (7, 1)])
def test_a_tar_gives_what_the_folder_gives(folder, tar, count, seed):
    expected, found = (
        read(data)
        for data in (load_class_folders(folder, count, seed), load_class_tar(tar, count, seed))
    )
    assert found[:3] == expected[:3] and torch.equal(found[3], expected[3])
    assert len(found[3]) == (count or 22) and found[1] and found[0] == tuple(sorted(CLASSES))


def test_torchvision_labels_imagenet_s_tar_in_the_same_way(folder, tmp_path, monkeypatch):
    development_kit(tmp_path / KIT, LABELS, CLASSES)
    found = load_class_tar(flat(folder, tmp_path / OFFICIAL))
    unchecked = {part: (file, None) for part, (file, _) in imagenet.ARCHIVE_META.items()}
    monkeypatch.setattr(imagenet, "ARCHIVE_META", unchecked)
    theirs = ImageNet(str(tmp_path), "val")
    assert [(Path(f).name, label) for f, label in theirs.samples] == read(found)[2]
    assert tuple(theirs.wnids) == found.folders


def test_images_are_read_when_it_is_their_turn(tmp_path, folder):
    files = [(f"val/{f.relative_to(folder)}", f) for f in folder.glob("*/*")]
    small = [(f"val/{CLASSES[0]}/{k}.txt", b"") for k in range(3000)]  # by header, 2 MB if kept
    path = packed(
        tmp_path / "a.tar", [(f"val/{CLASSES[0]}/big.txt", bytes(9_000_000)), *small, *files]
    )
    tracemalloc.start()
    data = load_class_tar(path)
    batch = next(data.batches(pil_to_tensor, 2))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert batch[0].shape == (2, 3, 12, 10) and peak < 1_000_000


def test_no_file_stays_open(tar):
    held = psutil.Process().num_fds()
    batches = load_class_tar(tar).batches(pil_to_tensor, 4)
    next(batches)
    assert psutil.Process().num_fds() == held


def test_what_is_hidden_or_no_image_is_left_out(folder, tmp_path):
    image = next(folder.glob("*/*"))
    (folder / CLASSES[0] / "deep").mkdir()
    for name in ("deep/a.PNG", "b.png", "c.webp"):
        Image.open(image).save(folder / CLASSES[0] / name)
    (folder / CLASSES[0] / "._b.png").write_bytes(b"of a file system")
    (folder / ".trash").mkdir()
    (folder / ".trash/d.png").write_bytes(b"gone")
    (folder / "stray.png").write_bytes(b"of no class")
    (folder / "notes.txt").write_bytes(b"words")
    expected = load_class_folders(folder)
    for prefix in (".", "val", "a/b/val"):
        found = load_class_tar(packed(tmp_path / "a.tar", [(prefix, folder)]))
        assert read(found)[:3] == read(expected)[:3] and len(found) == 25


def test_of_two_files_of_a_name_the_later_counts_as_when_unpacked(folder, tmp_path):
    early, late, other = sorted(folder.glob("*/*"))[:3]
    data = load_class_tar(
        packed(tmp_path / "a.tar", [("a/x.png", early), ("b/y.png", other), ("a/x.png", late)])
    )
    assert [file.read_bytes() for file, _ in data.samples] == [
        f.read_bytes() for f in (late, other)
    ]


def test_a_single_class_has_the_name_of_its_folder(folder, tmp_path):
    images = sorted(folder.glob("*/*"))[:2]
    for prefix in ("", "val/"):
        pairs = [(f"{prefix}n00000001/{f.name}", f) for f in images]
        data = load_class_tar(packed(tmp_path / "a.tar", pairs))
        assert (data.folders, len(data)) == (("n00000001",), 2)


def test_a_damaged_image_is_named(folder, tmp_path):
    file = sorted(folder.glob("*/*"))[3]
    file.write_bytes(b"damaged")
    at = rf"a\.tar/{{}}{file.name}: not a PNG, JPEG or WEBP image"
    data = load_class_tar(packed(tmp_path / "a.tar", [("val", folder)]))
    with pytest.raises(ValueError, match=at.format(f"val/{file.parent.name}/")):
        list(data.batches(pil_to_tensor, 8))
    nested = [(f"{place.name}.tar", tar_a_class(place)) for place in folder.iterdir()]
    with pytest.raises(ValueError, match=at.format(rf"{file.parent.name}\.tar/")):
        list(load_class_tar(packed(tmp_path / "a.tar", nested)).batches(pil_to_tensor, 8))


def test_tars_without_images_are_refused_as_folders_are(folder, tmp_path):
    image = next(folder.glob("*/*"))
    (folder / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"a\.tar/empty has no images: valid is one folder"):
        load_class_tar(packed(tmp_path / "a.tar", [("val", folder)]))
    nested = [
        ("ant.tar", tar_a_class(folder / CLASSES[0])),
        ("bee.tar", tar_a_class(folder / "empty")),
    ]
    with pytest.raises(FileNotFoundError, match=r"a\.tar/bee has no images"):
        load_class_tar(packed(tmp_path / "a.tar", nested))
    for pairs in ([], [("words.txt", b"words")], [("a.png", image), ("b.png", image)]):
        with pytest.raises(FileNotFoundError, match=r"a\.tar has no images: valid is one folder"):
            load_class_tar(packed(tmp_path / "a.tar", pairs))
    pairs = [("a/a.png", image), ("b/b.png", image)]
    for count in (0, 3):
        with pytest.raises(ValueError, match=rf"count={count}: .*a\.tar has 2 images"):
            load_class_tar(packed(tmp_path / "a.tar", pairs), count)


def test_what_is_no_whole_tar_is_refused(folder, tmp_path):
    whole = packed(tmp_path / "whole.tar", [("val", folder)]).read_bytes()
    with tarfile.open(tmp_path / "whole.tar") as archive:
        last = archive.getmembers()[-1]
    cut = tmp_path / "cut.tar"
    ends = [last.offset_data + 5, last.offset + 100, last.offset, len(whole) // 2, 700, 100, 0]
    broken = whole[: last.offset] + b"x" + whole[last.offset + 1 :]
    for content in (*(whole[:end] for end in ends), broken, b"no tar" * 300):
        cut.write_bytes(content)
        with pytest.raises(ValueError, match=r"cut\.tar cannot be read as a tar: .*fetch or pack"):
            load_class_tar(cut)
    for mode in ("gz", "bz2", "xz"):
        with pytest.raises(ValueError, match=r"a\.tar is compressed.*decompress it first"):
            load_class_tar(packed(tmp_path / "a.tar", [("val", folder)], f"w:{mode}"))


@pytest.mark.parametrize("last", [False, True])
def test_a_tar_in_a_tar_that_is_not_whole_is_named(folder, tmp_path, last):
    place = folder / CLASSES[4]
    inner, other = tar_a_class(place), ("n00000001.tar", tar_a_class(folder / CLASSES[0]))
    with tarfile.open(fileobj=io.BytesIO(inner)) as archive:
        second = archive.getmembers()[1]
    ends = [second.offset_data + 5, second.offset + 100, second.offset, 100, 0]
    for content in (*(inner[:end] for end in ends), gzip.compress(inner)):
        pairs = [("n00000002.tar", content), other]
        path = packed(tmp_path / "a.tar", pairs[::-1] if last else pairs)
        with pytest.raises(ValueError, match=r"a\.tar/n00000002\.tar cannot be read as a tar"):
            load_class_tar(path)


def test_links_and_paths_that_lead_elsewhere_are_refused(folder, tmp_path):
    image = next(folder.glob("*/*"))
    (folder / CLASSES[1] / "link.png").hardlink_to(image)
    with pytest.raises(ValueError, match=r"a\.tar/val/.* is a link, .*--hard-dereference"):
        load_class_tar(packed(tmp_path / "a.tar", [("val", folder)]))
    (folder / CLASSES[1] / "link.png").unlink()
    (folder / "n00000099").symlink_to(folder / CLASSES[0])
    with pytest.raises(ValueError, match=r"a\.tar/val/n00000099 is a link"):
        load_class_tar(packed(tmp_path / "a.tar", [("val", folder)]))
    header = tarfile.TarInfo("a/holes.png")
    header.pax_headers = {"GNU.sparse.map": "0,0", "GNU.sparse.size": "9"}
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        archive.addfile(header)
    with pytest.raises(ValueError, match=r"a/holes\.png is a link, has holes"):
        load_class_tar(tmp_path / "a.tar")
    with pytest.raises(ValueError, match=r"a/\.\./\.\./b\.png: a path with \.\. leads elsewhere"):
        load_class_tar(packed(tmp_path / "a.tar", [("a/../../b.png", image)]))


def test_the_development_kit_has_to_be_there_and_of_these_images(folder, tmp_path):
    path, kit = flat(folder, tmp_path / OFFICIAL), tmp_path / KIT
    with pytest.raises(FileNotFoundError, match=rf"{re.escape(str(kit))} is missing: .*beside"):
        load_class_tar(path)
    development_kit(kit, LABELS[:-1], CLASSES)
    with pytest.raises(ValueError, match=rf"{KIT} has 21 labels, .*{OFFICIAL} 22 images"):
        load_class_tar(path)
    development_kit(kit, LABELS, [*CLASSES, "n00000099"])
    with pytest.raises(FileNotFoundError, match=f"{OFFICIAL}/n00000099 has no images"):
        load_class_tar(path)
    development_kit(kit, LABELS, CLASSES)
    with pytest.raises(ValueError, match=f"count=23: .*{OFFICIAL} has 22 images"):
        load_class_tar(path, 23)
    assert read_kit(kit) == (CLASSES, [CLASSES[label] for label in LABELS])


def test_a_kit_that_cannot_be_read_is_named(tmp_path):
    kit = tmp_path / KIT
    whole = development_kit(kit, LABELS, CLASSES).read_bytes()
    kits = [whole[: len(whole) // 2], whole[:100], b"", b"no archive"]
    for content in kits:
        kit.write_bytes(content)
        with pytest.raises(ValueError, match=f"{KIT} cannot be read as .*: fetch it again"):
            read_kit(kit)
    for change in ({"lacks": "meta.mat"}, {"classes": CLASSES[:3]}):
        development_kit(kit, LABELS, **{"classes": CLASSES, **change})
        with pytest.raises(ValueError, match=f"{KIT} cannot be read as .*KeyError"):
            read_kit(kit)
    files = [
        (f"x/data/{name}", b"words")
        for name in ("meta.mat", "ILSVRC2012_validation_ground_truth.txt")
    ]
    packed(kit, files, "w:gz")
    with pytest.raises(ValueError, match=f"{KIT} cannot be read as"):
        read_kit(kit)
