"""The tutorial's script name (section 3) for `python -m qat8.stages.convert`."""

from functools import partial

from qat8 import cli, signals

if __name__ == "__main__":
    signals.leave_at_once()  # if asked to, while the rest is imported

from qat8.stages.convert import main

if __name__ == "__main__":
    cli.run(partial(main, prog="save_qat_model.py"))
