"""Records in a ClickHouse: nothing is lost and nothing is there twice, whoever stops or is killed, and questions have the answers that the index gives."""

import json
import os
import pathlib
import re
import signal
import subprocess
import time
import unittest
import urllib.error
import urllib.parse
import urllib.request

from load import LEDGER, Load
from message import call, modern
from stage import Stage, free_port

HERE = pathlib.Path(__file__).resolve().parent
AWAY = float(os.environ.get("VIDIMUS_CLICKHOUSE_AWAY", "3"))


class Server:
    """A ClickHouse that can be killed and started again."""

    def __init__(self, stage, *flags):
        self.stage, self.flags, self.port, self.process = stage, flags, free_port(), None
        self.url = f"clickhouse://127.0.0.1:{self.port}/vidimus"
        stage.processes.callback(self.kill)
        self.start()

    def start(self):
        command = [os.environ["VIDIMUS_CHDB"], str(HERE / "server.py"), "--port", str(self.port),
                   "--data", str(self.stage.root / "clickhouse"), *self.flags]
        with open(self.stage.root / "clickhouse.err", "a") as errors:
            self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True)
        if not self.process.stdout.readline().startswith("ready"):
            raise AssertionError((self.stage.root / "clickhouse.err").read_text())

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()

    def post(self, path, body=""):
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", data=body.encode(), method="POST")
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.read().decode()
        except urllib.error.HTTPError as error:
            raise AssertionError(error.read().decode()) from None

    def ask(self, sql):
        """Rows, by somebody who knows nothing of Vidimus."""
        pairs = {"database": "vidimus", "default_format": "JSONCompactEachRow", "output_format_json_quote_64bit_integers": "0"}
        return [json.loads(line) for line in self.post("/?" + urllib.parse.urlencode(pairs), sql).splitlines()]

    def one(self, sql):
        return self.ask(sql)[0][0]


# Searches by what tables of earlier versions have no columns for.
OF_NEWER_COLUMNS = (("--on-behalf-of", "grace@example.com", "--kind", "all"), ("--source", "127.0.0.1", "--kind", "all"),
                    ("--server", "finance/ledger", "--kind", "all"), ("--instance", "none"), ("--approval", "none"), ("--configuration", "none"))


def questions():
    """Each of questions.sql: what is asked, and the SQL."""
    text = (HERE / "questions.sql").read_text()
    parts = [part.strip() for part in text.split(";") if "SELECT" in part]
    for part in parts:
        lines = part.splitlines()
        about = [line.removeprefix("--").strip() for line in lines if line.startswith("--")]
        yield about[-1], "\n".join(line for line in lines if not line.startswith("--")).strip()


class ClickHouse(unittest.TestCase):
    def stage(self, *only):
        stage = Stage(*only)
        self.addCleanup(stage.close)
        return stage

    def sending(self, *only, flags=("--sink-from", "0")):
        """A gateway that sends its records to a ClickHouse."""
        stage = self.stage(*(only or ("ledger",)))
        server = Server(stage)
        stage.flags = ["--sink", server.url, *flags]
        stage.serve()
        return stage, server

    def lines(self, stage, *args, code=0):
        """What a command of `audit` gives, a document a line."""
        done = stage.vidimus("audit", *args, "--data", str(stage.data), "-o", "json", check=False)
        self.assertEqual(done.returncode, code, done.stderr)
        return [json.loads(line) for line in done.stdout.splitlines()]

    def caught_up(self, stage, seconds=90):
        def behind():
            with urllib.request.urlopen(f"http://127.0.0.1:{stage.admin}/metrics") as answer:
                lines = answer.read().decode().splitlines()
            return [line for line in lines if line.startswith("vidimus_sink_lag_records{") and not line.endswith(" 0")]
        # What is durable some milliseconds later is not seen by the first look.
        time.sleep(0.5)
        stage.until(lambda: not behind(), seconds)

    def kill(self, stage):
        stage.gateway.send_signal(signal.SIGKILL)
        stage.gateway.wait()

    def has_all_once(self, stage, server):
        """Every record is there word for word, and once."""
        mine = self.lines(stage, "sql", "SELECT index, record FROM records ORDER BY index", "--limit", "1000000")
        theirs = server.ask("SELECT `index`, `record` FROM records ORDER BY `index`")
        self.assertEqual([[row["index"], row["record"]] for row in mine], theirs)
        self.assertEqual([index for index, _ in theirs], list(range(len(theirs))))
        self.assertGreater(len(theirs), 0)
        return len(theirs)

    def varied(self, stage):
        """Calls of several kinds, with several ends."""
        tokens = [stage.token(name) for name in ("invoice-bot", "risky-bot", "stranger")] + ["no.token.atall"]
        for token in (*tokens, stage.token("invoice-bot", "--user", "grace@example.com")):
            for name, arguments in (("get_invoice", {"id": "INV-1"}), ("transfer", {"amount": 10, "to": "a'b\\c\n|INV-1"}),
                                    ("transfer", {"amount": 10 ** 6, "to": "x"}), ("delete_invoice", {"id": "INV-2"})):
                message, headers = modern(call(name, arguments))
                stage.post(LEDGER, message, token, headers)
        body = {"model": "simulator-small", "messages": [{"role": "user", "content": "INV-1?"}]}
        stage.post("/llm/platform/simulator/v1/chat/completions", body, tokens[0])
        stage.vidimus("quarantine", "agent", "finance/risky-bot", "--why", "INC-7", "--admin", f"127.0.0.1:{stage.admin}",
                      "--data", str(stage.data))

    def test_nothing_is_lost_and_nothing_is_there_twice(self):
        stage, server = self.sending()
        load = Load(stage)
        self.addCleanup(load.end)
        load.more(30)
        stage.until(lambda: server.one("SELECT count() FROM records") > 0)
        # It is gone for a while; the calls go on.
        server.kill()
        gone = time.monotonic()
        before = load.calls
        while time.monotonic() - gone < AWAY:
            load.more(5)
        self.assertGreater(load.calls, before)
        self.kill(stage)
        stage.serve()
        load.more(20)
        server.start()
        # It has what was sent, and the answer is lost: the same batch comes again, and then, after a kill, another one that has it too.
        server.post("/lose/2")
        load.more(20)
        self.kill(stage)
        server.post("/lose/1")
        stage.serve()
        load.more(20)
        server.kill()
        load.more(10)
        server.start()
        load.more(10)
        load.end()
        self.caught_up(stage)
        size = self.has_all_once(stage, server)
        self.assertEqual(server.one("SELECT uniqExact(`origin`, `index`) FROM audit_events"), size)
        # Who asked for what stands at each end too, whatever lay between it and the decision.
        self.assertEqual(server.one("SELECT count() FROM records WHERE kind = 'effect' AND (principal IS NULL OR resource IS NULL)"), 0)
        self.assertGreater(server.one("SELECT count() FROM records WHERE kind = 'effect'"), 0)
        self.assertEqual(stage.logged("a sink has not taken records") > 0, True)

    def test_questions_have_the_answers_of_the_index(self):
        stage, server = self.sending("ledger", "model")
        self.varied(stage)
        load = Load(stage)
        load.more(40)
        load.end()
        self.caught_up(stage)
        stage.stop(stage.gateway)
        at = ("--clickhouse", server.url)
        # Whatever was recorded of the end.
        self.lines(stage, "index", *at)
        self.has_all_once(stage, server)
        asked = list(questions())
        self.assertEqual(len(asked), 20)
        for about, sql in asked:
            with self.subTest(about):
                mine = self.lines(stage, "sql", sql)
                self.assertEqual(mine, self.lines(stage, "sql", sql, *at))
                if "no end" not in about and "more than one" not in about:
                    self.assertTrue(mine, "it asks for nothing that is there")
        for flags in (("--by", "agent"), ("--by", "tool"), ("--by", "model", "--order", "tokens"), ("--by", "hour"),
                      ("--by", "agent-hour", "--order", "denied"), ("--by", "agent", "--since", "1d", "--order", "cost")):
            with self.subTest(flags):
                mine = self.lines(stage, "stats", *flags)
                self.assertTrue(mine)
                self.assertEqual(mine, self.lines(stage, "stats", *flags, *at))
        trace = server.one("SELECT trace FROM records WHERE kind = 'decision' LIMIT 1")
        for flags in ((), ("--kind", "all"), ("--outcome", "deny"), ("--principal", "finance/invoice-bot", "--kind", "all"),
                      ("--resource", "transfer", "--outcome", "allow"), ("--resource", "transfer", "--kind", "effect"),
                      ("--policy", "finance/small-transfers"), ("--policy", "small-transfers' OR 1=1 --"), ("--code", "no_permit"),
                      ("--trace", trace), ("--text", "INV-1", "--kind", "all"), ("--text", "a'b\\\\c\\n|INV-1", "--kind", "all"),
                      *OF_NEWER_COLUMNS, ("--since", "1h", "--oldest-first"), ("--until", "1h"), ("--kind", "all", "--after", "20"), ("--kind", "all", "--limit", "3")):
            with self.subTest(flags):
                flags = (*flags, *(() if "--limit" in flags else ("--limit", "0")))
                self.assertEqual(self.lines(stage, "search", *flags), self.lines(stage, "search", *flags, *at))
        # Only what reads is answered.
        for sql in ("DROP TABLE audit_events", "INSERT INTO audit_events (`origin`) VALUES ('x')", "ALTER TABLE audit_events DELETE WHERE 1"):
            done = stage.vidimus("audit", "sql", *at, sql, check=False)
            self.assertEqual(done.returncode, 2, done.stdout)
            self.assertIn("READONLY", done.stderr)
        done = stage.vidimus("audit", "sql", *at, "--timeout", "1s", "SELECT sum(number) FROM numbers(1000000000000)", check=False)
        self.assertEqual(done.returncode, 2, done.stdout)
        self.assertEqual(len(self.lines(stage, "sql", "--limit", "3", "SELECT number FROM numbers(100000)", *at)), 3)
        # What proves, the ledger does.
        done = stage.vidimus("audit", "verify", *at, "--data", str(stage.data), check=False)
        self.assertEqual(done.returncode, 2, done.stdout)

    def test_it_is_made_again_and_a_table_of_another_version_is_known(self):
        stage, server = self.sending()
        load = Load(stage)
        load.more(30)
        load.end()
        self.caught_up(stage)
        stage.stop(stage.gateway)
        at = ("--clickhouse", server.url)
        self.lines(stage, "index", *at)
        size = self.has_all_once(stage, server)
        # Rows that somebody removed, changed and invented.
        server.ask("DELETE FROM audit_events WHERE `index` IN (3, 4, 5)")
        self.assertEqual(server.one("SELECT count() FROM records"), size - 3)
        [told] = self.lines(stage, "index", *at)
        self.assertEqual((told["records"], told["added"]), (size, size), told)
        self.has_all_once(stage, server)
        [told] = self.lines(stage, "index", *at)
        self.assertEqual((told["records"], told["added"]), (size, 0), told)
        origin = server.one("SELECT any(`origin`) FROM audit_events")
        # That of another past is noticed by its last record.
        server.ask("INSERT INTO audit_events (`origin`, `index`, `time`, `kind`, `record`) "
                   f"VALUES ('{origin}', {size - 1}, now64(6), 'act', 'forged')")
        done = stage.vidimus("audit", "index", "--data", str(stage.data), *at, check=False)
        self.assertEqual(done.returncode, 2, done.stdout)
        self.assertIn("--rebuild", done.stderr)
        server.ask("INSERT INTO audit_events (`origin`, `index`, `time`, `kind`, `record`) "
                   f"VALUES ('{origin}', 7, now64(6), 'act', 'forged'), ('{origin}', 1000000, now64(6), 'act', 'forged')")
        self.lines(stage, "index", "--rebuild", *at)
        self.has_all_once(stage, server)
        # A table of an older version has what it lacks, and its rows do when they are made again.
        server.ask("DROP VIEW hours")
        server.ask("ALTER TABLE audit_events DROP COLUMN latency_us")
        server.ask("ALTER TABLE audit_events MODIFY COMMENT 'Vidimus, schema 0'")
        self.lines(stage, "index", "--rebuild", *at)
        self.has_all_once(stage, server)
        self.assertGreater(server.one("SELECT sum(latency_us) FROM records"), 0)
        self.assertGreater(server.one("SELECT sum(latency_us) FROM hours"), 0)
        self.assertEqual(server.one("SELECT comment FROM system.tables WHERE database = 'vidimus' AND name = 'audit_events'"), "Vidimus, schema 1")
        # What is looked for in columns that older rows lack is found in their texts, before they are made again.
        newer = ("on_behalf_of", "instance", "instance_name", "source", "via")
        for column in newer:
            server.ask(f"ALTER TABLE audit_events DROP COLUMN {column}")
        self.lines(stage, "index", *at)
        self.assertEqual(server.one("SELECT count() FROM records WHERE on_behalf_of IS NOT NULL"), 0)
        for flags in OF_NEWER_COLUMNS:
            with self.subTest(flags):
                flags = (*flags, "--limit", "0")
                self.assertEqual(self.lines(stage, "search", *flags), self.lines(stage, "search", *flags, *at))
        self.assertTrue(self.lines(stage, "search", *OF_NEWER_COLUMNS[1], *at), "it asks for nothing that is there")
        # By the gateway itself, from the first record on: its position is removed.
        server.ask("TRUNCATE TABLE audit_events")
        for position in (stage.data / "sinks").glob("*.json"):
            position.unlink()
        stage.serve()
        self.caught_up(stage)
        stage.stop(stage.gateway)
        self.lines(stage, "index", *at)
        self.has_all_once(stage, server)
        # One of a newer version is left alone.
        server.ask("ALTER TABLE audit_events MODIFY COMMENT 'Vidimus, schema 2'")
        done = stage.vidimus("audit", "index", "--data", str(stage.data), *at, check=False)
        self.assertEqual(done.returncode, 2, done.stdout)
        self.assertIn("schema 2", done.stderr)
        stage.serve()
        load = Load(stage)
        load.more(5)
        load.end()
        stage.until(lambda: stage.logged("has the schema 2") > 0)
        server.ask("ALTER TABLE audit_events MODIFY COMMENT 'Vidimus, schema 1'")
        self.caught_up(stage)
        self.has_all_once(stage, server)
        # And so is one that is somebody else's.
        stage.stop(stage.gateway)
        server.ask("CREATE DATABASE other")
        server.ask("CREATE TABLE other.records (x String) ENGINE = MergeTree ORDER BY x")
        other = server.url.replace("/vidimus", "/other")
        done = stage.vidimus("audit", "index", "--data", str(stage.data), "--clickhouse", other, check=False)
        self.assertEqual(done.returncode, 2, done.stdout)
        self.assertIn("none of Vidimus", done.stderr)

    def test_several_gateways_in_one_table(self):
        one, server = self.sending()
        two = self.stage("ledger")
        two.flags = ["--sink", server.url, "--sink-from", "0"]
        two.serve()
        for stage in (one, two):
            load = Load(stage)
            load.more(10)
            load.end()
            self.caught_up(stage)
        origins = [origin for [origin] in server.ask("SELECT DISTINCT `origin` FROM records ORDER BY 1")]
        self.assertEqual(len(origins), 2, "each log has a name of its own")
        done = one.vidimus("audit", "search", "--clickhouse", server.url, check=False)
        self.assertEqual(done.returncode, 2, done.stdout)
        self.assertTrue(all(origin in done.stderr for origin in origins), done.stderr)
        found = [{row["id"] for row in self.lines(one, "search", "--limit", "0", "--clickhouse", server.url, "--origin", origin)}
                 for origin in origins]
        self.assertTrue(all(found) and not found[0] & found[1])
        self.assertIn({row["id"] for row in self.lines(one, "search", "--limit", "0")}, found)
        self.lines(one, "sql", "SELECT origin, count(*) AS n FROM records GROUP BY origin", "--clickhouse", server.url)

    def test_who_may_write_is_told_by_a_file(self):
        stage = self.stage("ledger")
        server = Server(stage, "--user", "vidimus", "--key", "hunter2")
        # Over plain http a password stays on this machine.
        url = f"{server.url}?headers=clickhouse"
        fields = stage.secrets / "clickhouse"
        fields.write_text("X-ClickHouse-User: vidimus\nX-ClickHouse-Key: wrong\n")
        fields.chmod(0o600)
        stage.flags = ["--sink", url, "--sink-from", "0"]
        stage.serve()
        load = Load(stage)
        load.more(5)
        stage.until(lambda: stage.logged("AUTHENTICATION_FAILED") > 0)
        fields.write_text("X-ClickHouse-User: vidimus\nX-ClickHouse-Key: hunter2\n")
        load.end()
        self.caught_up(stage)
        rows = self.lines(stage, "sql", "SELECT count(*) AS n FROM records", "--clickhouse", url, "--secrets", str(stage.secrets))
        self.assertGreater(rows[0]["n"], 0)
        self.assertEqual(stage.logged("hunter2"), 0)

    def test_decisions_beside_the_spans_that_a_collector_writes(self):
        stage, server = self.sending()
        tables = pathlib.Path(os.environ["VIDIMUS_OTEL_TABLES"])
        values = iter(('"vidimus"', '"otel_traces"', "", "MergeTree", ""))
        server.ask(re.sub("%[qs]", lambda _: next(values), (tables / "traces_table.sql").read_text()))
        logs = (tables / "logs_table.sql").read_text()
        logs = re.sub(r"\{\{-? if .*?\}\}.*?\{\{-? else ?-?\}\}", "", logs, flags=re.S)
        names = {"Database": "vidimus", "TableName": "otel_logs", "Engine": "MergeTree"}
        server.ask(re.sub(r"\{\{-? ?(?:ident )?\.?(\w*) ?-?\}\}", lambda name: names.get(name[1], ""), logs))
        load = Load(stage)
        load.more(5)
        load.end()
        self.caught_up(stage)
        trace = server.one("SELECT trace FROM records WHERE kind = 'decision' ORDER BY `index` LIMIT 1")
        server.ask("INSERT INTO otel_traces (Timestamp, TraceId, SpanId, SpanName, ServiceName, Duration) "
                   f"VALUES (now64(9), '{trace[:32]}', '{trace[33:]}', 'invoke_agent invoice-bot', 'invoice-bot', 1500000)")
        server.ask("INSERT INTO otel_logs (Timestamp, TraceId, SpanId, ServiceName, Body) "
                   f"VALUES (now64(9), '{trace[:32]}', '{trace[33:]}', 'invoice-bot', 'paid INV-1')")
        # As docs/clickhouse.md has it.
        text = (HERE.parent.parent / "docs/clickhouse.md").read_text()
        [query] = re.findall(r"vidimus audit sql --clickhouse [^\n]* \"(SELECT [^\"]*otel_traces[^\"]*)\"", text)
        rows = self.lines(stage, "sql", query, "--clickhouse", server.url)
        spans = [row for row in rows if row["SpanName"] == "invoke_agent invoice-bot"]
        self.assertTrue(spans, rows)
        self.assertEqual({row["principal"] for row in spans}, {"Agent/finance/invoice-bot"})


if __name__ == "__main__":
    unittest.main()
