"""The tutorial's script name (section 2) for `python -m qat8.stages.train`."""

from functools import partial

from qat8 import cli, signals

if __name__ == "__main__":
    signals.leave_at_once()  # if asked to, while the rest is imported

from qat8.stages.train import main

if __name__ == "__main__":
    cli.run(partial(main, prog="train_image_classification.py"))
