"""Factory of multi-task problems on a network."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from distgnn import register
from distgnn.auxiliary.network_tasks.label_sets import LabelSetTarget, has_label_sets, read_label_sets
from distgnn.auxiliary.network_tasks.links import COLUMNS, LinkTarget, read_links, training_network
from distgnn.auxiliary.network_tasks.metapaths import MetapathTask
from distgnn.auxiliary.network_tasks.nodes import NodeTarget, published_split, read_nodes
from distgnn.auxiliary.network_tasks.problem import NetworkProblem
from distgnn.auxiliary.network_tasks.tasks import AuxiliaryTask, TargetTask, TaskContext
from distgnn.auxiliary.network_tasks.views import Evaluation, Views
from distgnn.config import NetworkTaskConfig
from distgnn.config.base import given_options
from distgnn.distributed import ProcessGroup
from distgnn.errors import RequestError
from distgnn.graph.keyed import key
from distgnn.graph.purposes import NetworkDraw
from distgnn.models.network_encoder import NodeInputs, build_network_encoder
from distgnn.network.network import Network
from distgnn.network.paths import symmetric_paths

SYMMETRIC = "symmetric_paths"
"""Name, among auxiliary tasks, of the meta-paths from the target's nodes to other types and back."""
_MOST_PATHS = 16


def build_problem(network: Network, config: NetworkTaskConfig, seed: int, group: ProcessGroup) -> NetworkProblem:
    """Build a problem with fresh weights, a function of (network, config, seed).

    Meta-paths of SYMMETRIC that cannot be tasks are left out and listed in ``left_out``. The split is a function of
    (network, config) only. The global random state is not changed.

    Raises:
        RequestError: The network does not support the target or an auxiliary task.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(key(seed, NetworkDraw.HEADS))
        target, passed = _target(network, config, seed, group)
        inputs = NodeInputs(passed)
        views = Views(passed, inputs, config.layers, config.fan_out, seed, group.device)
        names = auxiliary_names(network, config, target.kind)
        implied = set(names).difference(config.auxiliary) if SYMMETRIC in config.auxiliary else set[str]()
        context = TaskContext(views, target.kind, config, views.seed, group)
        auxiliary, left_out = list[AuxiliaryTask](), list[str]()
        for name in names:
            try:
                auxiliary.append(_auxiliary(context, name))
            except RequestError as error:
                if name not in implied:
                    raise
                left_out.append(str(error).rpartition(";")[0])  # without what to do
        if not auxiliary:
            raise RequestError(f"network.auxiliary={SYMMETRIC}: none of its meta-paths can be a task; name other tasks")
    encoder = build_network_encoder(passed, config, key(seed, NetworkDraw.ENCODER)).to(group.device)
    for task in (target, *auxiliary):
        task.to(group.device)
    evaluation = Evaluation(passed, inputs, config.layers, config.eval_fan_out, group.device)
    problem = NetworkProblem(encoder, target, auxiliary, views, evaluation, group)
    problem.left_out = tuple(left_out)
    return problem


def target_of(network: Network, config: NetworkTaskConfig) -> type[TargetTask]:
    """Return the class of the target task."""
    if config.target == "link" or (config.target == "auto" and COLUMNS[0] in network.tables):
        return LinkTarget
    return LabelSetTarget if has_label_sets(network) else NodeTarget


def labelled_kind(network: Network) -> str:
    """Return the type of the nodes with labels; "" if there is none."""
    endings = ".labels.node", ".label"
    found = [kind for ending in endings for kind in network.types if kind + ending in network.tables]
    return found[0] if found else ""


def _target(network: Network, config: NetworkTaskConfig, seed: int, group: ProcessGroup) -> tuple[TargetTask, Network]:
    """Return the target task, and the network whose messages are available in training."""
    kind = target_of(network, config)
    if kind is LinkTarget:
        links = read_links(network, config)
        return LinkTarget(links, config, seed, group.device), training_network(network, links)
    if kind is LabelSetTarget:
        return LabelSetTarget(read_label_sets(network, config), config, group.device), network
    return NodeTarget(read_nodes(network, config), config, group.device), network


def default_auxiliary(network: Network, kind: str) -> tuple[str, ...]:
    """Return the published auxiliary tasks of a network: its meta-paths, else edge and attribute generation.

    Attribute generation is left out if nodes of the target's ``kind`` have no features.
    """
    if network.meta.get("paths"):
        return tuple(network.meta["paths"])
    return ("edge_generation", "attribute_generation") if kind in network.features else ("edge_generation",)


def auxiliary_names(network: Network, config: NetworkTaskConfig, kind: str) -> tuple[str, ...]:
    """Return the auxiliary tasks of a target on nodes of type ``kind``, with SYMMETRIC replaced by its meta-paths.

    Raises:
        RequestError: There are no such meta-paths, or more than can be trained together.
    """
    given = config.auxiliary or default_auxiliary(network, kind)
    if SYMMETRIC not in given:
        return given
    found = symmetric_paths(network, kind)
    if not found:
        raise RequestError(
            f"network.auxiliary={SYMMETRIC}: no relation leads from {kind} to another type; name other tasks"
        )
    if len(found) > _MOST_PATHS:
        raise RequestError(
            f"network.auxiliary={SYMMETRIC}: {len(found)} meta-paths from {kind}, at most {_MOST_PATHS} are trained"
            f" together; name those that matter, such as '{found[0]}'"
        )
    return tuple(dict.fromkeys(name for one in given for name in (found if one == SYMMETRIC else (one,))))


def _auxiliary(context: TaskContext, name: str) -> AuxiliaryTask:
    """Build the task of a meta-path such as "a relation b", or a registered task."""
    if " " in name:
        return MetapathTask(context.views.network, name, context.options, context.seed, context.group)
    entry = register.network_task.get(name, "network.auxiliary", (SYMMETRIC, "a path such as 'a relation b'"))
    return entry.make(getattr(context.options, entry.name) if entry.config else None, context)


_UNHEADED = {"gcn", "gin", "sage", "lightgcn"}
"""Encoders without attention."""


def unread_options(network: Network, config: NetworkTaskConfig, encoders: Sequence[str]) -> dict[str, str]:
    """Return the given options that neither the tasks nor the encoders on this network read, and what would read them."""
    is_link = target_of(network, config) is LinkTarget
    names = auxiliary_names(network, config, "item" if is_link else labelled_kind(network))
    paths, generates = any(" " in name for name in names), "edge_generation" in names
    split = {} if is_link else published_split(network, labelled_kind(network), config)
    sized = any(table.endswith(f"_{config.official_split}") for table in split.values())
    drawn = bool(split), "a network without a published split"
    needs = {
        **dict.fromkeys(("loss", "decoder", "messages"), (not is_link, "target=link")),
        "removed": (not generates, "edge_generation among network.auxiliary"),
        "negatives": (
            not generates and "random_walks" not in names,
            "edge_generation or random_walks among network.auxiliary",
        ),
        **dict.fromkeys(("fractions", "split_seed"), drawn),
        "paths": (not paths, "a meta-path among network.auxiliary"),
        "hidden": (
            not paths and not (is_link and config.decoder == "mlp"),
            "a meta-path, or target=link and decoder=mlp",
        ),
        "official_split": (not sized, "a network with a published split of that size"),
        "heads": (_UNHEADED.issuperset(encoders), "encoder gat or hgt"),
    }
    return {name: needs[name][1] for name in given_options(config) if name in needs and needs[name][0]}
