"""The conversion engine: names and layouts of public torch checkpoints, and ours, from one small table a family. Strict both ways.

A table is read in both directions. To load, every leaf of our variables asks for the tensor that its row names; whatever the file holds
beyond that is an error, unless the family knows that it may be ignored. To export, the same rows name and lay out what we have.

Our leaves are known by their path without the collection, "layer_0/mlp/up/kernel". A row's template gives their name with our word for
the leaf, which becomes torch's: kernel, scale and embedding are "weight", mean and var "running_mean" and "running_var".

A weight-normalised tensor, w = g * v / |v|, lies in a file as "weight_g" and "weight_v" (or under torch's newer names); ours is w.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from flax import traverse_util

from audiojax.errors import AudiojaxError

PARAMETRIZATIONS = ((r"\bparametrizations\.weight\.original0$", "weight_g"), (r"\bparametrizations\.weight\.original1$", "weight_v"))
LEAVES = {"kernel": "weight", "scale": "weight", "embedding": "weight", "mean": "running_mean", "var": "running_var"}
SHOWN = 10  # names of each kind in an error


class ConversionError(AudiojaxError):
    """The file and the model do not fit together, or the table does not fit the model."""


@dataclass(frozen=True)
class Layout:
    """How one of our arrays lies against theirs: ours = flip(theirs.transpose(axes)).

    Attributes:
      axes: their axis for each of ours.
      flip: axis of ours that runs backwards, or None.
    """

    axes: tuple[int, ...]
    flip: int | None = None

    def to_ours(self, theirs: np.ndarray) -> np.ndarray:
        """A view of their array in our layout."""
        array = theirs.transpose(self.axes)
        return array if self.flip is None else np.flip(array, self.flip)

    def to_theirs(self, ours: np.ndarray) -> np.ndarray:
        """A view of our array in their layout."""
        array = ours if self.flip is None else np.flip(ours, self.flip)
        return array.transpose(np.argsort(self.axes))

    def their_shape(self, ours: Sequence[int]) -> tuple[int, ...]:
        """Shape of their array, from the shape of ours."""
        return tuple(ours[i] for i in np.argsort(self.axes))


KERNELS = {2: Layout((1, 0)), 3: Layout((2, 1, 0)), 4: Layout((2, 3, 1, 0))}  # Linear; Conv1d; Conv2d, channels last
CONV_TRANSPOSE_1D = Layout((2, 0, 1), flip=0)  # theirs [in, out, k]; ours [k, in, out], for a convolution of the spread input


@dataclass(frozen=True)
class Row:
    r"""One line of a table.

    Attributes:
      ours: regex of whole paths.
      theirs: template of their name, "encoder.layer.\1.output.dense.\2".
      layout: None = that of the leaf: kernels of Linear, Conv1d and Conv2d are turned, everything else lies as it is.
      part: (i, n) = ours is the i-th of n equal parts of theirs along its first axis, as in a fused query-key-value weight.
      weight_norm: axis of theirs along which g lies, where theirs is weight-normalised: |v| is taken over all the others. A file may
        hold w itself, with the norm removed; export writes g and v.
      verbatim: the template is their name as it stands, its last word included.
    """

    ours: str
    theirs: str
    layout: Layout | None = None
    part: tuple[int, int] = (0, 1)
    weight_norm: int | None = None
    verbatim: bool = False


@dataclass(frozen=True)
class Family:
    """Everything that is known about one public layout.

    Attributes:
      rows: the table.
      ignore: regexes of whole names that a file may hold and we do not need.
      renames: (regex, replacement) applied to the names in a file, in turn, before anything else: prefixes, older names.
      tied: (copy, name): a file may hold a tensor under both names, or under the copy's alone.
    """

    name: str
    rows: tuple[Row, ...]
    ignore: tuple[str, ...] = ()
    renames: tuple[tuple[str, str], ...] = ()
    tied: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Source:
    """Where one of our leaves comes from: their name, the layout, the part of it, and what it is scaled by.

    Attributes:
      weight_norm: as in `Row`.
      norms: name of g in the file; None where `name` is the weight itself.
    """

    name: str
    layout: Layout
    part: tuple[int, int]
    weight_norm: int | None = None
    norms: str | None = None

    def shape(self, ours: Sequence[int]) -> tuple[int, ...]:
        """Shape of the whole tensor that ours is (a part of)."""
        first, *rest = self.layout.their_shape(ours) or (None,)
        return () if first is None else (first * self.part[1], *rest)

    def tensors(self, ours: Sequence[int], present: Container[str]) -> dict[str, tuple[int, ...]]:
        """Name -> shape of the tensors that it is read from, when a file has the names `present`."""
        shape = self.shape(ours)
        if self.weight_norm is None or self.name in present:
            return {self.name: shape}
        along = tuple(length if axis == self.weight_norm else 1 for axis, length in enumerate(shape))
        return {f"{self.name}_g": along, f"{self.name}_v": shape}


@dataclass(frozen=True)
class Report:
    """What a conversion did with every name of the file.

    Attributes:
      used: path of ours -> name in the file; that of v where it is weight-normalised.
      ignored: names in the file that are known not to matter.
      parameters: numbers that were read.
    """

    family: str
    used: Mapping[str, str]
    ignored: Sequence[str]
    parameters: int

    def summary(self) -> str:
        """One line for people."""
        ignored = f", {len(self.ignored)} ignored" if self.ignored else ""
        return f"{self.family}: {len(set(self.used.values()))} tensors, {self.parameters:,} parameters{ignored}"


def below(ours: str, theirs: str, rows: Sequence[Row]) -> tuple[Row, ...]:
    """The rows of a part of a larger model: `ours` before our paths, `theirs` before their names."""
    return tuple(replace(row, ours=ours + row.ours, theirs=theirs + row.theirs) for row in rows)


def sources(shapes: Mapping[str, Sequence[int]], family: Family) -> dict[str, Source]:
    """path -> Source of every leaf.

    Args:
      shapes: path -> shape of our leaves.

    Raises:
      ConversionError: the table is wrong: a leaf that no row or several rows name, a tensor that two leaves claim or parts do not fill.
    """
    found = {path: _source(path, shape, family) for path, shape in shapes.items()}
    claims = defaultdict(list)
    for source in found.values():
        claims[source.name].append(source.part)
    for name, parts in claims.items():
        if sorted(parts) != [(i, parts[0][1]) for i in range(parts[0][1])]:
            raise ConversionError(f"table '{family.name}': '{name}' is filled by the parts {sorted(parts)}")
    return found


def renamed(name: str, renames: Sequence[tuple[str, str]]) -> str:
    """A name after the (regex, replacement) pairs, in turn."""
    for pattern, replacement in renames:
        name = re.sub(pattern, replacement, name)
    return name


def flat_leaves(variables: Mapping[str, Any]) -> dict[str, Any]:
    """path -> leaf of all collections of `variables` ({"params": ..., "batch_stats": ...})."""
    flat = {}
    for collection in variables.values():
        flat |= traverse_util.flatten_dict(dict(collection), sep="/")
    return flat


def plan(in_file: Mapping[str, Sequence[int]], variables: Mapping[str, Any], family: Family) -> tuple[dict[str, Source], Report]:
    """Where every leaf is read from, with names as the file has them; decided by names and shapes alone, before a tensor is read.

    Args:
      in_file: name -> shape of the tensors in the file.
      variables: abstract or real, for their shapes.

    Raises:
      ConversionError: names that the file lacks, has beyond the table, or has twice, and shapes that differ; the first ten of each.
    """
    ours = {path: tuple(leaf.shape) for path, leaf in flat_leaves(variables).items()}
    wanted = sources(ours, family)
    names, ignored, problems = {}, [], defaultdict(list)
    for original in in_file:
        name = renamed(original, (*family.renames, *PARAMETRIZATIONS))
        if any(re.fullmatch(pattern, name) for pattern in family.ignore):
            ignored.append(original)
        elif name in names:
            problems["set twice"].append(f"{names[name]} and {original}")
        else:
            names[name] = original
    for copy, name in family.tied:
        if copy in names:
            original = names.pop(copy)
            if name in names:
                ignored.append(original)
            else:
                names[name] = original
    tensors = {path: source.tensors(ours[path], names) for path, source in wanted.items()}
    claimed = {name for found in tensors.values() for name in found}
    problems["unexpected"] = [original for name, original in names.items() if name not in claimed]
    problems["missing"] = sorted(claimed - names.keys())
    for path, found in tensors.items():
        for name, want in found.items():
            have = tuple(in_file[names[name]]) if name in names else want
            if want != have:
                problems["of another shape"].append(f"{names[name]} {list(have)}, wanted {list(want)} for {path}")
    if any(problems.values()):
        raise ConversionError(_difference(family, {kind: found for kind, found in problems.items() if found}))
    placed = {}
    for path, source in wanted.items():
        *norms, name = (names[name] for name in tensors[path])
        placed[path] = replace(source, name=name, norms=norms[0] if norms else None)
    used = {path: source.name for path, source in placed.items()}
    return placed, Report(family.name, used, ignored, sum(int(np.prod(shape)) for shape in ours.values()))


def load(
    in_file: Mapping[str, Sequence[int]],
    read: Callable[[str], np.ndarray],
    variables: Mapping[str, Any],
    family: Family,
    place: Callable[[str, np.ndarray], Any] = lambda path, array: array,
) -> tuple[dict[str, Any], Report]:
    """Our variables with the values of a file, read one tensor at a time.

    Args:
      in_file: name -> shape of the tensors in the file.
      read: name -> values.
      variables: abstract or real, for the structure, shapes and dtypes to make.
      place: (path, contiguous array in our layout and dtype) -> leaf; puts it on its devices.

    Raises:
      ConversionError: see `plan`.
    """
    placed, report = plan(in_file, variables, family)
    dtypes = {path: leaf.dtype for path, leaf in flat_leaves(variables).items()}
    leaves = {}
    for path, source in placed.items():
        theirs = read(source.name)
        if source.norms is not None:
            theirs = _weight(read(source.norms), theirs, source.weight_norm)
        array = source.layout.to_ours(_part(theirs, *source.part))
        leaves[path] = place(path, np.asarray(array, dtype=dtypes[path], order="C"))
    made = {}
    for collection, tree in variables.items():
        flat = traverse_util.flatten_dict(dict(tree), sep="/")
        made[collection] = traverse_util.unflatten_dict({path: leaves[path] for path in flat}, sep="/")
    return made, report


def export(variables: Mapping[str, Any], family: Family) -> dict[str, np.ndarray]:
    """name -> array in the public layout; loading that again gives `variables` bit for bit.

    Raises:
      ConversionError: the table does not fit the variables.
    """
    leaves = flat_leaves(variables)
    found = sources({path: tuple(leaf.shape) for path, leaf in leaves.items()}, family)
    parts: dict[str, dict[int, np.ndarray]] = defaultdict(dict)
    for path, source in found.items():
        parts[source.name][source.part[0]] = source.layout.to_theirs(np.asarray(leaves[path]))
    state = {name: np.asarray(_join([found[i] for i in sorted(found)]), order="C") for name, found in parts.items()}
    for source in found.values():
        if source.weight_norm is not None and source.name in state:
            weight = state.pop(source.name)
            state |= {f"{source.name}_g": _norms(weight, source.weight_norm), f"{source.name}_v": weight}
    return state


def _source(path: str, shape: Sequence[int], family: Family) -> Source:
    rows = [(row, match) for row in family.rows if (match := re.fullmatch(row.ours, path))]
    if len(rows) != 1:
        which = f"rows {[row.ours for row, _ in rows]}" if rows else "no row"
        raise ConversionError(f"table '{family.name}': {which} for '{path}'")
    row, match = rows[0]
    name = match.expand(row.theirs)
    if not row.verbatim:
        stem, dot, leaf = name.rpartition(".")
        name = f"{stem}{dot}{LEAVES.get(leaf, leaf)}"
    layout = row.layout
    if layout is None:
        is_kernel = path.rpartition("/")[2] == "kernel"
        layout = KERNELS[len(shape)] if is_kernel else Layout(tuple(range(len(shape))))
    return Source(name, layout, row.part, row.weight_norm)


def _norms(v: np.ndarray, axis: int) -> np.ndarray:
    """|v| over all axes but one, float32, with a length of 1 in the others."""
    others = tuple(i for i in range(v.ndim) if i != axis)
    return np.sqrt(np.sum(np.square(v.astype(np.float64)), axis=others, keepdims=True)).astype(np.float32)


def _weight(g: np.ndarray, v: np.ndarray, axis: int) -> np.ndarray:
    """g * v / |v| in float32. What `export` writes has g = |v| to the bit, so that v comes back unchanged."""
    norms = _norms(v, axis)
    return v.astype(np.float32) * (g.astype(np.float32) / np.where(norms == 0, 1, norms))


def _part(array: np.ndarray, index: int, count: int) -> np.ndarray:
    if count == 1:
        return array
    size = array.shape[0] // count
    return array[index * size : (index + 1) * size]


def _join(parts: Sequence[np.ndarray]) -> np.ndarray:
    return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=0)


def _difference(family: Family, problems: Mapping[str, Sequence[str]]) -> str:
    counts = ", ".join(f"{len(found)} {kind}" for kind, found in problems.items())
    lines = [f"these weights do not fit the model ({family.name}): {counts}"]
    for kind, found in problems.items():
        lines += [f"  {kind}: {text}" for text in found[:SHOWN]]
        if len(found) > SHOWN:
            lines.append(f"  {kind}: ... and {len(found) - SHOWN} more")
    return "\n".join(lines)
