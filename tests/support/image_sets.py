"""Miniature copies of known image sets: the exact names of files and folders, a few tiny images of each class."""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from scipy.io import savemat

from coretune.data.sources.imagenet20 import IMAGENETTE, IMAGEWOOF

CIFAR10 = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
PARTS = ("train", "val", "test")
PACS = ("dog", "elephant", "giraffe", "guitar", "horse", "house", "person")
VLCS = ("bird", "car", "chair", "dog", "person")


def draw(path: Path, value: int = 0) -> str:
    """Writes an image that differs from those of other values, and returns its name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (6, 5), (value % 256, value // 256 % 256, 40)).save(path)
    return path.name


def png(value: int) -> bytes:
    """Returns the content of an image file."""
    file = io.BytesIO()
    Image.new("RGB", (4, 4), (value % 256, value // 256 % 256, 10)).save(file, "png")
    return file.getvalue()


def write_lines(path: Path, lines: Sequence[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")


def numbered(prefix: str, count: int) -> list[str]:
    return [f"{prefix}{index:03d}" for index in range(count)]


def folders(root: Path, classes: Sequence[str], parts: Sequence[str] = ("train", "test"), each: int = 1) -> Path:
    """Writes an ImageFolder mirror; an empty name of a part puts the classes into the root."""
    for p, part in enumerate(parts):
        for c, name in enumerate(classes):
            for i in range(each):
                draw(root / part / name / f"{i}.png", 1000 * p + 2 * c + 500 * i)
    return root


def parquet(
    root: Path, classes: int, parts: Sequence[str] = ("train", "test"), *, image: str = "image", label: str = "label"
) -> Path:
    """Writes a mirror as on the Hugging Face hub, one image of each class and part."""
    root.mkdir(parents=True, exist_ok=True)
    for p, part in enumerate(parts):
        images = [{"bytes": png(1000 * p + c), "path": None} for c in range(classes)]
        pq.write_table(pa.table({image: images, label: list(range(classes))}), root / f"{part}-00000-of-00001.parquet")
    return root


def _python2(value: Any) -> bytes:
    """Returns a pickle that names numpy as the CIFAR archives do."""
    return pickle.dumps(value, protocol=2).replace(b"numpy._core.multiarray", b"numpy.core.multiarray")


def _batch(labels: list[int], seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (len(labels), 3072), dtype=np.uint8)


def cifar10(root: Path) -> Path:
    root = root / "cifar-10-batches-py"
    root.mkdir(parents=True)
    for seed, name in enumerate([*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]):
        labels = [(c + seed) % 10 for c in range(10)]
        content = {b"batch_label": name.encode(), b"labels": labels, b"data": _batch(labels, seed)}
        (root / name).write_bytes(_python2(content))
    (root / "batches.meta").write_bytes(_python2({b"label_names": [n.encode() for n in CIFAR10], b"num_vis": 3072}))
    return root.parent


def cifar10_binary(root: Path) -> Path:
    root = root / "cifar-10-batches-bin"
    root.mkdir(parents=True)
    for seed, name in enumerate([*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"]):
        labels = [(c + seed) % 10 for c in range(10)]
        rows = np.concatenate([np.array(labels, np.uint8)[:, None], _batch(labels, seed)], axis=1)
        (root / name).write_bytes(rows.tobytes())
    write_lines(root / "batches.meta.txt", [*CIFAR10, ""])
    return root.parent


def cifar100(root: Path) -> Path:
    root = root / "cifar-100-python"
    root.mkdir(parents=True)
    labels = list(range(100))
    for seed, name in enumerate(("train", "test")):
        content = {b"fine_labels": labels, b"coarse_labels": [0] * 100, b"data": _batch(labels, seed)}
        (root / name).write_bytes(_python2(content))
    names = [name.encode() for name in numbered("fine", 100)]
    (root / "meta").write_bytes(_python2({b"fine_label_names": names, b"coarse_label_names": [b"one"]}))
    return root.parent


def cifar100_binary(root: Path) -> Path:
    root = root / "cifar-100-binary"
    root.mkdir(parents=True)
    labels = np.stack([np.zeros(100, np.uint8), np.arange(100, dtype=np.uint8)], axis=1)
    for seed, name in enumerate(("train.bin", "test.bin")):
        (root / name).write_bytes(np.concatenate([labels, _batch([0] * 100, seed)], axis=1).tobytes())
    write_lines(root / "fine_label_names.txt", numbered("fine", 100))
    return root.parent


def imagenet20(root: Path) -> Path:
    for name, half in (("imagenette2-320", IMAGENETTE), ("imagewoof2-320", IMAGEWOOF)):
        for part in ("train", "val"):
            for i, wnid in enumerate(half):
                draw(root / name / part / wnid / f"{wnid}_{part}_{i}.JPEG", i + 100 * (part == "val"))
        write_lines(root / name / "noisy_imagenette.csv", ["path,noisy_labels_0"])
    return root


def caltech101(root: Path, each: int = 3) -> Path:
    names = ["accordion", "airplanes", *numbered("category", 99), "BACKGROUND_Google"]
    for c, name in enumerate(names):
        for i in range(1, each + 1):
            draw(root / "caltech101" / "101_ObjectCategories" / name / f"image_{i:04d}.jpg", 3 * c + i)
    (root / "caltech101" / "101_ObjectCategories" / "BACKGROUND_Google" / "tmp").touch()
    write_lines(root / "caltech101" / "Annotations" / "accordion" / "annotation_0001.mat", ["x"])
    return root


def dtd(root: Path) -> Path:
    base = root / "dtd" / "dtd"
    names = numbered("texture", 47)
    for part in PARTS:
        lines = [f"{name}/{name}_{part}.jpg" for name in names]
        for c, line in enumerate(lines):
            draw(base / "images" / line, c)
        write_lines(base / "labels" / f"{part}1.txt", lines)
        write_lines(base / "labels" / f"{part}2.txt", lines[:1])
    return root


def aircraft(root: Path) -> Path:
    data = root / "fgvc-aircraft-2013b" / "data"
    names = ["707-320", "Boeing 737 MAX", *numbered("variant ", 98)]
    write_lines(data / "variants.txt", names)
    for p, part in enumerate(PARTS):
        lines = [f"{1_000_000 + 1000 * p + c:07d} {name}" for c, name in enumerate(names)]
        for line in lines:
            draw(data / "images" / f"{line.split()[0]}.jpg", int(line.split()[0]))
        write_lines(data / f"images_variant_{part}.txt", lines)
    return root


def pets(root: Path) -> Path:
    base = root / "oxford-iiit-pet"
    names = ["Abyssinian", "american_bulldog", *numbered("breed_", 35)]
    for number, file in ((1, "trainval"), (2, "test")):
        lines = [f"{name}_{number} {c + 1} {1 + c % 2} {c // 2 + 1}" for c, name in enumerate(names)]
        for line in lines:
            draw(base / "images" / f"{line.split()[0]}.jpg", int(line.split()[1]) + 100 * number)
        write_lines(base / "annotations" / f"{file}.txt", lines)
    write_lines(base / "annotations" / "list.txt", ["#Image CLASS-ID SPECIES BREED ID"])
    return root


def flowers102(root: Path) -> Path:
    base = root / "flowers-102"
    for i in range(1, 307):
        draw(base / "jpg" / f"image_{i:05d}.jpg", i)
    savemat(base / "imagelabels.mat", {"labels": np.arange(306, dtype=np.uint8)[None] % 102 + 1})
    ids = {"trnid": np.arange(1, 103), "valid": np.arange(103, 205), "tstid": np.arange(205, 307)}
    savemat(base / "setid.mat", {name: value[None].astype(np.uint16) for name, value in ids.items()})
    return root


def _annotations(rows: list[tuple[Any, ...]], fields: Sequence[str]) -> np.ndarray:
    return np.array([tuple(rows_) for rows_ in rows], dtype=[(name, object) for name in fields])[None]


def cars(root: Path) -> Path:
    base = root / "stanford_cars"
    names = numbered("Make Model 20", 196)
    fields = ("bbox_x1", "class", "fname")
    for folder in ("cars_train", "cars_test"):
        for c in range(196):
            draw(base / folder / f"{c + 1:05d}.jpg", c + 300 * (folder == "cars_test"))
    rows = [(1, c + 1, f"{c + 1:05d}.jpg") for c in range(196)]
    (base / "devkit").mkdir()
    savemat(base / "devkit" / "cars_train_annos.mat", {"annotations": _annotations(rows, fields)})
    savemat(base / "cars_test_annos_withlabels.mat", {"annotations": _annotations(rows, fields)})
    savemat(base / "devkit" / "cars_meta.mat", {"class_names": np.array([names], dtype=object)})
    return root


def cars_later(root: Path) -> Path:
    names = numbered("Make Model 20", 196)
    rows = [(f"car_ims/{i + 1:06d}.jpg", i % 196 + 1, int(i >= 196)) for i in range(392)]
    for i, (name, _, _) in enumerate(rows):
        draw(root / name, i)
    table = _annotations(rows, ("relative_im_path", "class", "test"))
    savemat(root / "cars_annos.mat", {"annotations": table, "class_names": np.array([names], dtype=object)})
    return root


def domains(root: Path, names: Sequence[str], classes: Sequence[str], within: str = "") -> Path:
    for d, domain in enumerate(names):
        for c, name in enumerate(classes):
            draw(root / domain / within / name / f"pic_{d}_{c}.jpg", 100 * d + c)
    return root


def pacs(root: Path) -> Path:
    return domains(root / "PACS", ("art_painting", "cartoon", "photo", "sketch"), PACS).parent


def vlcs(root: Path) -> Path:
    return domains(root, ("Caltech101", "LabelMe", "SUN09", "VOC2007"), VLCS)


def vlcs_pieces(root: Path) -> Path:
    for piece in ("train", "crossval", "test"):
        domains(root / "VLCS", ("CALTECH", "LABELME", "SUN", "PASCAL"), list("01234"), piece)
    return root


def vlcs_full(root: Path) -> Path:
    domains(vlcs_pieces(root) / "VLCS", ("CALTECH", "LABELME", "SUN", "PASCAL"), list("01234"), "full")
    return root


def office_home(root: Path) -> Path:
    names = ("Art", "Clipart", "Product", "Real World")
    base = domains(root / "OfficeHomeDataset_10072016", names, numbered("Thing_", 65))
    write_lines(base / "ImageInfo.csv", ["x"])
    return root


def domains_parquet(root: Path, names: Sequence[str], classes: Sequence[str]) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    rows = [(d, c) for d in range(len(names)) for c in range(len(classes))]
    table = {
        "image": [{"bytes": png(100 * d + c), "path": None} for d, c in rows],
        "domain": [names[d] for d, _ in rows],
        "label": [classes[c] for _, c in rows],
    }
    pq.write_table(pa.table(table), root / "train-00000-of-00001.parquet")
    return root


MINIATURES: dict[str, tuple[str, Callable[[Path], Path]]] = {
    "cifar10": ("cifar10", cifar10),
    "cifar10 binary": ("cifar10", cifar10_binary),
    "cifar100": ("cifar100", cifar100),
    "cifar100 binary": ("cifar100", cifar100_binary),
    "imagenet20": ("imagenet20", imagenet20),
    "caltech101": ("caltech101", caltech101),
    "dtd": ("dtd", dtd),
    "aircraft": ("aircraft", aircraft),
    "pets": ("pets", pets),
    "flowers102": ("flowers102", flowers102),
    "cars": ("cars", cars),
    "cars later": ("cars", cars_later),
    "pacs": ("pacs", pacs),
    "vlcs": ("vlcs", vlcs),
    "vlcs pieces": ("vlcs", vlcs_pieces),
    "vlcs full": ("vlcs", vlcs_full),
    "office_home": ("office_home", office_home),
    "pacs parquet": ("pacs", lambda root: domains_parquet(root, ("photo", "art_painting", "cartoon", "sketch"), PACS)),
}
"""How each layout of each set is written: the set's name in the catalog, and the function."""
