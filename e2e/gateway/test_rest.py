"""A real REST API (FastAPI, with the document that it writes of itself) as tools of the official MCP clients, and as itself for a plain HTTP client."""

import json
import unittest
import urllib.request

import httpx

from stage import Stage

STAGE = None
KEY = "key-of-the-pets-that-agents-never-see"
POLICY = """
apiVersion: vidimus.dev/v1alpha1
kind: Policy
metadata: {name: pets, namespace: finance}
spec:
  description: Agents of finance may look at pets, and add small ones.
  cedar: |
    permit (principal in Group::"finance-agents", action == Action::"invokeTool", resource is Tool)
    when { resource.read_only };
    permit (principal in Group::"finance-agents", action == Action::"invokeTool", resource == Tool::"finance/pets/add_pet")
    when { context.args.hasTag("/body/name") && context.args.getTag("/body/name") != "Rex" };
"""


def record(document):
    return {
        "apiVersion": "vidimus.dev/v1alpha1", "kind": "MCPServer", "metadata": {"name": "pets", "namespace": "finance"},
        "spec": {"owner": "ada.lovelace@example.com", "team": "finance", "riskLevel": "low", "openapi": {
            "url": f"http://127.0.0.1:{PORT}", "document": document,
            "credential": {"file": "pets.key"}, "credentialHeader": "X-API-Key"}},
    }


def setUpModule():
    global STAGE, PORT, DOCUMENT
    STAGE = Stage("pets")
    PORT = STAGE.port(STAGE.start("pets", "pets_api", "--key", KEY))
    key = STAGE.secrets / "pets.key"
    key.write_text(KEY)
    key.chmod(0o600)
    with urllib.request.urlopen(f"http://127.0.0.1:{PORT}/openapi.json") as answer:
        DOCUMENT = json.load(answer)
    STAGE.add("pets", json.dumps(record(DOCUMENT)))
    STAGE.add("pets-policy", POLICY)
    STAGE.serve()


def tearDownModule():
    STAGE.close()


def reached():
    return [row for row in STAGE.seen("pets") if row["path"] != "/openapi.json"]


def recorded(answer, *kinds):
    """What is on record of a call."""
    return [row for row in STAGE.records() if row.get("id") == answer.headers["vidimus-call"] and (not kinds or row["kind"] in kinds)]


class AsTools(unittest.TestCase):
    def run_client(self, part, *flags):
        return STAGE.client(part, "/mcp/finance/pets", STAGE.token("invoice-bot"), "--steps", "list_tools,call_tool", *flags)

    def check(self, run):
        steps = run("get_pet", {"pet_id": 7})
        self.assertEqual(sorted(steps["list_tools"]["result"]), ["add_pet", "find_pet", "get_pet", "list_pets"])
        result = steps["call_tool"]["result"]
        self.assertEqual(result["structuredContent"], {"id": 7, "name": "Rex", "kind": "dog", "tags": [], "mother": None})
        sent = reached()[-1]
        self.assertEqual((sent["method"], sent["path"], dict(sent["headers"])["x-api-key"]), ("GET", "/pets/7", KEY))
        self.assertNotIn("authorization", dict(sent["headers"]))
        missing = run("get_pet", {"pet_id": 99})["call_tool"]["result"]
        self.assertTrue(missing["isError"], missing)
        self.assertEqual(json.loads(missing["content"][0]["text"]), {"status": 404})
        self.assertEqual(json.loads(missing["content"][1]["text"]), {"detail": "no such pet"})
        listed = run("list_pets", {"limit": 5, "kind": "dog", "tag": [], "x-trace": "t 1"})["call_tool"]["result"]
        self.assertEqual(json.loads(listed["content"][0]["text"])[0]["name"], "Rex")
        self.assertEqual((reached()[-1]["path"], dict(reached()[-1]["headers"])["x-trace"]), ("/pets?limit=5&kind=dog", "t 1"))
        before = len(reached())
        for tool, arguments, code in [
            ("get_pet", {"pet_id": "7"}, "arguments_invalid"),
            ("get_pet", {"pet_id": 7, "verbose": True}, "arguments_invalid"),
            ("list_pets", {"limit": 1000}, "arguments_invalid"),
            ("list_pets", {"kind": "dog&limit=1000"}, "arguments_invalid"),
            ("list_pets", {"x-trace": "a\r\nX-API-Key: b"}, "arguments_invalid"),
            ("find_pet", {"name": "../7"}, "arguments_invalid"),
            ("find_pet", {"name": "%2e%2e%2f7"}, "arguments_invalid"),
            ("find_pet", {"name": ".."}, "arguments_invalid"),
            ("add_pet", {"body": {"name": ""}}, "arguments_invalid"),
            ("add_pet", {"body": {"name": "Rex"}}, "no_permit"),
            ("delete_pet", {"pet_id": 7}, "no_permit"),
        ]:
            with self.subTest(tool=tool, arguments=arguments):
                self.assertEqual(run(tool, arguments)["call_tool"]["error"]["data"]["code"], code)
        self.assertEqual(len(reached()), before, "what is refused reaches nobody")

    def test_the_python_client_in_both_eras(self):
        for era in ("2025", "2026"):
            with self.subTest(era=era):
                self.check(lambda tool, arguments: self.run_client("mcp_client.py", "--era", era, "--call", tool, json.dumps(arguments)))

    def test_the_typescript_client(self):
        self.check(lambda tool, arguments: self.run_client("mcp_client.mjs", "--era", "2026", "--call", f"{tool}={json.dumps(arguments)}"))


class AsItself(unittest.TestCase):
    def setUp(self):
        self.http = httpx.Client(base_url=f"{STAGE.url}/rest/finance/pets", headers={"Authorization": f"Bearer {STAGE.token('invoice-bot')}"})
        self.addCleanup(self.http.close)

    def test_an_http_client_is_governed_as_one_with_mcp(self):
        answer = self.http.get("/pets/7")
        self.assertEqual((answer.status_code, answer.json()["name"]), (200, "Rex"))
        self.assertEqual(answer.content, httpx.get(f"http://127.0.0.1:{PORT}/pets/7", headers={"X-API-Key": KEY}).content, "byte for byte")
        [record] = recorded(answer, "decision")
        self.assertEqual((record["protocol"], record["resource"], record["method"]), ("rest", "Tool/finance/pets/get_pet", "tools/call"))
        answer = self.http.get("/pets", params={"limit": 5, "tag": ["a b", "c&d"]}, headers={"X-Trace": "t"})
        self.assertEqual((answer.status_code, answer.json()), (200, []))
        self.assertEqual(reached()[-1]["path"], "/pets?limit=5&tag=a%20b&tag=c%26d")
        answer = self.http.post("/pets", json={"name": "Tom", "tags": ["a"], "mother": {"name": "Kit"}})
        self.assertEqual((answer.status_code, answer.json()["mother"]["name"]), (201, "Kit"))
        answer = self.http.get("/pets/by-name/Tom")
        self.assertEqual((answer.status_code, answer.json()["tags"]), (200, ["a"]))
        answer = self.http.get("/pets/99")
        self.assertEqual((answer.status_code, answer.json()), (404, {"detail": "no such pet"}))

    def test_what_is_no_operation_or_not_permitted_does_not_pass(self):
        before = len(reached())
        for method, path, status, code in [
            ("DELETE", "/pets/7", 403, "no_permit"),
            ("DELETE", "/pets", 403, "no_permit"),
            ("GET", "/openapi.json", 404, "route_unknown"),
            ("GET", "/docs", 404, "route_unknown"),
            ("GET", "/pets/7/", 404, "route_unknown"),
            ("PUT", "/pets/7", 405, "method_not_allowed"),
            ("GET", "/pets/x", 400, "message_invalid"),
            ("GET", "/pets/by-name/..%2f7", 400, "message_invalid"),
            ("GET", "/pets?limit=5&limit=6", 400, "message_invalid"),
            ("GET", "/pets?debug=1", 400, "message_invalid"),
            ("GET", "/pets?limit=1000", 400, "arguments_invalid"),
        ]:
            with self.subTest(method=method, path=path):
                answer = self.http.request(method, path)
                self.assertEqual((answer.status_code, answer.headers["vidimus-code"], answer.json()["error"]), (status, code, code))
                self.assertEqual([row["code"] for row in recorded(answer)], [code])
        self.assertEqual(len(reached()), before, "what is refused reaches nobody")
        unknown = httpx.get(f"{STAGE.url}/rest/finance/pets/pets/7")
        self.assertEqual((unknown.status_code, unknown.headers["vidimus-code"]), (401, "credential_missing"))


class Documents(unittest.TestCase):
    def test_an_operation_that_leads_elsewhere_is_no_tool_and_a_fault_where_it_is_named(self):
        document = json.loads(json.dumps(DOCUMENT))
        document["components"]["schemas"]["NewPet-Input"]["properties"]["name"] = {"$ref": "https://elsewhere.example/name.json"}
        directory = STAGE.root / "bad"
        directory.mkdir()
        for named in (False, True):
            server = record(document)
            if named:
                server["spec"]["openapi"]["operations"] = [document["paths"]["/pets"]["post"]["operationId"]]
            (directory / "pets.json").write_text(json.dumps(server))
            done = STAGE.vidimus("check", str(directory), check=False)
            said = done.stdout + done.stderr
            self.assertEqual(done.returncode != 0, named, said)
            self.assertIn('spec.openapi.document.paths["/pets"].post', said)
            self.assertIn("https://elsewhere.example/name.json", said)


if __name__ == "__main__":
    unittest.main()
