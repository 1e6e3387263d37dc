"""ImageNet as a stream: 150 GB, which no machine holds in memory as numbers."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from typing import Any

from keras_apps.sources.tfds import whole_module

NAME = "imagenet2012"
# TFDS calls the validation set, whose labels are known, by this name; it serves for testing.
SPLITS = {"train": "train", "test": "validation"}
# Of all training pixels, after scaling to [0, 1]: the values in general use.
CHANNEL_MEANS = (0.485, 0.456, 0.406)
CHANNEL_DEVIATIONS = (0.229, 0.224, 0.225)


@dataclasses.dataclass(frozen=True)
class Stream:
    """A data set that is read again in every epoch.

    Attributes:
        name: The name of the data set.
        num_train: Training examples.
        num_test: Test examples.
        num_classes: The number of classes.
        description: A sentence on where the data come from.
        channel_means: What is to be subtracted from each channel, after scaling to [0, 1].
        channel_deviations: What each channel is to be divided by.
        fingerprint: Hash of the name, the version and the numbers of examples, 16 hexadecimal
            digits: the images themselves are not read for it.
        builder: What TFDS reads them with.
    """

    name: str
    num_train: int
    num_test: int
    num_classes: int
    description: str
    channel_means: tuple[float, ...]
    channel_deviations: tuple[float, ...]
    fingerprint: str
    builder: Any = dataclasses.field(repr=False)

    def examples(self, part: str, *, seed: int | None = None) -> Any:
        """Return a `tf.data.Dataset` of pairs (image, label), each decoded when it is read.

        Images are uint8 and of unlike sizes, [height, width, 3]: crop them before they are
        batched. Labels are int64 scalars.

        Args:
            part: "train" or "test".
            seed: Reads the files in an order of chance; shuffle the examples, too. Defaults to
                None, the order on the disk.

        Raises:
            ValueError: Another part.
        """
        if part not in SPLITS:
            raise ValueError(f"`part` must be one of {list(SPLITS)}. Received: part={part!r}.")
        tfds = whole_module(self.name, "")
        return self.builder.as_dataset(
            split=SPLITS[part],
            as_supervised=True,
            shuffle_files=seed is not None,
            read_config=tfds.ReadConfig(shuffle_seed=seed),
        )


def imagenet2012(data_dir: str | os.PathLike[str] | None = None) -> Stream:
    """Return the 1.28 million images of 1000 classes of ILSVRC 2012, prepared by TFDS.

    Args:
        data_dir: Folder in which TFDS has prepared them. Defaults to that of TFDS.

    Raises:
        ImportError: `tensorflow-datasets` is not installed whole.
        FileNotFoundError: They are not prepared. TFDS cannot download them.
    """
    builder = whole_module(NAME, "").builder(NAME, data_dir=data_dir)
    try:
        parts = [builder.as_dataset(split=split, as_supervised=True) for split in SPLITS.values()]
    except AssertionError as error:
        raise FileNotFoundError(
            f"The data set {NAME!r} must be prepared by TFDS, and is not in {builder.data_dir}. "
            "Get ILSVRC2012_img_train.tar and ILSVRC2012_img_val.tar from image-net.org, put them "
            "into the folder downloads/manual beside it, and run `tfds build imagenet2012`."
        ) from error
    num_train, num_test = (int(part.cardinality()) for part in parts)
    version = builder.info.full_name
    content = f"{version} {num_train} {num_test}"
    return Stream(
        name=NAME,
        num_train=num_train,
        num_test=num_test,
        num_classes=builder.info.features["label"].num_classes,
        description=f"{version} of TensorFlow Datasets, {num_train:,} images for training and "
        f"{num_test:,} for testing (its validation set).",
        channel_means=CHANNEL_MEANS,
        channel_deviations=CHANNEL_DEVIATIONS,
        fingerprint=hashlib.sha256(content.encode()).hexdigest()[:16],
        builder=builder,
    )
