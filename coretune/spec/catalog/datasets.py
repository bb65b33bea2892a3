"""Data sets: the embedded digits, images of your own, and the known image sets."""

from __future__ import annotations

from pydantic import Field

from coretune.spec.catalog.image_sets import SETS
from coretune.spec.catalog.mask_sets import SETS as MASK_SETS
from coretune.spec.components import Component, DatasetComponent
from coretune.spec.frozen import Frozen


class FolderParameters(Frozen):
    """An image folder: `<class>/<image>` or `<train|val|test>/<class>/<image>`."""

    crop: bool = Field(
        True, description="Cut the centre square after resizing the shorter side; false squeezes the whole image."
    )


class ParquetParameters(FolderParameters):
    """Parquet files of images and labels, as on the Hugging Face hub."""

    image_column: str | None = Field(
        None, min_length=1, description="Column of the images; null takes `image`, else `img`."
    )
    label_column: str | None = Field(
        None, min_length=1, description="Column of the labels; null takes `label`, else `labels`, else `fine_label`."
    )


class HubParameters(ParquetParameters):
    """A data set of the Hugging Face hub, by name."""

    name: str = Field("", description="Its name on the hub, e.g. `uoft-cs/cifar10`. It has no default that is of use.")
    config: str | None = Field(None, min_length=1, description="Its configuration, where it has several.")
    revision: str | None = Field(None, min_length=1, description="Commit or tag; null takes the newest.")


COMPONENTS: list[Component] = [
    *SETS,
    *MASK_SETS,
    DatasetComponent(
        kind="dataset",
        name="digits",
        version=1,
        target="coretune.data.sources.digits:Digits",
        summary="1,797 scanned handwritten digits, 8×8, in scikit-learn's wheel",
        source="https://archive.ics.uci.edu/dataset/80",
        classes=10,
        image_size=16,
        augment={"crop_scale": [0.6, 1.0], "crop_ratio": [0.85, 1.18], "rotation": 12.0, "flip": False},
        splits="no official split; test and validation parts are drawn by class with a fixed seed",
        licence="CC BY 4.0",
        counts={"all": 1797},
        citation="Alpaydin and Kaynak, Optical Recognition of Handwritten Digits, UCI, 1998",
    ),
    DatasetComponent(
        kind="dataset",
        name="folder",
        version=1,
        target="coretune.data.sources.folder:Folder",
        summary="your own images: a folder per class, perhaps below train/, val/ and test/",
        parameters=FolderParameters,
        augment={"crop_scale": [0.2, 1.0], "flip": True},
        splits="train/, val/ and test/ where present; what is missing is drawn by class with a fixed seed",
        needs_path=True,
    ),
    DatasetComponent(
        kind="dataset",
        name="domain_folders",
        version=1,
        target="coretune.data.sources.domain_folders:DomainFolders",
        summary="your own images of several domains: a folder per domain, and in it one per class",
        parameters=FolderParameters,
        augment={"crop_scale": [0.2, 1.0], "flip": True},
        splits="none; parts are drawn with a fixed seed",
        needs_path=True,
    ),
    DatasetComponent(
        kind="dataset",
        name="images",
        version=1,
        target="coretune.data.sources.images:Images",
        summary="your own images without labels, all that lie below a folder: for pre-training only",
        parameters=FolderParameters,
        classes=1,
        augment={"crop_scale": [0.2, 1.0], "flip": True},
        splits="none; parts are drawn with a fixed seed",
        needs_path=True,
    ),
    DatasetComponent(
        kind="dataset",
        name="parquet",
        version=1,
        target="coretune.data.sources.parquet:Parquet",
        summary="your own images in parquet files, as on the Hugging Face hub: columns `image` and `label`",
        source="https://huggingface.co/docs/hub/datasets-file-names-and-splits",
        parameters=ParquetParameters,
        augment={"crop_scale": [0.2, 1.0], "flip": True},
        splits="parts by the names of files or folders (train, validation, test) where present; what is missing is "
        "drawn by class with a fixed seed",
        needs_path=True,
    ),
    DatasetComponent(
        kind="dataset",
        name="manifest",
        version=1,
        target="coretune.data.sources.manifest:Manifest",
        summary="your own images, listed in a CSV or Parquet table with the columns `path` and `label`, perhaps "
        "`split` and `domain`",
        parameters=FolderParameters,
        augment={"crop_scale": [0.2, 1.0], "flip": True},
        splits="column `split` (train, val, test) where present; what is missing is drawn by class with a fixed seed",
        needs_path=True,
    ),
    DatasetComponent(
        kind="dataset",
        name="hub",
        version=1,
        target="coretune.data.sources.hub:Hub",
        summary="a data set of the Hugging Face hub, by `name`; needs the package `datasets`",
        source="https://huggingface.co/datasets",
        parameters=HubParameters,
        augment={"crop_scale": [0.2, 1.0], "flip": True},
        splits="its splits train, validation and test where present; what is missing is drawn by class with a fixed "
        "seed",
    ),
]
