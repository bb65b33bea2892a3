"""Who is in which part where one domain is held out: it is the test part, and the others are divided one by one.

The validation part is drawn from each source domain, by class, in proportion. A domain is shuffled by streams of its
own, so that its validation part is the same whichever other domain is held out. Limits and labelled subsets are drawn
by class over all source domains: `labels_per_class: 5` is five images of a class, of whatever domains.

Where another domain validates (`validation_domain`), the training parts of the source domains stay as they are, less
that of this domain, which validates whole; so the ways to choose differ in nothing else. An oracle validates on the
held-out domain itself: on all that is tested, or with `domainbed_80` on the fifth that is kept back. With
`held_out_limit` that is a sample of these images, drawn apart from the one that is tested: DomainBed's oracle looks at
other images of the domain than it reports on, too.

DomainBed (Gulrajani and Lopez-Paz, ICLR 2021, arXiv 2007.01434) also keeps a fifth of the held-out domain back, for its
oracle selection, and reports on the other 80 %: `held_out_part: domainbed_80`. Like there, that fifth, rounded down, is
drawn uniformly, not by class; it is in no part unless an oracle looks at it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from coretune.data.draws import permutation
from coretune.data.look import PART_NAMES
from coretune.data.source import UNDECIDED, Domains, Source, domains_of, lacking_domains
from coretune.data.splits import (
    Groups,
    Indices,
    Split,
    drawn_size,
    even_shares,
    labelled_images,
    shares,
    split,
    thinned,
    too_few,
)
from coretune.errors import RequestError, UnfitError
from coretune.spec.run import DataSpec
from coretune.spec.wording import nearest

KEY = "held_out_domain"

NO_DOMAINS = (
    "these images have no domains; folders <domain>/<class>/<image> are read with `dataset: domain_folders`, and a "
    "table (`dataset: manifest`) has a column `domain`"
)

KEPT_BACK = 0.2
"""Share of a held-out domain that DomainBed does not report on."""


def split_source(
    source: Source,
    data: DataSpec,
    *,
    labels: Indices | None = None,
    parts: NDArray[np.int8] | None = None,
    left_out: Sequence[int] = (),
) -> Split:
    """Divides the images of a source as a run's description says: by its domains where one is held out.

    Args:
        source: The images.
        data: Sizes and seeds.
        labels: (N,) classes, where they are known without asking the source, which may have to read its files for them.
        parts: (N,) official parts, likewise.
        left_out: Images that are in no part, and count nowhere.

    Raises:
        RequestError: As in `split`, and where there is no such domain.
        UnfitError: As in `split`, and where images are in no domain, or in official parts beside them.
    """
    labels = source.labels if labels is None else labels
    if data.held_out_domain is None:
        parts = source.parts if parts is None else parts
        return split(labels, parts, data, classes=source.classes, left_out=left_out)
    domains = checked_domains(source, data.held_out_domain)
    return split_by_domain(labels, domains, data, classes=source.classes, left_out=left_out)


def checked_domains(source: Source, held_out: str) -> Domains:
    """Returns the domains of a source of which one is to be held out.

    Raises:
        RequestError: There are no domains, or there is none of that name, or no other one.
        UnfitError: Images are in no domain, or in official parts beside them.
    """
    domains = domains_of(source)
    if domains is None:
        raise RequestError(f"{KEY}: {no_domains(None, source)}")
    if "" in domains.names:
        raise UnfitError(f"{KEY}: {no_domains(domains, source)}")
    if held_out not in domains.names:
        raise RequestError(f"{KEY}: no domain {held_out!r}{nearest(held_out, domains.names)}")
    if len(domains.names) < 2:
        raise RequestError(f"{KEY}: a single domain, {held_out}: none is left to train on")
    official = [name for part, name in PART_NAMES.items() if part != UNDECIDED and (source.parts == part).any()]
    if official:
        raise UnfitError(
            f"{KEY}: images are in official parts ({', '.join(official)}), which a held-out domain has no use for: it "
            "is tested whole, and the others are trained and validated on; leave the parts out"
        )
    return domains


def no_domains(domains: Domains | None, source: Source | None = None) -> str:
    """Returns why images have no domains, or not all of them, and what gives them some.

    Args:
        domains: Those that they have.
        source: Where they lie, if it can say more.
    """
    lacking = lacking_domains(source) if source is not None else ""
    if domains is None:
        return lacking or NO_DOMAINS
    nameless = int((domains.of == domains.names.index("")).sum())
    have = "1 image has" if nameless == 1 else f"{nameless:,} images have"
    return f"{have} no domain: {lacking or 'their column `domain` is empty'}"


def split_by_domain(
    labels: Indices, domains: Domains, data: DataSpec, *, classes: Sequence[str] = (), left_out: Sequence[int] = ()
) -> Split:
    """Divides images of several domains, of which one is held out.

    Args:
        labels: (N,) classes, also of what is left out.
        domains: The domain of each image; `data.held_out_domain` is one of several.
        data: Sizes and seeds. A fraction for validation is one of each source domain, and at least one image of it; a
            number is divided among them in proportion.
        classes: Names for messages; labels themselves without.
        left_out: Images that are in no part, and count nowhere.

    Raises:
        RequestError: A validation part is too large for a domain, more labels are asked for than there are, or
            `data.validation_domain` is no domain.
        UnfitError: A class (named) has no image in the source domains, or the held-out domain has none at all.
    """
    used = np.ones(len(labels), dtype=np.bool_)
    used[list(left_out)] = False
    held_out = domains.names.index(str(data.held_out_domain))
    test, kept_back = _tested(np.flatnonzero(domains.of == held_out), used, data)
    judge = _judge(domains, data)
    sources = [number for number in range(len(domains.names)) if number not in (held_out, judge)]
    if not sources:
        raise RequestError(f"{KEY}: no domain is left to train on without {data.validation_domain}")
    groups = _by_domain_and_class(sources, labels, domains, data, used)
    taken, others = groups.take(_validation_shares(groups, sources, domains, data))
    rest = _by_class(others, labels, data)
    if short := too_few(rest.sizes, 1, classes):
        before = _by_class(groups, labels, data).sizes
        emptied = any(size == 0 < there for size, there in zip(rest.sizes, before, strict=True))
        why = f": the validation part has the others (data.validation: {data.validation})" if emptied else ""
        raise UnfitError(f"too few images are left to train on in the source domains, {short}{why}")
    if data.labels_per_class is not None and (short := too_few(rest.sizes, data.labels_per_class, classes)):
        raise RequestError(
            f"data.labels_per_class: must be at most {min(rest.sizes):,}, got {data.labels_per_class:,}: "
            f"too few images in the training part, {short}"
        )
    if data.limit is not None:
        rest, _ = rest.take(even_shares(rest.sizes, max(data.limit, len(rest.sizes))))
    if judge is None:
        validation = taken.sorted()
    else:
        found = np.flatnonzero(domains.of == judge)
        validation = found[used[found]].astype(np.int64) if judge != held_out else kept_back if len(kept_back) else test
    parts = {"validation": validation, "test": test}
    if data.held_out_limit is not None:
        parts = {part: thinned(indices, labels, data, part) for part, indices in parts.items()}
    return Split(train=rest.sorted(), labelled=labelled_images(rest, data), **parts)


def _judge(domains: Domains, data: DataSpec) -> int | None:
    """Returns the domain that is the validation part, or None where each source domain has one."""
    if data.validation_domain is None:
        return None
    if data.validation_domain not in domains.names:
        raise RequestError(
            f"validation_domain: no domain {data.validation_domain!r}{nearest(data.validation_domain, domains.names)}"
        )
    return domains.names.index(data.validation_domain)


def _tested(members: Indices, used: NDArray[np.bool_], data: DataSpec) -> tuple[Indices, Indices]:
    """Returns the images of the held-out domain that are tested, and those that are kept back."""
    found, kept_back = members[used[members]], members[:0]
    if data.held_out_part == "domainbed_80":
        shuffled = members[permutation(data.split_seed, f"held out {data.held_out_domain}", 0, len(members))]
        there = shuffled[used[shuffled]]
        kept = int(KEPT_BACK * len(there))
        found, kept_back = np.sort(there[kept:]), np.sort(there[:kept])
    if not len(found):
        raise UnfitError(f"{KEY}: no image of {data.held_out_domain} can be read")
    return found.astype(np.int64, copy=False), kept_back.astype(np.int64, copy=False)


def _by_domain_and_class(
    sources: Sequence[int], labels: Indices, domains: Domains, data: DataSpec, used: NDArray[np.bool_]
) -> Groups:
    """Returns the images of each source domain and class, domain by domain, in the order in which they are taken."""
    members = []
    for number in sources:
        purpose = f"domain {domains.names[number]}"
        for label in range(int(labels.max()) + 1):
            found = np.flatnonzero((domains.of == number) & (labels == label))
            members.append(found[permutation(data.split_seed, purpose, label, len(found))])
    return Groups(members, used)


def _validation_shares(groups: Groups, sources: Sequence[int], domains: Domains, data: DataSpec) -> list[int]:
    """Returns how many images of each group are for validation.

    Raises:
        RequestError: They leave none of a domain to train on.
    """
    by_domain = np.array(groups.sizes).reshape(len(sources), -1)
    sizes = by_domain.sum(axis=1).tolist()
    if isinstance(data.validation, int):
        counts = shares(sizes, min(data.validation, sum(sizes)))
    else:
        counts = [drawn_size("validation", data.validation, size) for size in sizes]
    for number, size, count in zip(sources, sizes, counts, strict=True):
        if count >= size:
            raise RequestError(
                f"data.validation: {data.validation} leaves none of the {size:,} images of the source domain "
                f"{domains.names[number]} to train on"
            )
    return [part for row, count in zip(by_domain, counts, strict=True) for part in shares(row.tolist(), count)]


def _by_class(groups: Groups, labels: Indices, data: DataSpec) -> Groups:
    """Returns what is left of the groups by class, shuffled over the domains, so that a limit is of all of them."""
    number = int(labels.max()) + 1
    by_class = [np.sort(np.concatenate(groups.members[label::number])) for label in range(number)]
    shuffled = [
        members[permutation(data.split_seed, "sources", label, len(members))] for label, members in enumerate(by_class)
    ]
    return Groups(shuffled, groups.used)
