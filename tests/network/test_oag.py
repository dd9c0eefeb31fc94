"""The OAG source on small tables in the published format."""

from __future__ import annotations

from pathlib import Path

import pytest

from distgnn.errors import RequestError
from distgnn.network.network import Network
from distgnn.network.sources.oag import OagConfig, build_oag
from tests.network.test_sources import pairs

# p1, p2 and p3 are kept; p4 is German, p5 has no known venue, p6 is too old, p7 is not cited, p8 has no title
PAPERS = """PaperId\tYear\tTitle\tVenue\tLanguage\tMore\tKind\tUrl
11\t2019\tA "quoted title\t91\ten\tx\tconference\tu
12\t2020\tTwo\t91\ten\tx\tconference\tu
13\t2018\tThree\t92\ten\tx\tjournal\tu
14\t2019\tVier\t91\tde\tx\tconference\tu
15\t2019\tFive\t99\ten\tx\tconference\tu
16\t1890\tSix\t91\ten\tx\tconference\tu
17\t2010\tSeven\t91\ten\tx\tconference\tu
18\t2020\t\t91\ten\tx\tconference\tu
19\t\tNine\t91\ten\tx\tconference\tu
"""
CITED = "a\tb\n12\t11\n12\t13\n13\t11\n17\t13\n11\t12\n11\t14\n12\t15\n" + "1\t16\n" * 30
FIELDS = "p\tf\tscore\n11\t51\t1\n12\t51\t1\n12\t52\t1\n13\t53\t1\n14\t52\t1\n13\t59\t1\n13\t54\t1\n"
HIERARCHY = "c\tp\tl\tm\n52\t51\tL2\tL1\n53\t51\tL2\tL1\n54\t99\tL2\tL1\n"
AUTHORS = "p\ta\taf\tn\tm\tplace\n" + "".join(
    f"{row}\n"
    for row in (
        *("11\t71\t81\tA\tB\t1", "11\t72\t81\tA\tB\t2", "11\t73\t82\tA\tB\t3", "11\t73\t81\tA\tB\t3"),
        *("12\t72\t82\tA\tB\t1", "13\t74\t\tA\tB\t1", "13\t73\t81\tA\tB\t2", "14\t75\t81\tA\tB\t1"),
    )
)
VECTORS = "".join(f"{number}\t{number % 10} 0.5\n" for number in (91, 92, 51, 52, 53, 54, 81, 82))
FILES = {
    "Papers_CS_20190919": PAPERS,
    "PR_CS_20190919": CITED,
    "PF_CS_20190919": FIELDS,
    "FHierarchy_20190919": HIERARCHY,
    "PAuAf_CS_20190919": AUTHORS,
    "vfi_vector": VECTORS,
}


def oag(tmp_path: Path, citation_bar: float = 1.0, **files: str) -> Network:
    for name, content in (FILES | files).items():
        (tmp_path / f"{name}.tsv").write_text(content)
    return build_oag(OagConfig(input=str(tmp_path), out="x", citation_bar=citation_bar))


def test_relations_equal_those_of_hgt(tmp_path: Path) -> None:
    network = oag(tmp_path)
    assert network.types == ("paper", "venue", "field", "author", "affiliation")
    assert network.tables["paper.id"].tolist() == [11, 12, 13]
    assert network.tables["paper.year"].tolist() == [2019, 2020, 2018]
    assert pairs(network, "PV_conference", "paper", "venue") == {(0, 0), (1, 0)}
    assert pairs(network, "PV_journal^-1", "venue", "paper") == {(1, 2)}
    assert pairs(network, "PP_cite", "paper", "paper") == {(1, 0), (1, 2)}  # 13 and 11 cite later papers
    assert pairs(network, "FF_in", "field", "field") == {(0, 2), (1, 2)}
    assert pairs(network, "PF_in_L1", "paper", "field") == {(0, 2), (1, 2)}
    assert not {"PF_in_L2", "PF_in_L2^-1"} & {relation.name for relation in network.relations}  # these are labels
    labels = {name.removeprefix("paper."): column.tolist() for name, column in network.tables.items()}
    assert (labels["labels.node"], labels["labels.class"]) == ([1, 2], [0, 1])
    assert labels["labels.meaning"] == [0, 1]
    assert (labels["train"], labels["val"], labels["test"]) == ([], [], [1, 2])
    assert pairs(network, "in", "author", "affiliation") == {(0, 0), (1, 0), (2, 1), (2, 0), (1, 1)}
    assert pairs(network, "AP_write_first", "author", "paper") == {(0, 0), (1, 1)}
    assert pairs(network, "AP_write_last", "author", "paper") == {(2, 0), (2, 2)}
    assert pairs(network, "AP_write_other", "author", "paper") == {(1, 0)}
    assert network.features["venue"].tolist() == [[1, 0.5], [2, 0.5]]
    assert network.features["field"].tolist() == [[2, 0.5], [3, 0.5], [1, 0.5]]
    assert network.features["affiliation"].tolist() == [[1, 0.5], [2, 0.5]]


def test_citation_bar_and_domain(tmp_path: Path) -> None:
    assert 17 in oag(tmp_path, citation_bar=0).tables["paper.id"].tolist()
    with pytest.raises(
        RequestError, match="no paper is in English, has a known venue and enough citations; lower citation_bar"
    ):
        oag(tmp_path, citation_bar=9, **{"Papers_CS_20190919": PAPERS.replace("2020", "2019")})
    with pytest.raises(RequestError, match=r"PR_Med_20190919.tsv: it does not exist"):
        build_oag(OagConfig(input=str(tmp_path), out="x", domain="_Med"))


WRONG = {
    "columns": ({"PR_CS_20190919": "a\n1\n"}, r"PR_CS_20190919.tsv: needs the columns paper, cited, found 1 columns"),
    "few columns": (
        {"Papers_CS_20190919": "a\tb\tc\td\te\n1\t2\t3\t4\t5\n"},
        r"Papers_CS_20190919.tsv: needs the columns paper, year, .* found 5 columns",
    ),
    "rows": ({"PF_CS_20190919": "p\tf\n"}, r"PF_CS_20190919.tsv: the table has no rows"),
    "longer row": (
        {"PR_CS_20190919": "a\tb\n1\t2\n1\t2\t3\n"},
        r"PR_CS_20190919.tsv: not a table of 2 columns \(.*Row #3: Expected 2 columns, got 3",
    ),
    "year": (
        {"Papers_CS_20190919": PAPERS.replace("2018", "MMXX")},
        r"Papers.*, row 4: year 'MMXX' is not an integer",
    ),
    "id": (
        {"Papers_CS_20190919": PAPERS.replace("13\t", "p13\t", 1), "PR_CS_20190919": CITED.replace("13", "p13")},
        "'p13'",
    ),
    "place": (
        {"PAuAf_CS_20190919": AUTHORS.replace("B\t3", "B\tlast")},
        r"PAuAf.*, row 4: place 'last' is not an integer",
    ),
    "empty": (
        {"PR_CS_20190919": "a\tb\n17\t11\n17\t13\n17\t13\n"},
        "the relation 'PP_cite' is empty for the kept papers",
    ),
    "no header": ({"PR_CS_20190919": CITED[4:]}, r"PR_CS_20190919.tsv: the first line must be a header, found '12'"),
    "two vectors": ({"vfi_vector": VECTORS + "91\t1 0.5\n"}, r"vfi_vector.tsv: the id '91' has two vectors"),
    "vectors": ({"vfi_vector": VECTORS + "83\ta b\n"}, r"vfi_vector.tsv, row 9: a feature is not finite"),
    "ragged": ({"vfi_vector": VECTORS + "83\t1 2 3\n"}, r"vfi_vector.tsv: each row must hold an id and a vector"),
}


@pytest.mark.parametrize("case", WRONG)
def test_invalid_tables_are_rejected_in_one_line(case: str, tmp_path: Path) -> None:
    files, says = WRONG[case]
    with pytest.raises(RequestError, match=says) as caught:
        oag(tmp_path, 1.0, **files)
    assert "\n" not in str(caught.value)
