"""One module per stage: `python -m qat8.stages.NAME` with the same argv on the host and in a container.

A stage reads artifacts, writes one artifact, and imports no other stage.
"""
