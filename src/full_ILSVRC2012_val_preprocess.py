"""The tutorial's script name (section 4.1) for `python -m qat8.stages.preprocess`."""

from functools import partial

from qat8 import cli
from qat8.stages.preprocess import main

if __name__ == "__main__":
    cli.run(partial(main, prog="full_ILSVRC2012_val_preprocess.py", needs_local=True))
