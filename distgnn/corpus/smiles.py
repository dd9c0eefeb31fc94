"""SMILES parsing with RDKit. The only module that needs RDKit; :mod:`molecules` imports it on use."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from rdkit import Chem
from rdkit.Chem.Scaffolds import MurckoScaffold
from rdkit.rdBase import BlockLogs

_BOND_TYPE = {
    Chem.BondType.SINGLE: 0,
    Chem.BondType.DOUBLE: 1,
    Chem.BondType.TRIPLE: 2,
    Chem.BondType.AROMATIC: 3,
    Chem.BondType.DATIVE: 0,
}
_DIRECTION = {Chem.BondDir.ENDDOWNRIGHT: 1, Chem.BondDir.ENDUPRIGHT: 2}
_OTHER_CHIRALITY = 3


class Molecules(NamedTuple):
    """Parsed molecules, packed.

    Attributes:
        kept: row numbers of the valid texts.
        reasons: row number to reason, for the invalid ones.
        atoms: number of atoms of each molecule.
        bonds: number of bonds of each molecule.
        atom: uint8 [N, 2], codes of ATOM_FEATURES.
        bond_uv: int64 [E, 2], local atom ids.
        bond: uint8 [E, 2], codes of BOND_FEATURES.
        scaffold: Bemis-Murcko scaffold SMILES of each molecule, "" for molecules without rings.
    """

    kept: list[int]
    reasons: dict[int, str]
    atoms: list[int]
    bonds: list[int]
    atom: npt.NDArray[np.uint8]
    bond_uv: npt.NDArray[np.int64]
    bond: npt.NDArray[np.uint8]
    scaffold: list[str]


def parse(texts: Sequence[str]) -> Molecules:
    """Parse SMILES; hydrogens stay implicit and atoms keep the order of the text."""
    kept: list[int] = []
    reasons: dict[int, str] = {}
    molecules: list[Chem.Mol] = []
    with BlockLogs():
        for number, text in enumerate(texts):
            molecule = Chem.MolFromSmiles(text)
            reason = _refusal(molecule)
            if reason:
                reasons[number] = reason
            else:
                kept.append(number)
                molecules.append(molecule)
        scaffolds = [_scaffold(molecule) for molecule in molecules]
    atoms = [(atom.GetAtomicNum(), atom.GetChiralTag()) for molecule in molecules for atom in molecule.GetAtoms()]
    atom = np.array(atoms, np.int64).reshape(-1, 2)
    bonds = [
        (
            bond.GetBeginAtomIdx(),
            bond.GetEndAtomIdx(),
            _BOND_TYPE[bond.GetBondType()],
            _DIRECTION.get(bond.GetBondDir(), 0),
        )
        for molecule in molecules
        for bond in molecule.GetBonds()
    ]
    bond = np.array(bonds, np.int64).reshape(-1, 4)
    return Molecules(
        kept,
        reasons,
        [molecule.GetNumAtoms() for molecule in molecules],
        [molecule.GetNumBonds() for molecule in molecules],
        np.minimum(atom, (119, _OTHER_CHIRALITY)).astype(np.uint8),
        bond[:, :2],
        bond[:, 2:].astype(np.uint8),
        scaffolds,
    )


def _refusal(molecule: Any) -> str:
    if molecule is None:
        return "RDKit cannot read the SMILES"
    if molecule.GetNumAtoms() == 0:
        return "no atoms"
    unsupported = {bond.GetBondType() for bond in molecule.GetBonds()} - _BOND_TYPE.keys()
    return (
        f"a bond is neither single, double, triple nor aromatic ({min(map(str, unsupported))})" if unsupported else ""
    )


def _scaffold(molecule: Chem.Mol) -> str:
    """Return the Bemis-Murcko scaffold with chirality, by which Hu et al. group molecules."""
    if molecule.GetRingInfo().NumRings() == 0:
        return ""
    return Chem.MolToSmiles(MurckoScaffold.GetScaffoldForMol(molecule))
