"""What the agent makes of its parts' words."""

import pytest

from holdfast_edge.agent import TWICE, link_problem
from holdfast_protocol.runtime.link import LinkState


@pytest.mark.parametrize(("reason", "problem"), [("", ""), ("Lost", ""), ("Refused", ""), ("TakenOver", TWICE)])
def test_another_client_under_our_name_is_a_problem_and_a_lost_network_is_none(reason: str, problem: str) -> None:
    assert link_problem(LinkState("waiting", 1, 30.0, reason, "why")) == problem
    assert link_problem(LinkState("settled", 0, 0.0, reason, "why")) == problem, "two that take turns are both settled"
