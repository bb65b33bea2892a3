"""Image data sets."""

from __future__ import annotations

from pydantic import Field

from coretune.spec.components import Component, DatasetComponent
from coretune.spec.frozen import Frozen


class FolderParameters(Frozen):
    """An image folder: `<class>/<image>` or `<train|val|test>/<class>/<image>`."""

    crop: bool = Field(
        True, description="Cut the centre square after resizing the shorter side; false squeezes the whole image."
    )


COMPONENTS: list[Component] = [
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
]
