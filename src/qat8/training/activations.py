"""Per-channel means of a program's activations, one after the other, with parameters changed in between.

Each mean needs all layers before it. Running them anew for each would cost L/2 whole passes for L layers; so what a
layer left is kept, for every batch, until the last operator that wants it has run, and a step runs only what no step
before it ran. The figures are the same to the last bit.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from qat8.engine import paddle
from qat8.older_python import zip_strict
from qat8.training.parallel import Group
from qat8.training.programs import IMAGE, Session


class Step(NamedTuple):
    """Of one mean: the variables that it starts from, those that it leaves for later ones, and all that these want."""

    feed: list[str]
    keep: list[str]
    later: set[str]


def with_means(program, variables: list[str]):
    """A copy of `program` that also computes the per-channel means of `variables` [N, C, H, W] -> [C]."""
    copy = program.clone(for_test=True)
    with paddle.utils.unique_name.guard("means_"), paddle.static.program_guard(copy):
        means = [paddle.mean(copy.global_block().var(name), [0, 2, 3]) for name in variables]
    return copy, [mean.name for mean in means]


def steps(program, variables: list[str]) -> list[Step]:
    """How to compute `variables` in turn, of which each may need those before it, without computing anything twice."""
    block = program.global_block()
    written = {name: i for i, op in enumerate(block.ops) for name in op.output_arg_names}
    reads = [_computed(block, op.input_arg_names) for op in block.ops]
    done: set[int] = set()
    todo = [_missing(name, written, reads, done) for name in variables]  # operators of each step; fills `done`
    made = [{name for i in ops for name in block.ops[i].output_arg_names} for ops in todo]
    wants = [{name, *(read for i in ops for read in reads[i])} for ops, name in zip_strict(todo, variables)]
    found = []
    for k in range(len(variables)):
        later = set().union(*wants[k + 1 :])
        found.append(Step(sorted(wants[k] - made[k]), sorted(made[k] & later), later))
    return found


def _computed(block, names: list[str]) -> list[str]:
    return [name for name in names if block.has_var(name) and not block.var(name).persistable]


def _missing(name: str, written: dict[str, int], reads: list[list[str]], done: set[int]) -> set[int]:
    """The operators that `name` needs and that are not `done`, which they are then."""
    found, names = set(), [name]
    while names:
        i = written.get(names.pop())
        if i is not None and i not in done:
            done.add(i)
            found.add(i)
            names += reads[i]
    return found


def means(session: Session, variables: list[str], batches: list[np.ndarray]) -> Iterator[np.ndarray]:
    """The mean of each of the QAT model's `variables` over the images of `batches` and of all processes, [C].

    Whoever takes them may change parameters of what lies behind the one taken last.
    """
    program, names = with_means(session.test, variables)
    kept: list[dict[str, np.ndarray]] = [{IMAGE: x} for x in batches]
    for name, (feed, keep, later) in zip_strict(names, steps(session.test, variables)):
        found = []
        for values in kept:
            # Pruned: what lies before the fed variables and behind the fetched ones does not run.
            start = {wanted: values[wanted] for wanted in feed}
            mean, *left = session.run(program, start, [name, *keep], prune=True)
            found.append(mean)
            values.update(zip_strict(keep, left))
            for forgotten in values.keys() - later:
                del values[forgotten]
        yield _of_all(session.group, found, batches)


def of_whole_runs(session: Session, program, variables: list[str], batches: list[np.ndarray], scope=None) -> list:
    """The means of `variables` in any of the session's programs, without changes on the way, [C] each."""
    program, names = with_means(program, variables)
    per_batch = [session.run(program, {IMAGE: x}, names, scope) for x in batches]
    return [_of_all(session.group, list(found), batches) for found in zip_strict(*per_batch)]


def _of_all(group: Group, found: list[np.ndarray], batches: list[np.ndarray]) -> np.ndarray:
    """The mean over all images of the means of batches, and of the processes."""
    weights = [len(x) for x in batches]
    mean = np.average(found, axis=0, weights=weights)
    if group.size == 1:
        return mean
    count = group.reduce(np.array([float(sum(weights))]))[0]
    return group.reduce(mean * sum(weights)) / count
