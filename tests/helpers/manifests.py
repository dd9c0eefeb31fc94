"""Kustomize's part that cluster/kube uses, for tests: resources, components, JSON patches, deletions, generators, replacements.

Not kustomize: there is none on this machine. It follows the documented order (resources, components, generators, patches,
replacements) for just these features and refuses any other, so that a manifest can be checked as it would be applied.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import jsonpatch
import yaml

Resource = dict[str, Any]
CLUSTER_KINDS = ("PriorityClass",)
"""Kinds that are in no namespace."""
_KNOWN = {
    "apiVersion", "kind", "namespace", "resources", "components", "patches", "replacements", "generatorOptions",
    "configMapGenerator",
}  # fmt: skip


def documents(path: Path) -> list[Resource]:
    """The YAML documents of a file; anchors become copies."""
    return [copy.deepcopy(item) for item in yaml.safe_load_all(path.read_text()) if item]


def render(folder: Path) -> list[Resource]:
    """What ``kubectl kustomize folder`` would print, placeholders left as they are."""
    return _apply(folder, [])


def _apply(folder: Path, found: list[Resource]) -> list[Resource]:
    settings = documents(folder / "kustomization.yaml")[0]
    assert set(settings) <= _KNOWN, f"{folder}: {set(settings) - _KNOWN}"
    for name in settings.get("resources", []):
        path = folder / name
        found = found + (render(path) if path.is_dir() else documents(path))
    for name in settings.get("components", []):
        assert documents(folder / name / "kustomization.yaml")[0]["kind"] == "Component"
        found = _apply(folder / name, found)
    for generator in settings.get("configMapGenerator", []):
        found = _generate(folder, generator, settings.get("generatorOptions", {}), found)
    for patch in settings.get("patches", []):
        found = _patch(patch, found)
    for replacement in settings.get("replacements", []):
        _replace(replacement, found)
    if namespace := settings.get("namespace"):
        for resource in found:
            if resource["kind"] not in CLUSTER_KINDS:
                resource["metadata"]["namespace"] = namespace
    return found


def _generate(folder: Path, generator: Resource, options: Resource, found: list[Resource]) -> list[Resource]:
    assert options.get("disableNameSuffixHash") is True  # names inside a RayCluster are not rewritten
    data = {}
    for name in generator.get("envs", []):
        lines = [line for line in (folder / name).read_text().splitlines() if line and not line.startswith("#")]
        data |= dict(line.split("=", 1) for line in lines)
    for name in generator.get("files", []):
        data[name] = (folder / name).read_text()
    if generator.get("behavior") == "merge":
        (target,) = [
            item for item in found if (item["kind"], item["metadata"]["name"]) == ("ConfigMap", generator["name"])
        ]
        target["data"] |= data
        return found
    metadata = {"name": generator["name"], **({"labels": options["labels"]} if "labels" in options else {})}
    return [*found, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}]


def _patch(patch: Resource, found: list[Resource]) -> list[Resource]:
    body = yaml.safe_load(patch["patch"])
    if isinstance(body, dict):
        assert body.pop("$patch") == "delete"
        wanted = body["kind"], body["metadata"]["name"], body["metadata"].get("namespace")
        kept = [item for item in found if _identity(item) != wanted]
        assert len(kept) == len(found) - 1, f"nothing to delete: {wanted}"
        return kept
    target = patch["target"]
    chosen = [item for item in found if (item["kind"], item["metadata"]["name"]) == (target["kind"], target["name"])]
    assert chosen, f"nothing to patch: {target}"
    for item in chosen:
        jsonpatch.apply_patch(item, body, in_place=True)
    return found


def _identity(item: Resource) -> tuple[str, str, str | None]:
    return item["kind"], item["metadata"]["name"], item["metadata"].get("namespace")


def _replace(replacement: Resource, found: list[Resource]) -> None:
    source = replacement["source"]
    (origin,) = [item for item in found if (item["kind"], item["metadata"]["name"]) == (source["kind"], source["name"])]
    for target in replacement["targets"]:
        select = target["select"]
        (goal,) = [
            item for item in found if (item["kind"], item["metadata"]["name"]) == (select["kind"], select["name"])
        ]
        for path in target["fieldPaths"]:
            *parents, last = path.split(".")
            place = goal
            for parent in parents:
                place = place[parent]
            assert last in place or target["options"]["create"] is True
            place[last] = copy.deepcopy(origin[source["fieldPath"]])
