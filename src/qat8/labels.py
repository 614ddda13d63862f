"""Label lists: `PATH CLASS` a line, paths relative to the data directory, as in the tutorial's val_list.txt."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from qat8.errors import DataError


def read(data_dir: Path, label_list: Path, classes: int = 1000) -> list[tuple[Path, int]]:
    """The images and their classes, in the list's order; see `stream`."""
    return list(stream(data_dir, label_list, classes))


def stream(data_dir: Path, label_list: Path, classes: int = 1000) -> Iterator[tuple[Path, int]]:
    """The images and their classes, one by one. Names may hold spaces; the class is the last word.

    The tutorial prints its example as `val / NAME.jpg 0`, with blanks around the slash: that is taken for
    `val/NAME.jpg` when no file is called so literally.

    Raises:
        DataError: no list, an empty one, or a line that is not a path and a class in [0, classes); file:line is named.
    """
    if not data_dir.is_dir():
        raise DataError(f"{data_dir}: no such directory", "the data set's directory (--data-dir)")
    found = False
    try:
        with open(label_list, encoding="utf-8") as lines:
            for n, line in enumerate(lines, 1):
                if line.strip():
                    found = True
                    yield _entry(data_dir, line, f"{label_list}:{n}", classes)
    except FileNotFoundError:
        raise DataError(
            f"{label_list}: no such label list", "lines of PATH CLASS", "name one by --label-list"
        ) from None
    except (OSError, UnicodeDecodeError) as e:
        raise DataError(f"{label_list}: not readable as UTF-8 text ({e})", "lines of PATH CLASS") from e
    if not found:
        raise DataError(f"{label_list} names no image", "lines of PATH CLASS")


def _entry(data_dir: Path, line: str, where: str, classes: int) -> tuple[Path, int]:
    name, _, label = line.strip().rpartition(" ")
    name = name.strip()
    if not name or "\0" in name or not (label.isascii() and label.isdigit()):
        raise DataError(f"{where}: {line.strip()[:80]!r}", "PATH CLASS")
    if len(label) > 9 or int(label) >= classes:
        raise DataError(f"{where}: class {label[:20]}", f"a number from 0 to {classes - 1}")
    if " / " in name and not os.path.exists(data_dir / name):  # unlike Path.exists: False for a name of 1,000 letters
        name = name.replace(" / ", "/")
    pure = PurePosixPath(name)
    if pure.is_absolute() or ".." in pure.parts:
        raise DataError(f"{where}: {name!r} leads out of the data directory", "a path below it")
    return data_dir / name, int(label)
