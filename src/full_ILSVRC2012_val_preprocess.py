"""The tutorial's script name (section 4.1): ImageNet's validation set, fetched, or images of yours, by --local."""

from functools import partial

from qat8 import cli, signals

if __name__ == "__main__":
    signals.leave_at_once()  # if asked to, while the rest is imported

from qat8.stages import dataset, preprocess

if __name__ == "__main__":
    fetch = partial(dataset.fetch_ilsvrc2012, dataset.ILSVRC2012)
    cli.run(partial(preprocess.main, prog="full_ILSVRC2012_val_preprocess.py", fetch=fetch))
