"""Every failure that a user can cause, one class per cause; the class is the exit code.

The C++ tester uses the same codes (tester/errors.h), so that a caller need not know which of the two it ran.
"""


class QatError(Exception):
    """A failure with a cause: what is the case, what was expected, what to do next; printed as one line on stderr."""

    exit_code = 1

    def __init__(self, fact: str, expected: str = "", next_step: str = "") -> None:
        self.fact, self.expected, self.next_step = fact, expected, next_step
        super().__init__(fact)

    def __str__(self) -> str:
        parts = [self.fact.rstrip(".")]
        if self.expected:
            parts.append(f"expected {self.expected.rstrip('.')}")
        if self.next_step:
            parts.append(f"next: {self.next_step.rstrip('.')}")
        return "; ".join(parts)


class UsageError(QatError):
    """A flag, a name or a configuration key that this program does not take."""

    exit_code = 2


class DataError(QatError):
    """Images, label lists or data files that are missing, broken or do not fit the model."""

    exit_code = 3


class ModelError(QatError):
    """A model directory that is missing, broken, or not of the kind that the stage needs."""

    exit_code = 4


class MachineError(QatError):
    """Something of the machine is missing or unfit: a tool, a library's version, memory, disk, permissions."""

    exit_code = 5


class StageError(QatError):
    """A program that qat8 started failed without one of these causes of its own."""

    exit_code = 6


class VerificationError(QatError):
    """The work was done and its own check refused it: nothing quantized, outputs changed, accuracy below the gate."""

    exit_code = 7


class BusyError(QatError):
    """Another run holds the artifact's lock."""

    exit_code = 8


# By the shells' convention 128 + the signal: a terminal that is gone, Ctrl-C, kill.
HUNG_UP, INTERRUPTED, TERMINATED = 129, 130, 143
