"""The questions of an audit, in DuckDB: a database of its own, filled from the rows of the read model. One JSON object a line."""

import json
import sys
import time

import duckdb

database, index, records = sys.argv[1], sys.argv[2], int(sys.argv[3])
MASK = (1 << 64) - 1
START, DAYS = 1_795_262_400, 7


def mixed(number):
    z = (number + 0x9E37_79B9_7F4A_7C15) & MASK
    z = ((z ^ (z >> 27)) * 0x94D0_49BB_1331_11EB) & MASK
    return z ^ (z >> 31)


def say(question, value):
    print(json.dumps({"question": question, "value": value}), flush=True)


con = duckdb.connect(database)
con.execute("SET threads TO 2")
# Its progress would stand between the lines.
con.execute("SET enable_progress_bar = false")
con.execute("SET preserve_insertion_order = true")
begun = time.perf_counter()
con.execute(f"CREATE TABLE records AS SELECT * FROM read_parquet('{index}/*.records.parquet') ORDER BY index")
con.execute("CHECKPOINT")
count = con.execute("SELECT count(*) FROM records").fetchone()[0]
say("build", count / (time.perf_counter() - begun))


def times(question, rounds, ask):
    taken = []
    for round in range(rounds):
        query, parameters = ask(mixed(round + 1))
        begun = time.perf_counter()
        con.execute(query, parameters).fetchall()
        taken.append((time.perf_counter() - begun) * 1000)
    taken.sort()
    say(question, taken[len(taken) // 2])


def window(random):
    since = START + DAYS * 86_400 * (random % (records // 10 * 9)) / records
    return since, since + 6 * 3600


def agent_and_time(random):
    since, until = window(random)
    return (
        "SELECT record FROM records WHERE principal = ? AND time >= to_timestamp(?) AND time < to_timestamp(?) ORDER BY index DESC LIMIT 100",
        [f"Agent/estate/agent-{random % 1000}", since, until],
    )


def policy_and_outcome(random):
    outcome = "allow" if random % 2 == 0 else "deny"
    return (
        "SELECT record FROM records WHERE contains(policy_names, ?) AND outcome = ? ORDER BY index DESC LIMIT 100",
        [f"estate/policy-{random % 500}\n", outcome],
    )


times("agent_and_time", 51, agent_and_time)
times("policy_and_outcome", 51, policy_and_outcome)
times("latest_100", 51, lambda _: ("SELECT record FROM records WHERE kind IN ('decision', 'refusal') ORDER BY index DESC LIMIT 100", []))
times("text_nowhere", 7, lambda _: ("SELECT record FROM records WHERE contains(record, 'such a thing is nowhere') ORDER BY index DESC LIMIT 100", []))
times(
    "by_agent_per_hour",
    7,
    lambda _: (
        "SELECT principal, time_bucket(INTERVAL 1 HOUR, time) AS hour, count(*) FROM records WHERE principal IS NOT NULL "
        "GROUP BY ALL ORDER BY hour DESC LIMIT 1000",
        [],
    ),
)
