"""Tars for tests, and ImageNet's development kit in small."""

import io
import tarfile
from pathlib import Path

import numpy as np
from scipy.io import savemat


def packed(path, pairs, mode="w", **options):
    """A tar of files or bytes under their names."""
    with tarfile.open(path, mode, **options) as archive:
        for name, content in pairs:
            if isinstance(content, Path):
                archive.add(content, name)
            else:
                header = tarfile.TarInfo(name)
                header.size = len(content)
                archive.addfile(header, io.BytesIO(content))
    return path


def development_kit(path, labels, classes, lacks=""):
    """The kit's two files with their true structure: the leaves among synsets that have children.

    Labels count from 0, the kit's from 1; a file that it `lacks` is left out.
    """
    fields = "ILSVRC2012_ID WNID words gloss num_children children wordnet_height num_train_images"
    leaves = [(i, wnid, "a, b", "it", 0, [], 0, 9) for i, wnid in enumerate(classes, 1)]
    inner = [(len(leaves) + 1, "n09999999", "all", "it", 2, [1, 2], 1, 0)]
    rows = np.array(leaves + inner, [(name, object) for name in fields.split()])
    meta = io.BytesIO()
    savemat(meta, {"synsets": rows[:, None]})
    truth = "".join(f"{label + 1}\n" for label in labels).encode()
    kit = {"meta.mat": meta.getvalue(), "ILSVRC2012_validation_ground_truth.txt": truth}
    files = [(f"ILSVRC2012_devkit_t12/data/{k}", v) for k, v in kit.items() if k != lacks]
    hidden = "ILSVRC2012_devkit_t12/data/._meta.mat", b"of a file system"
    return packed(path, [*files, hidden], "w:gz")
