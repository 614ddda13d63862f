"""ImageNet's validation set of 2012: where it is, how it comes here, what its images show.

Its terms of access (non-commercial research and education) are between the user and image-net.org.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Archive:
    """A file that is known to the byte. `images` are named by `name(1)` to `name(images)`."""

    url: str
    file: str
    size: int
    md5: str
    images: int

    @staticmethod
    def name(number: int) -> str:
        return f"ILSVRC2012_val_{number:08d}.JPEG"


# Size and MD5 as image-net.org's download page and server give them.
VAL = Archive(
    "https://image-net.org/data/ILSVRC/2012/ILSVRC2012_img_val.tar", "ILSVRC2012_img_val.tar", 6_744_924_160,
    "29b22e2961454d5413ddabcf34fc5622", 50_000,
)  # fmt: skip
