"""The binary data file: preprocessed images and their labels, written once, read by the C++ and the Python tester.

Two layouts, told apart by the first eight bytes. All numbers are little endian.

**raw**, the tutorial's (section 4.1)::

    int64 N | N x float32[3, H, W] | N x int64 label

**qat8, version 1** (the default): a header of 4,088 bytes, then the very same bytes, then one CRC-32 per image::

    offset  type      field
         0  8 bytes   magic "QAT8DATA"
         8  uint32    version = 1
        12  uint32    header size = 4088 (so that with the payload's int64 N image 0 starts on a page boundary)
        16  uint64    N, number of images (the same number again at 4088, as in the raw layout)
        24  uint32    channels = 3
        28  uint32    height H
        32  uint32    width W
        36  uint32    dtype of the images: 1 = float32 (normalised), 2 = uint8 (as decoded; the reader normalises)
        40  uint32    classes C; every label is in [0, C)
        44  uint32    CRC-32 of the labels (N x 8 bytes)
        48  uint32    CRC-32 of the trailer (N x 4 bytes)
        52  uint32    length L of the fingerprint
        56  3xfloat32 mean, per channel in RGB order, of values in [0, 1]
        68  3xfloat32 std, likewise
        80  uint64    size of the whole file in bytes
        88  L bytes   fingerprint: UTF-8 JSON of the preprocessing (`Fingerprint`); zeros follow it up to 4084
      4084  uint32    CRC-32 of the bytes 0..4083
      4088  payload   int64 N | N x dtype[3, H, W] | N x int64 label
       ...  trailer   N x uint32: CRC-32 of each image's bytes

CRC-32 is zlib's (IEEE 802.3, reflected polynomial 0xEDB88320). Images are planes in RGB order (CHW). A uint8 image u
stands for the float32 image ``(float32(u) / float32(255) - mean) / std``, each step rounded to float32, so that both
dtypes give the same network input bit for bit.

N = 50,000 at 224 x 224 makes a raw file of 30,106,000,008 bytes. Readers read image by image, so memory does not grow
with N; they do not map the file, whose pages would count as the process's memory, and whose shrinking would end it by
SIGBUS. Header, labels and trailer are checked at opening, each image's CRC-32 when it is first read.
"""

from qat8.datafile.header import (
    CHANNELS,
    DTYPES,
    HEADER_BYTES,
    MAGIC,
    MAX_FINGERPRINT,
    MAX_SIDE,
    VERSION,
    Header,
    encode_header,
    read_header,
)
from qat8.datafile.pixels import normalise
from qat8.datafile.reader import Reader
from qat8.datafile.writer import Writer

__all__ = [
    "CHANNELS", "DTYPES", "HEADER_BYTES", "MAGIC", "MAX_FINGERPRINT", "MAX_SIDE", "VERSION", "Header", "Reader",
    "Writer", "encode_header", "normalise", "read_header",
]  # fmt: skip
