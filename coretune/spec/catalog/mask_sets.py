"""Image sets with a mask each, for semantic segmentation."""

from __future__ import annotations

from pydantic import Field

from coretune.spec.components import DatasetComponent
from coretune.spec.frozen import Frozen

CITATION = "Everingham et al., The PASCAL Visual Object Classes Challenge 2012 (VOC2012) Results"
LICENCE = "that of flickr, for research; see the source"
ARCHIVE = "unpack https://thor.robots.ox.ac.uk/pascal/VOC/voc2012/VOCtrainval_11-May-2012.tar"
UNPACKED = (
    "the archive unpacked: VOCdevkit/VOC2012/JPEGImages/, SegmentationClass/ and ImageSets/Segmentation/<train|val>.txt"
)
VALIDATION = (
    "official val is the test part (1,449 images), since the masks of the official test images are not public; the "
    "validation part is drawn from the training part with a fixed seed"
)


class VocParameters(Frozen):
    """Images and masks of your own in VOC's layout."""

    classes: int | None = Field(
        None, ge=2, le=255, description="Number of classes, where no `classes.txt` names them: values 0 to N − 1."
    )


SETS: list[DatasetComponent] = [
    DatasetComponent(
        kind="dataset",
        name="voc2012",
        version=1,
        target="coretune.data.sources.voc2012:voc2012",
        summary="PASCAL VOC 2012 segmentation: 2,913 photographs with masks of twenty classes and background",
        source="http://host.robots.ox.ac.uk/pascal/VOC/voc2012/",
        labels="pixel",
        classes=21,
        splits=f"{VALIDATION} (train, 1,464)",
        licence=LICENCE,
        citation=CITATION,
        image_size=512,
        augment={"flip": True},
        metrics=("miou",),
        counts={"train": 1_464, "test": 1_449},
        obtain=ARCHIVE,
        layouts=(UNPACKED, "Hugging Face parquet: <train|val>*.parquet with the columns image and mask"),
        folders=("VOCdevkit",),
        download="VOCSegmentation",
    ),
    DatasetComponent(
        kind="dataset",
        name="voc2012_aug",
        version=1,
        target="coretune.data.sources.voc2012:voc2012_aug",
        summary="PASCAL VOC 2012 with the masks of SBD: train_aug, 10,582 photographs to train and 1,449 to test",
        source="http://home.bharathh.info/pubs/codes/SBD/download.html",
        labels="pixel",
        classes=21,
        splits=f"{VALIDATION} (train_aug: train and all of SBD but val, 10,582)",
        licence=LICENCE,
        citation=f"{CITATION}; Hariharan et al., Semantic Contours from Inverse Detectors, ICCV 2011",
        image_size=512,
        augment={"flip": True},
        metrics=("miou",),
        counts={"train": 10_582, "test": 1_449},
        obtain=f"{ARCHIVE}, and beside it "
        "https://www2.eecs.berkeley.edu/Research/Projects/CS/vision/grouping/semantic_contours/benchmark.tgz",
        layouts=(
            f"{UNPACKED}; and SBD's archive below the same folder: cls/<name>.mat, train.txt and val.txt",
            "the same with SegmentationClassAug/<name>.png and ImageSets/Segmentation/trainaug.txt in place of SBD's "
            "archive",
        ),
        folders=("voc2012", "VOCdevkit"),
    ),
    DatasetComponent(
        kind="dataset",
        name="voc",
        version=1,
        target="coretune.data.sources.voc:voc",
        summary="images and masks of your own in VOC's layout",
        parameters=VocParameters,
        labels="pixel",
        splits="lists train.txt, val.txt, test.txt; what is missing is drawn from the training part with a fixed seed",
        needs_path=True,
        image_size=512,
        augment={"flip": True},
        metrics=("miou",),
        layouts=(
            "JPEGImages/<name>.jpg, SegmentationClass/<name>.png (255 is void) and "
            "ImageSets/Segmentation/<train|val|test>.txt; classes.txt beside them, one name a line",
        ),
    ),
]


def mask_set(name: str) -> DatasetComponent:
    """Returns the declaration of a set of images with masks.

    Raises:
        KeyError: There is none of that name.
    """
    return {component.name: component for component in SETS}[name]
