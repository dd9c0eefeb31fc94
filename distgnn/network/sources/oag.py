"""One domain of the Open Academic Graph: the network of HGT (Hu et al., WWW 2020), also used by GPT-GNN and AUX-TS."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from distgnn import register
from distgnn.config import InputNetworkConfig
from distgnn.config.base import check
from distgnn.config.fields import setting
from distgnn.errors import RequestError
from distgnn.network.csr import Edges, both_ways, build_network
from distgnn.network.network import Ints, Network, Relation
from distgnn.network.sources.oag_tables import TABLES, Table, numbers, read_table, read_vectors, table_uri
from distgnn.network.sources.reading import Rows, provenance
from distgnn.storage.uri import join

_YEARS = (1900, 2020)
_MOST_YEARS = 20
_LABELS = "L2"
_SINCE = {"train": 2014, "val": 2017, "test": 2018}
_ROLES = ("AP_write_first", "AP_write_last", "AP_write_other")


@dataclass(frozen=True, kw_only=True)
class OagConfig(InputNetworkConfig):
    """A domain of the Open Academic Graph from the raw tables of HGT and GPT-GNN: a folder with Papers_CS_20190919.tsv,
    PR_, PF_, PAuAf_, FHierarchy_20190919.tsv and vfi_vector.tsv. Kept are English papers of a known venue that are cited enough.

    Example: distgnn network build oag --input oag_raw --out data/oag-cs
    """

    domain: str = setting("_CS")
    """What follows the table's name: _CS, _Med, or empty for all."""
    citation_bar: float = setting(1.0)
    """Keep papers cited at least this often per year up to 2020, of which at most 20 count."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check(self.citation_bar >= 0, f"citation_bar must not be negative, found {self.citation_bar}")


@register.network_source("oag", OagConfig)
def build_oag(config: OagConfig) -> Network:
    """Build the network of one OAG domain as HGT's preprocessing does, every relation in both directions.

    Types: paper, venue, field, author, affiliation. Relations: PP_cite (not to later papers), PV_<kind of venue>,
    PF_in_<level>, FF_in, AP_write_first, _last and _other, and in (author, affiliation). Features of venues, fields and
    affiliations are the published vectors; papers have none (the original embeds titles with a language model).

    Fields of level L2, the targets of GPT-GNN and AUX-TS, are labels of papers since 2014 and pass no messages for them in
    either direction; for older papers they are messages and not labels. (The original hides them for the papers of a
    batch only, so evaluated papers see each other's labels.) Fields of other levels pass messages, as in the original.

    Tables: paper.id (of OAG), paper.year, paper.labels.node and .class (one row per label), .meaning (field of each
    class), and paper.train, .val and .test: labelled papers of 2014 to 2016, of 2017, and later.
    """
    builder = _Builder(config)
    builder.papers()
    builder.citations()
    builder.fields()
    builder.authors()
    return builder.network()


class _Builder:
    """Reads one table at a time and keeps only what the kept papers need, to bound memory."""

    def __init__(self, config: OagConfig) -> None:
        self.config, self.folder = config, config.input.rstrip("/")
        self.known: Table
        self.known, self.vectors = read_vectors(self.folder)
        self.ids: dict[str, Table] = {}
        self.edges: list[Edges] = []
        self.year: Rows = np.zeros(0, np.int64)
        self.identity: Rows = np.zeros(0, np.int64)
        self.labels: dict[str, Rows] = {}

    def _read(self, table: str) -> tuple[str, Table]:
        return table_uri(self.folder, table, self.config.domain), read_table(self.folder, table, self.config.domain)

    def _join(self, uri: str, relation: Relation, source: Ints, target: Ints) -> None:
        """Add a relation in both directions; raises RequestError if it is empty."""
        if not len(source):
            raise RequestError(
                f"{uri}: the relation {relation.name!r} is empty for the kept papers; lower citation_bar"
            )
        self.edges += both_ways(Edges(relation, source, target))

    def papers(self) -> None:
        """Keep English papers with a title, a known venue and enough citations; link them to their venues."""
        uri, references = self._read("PR")
        cited = references["cited"].value_counts()
        uri, table = self._read("Papers")
        table = table[(table["paper"] != "") & (table["year"] != "") & (table["title"] != "")]
        year = numbers(uri, table["year"])
        bar = np.minimum(_YEARS[1] - year, _MOST_YEARS) * self.config.citation_bar
        count = cited.reindex(table["paper"]).fillna(0).to_numpy()
        keep = (count >= bar) & (year >= _YEARS[0]) & (table["language"] == "en") & table["venue"].isin(self.known)
        keep &= ~table["paper"].duplicated()
        table, self.year = table[keep], year[keep.to_numpy()]
        if not len(table):
            raise RequestError(
                f"{uri}: no paper is in English, has a known venue and enough citations; lower citation_bar"
            )
        self.ids["paper"], self.identity = pd.Index(table["paper"]), numbers(uri, table["paper"])
        self.ids["venue"] = pd.Index(table["venue"].unique())
        venue = self.ids["venue"].get_indexer(pd.Index(table["venue"]))
        for kind in sorted(table["kind"].unique()):
            rows = np.flatnonzero(table["kind"] == kind)
            self._join(uri, Relation(f"PV_{kind}", "paper", "venue"), rows, venue[rows])

    def citations(self) -> None:
        """Link papers to the kept papers they cite, except those of a later year."""
        uri, table = self._read("PR")
        source, target = (self._place("paper", table[name]) for name in ("paper", "cited"))
        keep = (source >= 0) & (target >= 0)
        source, target = source[keep], target[keep]
        keep = self.year[source] >= self.year[target]
        self._join(uri, Relation("PP_cite", "paper", "paper"), source[keep], target[keep])

    def fields(self) -> None:
        """Add fields of kept papers that have a vector and a level; the level names the relation."""
        uri, table = self._read("PF")
        table = table[table["paper"].isin(self.ids["paper"]) & table["field"].isin(self.known)]
        table = table.drop_duplicates(["paper", "field"])
        hierarchy_uri, hierarchy = self._read("FHierarchy")
        hierarchy = hierarchy[hierarchy["field"].isin(table["field"]) & hierarchy["parent"].isin(table["field"])]
        ends: Table = pd.concat([hierarchy["field"], hierarchy["parent"]], ignore_index=True)
        levels: Table = pd.concat([hierarchy["level"], hierarchy["parent_level"]], ignore_index=True)
        unique = ~ends.duplicated(keep="last")
        level = levels[unique].to_numpy(str)
        self.ids["field"] = pd.Index(ends[unique])
        child, parent = (self._place("field", hierarchy[name]) for name in ("field", "parent"))
        self._join(hierarchy_uri, Relation("FF_in", "field", "field"), child, parent)
        paper, field = self._place("paper", table["paper"]), self._place("field", table["field"])
        paper, field = paper[field >= 0], field[field >= 0]
        for name in np.unique(level):
            rows = np.flatnonzero(level[field] == name)
            if name == _LABELS:
                rows = self._label(paper, field, rows)
            if len(rows):  # top-level fields may have no papers
                self._join(uri, Relation(f"PF_in_{name}", "paper", "field"), paper[rows], field[rows])

    def _label(self, paper: Rows, field: Rows, rows: Rows) -> Rows:
        """Turn ``rows`` of recent papers into labels; return the others, which may pass messages."""
        fields = np.unique(field[rows])
        recent = self.year[paper[rows]] >= _SINCE["train"]
        node, label = paper[rows[recent]], np.searchsorted(fields, field[rows[recent]])
        self.labels = {"paper.labels.node": node, "paper.labels.class": label, "paper.labels.meaning": fields}
        labelled = np.unique(node)
        number = np.searchsorted(list(_SINCE.values()), self.year[labelled], side="right") - 1
        self.labels |= {f"paper.{part}": labelled[number == place] for place, part in enumerate(_SINCE)}
        return rows[~recent]

    def authors(self) -> None:
        """Add authors whose affiliation has a vector; first and last author are determined among those."""
        uri, table = self._read("PAuAf")
        table = table[table["paper"].isin(self.ids["paper"]) & table["affiliation"].isin(self.known)]
        place = numbers(uri, table["place"])
        for name in ("author", "affiliation"):
            self.ids[name] = pd.Index(table[name].unique())
        author, affiliation = self._place("author", table["author"]), self._place("affiliation", table["affiliation"])
        self._join(uri, Relation("in", "author", "affiliation"), author, affiliation)
        rows: Table = pd.DataFrame({"paper": self._place("paper", table["paper"]), "author": author, "place": place})
        rows = rows.drop_duplicates(["paper", "place"], keep="last")  # an author has one row per affiliation
        last = rows.groupby("paper")["place"].transform("max")
        role = np.select([rows["place"] == 1, rows["place"] == last], [0, 1], 2)
        for number in np.unique(role):
            selected = rows[role == number]
            relation = Relation(_ROLES[number], "author", "paper")
            self._join(uri, relation, selected["author"].to_numpy(), selected["paper"].to_numpy())

    def network(self) -> Network:
        """Build the network with the available vectors as features."""
        features: dict[str, npt.NDArray[np.float32]] = {
            name: self.vectors[self.known.get_indexer(self.ids[name])] for name in ("venue", "field", "affiliation")
        }
        files = [table_uri(self.folder, name, self.config.domain) for name in TABLES] + [
            join(self.folder, "vfi_vector.tsv")
        ]
        options = {"domain": self.config.domain, "citation_bar": self.config.citation_bar}
        return build_network(
            {name: len(found) for name, found in self.ids.items()},
            self.edges,
            features,
            {"paper.id": self.identity, "paper.year": self.year} | self.labels,
            provenance("oag", self.folder, self.config.name, files, **options),
        )

    def _place(self, kind: str, names: Table) -> Rows:
        return self.ids[kind].get_indexer(pd.Index(names)).astype(np.int64)
