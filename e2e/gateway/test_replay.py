"""What the A2A compatibility kit and an agent once said to each other passes the gateway unchanged. `e2e/conformance` has how it is
recorded, and `make conformance` the suites themselves."""

import collections
import pathlib
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "conformance"))

import compare  # noqa: E402
import replay  # noqa: E402
from stage_of_suite import gateway  # noqa: E402


class RecordedExchanges(unittest.TestCase):
    def test_the_a2a_kit_is_answered_as_by_the_agent(self):
        agent = replay.Agent()
        self.addCleanup(agent.close)
        explained = compare.known("replay")
        with gateway(agent.port, rest=f"http://127.0.0.1:{agent.port}/") as stage:
            run = replay.Replay(agent, stage.listen, stage.token("suite"))
            outcomes = collections.defaultdict(list)
            for number, exchange in enumerate(replay.recorded("a2a")):
                outcomes[run.outcome(exchange)].append(f"{number}: {exchange['body'][:120]}")
        same = len(outcomes.pop("same", []))
        unexplained = {outcome: found for outcome, found in outcomes.items() if compare.why(explained, outcome) is None}
        self.assertEqual(unexplained, {})
        self.assertGreater(same, 60)


if __name__ == "__main__":
    unittest.main()
