"""Known image sets: nine that fine-tuning is measured on, and three of several domains.

Expected counts are those of the official files; where published tables differ, `splits` says why.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from pydantic import Field

from coretune.spec.components import DatasetComponent
from coretune.spec.frozen import Frozen

PHOTOGRAPHS: Mapping[str, Any] = MappingProxyType({"crop_scale": [0.2, 1.0], "flip": True})
TINY: Mapping[str, Any] = MappingProxyType({"crop_scale": [0.5, 1.0], "flip": True})

FROM_TRAIN = "the validation part is drawn by class from the training part with a fixed seed"
NO_SPLIT = "no official split between images: parts are drawn by class with a fixed seed, over all domains"

MIRROR = "folders <train|val|test>/<class>/<image>, or <class>/<image> (then parts are drawn)"
PARQUET = "Hugging Face parquet: <train|validation|test>*.parquet with a column image (or img) and one of labels"
DOMAINS_PARQUET = "Hugging Face parquet with the columns image, label and domain"


class Caltech101Parameters(Frozen):
    """Which categories."""

    background: bool = Field(
        False,
        description="Whether BACKGROUND_Google is a class, too: 102 classes and 3,060 training images, as in published "
        "tables of transfer learning; false leaves it out, as its authors do.",
    )


SETS: list[DatasetComponent] = [
    DatasetComponent(
        kind="dataset",
        name="imagenet20",
        version=1,
        target="coretune.data.sources.imagenet20:imagenet20",
        summary="ImageNet20: the twenty classes of Imagenette (easy) and Imagewoof (dogs)",
        source="https://github.com/fastai/imagenette",
        classes=20,
        augment=PHOTOGRAPHS,
        splits=f"the sets' val/ is the test part (7,854 images); {FROM_TRAIN} (18,494)",
        licence="images: ImageNet's terms (research only); lists: Apache-2.0",
        citation="Howard, Imagenette and Imagewoof, fast.ai, 2019; Deng et al., ImageNet, CVPR 2009",
        counts={"train": 18_494, "test": 7_854},
        obtain="unpack https://s3.amazonaws.com/fast-ai-imageclas/imagenette2-320.tgz and "
        "https://s3.amazonaws.com/fast-ai-imageclas/imagewoof2-320.tgz side by side",
        layouts=(
            "the archives unpacked: imagenette2*/<train|val>/<WordNet id>/ and imagewoof2*/<train|val>/<WordNet id>/",
            MIRROR,
            PARQUET,
        ),
    ),
    DatasetComponent(
        kind="dataset",
        name="cifar10",
        version=1,
        target="coretune.data.sources.cifar10:cifar10",
        summary="CIFAR-10: 60,000 photographs of ten classes, 32×32",
        source="https://www.cs.toronto.edu/~kriz/cifar.html",
        classes=10,
        image_size=32,
        augment=TINY,
        splits="official test part (10,000 images); the validation part is drawn by class from the training part "
        "(50,000) with a fixed seed",
        licence="none is stated by its authors",
        citation="Krizhevsky, Learning Multiple Layers of Features from Tiny Images, University of Toronto, 2009",
        counts={"train": 50_000, "test": 10_000},
        obtain="unpack https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz (or the binary version beside it)",
        layouts=(
            "the archive unpacked: cifar-10-batches-py/data_batch_1 … 5 and test_batch",
            "the binary version: cifar-10-batches-bin/data_batch_1.bin … 5.bin and test_batch.bin",
            "Hugging Face parquet: train*.parquet and test*.parquet with the columns img (or image) and label, in it "
            "or in one folder below it",
            "folders <train|test>/<class>/<image>",
        ),
        folders=("cifar-10-batches-py", "cifar-10-batches-bin"),
        download="CIFAR10",
    ),
    DatasetComponent(
        kind="dataset",
        name="cifar100",
        version=1,
        target="coretune.data.sources.cifar100:cifar100",
        summary="CIFAR-100: 60,000 photographs of a hundred classes, 32×32",
        source="https://www.cs.toronto.edu/~kriz/cifar.html",
        classes=100,
        image_size=32,
        augment=TINY,
        splits=f"official test part (10,000 images); {FROM_TRAIN} (50,000); labels are the fine ones",
        licence="none is stated by its authors",
        citation="Krizhevsky, Learning Multiple Layers of Features from Tiny Images, University of Toronto, 2009",
        counts={"train": 50_000, "test": 10_000},
        obtain="unpack https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz (or the binary version beside it)",
        layouts=(
            "the archive unpacked: cifar-100-python/train, test and meta",
            "the binary version: cifar-100-binary/train.bin, test.bin and fine_label_names.txt",
            PARQUET,
            "folders <train|test>/<class>/<image>",
        ),
        folders=("cifar-100-python", "cifar-100-binary"),
        download="CIFAR100",
    ),
    DatasetComponent(
        kind="dataset",
        name="caltech101",
        version=1,
        target="coretune.data.sources.caltech101:caltech101",
        summary="Caltech-101: 8,677 photographs of 101 categories of objects",
        source="https://data.caltech.edu/records/mzrjq-6wc02",
        parameters=Caltech101Parameters,
        classes=101,
        augment=PHOTOGRAPHS,
        splits="no official split: as usual, 30 images of each class are for training and all others for testing, "
        f"drawn once and for ever; {FROM_TRAIN}",
        licence="CC BY 4.0",
        citation="Fei-Fei, Fergus and Perona, Learning Generative Visual Models from Few Training Examples, CVPR "
        "Workshops 2004",
        metrics=("top1", "mean_per_class"),
        counts={"train": 3_030, "test": 5_647},
        official=False,
        obtain="https://data.caltech.edu/records/mzrjq-6wc02 has caltech-101.zip; unpack it, and the archive "
        "101_ObjectCategories.tar.gz in it",
        layouts=("the archive unpacked: 101_ObjectCategories/<category>/image_0001.jpg", MIRROR, PARQUET),
        download="Caltech101",
    ),
    DatasetComponent(
        kind="dataset",
        name="dtd",
        version=1,
        target="coretune.data.sources.dtd:dtd",
        summary="Describable Textures: 5,640 photographs of 47 textures",
        source="https://www.robots.ox.ac.uk/~vgg/data/dtd/",
        classes=47,
        augment=PHOTOGRAPHS,
        splits="the first of its ten official splits: 1,880 images each to train, to validate and to test",
        licence="for research only",
        citation="Cimpoi et al., Describing Textures in the Wild, CVPR 2014",
        counts={"train": 1_880, "val": 1_880, "test": 1_880},
        obtain="unpack https://www.robots.ox.ac.uk/~vgg/data/dtd/download/dtd-r1.0.1.tar.gz",
        layouts=("the archive unpacked: dtd/images/<texture>/ and dtd/labels/<train|val|test>1.txt", MIRROR, PARQUET),
        download="DTD",
    ),
    DatasetComponent(
        kind="dataset",
        name="aircraft",
        version=1,
        target="coretune.data.sources.aircraft:aircraft",
        summary="FGVC-Aircraft: 10,000 photographs of a hundred variants of aeroplanes",
        source="https://www.robots.ox.ac.uk/~vgg/data/fgvc-aircraft/",
        classes=100,
        augment=PHOTOGRAPHS,
        splits="official lists of variants: 3,334 images to train, 3,333 to validate, 3,333 to test",
        licence="for non-commercial research only",
        citation="Maji et al., Fine-Grained Visual Classification of Aircraft, arXiv 1306.5151, 2013",
        metrics=("top1", "mean_per_class"),
        counts={"train": 3_334, "val": 3_333, "test": 3_333},
        obtain="unpack https://www.robots.ox.ac.uk/~vgg/data/fgvc-aircraft/archives/fgvc-aircraft-2013b.tar.gz",
        layouts=(
            "the archive unpacked: fgvc-aircraft-2013b/data/images/ and images_variant_<train|val|test>.txt beside it",
            MIRROR,
            "Hugging Face parquet: <train|validation|test>*.parquet with the columns image and variant (or label)",
        ),
        folders=("fgvc-aircraft-2013b",),
        download="FGVCAircraft",
    ),
    DatasetComponent(
        kind="dataset",
        name="cars",
        version=1,
        target="coretune.data.sources.cars:cars",
        summary="Stanford Cars: 16,185 photographs of 196 models of cars",
        source="https://ai.stanford.edu/~jkrause/cars/car_dataset.html",
        classes=196,
        augment=PHOTOGRAPHS,
        splits=f"official test part (8,041 images); {FROM_TRAIN} (8,144)",
        licence="for non-commercial research only",
        citation="Krause et al., 3D Object Representations for Fine-Grained Categorization, ICCV Workshops 2013",
        counts={"train": 8_144, "test": 8_041},
        obtain="its authors' server no longer has it (torchvision cannot download it either): take a copy of "
        "cars_train.tgz, cars_test.tgz, car_devkit.tgz and cars_test_annos_withlabels.mat, or a mirror in folders or "
        "parquet, e.g. https://huggingface.co/datasets/tanganke/stanford_cars",
        layouts=(
            "the archives unpacked: cars_train/, cars_test/, devkit/cars_train_annos.mat, devkit/cars_meta.mat and "
            "cars_test_annos_withlabels.mat",
            "the later archive unpacked: car_ims/ and cars_annos.mat",
            MIRROR,
            PARQUET,
        ),
        folders=("stanford_cars",),
    ),
    DatasetComponent(
        kind="dataset",
        name="pets",
        version=1,
        target="coretune.data.sources.pets:pets",
        summary="Oxford-IIIT Pets: 7,349 photographs of 37 breeds of cats and dogs",
        source="https://www.robots.ox.ac.uk/~vgg/data/pets/",
        classes=37,
        augment=PHOTOGRAPHS,
        splits=f"official test part (3,669 images); {FROM_TRAIN} (trainval, 3,680)",
        licence="CC BY-SA 4.0",
        citation="Parkhi et al., Cats and Dogs, CVPR 2012",
        metrics=("top1", "mean_per_class"),
        counts={"train": 3_680, "test": 3_669},
        obtain="unpack https://www.robots.ox.ac.uk/~vgg/data/pets/data/images.tar.gz and annotations.tar.gz beside it",
        layouts=("the archives unpacked: images/<breed>_1.jpg and annotations/<trainval|test>.txt", MIRROR, PARQUET),
        folders=("oxford-iiit-pet",),
        download="OxfordIIITPet",
    ),
    DatasetComponent(
        kind="dataset",
        name="flowers102",
        version=1,
        target="coretune.data.sources.flowers102:flowers102",
        summary="Oxford Flowers: 8,189 photographs of 102 kinds of flowers",
        source="https://www.robots.ox.ac.uk/~vgg/data/flowers/102/",
        classes=102,
        augment=PHOTOGRAPHS,
        splits="official lists: 1,020 images to train, 1,020 to validate, 6,149 to test (published tables often train "
        "on both of the first)",
        licence="none is stated by its authors",
        citation="Nilsback and Zisserman, Automated Flower Classification over a Large Number of Classes, ICVGIP 2008",
        metrics=("top1", "mean_per_class"),
        counts={"train": 1_020, "val": 1_020, "test": 6_149},
        obtain="https://www.robots.ox.ac.uk/~vgg/data/flowers/102/ has 102flowers.tgz (unpack it), imagelabels.mat and "
        "setid.mat; keep the three side by side",
        layouts=("the archive unpacked: jpg/image_00001.jpg, imagelabels.mat and setid.mat", MIRROR, PARQUET),
        folders=("flowers-102",),
        download="Flowers102",
    ),
    DatasetComponent(
        kind="dataset",
        name="pacs",
        version=1,
        target="coretune.data.sources.pacs:pacs",
        summary="PACS: 9,991 images of seven classes in four domains (art, cartoon, photo, sketch)",
        source="https://arxiv.org/abs/1710.03077",
        classes=7,
        augment=PHOTOGRAPHS,
        splits=NO_SPLIT,
        licence="none is stated by its authors",
        citation="Li et al., Deeper, Broader and Artier Domain Generalization, ICCV 2017",
        counts={"art_painting": 2_048, "cartoon": 2_344, "photo": 1_670, "sketch": 3_929},
        domains=True,
        obtain="DomainBed's downloader (github.com/facebookresearch/DomainBed) or a mirror, e.g. "
        "https://huggingface.co/datasets/flwrlabs/pacs",
        layouts=("<art_painting|cartoon|photo|sketch>/<class>/<image>", DOMAINS_PARQUET),
        folders=("PACS",),
    ),
    DatasetComponent(
        kind="dataset",
        name="vlcs",
        version=1,
        target="coretune.data.sources.vlcs:vlcs",
        summary="VLCS: 10,729 photographs of five classes in four domains (VOC2007, LabelMe, Caltech101, SUN09)",
        source="https://doi.org/10.1109/ICCV.2013.208",
        classes=5,
        augment=PHOTOGRAPHS,
        splits=NO_SPLIT,
        licence="that of the four sets it is made of: for research only",
        citation="Fang, Xu and Rockmore, Unbiased Metric Learning, ICCV 2013",
        counts={"Caltech101": 1_415, "LabelMe": 2_656, "SUN09": 3_282, "VOC2007": 3_376},
        domains=True,
        obtain="DomainBed's downloader (github.com/facebookresearch/DomainBed), or a mirror",
        layouts=(
            "<Caltech101|LabelMe|SUN09|VOC2007>/<class>/<image>",
            "<CALTECH|LABELME|SUN|PASCAL>/full/<0…4>/<image>, or train/, crossval/ and test/ in place of full/",
            DOMAINS_PARQUET,
        ),
        folders=("VLCS",),
    ),
    DatasetComponent(
        kind="dataset",
        name="office_home",
        version=1,
        target="coretune.data.sources.office_home:office_home",
        summary="Office-Home: 15,588 images of 65 classes in four domains (art, clip art, product, real world)",
        source="https://www.hemanthdv.org/officeHomeDataset.html",
        classes=65,
        augment=PHOTOGRAPHS,
        splits=NO_SPLIT,
        licence="for non-commercial research only",
        citation="Venkateswara et al., Deep Hashing Network for Unsupervised Domain Adaptation, CVPR 2017",
        counts={"Art": 2_427, "Clipart": 4_365, "Product": 4_439, "Real World": 4_357},
        domains=True,
        obtain="https://www.hemanthdv.org/officeHomeDataset.html has OfficeHomeDataset_10072016.zip; or a mirror, e.g. "
        "https://huggingface.co/datasets/flwrlabs/office-home",
        layouts=("<Art|Clipart|Product|Real World>/<class>/<image>", DOMAINS_PARQUET),
        folders=("OfficeHomeDataset_10072016", "OfficeHome"),
    ),
]


def image_set(name: str) -> DatasetComponent:
    """Returns the declaration of a known image set.

    Raises:
        KeyError: There is none of that name.
    """
    return {component.name: component for component in SETS}[name]
