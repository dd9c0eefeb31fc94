"""The auxiliary meta-paths of AUX-TS on Last-FM and Book-Crossing (Table 5, made after SELAR), as our networks spell them."""

from __future__ import annotations

_SHARED_USER = "user rated item rated^-1 user rated item"


def _shared(*relation: str) -> tuple[str, ...]:
    """A user, an item, and another item with the same entity at the end of a relation."""
    return tuple(f"user rated item {name} entity {name}^-1 item" for name in relation)


_SERIES, _GENRE = "5", "3"
"""Book-Crossing's relations have numbers only; what they are was read off the data. 5: each item has one, 98 % of the pairs
of items that share one also share their author, and relation 6 is its inverse: literary series. 3: 42 values for items, of
which the largest has 172 of 690, hardly any shared author: genre. (1 with its inverse 0 is the author; 2, one value an item
and no shared authors, looks like the date of publication.)"""

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
"""By the name that a kgrec network has in ``meta["name"]``."""
