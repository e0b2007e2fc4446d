"""Recurrent operators: LSTM, GRU and RNN, forward only."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from kppstat.array import Array, like, namespace
from kppstat.errors import ModelError
from kppstat.ops import elementwise
from kppstat.ops.family import Family
from kppstat.ops.registry import op

recurrent = Family("recurrent")

_Activation = Callable[[Array], Array]


def _affine(alpha: float | None, beta: float | None) -> _Activation:
    return lambda x: (1.0 if alpha is None else alpha) * x + (0.0 if beta is None else beta)


def _activation(name: str, alpha: float | None, beta: float | None) -> _Activation:
    """Return the activation of a name as in ONNX, in any case of letters."""
    given = {k: v for k, v in (("alpha", alpha), ("beta", beta)) if v is not None}
    plain: dict[str, _Activation] = {
        "tanh": elementwise.tanh,
        "sigmoid": elementwise.sigmoid,
        "relu": elementwise.relu,
        "softsign": elementwise.softsign,
        "softplus": elementwise.softplus,
    }
    if name.lower() in plain:
        return plain[name.lower()]
    with_alpha = {"elu": elementwise.elu, "leakyrelu": elementwise.leaky_relu, "hardsigmoid": elementwise.hard_sigmoid}
    if name.lower() in with_alpha:
        function = with_alpha[name.lower()]
        return lambda x: function(x, **given)
    if name.lower() == "affine":
        return _affine(alpha, beta)
    raise ModelError(f"activation {name} of a recurrent operator is not supported", remedy="Use Tanh, Sigmoid or Relu")


def _activations(
    names: Sequence[str] | None,
    default: Sequence[str],
    directions: int,
    alphas: Sequence[float] | None,
    betas: Sequence[float] | None,
) -> list[list[_Activation]]:
    wanted = list(names or list(default) * directions)
    a: list[float | None] = [*(alphas or ()), *[None] * len(wanted)]
    b: list[float | None] = [*(betas or ()), *[None] * len(wanted)]
    made = [_activation(n, a[i], b[i]) for i, n in enumerate(wanted)]
    return [made[d * len(default) : (d + 1) * len(default)] for d in range(directions)]


Step = Callable[[int, Array, tuple[Array, ...]], tuple[Array, ...]]


def _scan(
    x: Array,
    states: tuple[Array, ...],
    lens: Array | None,
    direction: str,
    layout: int,
    step: Step,
) -> tuple[Array, ...]:
    """Run a cell over time in each direction; finished sequences keep their state and give zero.

    `x` has shape (time, batch, size), each state (directions, batch, hidden). Returns Y and the last states.
    """
    xp = namespace(x)
    outputs, last = [], []
    for d in range(states[0].shape[0]):
        backward = direction == "reverse" or d == 1
        state = tuple(s[d] for s in states)
        times = range(x.shape[0])[::-1] if backward else range(x.shape[0])
        rows = {}
        for t in times:
            new = step(d, x[t], state)
            if lens is not None:
                alive = like((t < np.asarray(lens))[:, None], x)
                rows[t] = xp.where(alive, new[0], xp.zeros_like(new[0]))
                state = tuple(xp.where(alive, n, s) for n, s in zip(new, state, strict=True))
            else:
                state = new
                rows[t] = new[0]
        outputs.append(xp.stack([rows[t] for t in range(x.shape[0])], axis=0))
        last.append(state)
    y = xp.stack(outputs, axis=1)  # (time, directions, batch, hidden)
    ends = tuple(xp.stack(list(s), axis=0) for s in zip(*last, strict=True))
    if layout:
        return xp.permute_dims(y, (2, 0, 1, 3)), *(xp.permute_dims(e, (1, 0, 2)) for e in ends)
    return y, *ends


def _begin(x: Array, initial: Array | None, directions: int, hidden: int, layout: int) -> Array:
    xp = namespace(x)
    if initial is None:
        return x[0, :, :1] * 0 + xp.zeros((directions, 1, hidden), dtype=x.dtype)
    return xp.permute_dims(initial, (1, 0, 2)) if layout else initial


def _limit(clip: float | None) -> _Activation:
    return (lambda v: v) if clip is None else (lambda v: namespace(v).clip(v, -clip, clip))


def _bias(b: Array | None, w: Array, gates: int, hidden: int) -> tuple[Array, Array]:
    """Input and recurrent biases, each (directions, gates * hidden)."""
    if b is None:
        zero = w[:, :, 0] * 0
        return zero, zero
    return b[:, : gates * hidden], b[:, gates * hidden :]


@op("RNN", recurrent, static=("sequence_lens",))
def rnn(
    x: Array,
    w: Array,
    r: Array,
    b: Array | None = None,
    sequence_lens: Array | None = None,
    initial_h: Array | None = None,
    *,
    activation_alpha: Sequence[float] | None = None,
    activation_beta: Sequence[float] | None = None,
    activations: Sequence[str] | None = None,
    clip: float | None = None,
    direction: str = "forward",
    hidden_size: int | None = None,
    layout: int = 0,
) -> tuple[Array, ...]:
    """Plain recurrent network."""
    xp = namespace(x)
    x = xp.permute_dims(x, (1, 0, 2)) if layout else x
    directions, hidden = r.shape[0], r.shape[2]
    act = _activations(activations, ["Tanh"], directions, activation_alpha, activation_beta)
    b_in, b_state = _bias(b, w, 1, hidden)
    limit = _limit(clip)

    def step(d: int, now: Array, state: tuple[Array, ...]) -> tuple[Array, ...]:
        return (act[d][0](limit(now @ w[d].T + state[0] @ r[d].T + b_in[d] + b_state[d])),)

    h = _begin(x, initial_h, directions, hidden, layout)
    return _scan(x, (h,), sequence_lens, direction, layout, step)


@op("GRU", recurrent, static=("sequence_lens",))
def gru(
    x: Array,
    w: Array,
    r: Array,
    b: Array | None = None,
    sequence_lens: Array | None = None,
    initial_h: Array | None = None,
    *,
    activation_alpha: Sequence[float] | None = None,
    activation_beta: Sequence[float] | None = None,
    activations: Sequence[str] | None = None,
    clip: float | None = None,
    direction: str = "forward",
    hidden_size: int | None = None,
    layout: int = 0,
    linear_before_reset: int = 0,
) -> tuple[Array, ...]:
    """Gated recurrent unit; gates in the order update, reset, hidden."""
    xp = namespace(x)
    x = xp.permute_dims(x, (1, 0, 2)) if layout else x
    directions, hidden = r.shape[0], r.shape[2]
    act = _activations(activations, ["Sigmoid", "Tanh"], directions, activation_alpha, activation_beta)
    b_in, b_state = _bias(b, w, 3, hidden)
    limit = _limit(clip)

    def step(d: int, now: Array, state: tuple[Array, ...]) -> tuple[Array, ...]:
        (h,) = state
        gate, candidate = act[d]
        mine = now @ w[d].T + b_in[d]
        both = h @ r[d, : 2 * hidden].T + b_state[d, : 2 * hidden]
        z = gate(limit(mine[:, :hidden] + both[:, :hidden]))
        reset = gate(limit(mine[:, hidden : 2 * hidden] + both[:, hidden:]))
        rest, bias = r[d, 2 * hidden :].T, b_state[d, 2 * hidden :]
        recalled = reset * (h @ rest + bias) if linear_before_reset else (reset * h) @ rest + bias
        return ((1 - z) * candidate(limit(mine[:, 2 * hidden :] + recalled)) + z * h,)

    h = _begin(x, initial_h, directions, hidden, layout)
    return _scan(x, (h,), sequence_lens, direction, layout, step)


@op("LSTM", recurrent, static=("sequence_lens",))
def lstm(
    x: Array,
    w: Array,
    r: Array,
    b: Array | None = None,
    sequence_lens: Array | None = None,
    initial_h: Array | None = None,
    initial_c: Array | None = None,
    p: Array | None = None,
    *,
    activation_alpha: Sequence[float] | None = None,
    activation_beta: Sequence[float] | None = None,
    activations: Sequence[str] | None = None,
    clip: float | None = None,
    direction: str = "forward",
    hidden_size: int | None = None,
    input_forget: int = 0,
    layout: int = 0,
) -> tuple[Array, ...]:
    """Long short-term memory; gates in the order input, output, forget, cell."""
    xp = namespace(x)
    x = xp.permute_dims(x, (1, 0, 2)) if layout else x
    directions, n = r.shape[0], r.shape[2]
    act = _activations(activations, ["Sigmoid", "Tanh", "Tanh"], directions, activation_alpha, activation_beta)
    b_in, b_state = _bias(b, w, 4, n)
    limit = _limit(clip)

    def step(d: int, now: Array, state: tuple[Array, ...]) -> tuple[Array, ...]:
        h, c = state
        gate, cell, out = act[d]
        v = now @ w[d].T + h @ r[d].T + b_in[d] + b_state[d]
        peep = (0, 0, 0) if p is None else (p[d, :n], p[d, n : 2 * n], p[d, 2 * n :])
        i = gate(limit(v[:, :n] + peep[0] * c))
        f = 1 - i if input_forget else gate(limit(v[:, 2 * n : 3 * n] + peep[2] * c))
        new = f * c + i * cell(limit(v[:, 3 * n :]))
        o = gate(limit(v[:, n : 2 * n] + peep[1] * new))
        return o * out(new), new

    h = _begin(x, initial_h, directions, n, layout)
    c = _begin(x, initial_c, directions, n, layout)
    return _scan(x, (h, c), sequence_lens, direction, layout, step)
