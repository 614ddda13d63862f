"""The static-graph programs of one training: FP32 for reference, QAT for ranges, for updates and for prediction.

All of them are built by the same builder under the same name guard, so that they share their variables by name in one
scope; the FP32 reference has a scope of its own, because training changes the shared one.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

import numpy as np

from qat8.config import TrainConfig
from qat8.engine import paddle
from qat8.int8 import unsigned
from qat8.models import biases
from qat8.models.registry import Model
from qat8.older_python import zip_strict
from qat8.training import norms, parallel, schedule
from qat8.training.parallel import SHARE, Group

IMAGE, LABEL, TEACHER = "image", "label", "teacher"


@dataclass
class Built:
    """A model as a program: `names` maps the layer's state names to variables, `logits` is the output's name."""

    program: object
    startup: object
    logits: str
    names: dict[str, str]
    shapes: dict[str, tuple[int, ...]]


@dataclass
class Session:
    """What the steps of training work on. `scope` holds the model that is trained, `reference` the FP32 one."""

    executor: object
    scope: object
    reference: object
    fp32: Built
    ranges: object  # QAT program, forward only, updates the activation ranges
    update: object  # the same with loss and optimizer, compiled
    test: object  # QAT program for prediction
    logits: str
    loss: str
    scheduler: object
    rate: str  # variable of the learning rate
    persistables: dict[str, str] = field(default_factory=dict)  # what a checkpoint holds, see _stable_names
    group: Group = field(default_factory=Group)
    averages: list[dict[str, str]] = field(default_factory=list)  # of each activation range: slot -> variable
    trained: list[norms.Norm] = field(default_factory=list)  # BatchNorms whose running statistics training moves

    def run(self, program, feed: dict, fetch: list[str], scope=None, prune: bool = False) -> list[np.ndarray]:
        """Run a program on image float32 [n, 3, H, W]; label and teacher are zeros where the program wants them."""
        block = getattr(program, "_program", program).global_block()
        if block.has_var(LABEL) and LABEL not in feed:
            n, classes = len(feed[IMAGE]), block.var(self.logits).shape[-1]
            feed = {**feed, LABEL: np.zeros((n, 1), np.int64), TEACHER: np.zeros((n, classes), np.float32)}
        if block.has_var(SHARE) and SHARE not in feed:
            feed = {**feed, SHARE: np.ones(1, np.float32)}
        return self.executor.run(program, feed, fetch, scope=scope or self.scope, use_prune=prune)

    def running(self) -> list[np.ndarray]:
        """Running mean and variance of each of the trained BatchNorms in turn."""
        return [self.get(name) for name in norms.variables(self.trained)]

    def synchronise(self, running: list[np.ndarray] | None = None, share: float = 1) -> None:
        """After a step in which each process saw its own images: what the step moved becomes what all of them saw.

        Ranges become those of one process that saw them all: a moving average's sum was r * old + max(own), and the
        greatest of these is r * old + max(all). So do running statistics, which were `running` before an update on
        `share` of the images.
        """
        if self.group.size == 1:
            return
        sums = [names.get("OutAccum", names["OutScale"]) for names in self.averages]
        if sums:
            greatest = self.group.reduce(np.concatenate([self.get(name).ravel() for name in sums]), "max")
            for names, name, value in zip_strict(self.averages, sums, greatest):
                self.set(name, value.reshape(1))
                if "OutState" in names:
                    self.set(names["OutScale"], self.get(name) / self.get(names["OutState"]))
        if running:
            of_all = norms.of_all(self.group, self.trained, running, self.running(), share)
            for name, value in zip_strict(norms.variables(self.trained), of_all):
                self.set(name, value)

    def follow_first(self) -> None:
        """The first process's variables in all of them."""
        if self.group.size > 1:
            for name in sorted(self.persistables):
                self.set(name, self.group.from_first(self.get(name)))

    def get(self, name: str, scope=None) -> np.ndarray:
        return np.array((scope or self.scope).find_var(self.persistables.get(name, name)).get_tensor())

    def set(self, name: str, value: np.ndarray, scope=None) -> None:
        tensor = (scope or self.scope).find_var(self.persistables.get(name, name)).get_tensor()
        tensor.set(np.asarray(value, np.array(tensor).dtype), paddle.CPUPlace())


def build_model(model: Model) -> Built:
    """Inputs image float32 [N, 3, H, W]; output logits [N, classes]."""
    static = paddle.static
    program, startup = static.Program(), static.Program()
    side = model.preprocessing.crop
    with paddle.utils.unique_name.guard(), static.program_guard(program, startup):
        image = static.data(IMAGE, [None, 3, side, side], "float32")
        layer = model.build(model.classes)
        logits = layer(image)
        state = layer.state_dict()
    biases.make_plain(program)
    names = {key: value.name for key, value in state.items()}
    return Built(program, startup, logits.name, names, {key: tuple(value.shape) for key, value in state.items()})


def add_learning(built: Built, config: TrainConfig, steps: int):
    """Put loss, backward pass and optimizer behind the model; the loss's name, the scheduler, the rate's variable."""
    loss = _add_loss(built, config)
    if config.batch_norm == "frozen":
        for op in built.program.global_block().ops:
            if op.type == "batch_norm":
                op._set_attr("use_global_stats", True)
    scheduler, rate = _add_optimizer(built.program, built.startup, loss.name, config, steps)
    return loss.name, scheduler, rate


def _add_loss(built: Built, config: TrainConfig):
    """(1 - w) cross entropy + w T^2 KL(teacher || student) at temperature T (Hinton et al. 2015, section 2)."""
    functional, weight, t = paddle.nn.functional, config.distillation.weight, config.distillation.temperature
    with paddle.utils.unique_name.guard("loss_"), paddle.static.program_guard(built.program, built.startup):
        logits = built.program.global_block().var(built.logits)
        label = paddle.static.data(LABEL, [None, 1], "int64")
        teacher = paddle.static.data(TEACHER, [None, logits.shape[-1]], "float32")
        soft = functional.softmax(teacher / t)
        divergence = functional.kl_div(functional.log_softmax(logits / t), soft, reduction="batchmean") * (t * t)
        entropy = paddle.mean(functional.cross_entropy(logits, label))
        # add_n, because quant_aware comes later and would quantize an elementwise_add of the loss as well.
        return paddle.add_n([(1 - weight) * entropy, weight * divergence])


def _add_optimizer(program, startup, loss: str, config: TrainConfig, steps: int):
    with paddle.utils.unique_name.guard("optimizer_"), paddle.static.program_guard(program, startup):
        rate = schedule.scheduler(config.LearningRate, steps)
        rule = paddle.optimizer.Momentum(rate, config.momentum, weight_decay=config.weight_decay or None)
        rule.minimize(program.global_block().var(loss))
    return rate, rate._var_name


def _quant_aware(program, config: TrainConfig, for_test: bool, scope):
    import paddleslim.quant as quant

    logging.getLogger("paddleslim.quant.quanter").setLevel(logging.WARNING)
    with paddle.static.scope_guard(scope):
        aware = quant.quant_aware(
            program, paddle.CPUPlace(), config.quant_aware(), scope, for_test=for_test, return_program=True
        )
    if config.uint8_behind_relu:
        unsigned.widen(aware)
    return aware


def convert(session: Session, config: TrainConfig):
    """paddleslim's convert of a copy of the test program: weights rounded to int8's range, still float32."""
    import paddleslim.quant as quant

    with paddle.static.scope_guard(session.scope):
        copy = session.test.clone(for_test=True)
        converted = quant.convert(copy, paddle.CPUPlace(), config.quant_aware(), session.scope)
    _number_weight_scales(converted, session.scope)
    if config.uint8_behind_relu:
        unsigned.widen(converted)
    return converted


def _number_weight_scales(program, scope) -> None:
    """Name the weights' scales by the order of their operators.

    paddleslim numbers them in the order of a Python set: the same training would give files of other bytes each time.
    """
    block = program.global_block()
    dequantizing = [op for op in block.ops if op.type == "fake_channel_wise_dequantize_max_abs"]
    for number, op in enumerate(dequantizing):
        old, new = op.input("Scales")[0], f"weight_scale_{number}"
        values = np.array(scope.find_var(old).get_tensor())
        block._rename_var(old, new)
        scope.var(new).get_tensor().set(values, paddle.CPUPlace())


def open_session(model: Model, config: TrainConfig, steps: int, group: Group | None = None) -> Session:
    """Build everything for `steps` updates; the variables are random until weights are loaded (`load_weights`)."""
    group = group or Group()
    paddle.enable_static()
    paddle.seed(config.seed)
    executor = paddle.static.Executor(paddle.CPUPlace())
    scope, reference = paddle.static.Scope(), paddle.static.Scope()
    fp32 = build_model(model)
    executor.run(fp32.startup, scope=reference)
    fp32.program = fp32.program.clone(for_test=True)

    student = build_model(model)
    test = student.program.clone(for_test=True)
    # Gradients first: quant_aware leads them around its rounding (straight-through), whereas gradients that are asked
    # of a quantized program end at the first fake_quantize operator and leave all layers before it untrained.
    loss, scheduler, rate = add_learning(student, config, steps)
    train = _quant_aware(student.program, config, False, scope)
    ranges = _forward_only(train)
    if group.size > 1:
        parallel.add_up_gradients(train)
    test = _quant_aware(test, config, True, scope)
    executor.run(student.startup, scope=scope)
    update, logits = compiled(train), student.logits
    session = Session(executor, scope, reference, fp32, ranges, update, test, logits, loss, scheduler, rate)
    session.persistables, session.group = _stable_names(train, test), group
    session.averages = _averages(train)
    session.trained = norms.moved_by(train)
    return session


def _averages(program) -> list[dict[str, str]]:
    """For each activation range, the variables that a step moves by output slot; in the order of the scales' names."""
    slots = [
        {s: op.output(s)[0] for s in ("OutScale", "OutAccum", "OutState") if s in op.output_names and op.output(s)}
        for op in program.global_block().ops
        if "OutAccum" in op.output_names or "range_abs_max" in op.type
    ]
    return sorted(slots, key=lambda names: names["OutScale"])


def _stable_names(*programs) -> dict[str, str]:
    """Name that is the same in every process -> variable, for all that persists.

    paddleslim numbers a quantizer's accumulators in the order of a Python set, which differs from process to process:
    `accum_0` of the process that saved may be `accum_1` of the one that resumes. So they go by their scale.
    """
    variables = (v.name for p in programs for v in p.list_vars() if v.persistable)
    names = {name: name for name in sorted(set(variables) - {"feed", "fetch"})}
    for op in (op for p in programs for op in p.global_block().ops if "OutScale" in op.output_names):
        for slot in set(op.output_names) - {"Out", "OutScale"}:
            names |= {v: f"{op.output('OutScale')[0]}.{slot}" for v in op.output(slot) if v in names}
    return {stable: variable for variable, stable in names.items()}


def _forward_only(program):
    """A copy without the operators of backward pass and optimizer; what it runs moves nothing but the ranges."""
    copy = program.clone()
    block = copy.global_block()
    roles = paddle.base.core.op_proto_and_checker_maker.OpRole
    learning = int(roles.Backward) | int(roles.Optimize)
    for i in reversed(range(len(block.ops))):
        if int(block.ops[i].attr("op_role")) & learning:
            block._remove_op(i, sync=False)
        elif block.ops[i].type == "batch_norm":  # ranges are taken of what prediction computes
            block.ops[i]._set_attr("use_global_stats", True)
    block._sync_with_cpp()
    return copy


def compiled(program):
    strategy = paddle.static.BuildStrategy()
    # Both rewrite the program behind quantization's back (tutorial, section 2).
    strategy.fuse_all_reduce_ops = False
    strategy.sync_batch_norm = False
    return paddle.static.CompiledProgram(program, build_strategy=strategy)


def load_weights(session: Session, state: dict[str, np.ndarray]) -> None:
    for name, variable in session.fp32.names.items():
        session.set(variable, state[name])
        session.set(variable, state[name], session.reference)
