"""One module per stage: `python -m qat8.stages.NAME` with the same argv on the host and in a container.

A stage reads artifacts, writes one artifact, and imports no other stage.
"""

import sys

from qat8 import signals

if sys.argv[0] == "-m":  # as Python has it until the module that -m names is found: this process is a stage
    signals.leave_at_once()
