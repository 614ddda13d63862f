"""The only door to Paddle: `from qat8.engine import paddle`.

libpaddle.so 2.6.2 exports its own zlib 1.2.8. When it is loaded before the system's zlib, whatever inflates later
(paddleslim's imports, Pillow) ends in a segmentation fault in inflateReset2. Python's zlib module binds the system's
library first, so it is imported before Paddle here, and Paddle is imported nowhere else.

What must be in the environment before Paddle reads it is set here too, unless the user has set it.
"""

import os
import warnings
import zlib  # noqa: F401  (must stay before paddle, see above)

os.environ.setdefault("GLOG_minloglevel", "1")  # no INFO lines of the executor between ours
os.environ.setdefault("TQDM_DISABLE", "1")  # paddleslim's bars, one for each pass over a graph
# Of these packages for their own developers, and in the way of ours.
warnings.filterwarnings("ignore", category=UserWarning, module=r"(paddle|paddleslim|_distutils_hack)(\.|$)")

from qat8 import signals  # noqa: E402

with signals.held():  # its modules swallow exceptions while they are imported
    import paddle

    signals.renew()  # it has taken SIGTERM, for a page of C++ frames; one that came meanwhile is ours

__all__ = ["paddle"]
