"""Auxiliary meta-paths: those of AUX-TS on Last-FM and Book-Crossing (Table 5, after SELAR), and symmetric ones of any network."""

from __future__ import annotations

from distgnn.network.csr import reverse_name
from distgnn.network.network import Network

_SHARED_USER = "user rated item rated^-1 user rated item"


def _shared(*relation: str) -> tuple[str, ...]:
    """Return meta-paths from a user over an item to other items that share an entity through a relation."""
    return tuple(f"user rated item {name} entity {name}^-1 item" for name in relation)


_SERIES, _GENRE = "5", "3"
"""Relations of Book-Crossing are numbered; their meaning is inferred from the data. 5 is the literary series: one per item,
98 % of the item pairs that share one also share their author, and relation 6 is its inverse. 3 is the genre: 42 values, the
largest with 172 of 690 items, hardly any shared authors. (1, with inverse 0, is the author; 2, one value per item without
shared authors, is probably the date of publication.)"""

PAPER_PATHS: dict[str, tuple[str, ...]] = {
    "last-fm": (
        *_shared(
            "film.actor.film", "film.person_or_entity_appearing_in_film.film", "music.musician.instruments_played"
        ),
        _SHARED_USER,
        *_shared("music.artist.origin"),
    ),
    "book-crossing": (
        f"user rated item {_SERIES} entity {_SERIES}^-1 item rated^-1 user",
        f"item {_GENRE} entity {_GENRE}^-1 item",
        _SHARED_USER,
        "user rated item rated^-1 user",
        "item rated^-1 user rated item",
    ),
}
"""Meta-paths by ``meta["name"]`` of a kgrec network."""


def symmetric_paths(network: Network, kind: str) -> tuple[str, ...]:
    """Return the meta-paths from nodes of a type over one or two other types, and back over the same relations.

    The types on the way out are distinct. For the authors of DBLP these are the paths that HeCo (Wang et al., KDD 2021) uses:
    common papers, papers at one venue, papers with one term.

    Args:
        network: The network.
        kind: Type of the nodes at both ends.
    """
    found: list[str] = []
    for first in (one for one in network.relations if one.source == kind != one.target):
        out, back = f"{kind} {first.name} {first.target}", f"{reverse_name(first.name)} {kind}"
        found.append(f"{out} {back}")
        for second in network.relations:
            if second.source == first.target and second.target not in {kind, first.target}:
                end = f"{second.target} {reverse_name(second.name)} {second.source}"
                found.append(f"{out} {second.name} {end} {back}")
    return tuple(found)
