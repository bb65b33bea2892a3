"""Puts a checkpoint's tensors on a backbone, or refuses, and says what became of each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from coretune.errors import RequestError
from coretune.nets.checkpoints.architecture import architecture
from coretune.nets.checkpoints.hierarchical import renamed_stages
from coretune.nets.checkpoints.recognise import Found
from coretune.nets.checkpoints.vit import POSITIONS, renamed_as, resized_positions
from coretune.spec.wording import some

NEEDED = 0.95
"""Share that has to match, of the backbone's tensors and of its elements, and of the file's too.

Of both, because each alone is blind: batch norm's statistics are 0.2 % of a ResNet-50's elements and 40 % of its
tensors, and without them it is another network; one convolution is 0.4 % of the tensors and a tenth of the elements.
Of the file's as well, because ResNet-101 holds all tensors of ResNet-50, with the same shapes, and more.
"""

COUNTER = "num_batches_tracked"
"""Batch norm's counter of steps, which old files lack and which changes nothing here: it is not counted."""

LISTED = 2
"""Keys that a message names before it counts."""


@dataclass(frozen=True)
class Mismatch:
    """A tensor of another shape.

    Attributes:
        key: Its key.
        found: Shape in the file.
        wanted: Shape in the backbone.
    """

    key: str
    found: tuple[int, ...]
    wanted: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.key} {self.found} in the file, {self.wanted} here"


@dataclass(frozen=True)
class Match:
    """What became of a checkpoint's tensors.

    Attributes:
        layout: Name of the file's layout.
        arch: What the backbone is called.
        matched: Keys of the backbone that the file fills.
        missing: Keys of the backbone that it lacks.
        mismatched: Those that have another shape in it.
        unexpected: Keys of the file's backbone that this one lacks.
        resized: Position embeddings that were interpolated to another grid.
        dropped: Tensors of the file that are no part of its backbone, by what they are.
        wanted: How many tensors the backbone has, without counters.
        tensors: Share of the backbone's tensors that match, 0 to 1.
        elements: Share of the backbone's elements that match, 0 to 1.
        used: The smaller of the shares of the file's tensors and elements that match, 0 to 1.
        suggested: The architecture that the file's shapes suggest.
        not_finite: Keys whose tensors hold a NaN or an infinity in the file: nothing can be trained from them.
    """

    layout: str
    arch: str
    matched: tuple[str, ...]
    missing: tuple[str, ...]
    mismatched: tuple[Mismatch, ...]
    unexpected: tuple[str, ...]
    resized: tuple[Mismatch, ...]
    dropped: Mapping[str, int]
    wanted: int
    tensors: float
    elements: float
    used: float
    suggested: str | None
    not_finite: tuple[str, ...] = ()

    @property
    def fits(self) -> bool:
        """Whether enough of both matches."""
        return min(self.tensors, self.elements, self.used) >= NEEDED

    def summary(self) -> str:
        """Returns one line for a log or a record."""
        problems = self.problems()
        tail = f"; {'; '.join(problems)}" if problems else ""
        return f"layout {self.layout}: {self._shares()}{tail}"

    def report(self) -> list[str]:
        """Returns a line for each kind of thing that became of the tensors."""
        lines = [f"layout {self.layout}, on {self.arch}", self._shares()]
        lines += [f"dropped: {count} {_tensors(count)}: {what}" for what, count in self.dropped.items()]
        return lines + self.problems()

    def problems(self) -> list[str]:
        """Returns what is not as it should be, a phrase for each kind."""
        return [
            f"{what}: {some(keys, LISTED)}"
            for what, keys in (
                ("of another shape", [str(each) for each in self.mismatched]),
                ("not finite (NaN or infinity)", list(self.not_finite)),
                ("missing", list(self.missing)),
                ("not in the backbone", list(self.unexpected)),
                ("interpolated to another grid", [str(each) for each in self.resized]),
            )
            if keys
        ]

    def refusal(self) -> str:
        """Returns why it does not fit, and what would."""
        other = self.suggested != self.arch
        hint = f"\nThe shapes suggest {self.suggested}." if self.suggested and other else ""
        needed = f"{NEEDED:.0%} are needed".replace("%", " %")
        what = f"is of another architecture than {self.arch}" if other else f"holds {self.arch} in part"
        return f"{what}: {self.summary()}; {needed}{hint}"

    def _shares(self) -> str:
        counted = f"{len(_counted(self.matched))} of {self.wanted} tensors match ({_percent(self.tensors)})"
        return f"{counted}, {_percent(self.elements)} of the elements; {_percent(self.used)} of the file's are used"


def match(found: Found, wanted: Mapping[str, Tensor], arch: str) -> tuple[Match, dict[str, Tensor]]:
    """Compares the backbone of a file with the one that it is meant for.

    Args:
        found: The file's.
        wanted: `state_dict` of the other; its values are not looked at.
        arch: What it is called.

    Returns:
        What matches, and the matching tensors by the other's keys.
    """
    tensors = renamed_as(wanted, renamed_stages(wanted, found.tensors))
    resized: list[Mismatch] = []
    for key in POSITIONS:
        if key in tensors and key in wanted and tensors[key].shape != wanted[key].shape:
            grown = resized_positions(tensors[key], wanted[key].shape[1]) if wanted[key].ndim == 3 else None
            if grown is not None and grown.shape == wanted[key].shape:
                resized.append(Mismatch(key, tuple(tensors[key].shape), tuple(wanted[key].shape)))
                tensors[key] = grown
    ready = {key: tensors[key] for key in wanted if key in tensors and tensors[key].shape == wanted[key].shape}
    result = Match(
        layout=found.layout.name,
        arch=arch,
        matched=tuple(ready),
        missing=tuple(key for key in _counted(wanted) if key not in tensors),
        mismatched=tuple(
            Mismatch(key, tuple(tensors[key].shape), tuple(wanted[key].shape))
            for key in wanted
            if key in tensors and key not in ready
        ),
        unexpected=tuple(key for key in _counted(tensors) if key not in wanted),
        resized=tuple(resized),
        dropped=found.dropped,
        wanted=len(_counted(wanted)),
        tensors=_share(len(_counted(ready)), len(_counted(wanted))),
        elements=_share(_elements(ready, ready), _elements(wanted, wanted)),
        used=min(
            _share(len(_counted(ready)), len(_counted(tensors))),
            _share(_elements(ready, ready), _elements(tensors, tensors)),
        ),
        suggested=architecture(found.tensors),
        not_finite=tuple(key for key, tensor in ready.items() if not _is_finite(tensor)),
    )
    return result, ready


def put(found: Found, encoder: nn.Module, arch: str) -> Match:
    """Puts the backbone of a file on another, which is changed in place unless it does not fit.

    What is missing keeps its values.

    Raises:
        RequestError: Less than 95 % match; the message says what does not, and which architecture the file has. Or
            a tensor holds a number that is not finite.
    """
    state = encoder.state_dict()
    result, ready = match(found, state, arch)
    if not result.fits:
        raise RequestError(result.refusal())
    if result.not_finite:
        raise RequestError(f"is broken: {result.summary()}")
    encoder.load_state_dict({**state, **ready}, strict=True)
    return result


def _is_finite(tensor: Tensor) -> bool:
    return tensor.is_meta or bool(tensor.isfinite().all())


def _counted(keys: Iterable[str]) -> list[str]:
    return [key for key in keys if not key.endswith(COUNTER)]


def _elements(keys: Iterable[str], tensors: Mapping[str, Tensor]) -> int:
    return sum(tensors[key].numel() for key in _counted(keys))


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


def _percent(share: float) -> str:
    """Writes a share so that 94.99 % does not look like 95 %."""
    return f"{int(share * 1000) / 10:g} %"


def _tensors(count: int) -> str:
    return "tensor" if count == 1 else "tensors"
