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
_LONGEST, _MOST_ATOMS = 100_000, 65_536


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
            odd = _odd_text(text)
            molecule = None if odd else Chem.MolFromSmiles(text)
            reason = odd or _refusal(molecule)
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


def parse_blocks(blocks: Sequence[str]) -> Molecules:
    """Parse mol blocks (V2000, V3000), by way of their SMILES: explicit hydrogens and coordinates do not stay."""
    with BlockLogs():
        texts = [_smiles_of(block) for block in blocks]
    molecules = parse([text or "" for text in texts])
    unread = {number: "RDKit cannot read the mol block" for number, text in enumerate(texts) if text is None}
    return molecules._replace(reasons=molecules.reasons | unread)


def _smiles_of(block: str) -> str | None:
    molecule = Chem.MolFromMolBlock(block) if block else None
    if molecule is None:
        return None
    if molecule.GetNumConformers() and molecule.GetConformer().Is3D():
        Chem.AssignStereochemistryFrom3D(molecule)
    return Chem.MolToSmiles(molecule)


def _odd_text(text: str) -> str:
    """Return why a text is no SMILES before RDKit reads it, which would ignore what follows a space or a zero byte."""
    if len(text.split()) > 1:
        return "text behind the SMILES"
    if not (text.isascii() and text.isprintable()):
        return "a character that no SMILES has"
    return f"longer than {_LONGEST} characters" if len(text) > _LONGEST else ""


def _refusal(molecule: Any) -> str:
    if molecule is None:
        return "RDKit cannot read the SMILES"
    if molecule.GetNumAtoms() == 0:
        return "no atoms"
    if molecule.GetNumAtoms() > _MOST_ATOMS:
        return f"more than {_MOST_ATOMS} atoms"
    unsupported = {bond.GetBondType() for bond in molecule.GetBonds()} - _BOND_TYPE.keys()
    return (
        f"a bond is neither single, double, triple nor aromatic ({min(map(str, unsupported))})" if unsupported else ""
    )


def _scaffold(molecule: Chem.Mol) -> str:
    """Return the Bemis-Murcko scaffold with chirality, by which Hu et al. group molecules."""
    if molecule.GetRingInfo().NumRings() == 0:
        return ""
    return Chem.MolToSmiles(MurckoScaffold.GetScaffoldForMol(molecule))
