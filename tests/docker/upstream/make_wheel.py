"""STAND-IN: a wheel named paddlepaddle with nothing in it but its version, as WITH_PYTHON=ON would leave one."""

import sys
import zipfile
from pathlib import Path

info = "paddlepaddle-0.0.0.dist-info"
files = {
    "paddle/__init__.py": 'STAND_IN = True\n__version__ = "0.0.0"\n',
    f"{info}/METADATA": "Metadata-Version: 2.1\nName: paddlepaddle\nVersion: 0.0.0\n",
    f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: stand-in\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
}
with zipfile.ZipFile(Path(sys.argv[1]) / "paddlepaddle-0.0.0-py3-none-any.whl", "w") as wheel:
    for name, text in files.items():
        wheel.writestr(name, text)
    wheel.writestr(f"{info}/RECORD", "".join(f"{name},,\n" for name in [*files, f"{info}/RECORD"]))
