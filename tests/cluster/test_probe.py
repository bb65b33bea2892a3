from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

import coretune
from coretune.cluster.probe import (
    Node,
    code_digest,
    compare,
    fitting_nodes,
    look,
    reason,
    storage_problem,
    without_lost,
)

HERE = {"python": "3.11.9", "ray": "2.60.0", "torch": "2.14.1+cu130", "code": "aa", "unusable": None, "storage": None}
ONE, TWO = Node("1", "one"), Node("2", "two")


def test_this_process_looks_at_itself(tmp_path: Path) -> None:
    (tmp_path / ".probe-token").write_text("token")
    found = look(str(tmp_path), "token", 0.0)
    assert found["unusable"] is None and found["storage"] is None and found["torch"] is not None
    assert (tmp_path / found["mark"]).read_text() == "token"
    assert found["code"] == code_digest(str(Path(coretune.__file__).parent))


def test_a_copy_elsewhere_has_the_same_digest_until_a_line_changes(tmp_path: Path) -> None:
    package = Path(coretune.__file__).parent
    shutil.copytree(package, tmp_path / "copy")
    assert code_digest(str(tmp_path / "copy")) == code_digest(str(package))
    (tmp_path / "copy" / "errors.py").write_text("")
    assert code_digest(str(tmp_path / "copy")) != code_digest(str(package))


def test_what_is_wrong_with_a_shared_directory(tmp_path: Path) -> None:
    assert storage_problem(str(tmp_path / "no"), "t", "m", 0.0) == "there is no such folder"
    assert storage_problem(str(tmp_path), "t", "m", 0.0) == "it is another folder there"
    (tmp_path / ".probe-t").write_text("other")
    assert storage_problem(str(tmp_path), "t", "m", 0.0) == "it shows another content there"
    (tmp_path / ".probe-t").write_text("t")
    assert storage_problem(str(tmp_path), "t", "no/m", 0.0) == "it cannot be used there: No such file or directory"
    assert storage_problem(str(tmp_path), "t", "m", 0.0) is None


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"python": "3.12.1"}, "node one has Python 3.12.1 (here 3.11.9)"),
        ({"python": "3.12.1", "ray": "2.55.0"}, "node one has Python 3.12.1 (here 3.11.9), Ray 2.55.0 (here 2.60.0)"),
        ({"torch": None}, "node one has no torch (here 2.14.1+cu130)"),
        ({"code": "bb"}, "node one has another coretune (code bb, here aa)"),
        (
            {"code": None, "unusable": "ModuleNotFoundError: No module named 'pydantic'"},
            "node one has a coretune that cannot be imported: ModuleNotFoundError: No module named 'pydantic'",
        ),
    ],
)
def test_what_differs_is_said_exactly(changes: dict[str, Any], says: str) -> None:
    faults, warnings = compare({ONE: {**HERE, **changes}, TWO: HERE}, HERE, "")
    assert faults == [says] and not warnings


@pytest.mark.parametrize(("torch", "warned"), [("2.14.1", False), ("2.14.1+cpu", False), ("2.13.0+cpu", True)])
def test_another_torch_is_a_warning_another_build_of_it_none(torch: str, warned: bool) -> None:
    faults, warnings = compare({ONE: {**HERE, "torch": torch}}, HERE, "")
    assert not faults
    assert warnings == ([f"node one has torch {torch}, this process 2.14.1+cu130"] if warned else [])


def test_all_nodes_that_do_not_share_the_results_are_named_in_one_line() -> None:
    answers = {ONE: {**HERE, "storage": "there is no such folder"}, TWO: HERE}
    (fault,), _ = compare(answers, HERE, "the results directory /home/me/results", unseen=[TWO])
    assert "/home/me/results is not shared by all nodes: one (there is no such folder), two (what it writes" in fault


def test_a_node_that_does_not_answer() -> None:
    (fault,), _ = compare({ONE: TimeoutError("late\nvery")}, HERE, "")
    assert fault == "node one does not answer: late"


def test_a_node_that_was_lost_meanwhile_is_no_fault() -> None:
    here, gone, silent = Node("1", "here"), Node("2", "gone"), Node("3", "silent")
    table = [{"NodeID": "1", "Alive": True}, {"NodeID": "2", "Alive": False}, {"NodeID": "3", "Alive": True}]
    late = TimeoutError("late")
    found = without_lost({here: {"host": "a"}, gone: RuntimeError("not schedulable"), silent: late}, table)
    assert found == {here: {"host": "a"}, silent: late}


def test_of_a_remote_traceback_the_last_line_is_told() -> None:
    assert reason(RuntimeError("Traceback (most recent call last):\n  File\nOSError: disk\n")) == "OSError: disk"
    assert reason(ValueError()) == "ValueError"


def test_nodes_that_are_too_small_for_a_run_are_not_asked() -> None:
    def node(name: str, *, alive: bool = True, **resources: float) -> dict[str, Any]:
        address = {"NodeManagerAddress": "10.0.0.1", "NodeManagerHostname": name}
        return {"NodeID": name, "Alive": alive, "Resources": resources, **address}

    nodes = [
        node("head", memory=1.0),
        node("small", CPU=1.0),
        node("gpus", CPU=8.0, GPU=1.0),
        node("gone", alive=False, CPU=8.0, GPU=8.0),
    ]
    assert [each.name for each in fitting_nodes(nodes, 0.5, 0)] == ["gpus (10.0.0.1)", "small (10.0.0.1)"]
    assert [each.id for each in fitting_nodes(nodes, 1, 0.25)] == ["gpus"]
    assert fitting_nodes(nodes, 1, 2) == []
