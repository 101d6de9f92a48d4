"""What is said of names that are not here, a package's or those of a function's arguments: what
they are called here, or where it is.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import inspect
import re
import sys
from collections.abc import Callable, Iterator, Mapping, MappingView, Sequence
from types import MappingProxyType, ModuleType
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.kinds import UNKNOWN, Kind, kinds

Function = TypeVar("Function", bound=Callable[..., Any])

_BY_POSITION = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)

# A line is one quantity, by its names here and elsewhere.
_SYNONYMS = """
learning_rate lr rate eta step_size
peak_value max_lr lr learning_rate
init_value lr learning_rate initial_learning_rate
base_value base_lr
end_value eta_min
b1 beta1 beta_1
b2 beta2 beta_2
eps epsilon
weight_decay wd decay
momentum decay beta rho alpha discounting_factor
decay_rate gamma
strength alpha l1 l2 factor
transition_steps decay_steps total_steps step_size T_max
half_cycle step_size_up
period T_0
seed rng key random_state
objective loss loss_fn criterion
layer model network module
every every_k_schedule accumulation_steps steps swa_freq
start swa_start
max_delta clip_value clipvalue
max_norm clip_norm clipnorm
rtol threshold
tolerance tol
max_iterations maxiter max_iter
memory history_size
decrease c1
curvature c2
mask globs leaves where weight_decay_mask
in_features in_channels input_size input_dim
out_features out_channels features units filters output_size
features num_features num_channels num_parameters normalized_shape embed_dim dim vector_size
features n_embd d_model hidden_size embedding_size
negatives negative
power ns_exponent
channels in_channels num_channels
features input_size embedding_dim
hidden hidden_size units hidden_features
layers num_layers n_layer n_layers num_hidden_layers depth
activation nonlinearity
projection proj_size
recurrent_init recurrent_initializer recurrent_kernel_init
vocabulary num_embeddings vocab_size input_dim
size vocab_size num_tokens max_tokens
minimum min_count min_frequency min_freq
unknown unk_token oov_token
length block_size seq_len context
padding padding_idx
multiplier depth_multiplier channel_multiplier
kernel_size kernel window pool_size window_shape
stride strides
padding pad
dilation dilation_rate kernel_dilation
groups num_groups feature_group_count
heads num_heads n_head n_heads nhead num_attention_heads
kv_heads num_kv_heads n_kv_heads num_key_value_heads
causal is_causal
context block_size n_positions n_ctx max_position_embeddings max_len max_length seq_len
length max_len max_length num_positions
rotary rope rope_theta rotary_base
soft_cap softcap logits_soft_cap
dropout dropout_rate dropout_p attn_dropout rate p
source kdim kv_features
prompt input_ids prompt_ids tokens
steps max_new_tokens max_tokens max_length length
stop eos_token_id eos stop_tokens stop_token end
fill pad_token_id pad
beams num_beams beam_size beam_width
repetition_penalty penalty
rate p prob drop_rate dropout
std stddev sigma
bias use_bias with_bias
scale use_scale
offset use_bias bias center
size output_size
ratio reduction
initial init
latent latent_dim latent_size z_dim
code code_size code_dim bottleneck
beta kl_weight
kl kl_weight
l1 l1_weight sparsity
kernel_init kernel_initializer w_init
bias_init bias_initializer b_init
"""


def api(
    package: str,
    names: Sequence[str],
    *,
    moved: Mapping[str, str] | None = None,
    foreign: Mapping[str, str] | None = None,
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """The `__getattr__` and `__dir__` of a package whose `__all__` is `names`.

    moved: where names are now that stood here before; asking for one is an ImportError, since
    Python drops the text of an AttributeError in `from … import …`. foreign: what other libraries'
    names are here (`{"Sequential": "nn.serial"}`). For any other the nearest is told.
    """
    moved, foreign = moved or {}, foreign or {}

    def find(name: str) -> Any:
        if name in moved:
            raise ImportError(f"{package}.{name} is now {moved[name]}")
        told = _nearest(name, names, foreign) if not name.startswith("_") else None
        hint = f"; did you mean {told}?" if told else ""
        # Told its name, Python looks for no suggestion of its own.
        raise AttributeError(f"module {package!r} has no attribute {name!r}{hint}", name=name)

    return find, lambda: list(names)


def arguments(
    arrays: str = "", shared: Mapping[str, str] = MappingProxyType({}), /, **elsewhere: str
) -> Callable[[Function], Function]:
    """A decorator of functions that people call by hand: a call that does not fit them is answered
    in one line, with the corrected call. Nothing else changes.

    An argument that is not there is taken for a synonym of one that is, or for the nearest. What
    is of another kind than its parameter (`kinds`) is refused before anything runs; a number of
    NumPy's becomes Python's.

    Args:
        arrays: what takes the arrays (or a generator of them) that were given first, as PyTorch's
            optimizers take the parameters: "optimizer.init(params)". Without it, the function.
        shared: as `elsewhere`, of several functions.
        elsewhere: where an argument is that is not here, by its name: "nesterov" is a function
            without it, "adamw.weight_decay" another function's argument, ".b1.b2" the function's
            own two for a pair, and "optax.chain(optax.scale({value}), {call})" is around the call.
    """

    def decorate(function: Function) -> Function:
        @functools.wraps(function)
        def called(*args: Any, **kwargs: Any) -> Any:
            try:
                args, kwargs = _of_their_kinds(function, args, kwargs)
                return function(*args, **kwargs)
            except (TypeError, ValueError):
                misplaced = bool(arrays and args) and _holds_arrays(args[0])
                where = {**elsewhere, **shared, **elsewhere}  # those of its own come first
                told = _corrected(function, args, kwargs, where, arrays if misplaced else "")
                if told is None:  # the call fits: the error is the function's own
                    raise
            raise TypeError(told)

        return called  # type: ignore[return-value]

    return decorate


def written(value: Any) -> str:
    """A value as an error says it: arrays, and trees of them, by their shapes and no numbers."""
    if isinstance(value, Iterator | MappingView):
        return f"a {type(value).__name__}"
    if inspect.isfunction(value):
        return f"the function {value.__name__}"
    arrays = _arrays(value)
    if isinstance(value, jax.Array) and jnp.issubdtype(value.dtype, jax.dtypes.prng_key):
        arrays = [value]
    if not arrays:
        return f"{' '.join(repr(value).split()):.80}"
    first = f"{arrays[0].dtype}{list(arrays[0].shape)}"
    if arrays[0] is value:
        return first
    return f"a {type(value).__name__} of {len(arrays)} arrays, the first {first}"


def _nearest(name: str, names: Sequence[str], foreign: Mapping[str, str]) -> str | None:
    """A name like it, whatever its case, underscores and number of dimensions."""
    known = {_plain(one): one for one in names} | {_plain(one): foreign[one] for one in foreign}
    found = difflib.get_close_matches(_plain(name), known, n=1, cutoff=0.75)
    return known[found[0]] if found else None


def _plain(name: str) -> str:
    return re.sub(r"_|\dd$", "", name.lower())


# ------------------------------------------------------------------------------- calls corrected


@functools.cache
def _kinds(function: Callable[..., Any]) -> tuple[list[str], dict[str, tuple[Kind, ...]]]:
    """The names of what is given by position, and the kinds of those parameters that have some."""
    every = inspect.signature(function).parameters
    found = {name: kinds(one) for name, one in every.items()}
    places = [name for name, one in every.items() if one.kind in _BY_POSITION]
    return places, {name: some for name, some in found.items() if some}


def _of_their_kinds(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """args and kwargs with Python's numbers for NumPy's; TypeError for what is of another kind."""
    places, taken = _kinds(function)

    def one(name: str, value: Any) -> Any:
        if name not in taken:
            return value
        if not any(kind.holds(value) for kind in taken[name]):
            raise TypeError(f"{function.__name__}: {name} is {written(value)}")
        return value.item() if isinstance(value, np.generic) else value

    placed = [one(name, value) for name, value in zip(places, args, strict=False)]
    return (*placed, *args[len(placed) :]), {name: one(name, kwargs[name]) for name in kwargs}


@dataclasses.dataclass
class _Call:
    """A call, put right step by step: what is given by position and by name, and what is around."""

    function: str
    given: list[Any]
    named: dict[str, Any]
    around: list[tuple[str, Any]]


def _corrected(
    function: Callable[..., Any],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    elsewhere: Mapping[str, str],
    arrays: str,
) -> str | None:
    """What is wrong with a call, and how to write it; None where nothing is known to be."""
    parameters = {
        name: one
        for name, one in inspect.signature(function).parameters.items()
        if one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)
    }
    places = [one.name for one in parameters.values() if one.kind is not one.KEYWORD_ONLY]
    call, faults = _Call(function.__name__, list(args), dict(kwargs), []), []
    hands_on = any(
        one.kind is one.VAR_KEYWORD for one in inspect.signature(function).parameters.values()
    )

    def takes(name: str) -> bool:
        """Whether it may be a side input, which is an array."""
        value = call.named[name]
        return hands_on and (hasattr(value, "dtype") or isinstance(value, list | tuple))

    if arrays:
        faults.append(f"is given {written(call.given.pop(0))} as {places[0]}")
    if len(call.given) > len(places):
        faults.append(f"takes {len(places)} by position, got {len(args)}")
        call.given, surplus = _by_name(call.given, places, [*parameters], elsewhere)
        call.named = {**surplus, **call.named}

    def free() -> list[str]:
        taken = {*places[: len(call.given)], *call.named}
        return [name for name in parameters if name not in taken]

    foreign = {name for name in call.named.keys() - parameters.keys() if not takes(name)}
    unknown = sorted(foreign, key=[*elsewhere, *call.named].index)
    placed = [_place(call, word, elsewhere.get(word, ""), free()) for word in unknown]
    if unknown:
        known = "" if all(placed) else f", only {', '.join(parameters)}"
        faults.append(f"has no {' and '.join(unknown)}{known}")
    faults += _of_another_kind(call, places, parameters)
    missing = [name for name in free() if parameters[name].default is inspect.Parameter.empty]
    if missing and not faults:
        faults.append(f"needs {' and '.join(missing)}")
    if not faults:
        return None
    package, rest = _package(function), f"; {arrays} takes the arrays"
    text = _text_of(call, package, missing, [*parameters]) + (rest if arrays else "")
    return f"{function.__name__} {', and '.join(faults)}: write {text}"


def _package(function: Callable[..., Any]) -> str:
    """Where people find the function: "optim", or "generate.vae" where a module is public."""
    first, *inner = function.__module__.split(".")[1:]
    package: Any = sys.modules.get(f"dlcore.{first}")
    is_module = inner and isinstance(getattr(package, inner[0], None), ModuleType)
    return f"{first}.{inner[0]}" if is_module and inner[0] in package.__all__ else first


def _of_another_kind(
    call: _Call, places: list[str], parameters: Mapping[str, inspect.Parameter]
) -> list[str]:
    """The faults of values that are of no kind that their parameter takes; in the call stands what
    they were meant to be, such as the number of a text.
    """
    faults = []
    for name, value in [*zip(places, call.given, strict=False), *call.named.items()]:
        taken = kinds(parameters[name]) if name in parameters else ()
        if not taken or any(kind.holds(value) for kind in taken):
            continue
        words = " or ".join(kind.words for kind in taken)
        faults.append(f"takes {words} as {name}, got {written(value)}")
        if name in call.named:
            call.named[name] = taken[0].meant(value)
        else:
            call.given[places.index(name)] = taken[0].meant(value)
    return faults


def _place(call: _Call, word: str, target: str, free: list[str]) -> bool:
    """Puts the argument `word` where it belongs, for which see `arguments`; whether that is known.

    One that is off (0, False, None) is left out where it is another function's.
    """
    value = call.named.pop(word)
    is_off = isinstance(value, int | float | None) and not value
    head, *own = target.split(".")
    if "{call}" in target:
        call.around += [] if is_off else [(target, value)]
    elif head and not is_off:
        call.function = head
        call.named |= dict.fromkeys(own, value)
    elif own and {*own} <= {*free}:
        each = value if isinstance(value, tuple | list) else [value] * len(own)
        call.named |= dict(zip(own, each, strict=False))
    elif meant := _meant(word, free):
        call.named[meant] = value
    else:
        return bool(head)
    return True


def _text_of(call: _Call, package: str, missing: list[str], parameters: list[str]) -> str:
    """The call as it is written, with … for what is missing."""
    named = dict.fromkeys(missing, "…") | {one: _text(value) for one, value in call.named.items()}
    order = sorted(named, key=[*parameters, *named].index)
    inner = [_text(value, name) for value, name in zip(call.given, parameters, strict=False)]
    inner += [f"{one}={named[one]}" for one in order]
    text = f"{package}.{call.function}({', '.join(inner)})"
    for target, value in call.around:
        bare = value if isinstance(value, str) else _text(value)
        text = target.format(call=text, value=_text(value), bare=bare)
    return text


def _by_name(
    given: list[Any], places: list[str], parameters: list[str], elsewhere: Mapping[str, str]
) -> tuple[list[Any], dict[str, Any]]:
    """What is left by position of too much, and the rest by name: globs are the mask, others follow
    in the function's order, then in that of other libraries.
    """
    at = places.index("mask") if "mask" in places else len(places)
    globs = given[at:]
    if "mask" in parameters and all(isinstance(one, str) for one in globs):
        return given[:at], {"mask": globs[0] if len(globs) == 1 else tuple(globs)}
    others = [one for one, target in elsewhere.items() if target[0] != "." and "{" not in target]
    following = [*parameters[len(places) :], *others]
    return given[: len(places)], dict(zip(following, given[len(places) :], strict=False))


def _meant(word: str, names: Sequence[str]) -> str | None:
    """Which of the names a word stands for: a synonym of it, or the nearest."""
    for line in map(str.split, _SYNONYMS.splitlines()):
        if word in line and not {*line}.isdisjoint(names):
            return next(name for name in names if name in line)
    return _nearest(word, names, {})


def _text(value: Any, otherwise: str = "…") -> str:
    """A value in a call; `otherwise` for what is no short piece of data, or an array."""
    if value is UNKNOWN:
        return "…"
    name = getattr(value, "__name__", "<")
    is_data = all(isinstance(leaf, str | int | float) for leaf in jax.tree.leaves(value))
    text = repr(value) if is_data else name
    return otherwise if text.startswith("<") or len(text) > 40 else text


def _holds_arrays(value: Any) -> bool:
    return isinstance(value, Iterator | MappingView) or bool(_arrays(value))


def _arrays(value: Any) -> list[Any]:
    return [leaf for leaf in jax.tree.leaves(value) if getattr(leaf, "ndim", 0)]
