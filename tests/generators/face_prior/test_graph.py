from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dp3_lightning.generators.face_prior.graph import Node, read_graph

XML = """<net name="tiny"><layers>
<layer id="0" name="x" type="Parameter"><data shape="1,2" element_type="f32"/></layer>
<layer id="1" name="weight" type="Const">
  <data element_type="f32" shape="3, 2" offset="12" size="24"/></layer>
<layer id="2" name="axis" type="Const">
  <data element_type="i64" shape="1" offset="4" size="8"/></layer>
<layer id="3" name="gain" type="Const">
  <data element_type="f32" shape="" offset="0" size="4"/></layer>
<layer id="4" name="flat" type="Reshape"><data special_zero="true"/></layer>
<layer id="5" name="product" type="MatMul"/>
<layer id="6" name="scaled" type="Multiply"/>
<layer id="7" name="joined" type="Concat"/>
</layers><edges>
<edge from-layer="1" from-port="0" to-layer="5" to-port="1"/>
<edge from-layer="0" from-port="0" to-layer="5" to-port="0"/>
<edge from-layer="3" from-port="0" to-layer="4" to-port="0"/>
<edge from-layer="2" from-port="0" to-layer="4" to-port="1"/>
<edge from-layer="5" from-port="2" to-layer="6" to-port="0"/>
<edge from-layer="4" from-port="2" to-layer="6" to-port="1"/>
<edge from-layer="0" from-port="0" to-layer="7" to-port="10"/>
<edge from-layer="6" from-port="2" to-layer="7" to-port="2"/>
<edge from-layer="5" from-port="2" to-layer="7" to-port="1"/>
</edges></net>"""
WEIGHT = np.arange(6, dtype=np.float32).reshape(3, 2) - 2.5
BIN = np.float32(0.75).tobytes() + np.int64(-1).tobytes() + WEIGHT.tobytes()


def read(folder: Path, content: bytes = BIN) -> dict[str, Node]:
    xml, weights = folder / "tiny.xml", folder / "tiny.bin"
    xml.write_text(XML)
    weights.write_bytes(content)
    return {node.name: node for node in read_graph(xml, weights)}


def names(nodes: list[Node]) -> list[str]:
    return [node.name for node in nodes]


def test_operations_come_in_the_order_of_the_file(tmp_path: Path) -> None:
    nodes = read(tmp_path)
    expected = ["x", "weight", "axis", "gain", "flat", "product", "scaled", "joined"]
    assert list(nodes) == expected
    assert nodes["product"].kind == "MatMul"


def test_only_float_constants_have_values(tmp_path: Path) -> None:
    nodes = read(tmp_path)
    assert {n for n, node in nodes.items() if node.value is not None} == {"weight", "gain"}
    np.testing.assert_array_equal(nodes["weight"].value, WEIGHT)
    gain = nodes["gain"].value
    assert gain is not None
    assert gain.shape == ()
    assert gain == 0.75


def test_inputs_come_by_port_whatever_the_order_of_edges(tmp_path: Path) -> None:
    nodes = read(tmp_path)
    assert names(nodes["product"].inputs) == ["x", "weight"]
    assert names(nodes["joined"].inputs) == ["product", "scaled", "x"]  # 10 is after 2
    assert set(names(nodes["x"].users)) == {"product", "joined"}
    assert nodes["joined"].users == []


def test_constants_are_found_directly_and_through_a_reshape(tmp_path: Path) -> None:
    nodes = read(tmp_path)
    np.testing.assert_array_equal(nodes["product"].constant(), WEIGHT)
    assert nodes["scaled"].constant() == 0.75
    with pytest.raises(ValueError, match="constant input of 'joined'"):
        nodes["joined"].constant()


def test_users_are_found_by_kind(tmp_path: Path) -> None:
    nodes = read(tmp_path)
    assert nodes["weight"].user("MatMul").user("Multiply").name == "scaled"
    assert nodes["x"].user("Add", "Concat").name == "joined"
    with pytest.raises(ValueError, match=r"reader of 'x' of kind \('Add', 'Multiply'\)"):
        nodes["x"].user("Add", "Multiply")


def test_constants_beyond_the_end_say_that_the_files_do_not_belong_together(
    tmp_path: Path,
) -> None:
    assert len(BIN) == 36
    with pytest.raises(ValueError, match=r"'weight' ends at byte 36 of a file of 35 bytes"):
        read(tmp_path, BIN[:-1])
