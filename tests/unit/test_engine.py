"""The one door to Paddle: zlib comes first, everywhere."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[2]
DOOR = REPO / "src/qat8/engine.py"
SOURCES = sorted({*(REPO / "src").rglob("*.py"), *(REPO / "tester").glob("*.py"), REPO / "tasks.py"} - {DOOR})
BEHIND = ("paddle", "paddleslim")  # what must be imported only when the door was gone through


def python(code: str, **variables: str) -> subprocess.CompletedProcess:
    env = {k: v for k, v in os.environ.items() if k not in ("GLOG_minloglevel", "TQDM_DISABLE")} | variables
    return subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, env=env)


def test_after_the_door_whatever_inflates_works():
    """Without zlib first, paddleslim's imports end in a segmentation fault of libpaddle's own zlib."""
    done = python(
        "from qat8.engine import paddle\n"
        "import paddleslim.quant, zlib, io\n"
        "from PIL import Image\n"
        "Image.new('RGB', (9, 9)).save(b := io.BytesIO(), 'PNG'); Image.open(b).load()\n"
        "print(len(zlib.decompress(zlib.compress(bytes(10**6)))), paddle.__version__)"
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.splitlines()[-1] == "1000000 2.6.2"


def imports(tree: ast.AST):
    """(line, module, whether at the top level) of each import."""
    top = set(map(id, tree.body))
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names = [node.module]
        for name in names:
            yield node.lineno, name, id(node) in top


def offences(text: str) -> list[str]:
    """Imports of Paddle that could come before the door: any without `qat8.engine`, or before it at the top level."""
    found = list(imports(ast.parse(text)))
    doors = [line for line, name, _ in found if name == "qat8.engine"]
    through = {name for _, name, top in found if top}
    bad = []
    for line, name, top in found:
        if name.split(".")[0] not in BEHIND:
            continue
        # Bare `import paddle` is the door's own business; submodules and paddleslim may follow the door.
        if name == "paddle" or not doors or (top and line < min(doors)) or (not top and "qat8.engine" not in through):
            bad.append(f"{line}: {name}")
    return bad


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(REPO)))
def test_paddle_is_imported_through_the_door_only(path):
    assert offences(path.read_text()) == []


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("import paddle", 1),
        ("def f():\n    import paddle", 1),
        ("from paddle import nn", 1),
        ("from paddle.static import x\nfrom qat8.engine import paddle", 1),
        ("def f():\n    import paddleslim.quant", 1),
        ("from qat8.engine import paddle\nimport paddle", 1),
        ("from qat8.engine import paddle\nfrom paddle.static import x\ndef f():\n    import paddleslim.quant", 0),
        ("import paddlehub_made_up, padding", 0),
    ],
)
def test_the_search_for_such_imports_finds_them(text, count):
    assert len(offences(text)) == count


def test_zlib_is_imported_before_paddle_in_the_door():
    lines = {name: line for line, name, _ in imports(ast.parse(DOOR.read_text()))}
    assert lines["zlib"] < lines["paddle"]


def test_paddles_own_chatter_is_off_unless_the_user_wants_it():
    # Paddle itself is pretended: it takes seconds.
    show = (
        "import os, sys, types; sys.modules['paddle'] = types.ModuleType('paddle')\n"
        "import qat8.engine; print(os.environ['GLOG_minloglevel'], os.environ['TQDM_DISABLE'])"
    )
    assert python(show).stdout.split() == ["1", "1"]
    assert python(show, GLOG_minloglevel="0", TQDM_DISABLE="").stdout.split() == ["0"]


def test_stages_that_need_no_paddle_do_not_wait_for_it():
    code = (
        "import sys, qat8.stages.preprocess, qat8.stages.benchmark, qat8.stages.report, qat8.stages.dataset,"
        "qat8.stages.weights, qat8.stages.doctor, qat8.stages.train, qat8.stages.convert\n"
        "sys.exit('paddle' in sys.modules)"
    )
    assert python(code).returncode == 0


def test_stages_import_no_other_stage():
    for path in (REPO / "src/qat8/stages").glob("*.py"):
        others = [name for _, name, _ in imports(ast.parse(path.read_text())) if name.startswith("qat8.stages")]
        assert others == [], path.name
