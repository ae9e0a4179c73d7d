"""One decision by the rule engine of Microsoft's agent-governance-toolkit-core, in its own process and without a proxy.

    decide.py POLICIES      one JSON line: {"product", "p50_us", "p99_us"}

Each rule allows one tool. A call asks for a random one of them, so half of the rules are looked at on average. The estate's own
policies, which join the attributes of caller and tool, cannot be said in its rules (one field, one operator, one value).
"""

import json
import random
import sys
import time
from importlib.metadata import version

from agent_os.policies import PolicyAction, PolicyCondition, PolicyDocument, PolicyEvaluator, PolicyOperator, PolicyRule

CALLS = 1_000


def main(policies: int) -> None:
    rules = [
        PolicyRule(
            name=f"rule-{number}",
            condition=PolicyCondition(field="tool_name", operator=PolicyOperator.EQ, value=f"tool-{number}"),
            action=PolicyAction.ALLOW,
        )
        for number in range(policies)
    ]
    evaluator = PolicyEvaluator(policies=[PolicyDocument(name="bench", rules=rules)])
    dice, times = random.Random(42), []
    for _ in range(CALLS):
        context = {"agent_id": "caller-00", "tool_name": f"tool-{dice.randrange(policies)}", "token_count": 100}
        begun = time.perf_counter_ns()
        decision = evaluator.evaluate(context)
        times.append((time.perf_counter_ns() - begun) / 1e3)
        assert decision.allowed, decision
    times.sort()
    product = f"agent-governance-toolkit-core {version('agent-governance-toolkit-core')}"
    print(json.dumps({"product": product, "p50_us": times[CALLS // 2], "p99_us": times[CALLS * 99 // 100]}))


main(int(sys.argv[1]))
