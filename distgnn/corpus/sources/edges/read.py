"""Reading an edge table of any known format as an undirected network."""

from __future__ import annotations

from collections.abc import Iterator

from distgnn.corpus.sources.edges.blocks import Block
from distgnn.corpus.sources.edges.edge_set import EdgeList, EdgeSet
from distgnn.corpus.sources.edges.graphs import matrix_market, parquet_blocks, xml_blocks
from distgnn.corpus.sources.edges.layout import DEFAULT, EdgeOptions, Layout, recognise
from distgnn.corpus.sources.edges.pajek import pajek_blocks
from distgnn.corpus.sources.edges.text import text_blocks
from distgnn.errors import RequestError
from distgnn.storage.uri import base_name


def read_edges(uri: str, options: EdgeOptions = DEFAULT, kinds: tuple[str, ...] = ()) -> EdgeList:
    """Read an edge table: STRING, BioGRID, PSI-MITAB, SIF, Matrix Market, adjacency lists, N-Triples, GraphML, GEXF, Pajek,
    Parquet, tables with named columns, and plain lists of two identifiers a line.

    Identifiers are text and never changed. Directions are ignored, repeated edges merged, self-loops dropped.

    Args:
        uri: path or URI; .gz, .bz2, .xz, .zst and .zip files are decompressed while reading.
        options: format, columns, smallest score, encoding.
        kinds: types of interaction to report per edge.

    Raises:
        RequestError: the format is unknown, or the file is damaged or has no edges.
    """
    layout = recognise(uri, options)
    edges = EdgeSet(uri, base_name(uri), kinds, options.min_score)
    for block in _blocks(uri, layout, options):
        if len(block.links.row):
            if options.min_score and block.links.score is None:
                raise RequestError(
                    f"{uri}: min_score needs a score, but the file ({_seen(layout)}) has none; remove it, or name a"
                    " weight in columns"
                )
            if kinds and block.links.kind is None:
                raise RequestError(
                    f"{uri}: actions need a table with types of interaction, such as STRING's (first column item_id_a),"
                    f" but this is {_seen(layout)}; remove actions or the file"
                )
        edges.add(block)
    return edges.result(_seen(layout), strip=layout.format == "mitab")


def _seen(layout: Layout) -> str:
    return f"{layout.format}, {layout.seen}" if layout.seen else layout.format


def _blocks(uri: str, layout: Layout, options: EdgeOptions) -> Iterator[Block]:
    if layout.format == "mtx":
        return matrix_market(uri, options)
    if layout.format == "pajek":
        return pajek_blocks(uri, options.encoding)
    if layout.format in ("graphml", "gexf"):
        return xml_blocks(uri, layout.format)
    if layout.format == "parquet":
        return parquet_blocks(uri, options)
    return text_blocks(uri, layout, options.encoding)
