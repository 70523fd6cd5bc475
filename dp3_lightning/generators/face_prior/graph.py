"""Read weights out of an OpenVINO model file (XML graph and BIN constants) with NumPy alone."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

FloatArray32 = npt.NDArray[np.float32]


@dataclass
class Node:
    """One operation of a graph.

    Attributes:
        name: as in the file.
        kind: OpenVINO's name of the operation, such as ``Convolution`` or ``Const``.
        value: of a float32 constant; None for everything else.
        inputs: operations that it reads, by port.
        users: operations that read its output, by the port at which they read it.
    """

    name: str
    kind: str
    value: FloatArray32 | None = None
    inputs: list[Node] = field(default_factory=list, repr=False)
    users: list[Node] = field(default_factory=list, repr=False)

    def user(self, *kinds: str) -> Node:
        """Return the first operation of one of these kinds that reads this one.

        Raises:
            ValueError: there is none: the file is not the one that this code was written for.
        """
        for node in self.users:
            if node.kind in kinds:
                return node
        raise ValueError(f"Expected a reader of {self.name!r} of kind {kinds}, found none.")

    def constant(self) -> FloatArray32:
        """Return the float constant that this operation reads, directly or through a reshape.

        Raises:
            ValueError: it reads none.
        """
        for node in self.inputs:
            if node.value is not None:
                return node.value
            if node.kind == "Reshape" and node.inputs[0].value is not None:
                return node.inputs[0].value
        raise ValueError(f"Expected a constant input of {self.name!r}, found none.")


def read_graph(xml: Path, weights: Path) -> list[Node]:
    """Read the operations of a model, in the order of the file.

    Args:
        xml: the graph.
        weights: the constants beside it.

    Raises:
        ValueError: the two files do not belong together.
    """
    root = ElementTree.parse(xml).getroot()
    data = weights.read_bytes()
    nodes: dict[str, Node] = {}
    for layer in root.iterfind("layers/layer"):
        node = Node(layer.get("name", ""), layer.get("type", ""))
        constant = layer.find("data")
        if node.kind == "Const" and constant is not None and constant.get("element_type") == "f32":
            node.value = _constant(constant, data, node.name)
        nodes[layer.get("id", "")] = node
    edges = sorted(root.iterfind("edges/edge"), key=lambda edge: int(edge.get("to-port", "0")))
    for edge in edges:
        source, target = nodes[edge.get("from-layer", "")], nodes[edge.get("to-layer", "")]
        target.inputs.append(source)
        source.users.append(target)
    return list(nodes.values())


def _constant(element: ElementTree.Element, data: bytes, name: str) -> FloatArray32:
    offset, size = int(element.get("offset", "0")), int(element.get("size", "0"))
    shape = [int(v) for v in element.get("shape", "").split(",") if v.strip()]
    if offset + size > len(data):
        raise ValueError(
            f"Constant {name!r} ends at byte {offset + size} of a file of {len(data)} bytes: the "
            "graph and the weights do not belong together."
        )
    return np.frombuffer(data, np.float32, size // 4, offset).reshape(shape).copy()
